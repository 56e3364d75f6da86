"""LabWorld: the arm you have when you have no arm. It takes joint motion in, gives a scene out, and knows no bus.

Its physics is the training world's; its truth is not: servo zeros, block and camera differ, by how much only
`truth.json` knows. What a servo cannot measure and a camera cannot see never leaves this class.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pybullet as bullet
from numpy.typing import NDArray

from sim.errors import SimError
from sim.lab_joints import LabJoints
from sim.lab_truth import LabTruth, Outcome, TruthFile
from sim.objects import BLOCK_SIZE_M
from sim.world import PHYSICS_HZ, ArmWorld
from urdf.description import ArmDescription, Rig
from urdf.pose import Array, Pose

LIFT_M, HELD_S = 0.03, 0.5
_MAX_YAW_RAD = math.radians(45.0)
_CLEARANCE_M = 0.003
#: What a servo's gears resist with when its torque is off; too little to hold a raised arm. 1 : 373, our estimate.
_GEAR_FRICTION = 0.03
_STEP_S = 1.0 / PHYSICS_HZ
#: From the middle of the desk frame.
_REACH_OF_A_HAND_M = 0.5
_ASIDE = Pose(np.array([0.0, 0.45, BLOCK_SIZE_M / 2]), np.array([0.0, 0.0, 0.0, 1.0]))


@dataclass(slots=True)
class _Attempt:
    """The attempt that is under way."""

    number: int
    start: Pose
    highest_m: float = 0.0
    high_steps: int = 0
    longest_steps: int = 0


class LabWorld:
    """A desk, an arm whose servos lie a little, and a block that a person puts down."""

    def __init__(self, description: ArmDescription, rig: Rig, truth: LabTruth, truth_path: Path) -> None:
        self.description = description
        self.rig = rig
        self.physics_steps = 0
        self.attempts = 0
        self._truth = truth
        self._truth_path = truth_path
        self._outcomes: list[Outcome] = []
        self._world = ArmWorld(description, rig)
        bullet.changeDynamics(
            self._world.block,
            -1,
            mass=truth.block_mass_kg,
            lateralFriction=truth.block_friction,
            physicsClientId=self._world.client,
        )
        self._joint_names = [joint.name for joint in description.chain.joints if joint.kind != "fixed"]
        self._joints = [self._world.joint_index[name] for name in self._joint_names]
        self._world.reset(rig.rest_rad, _ASIDE)
        self._link = LabJoints(self._world, truth)
        self._measured: Array = self._measure()
        self._owed_s = 0.0
        self._touched_steps = 0
        self._attempt: _Attempt | None = None
        self._save()

    # Servos --------------------------------------------------------------------------------------
    def drive(self, position_rad: Array, torque_on: NDArray[np.bool_]) -> None:
        """Pull the joints whose torque is on to `position_rad` (n,), as their servos measure it."""
        self._world.drive(self._link.joint_rad(position_rad))
        for joint, on in enumerate(torque_on):
            if not on:
                self._world.release(joint, _GEAR_FRICTION)

    def positions_rad(self) -> Array:
        """Return what the servos measure (n,): each joint's angle as its servo misjudges it."""
        return self._measured.copy()

    def step(self, dt_s: float) -> None:
        """Advance physics by `dt_s`, in whole steps of 1/240 s; the rest is owed to the next call."""
        self._owed_s += dt_s
        while self._owed_s >= _STEP_S - 1e-9:
            self._owed_s -= _STEP_S
            self._step_once()

    def _step_once(self) -> None:
        world = self._world
        # Half a second after the last touch the solver may hurry again.
        touching = bool(bullet.getContactPoints(world.arm, world.block, physicsClientId=world.client))
        self._touched_steps = PHYSICS_HZ // 2 if touching else max(0, self._touched_steps - 1)
        world.set_gripping(self._touched_steps > 0)
        world.step()
        self.physics_steps += 1
        self._measured = self._measure()
        self._judge()

    def _measure(self) -> Array:
        self._link.weigh()
        return self._link.servo_rad(self._world.joint_states()[0])

    # Pictures ------------------------------------------------------------------------------------
    def scene(self) -> tuple[dict[str, float], Pose]:
        """Return what a camera sees: every joint's angle by URDF name, and `desk_from_block`."""
        states = bullet.getJointStates(self._world.arm, self._joints, physicsClientId=self._world.client)
        return {name: state[0] for name, state in zip(self._joint_names, states, strict=True)}, self._world.block_pose()

    # The hand ------------------------------------------------------------------------------------
    def place_block(self, rng: np.random.Generator, tries: int = 100) -> None:
        """Put the block flat on the desk somewhere in the rig's area, turned by up to 45 degrees.

        Raises SimError where the arm is in the way everywhere.
        """
        for _ in range(tries):
            x, y = self.rig.area_center_m + rng.uniform(-0.5, 0.5, 2) * self.rig.area_size_m
            yaw = rng.uniform(-_MAX_YAW_RAD, _MAX_YAW_RAD)
            self.put_block(Pose.from_rpy([x, y, BLOCK_SIZE_M / 2], [0.0, 0.0, yaw]))
            if not self._arm_in_the_way():
                return
        self.put_block(_ASIDE)
        raise SimError("the arm is in the way of the whole block area: move it home before placing the block")

    def place_block_at(self, x_m: float, y_m: float, yaw_rad: float) -> None:
        """Put the block flat on the desk where somebody wants it; raises SimError where that is not free."""
        if not (math.isfinite(yaw_rad) and math.hypot(x_m, y_m) <= _REACH_OF_A_HAND_M):
            raise SimError(
                f"the block cannot lie at {1000 * x_m:g} {1000 * y_m:g} mm: at most "
                f"{1000 * _REACH_OF_A_HAND_M:g} mm from the middle of the desk frame"
            )
        self.put_block(Pose.from_rpy([x_m, y_m, BLOCK_SIZE_M / 2], [0.0, 0.0, yaw_rad]))
        if self._arm_in_the_way():
            self.put_block(_ASIDE)
            raise SimError(
                f"the arm is in the way at {1000 * x_m:g} {1000 * y_m:g} mm: place the block elsewhere, or the arm"
            )

    def put_block(self, desk_from_block: Pose) -> None:
        """Put the block at one place, at rest."""
        world = self._world
        bullet.resetBasePositionAndOrientation(
            world.block,
            desk_from_block.position_m.tolist(),
            desk_from_block.quat_xyzw.tolist(),
            physicsClientId=world.client,
        )
        bullet.resetBaseVelocity(world.block, [0, 0, 0], [0, 0, 0], physicsClientId=world.client)

    def _arm_in_the_way(self) -> bool:
        world = self._world
        return bool(bullet.getClosestPoints(world.arm, world.block, _CLEARANCE_M, physicsClientId=world.client))

    # The referee ---------------------------------------------------------------------------------
    def begin_attempt(self) -> int:
        """Start to watch an attempt from here; return its number. An attempt under way ends first."""
        if self._attempt is not None:
            self.end_attempt()
        self.attempts += 1
        self._attempt = _Attempt(self.attempts, self.block_truth())
        return self.attempts

    def end_attempt(self) -> Outcome | None:
        """Write down what really happened since `begin_attempt`; return it, or None where nothing had begun."""
        attempt, self._attempt = self._attempt, None
        if attempt is None:
            return None
        held_s = attempt.longest_steps * _STEP_S
        x, y = (float(v) for v in attempt.start.position_m[:2])
        outcome = Outcome(attempt.number, (x, y), attempt.start.yaw_rad, attempt.highest_m, held_s, held_s >= HELD_S)
        self._outcomes.append(outcome)
        self._save()
        return outcome

    def block_truth(self) -> Pose:
        """Return `desk_from_block` as it really is: for the referee and for tests, never for a policy."""
        return self._world.block_pose()

    def _judge(self) -> None:
        attempt = self._attempt
        if attempt is None:
            return
        rise_m = float(self._world.block_pose().position_m[2] - attempt.start.position_m[2])
        attempt.highest_m = max(attempt.highest_m, rise_m)
        attempt.high_steps = attempt.high_steps + 1 if rise_m >= LIFT_M else 0
        attempt.longest_steps = max(attempt.longest_steps, attempt.high_steps)

    def _save(self) -> None:
        TruthFile(self._truth, tuple(self._outcomes)).save(self._truth_path)

    def close(self) -> None:
        """Free the world; calling it twice is harmless."""
        self._world.close()
