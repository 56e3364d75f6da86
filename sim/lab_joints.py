"""LabJoints: what lies between a lab's servos and its joints, besides zero and scale: sticking, and giving way."""

from __future__ import annotations

import numpy as np
import pybullet as bullet
from numpy.typing import NDArray

from calibration.actuator import ServoErrors
from sim.lab_truth import LabTruth
from sim.world import ArmWorld
from urdf.pose import Array, Pose

_GRAVITY_M_S2 = 9.81
_WEIGH_EVERY = 8  # physics steps, 33 ms: the weight moves no faster than the arm


class LabJoints:
    """Servo angles (n,) to joint angles (n,) and back, the way this unit's horns and brackets have it.

    A joint sticks: it follows its servo with play, on the side that it came from, and its potentiometer sits behind
    that play, so readings show it. It gives way to the weight that it carries, and no reading shows that.
    """

    def __init__(self, world: ArmWorld, truth: LabTruth) -> None:
        self._world = world
        count = len(world.description.joint_names)
        self._arm_joints = [world.joint_index[n] for n in world.description.joint_names[:-1]]
        self._servo: ServoErrors = truth.servos(world.description.gripper.open_rad)
        self._sag: Array = np.array(truth.sag_rad_per_nm or (0.0,) * count)
        self._sag[-1] = 0.0  # jaws carry no arm
        self._stick: Array = np.array(truth.stick_rad or (0.0,) * count)
        self._masses: Array = np.zeros(0)
        self._carried: NDArray[np.bool_] = np.zeros((0, 0), dtype=np.bool_)
        self._axes: Array = np.zeros((0, 3))
        if self._sag.any():
            self._masses, self._carried = _loads(world)
            axes = [bullet.getJointInfo(world.arm, j, physicsClientId=world.client)[13] for j in self._arm_joints]
            self._axes = np.array(axes)
        self._given_way: Array = np.zeros(count)
        self._follows: Array | None = None
        self._calls = -1
        self.weigh()

    def weigh(self) -> None:
        """Find out how far each joint gives way to the arm's weight where it now stands; every eighth call does."""
        self._calls += 1
        if not self._sag.any() or self._calls % _WEIGH_EVERY:
            return
        client, links = self._world.client, range(len(self._masses))
        states = bullet.getLinkStates(self._world.arm, links, computeForwardKinematics=True, physicsClientId=client)
        weights = np.array([state[0] for state in states]) * self._masses[:, None]
        frames = [states[j] for j in self._arm_joints]
        torques = np.zeros(len(self._sag))
        for k, (carried, frame) in enumerate(zip(self._carried, frames, strict=True)):
            mass_kg = float(self._masses[carried].sum())
            x, y, _ = weights[carried].sum(axis=0) - mass_kg * np.array(frame[4])
            axis = Pose(np.zeros(3), np.array(frame[5])).apply(self._axes[k])
            torques[k] = axis @ np.array([-y, x, 0.0]) * _GRAVITY_M_S2
        self._given_way = self._sag * torques

    def joint_rad(self, servo_rad: Array) -> Array:
        """Return where servos at `servo_rad` (n,) pull the joints (n,)."""
        if self._stick.any():
            if self._follows is None:
                self._follows = servo_rad.copy()
            self._follows = np.clip(self._follows, servo_rad - self._stick, servo_rad + self._stick)
            servo_rad = self._follows
        return self._servo.joint_rad(servo_rad) + self._given_way

    def servo_rad(self, joint_rad: Array) -> Array:
        """Return what the servos measure (n,) when the joints stand at `joint_rad` (n,)."""
        return self._servo.servo_rad(joint_rad - self._given_way)


def _loads(world: ArmWorld) -> tuple[Array, NDArray[np.bool_]]:
    """Return each link's mass (l,) [kg], and which links each arm joint carries (a, l)."""
    c, arm = world.client, world.arm
    count = bullet.getNumJoints(arm, physicsClientId=c)
    parents = [bullet.getJointInfo(arm, link, physicsClientId=c)[16] for link in range(count)]
    masses = np.array([bullet.getDynamicsInfo(arm, link, physicsClientId=c)[0] for link in range(count)])
    joints = [world.joint_index[n] for n in world.description.joint_names[:-1]]
    carried = np.zeros((len(joints), count), dtype=np.bool_)
    for row, joint in enumerate(joints):
        for link in range(count):
            above = link
            while above not in (joint, -1):
                above = parents[above]
            carried[row, link] = above == joint
    return masses, carried
