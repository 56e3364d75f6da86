"""A block between the jaws, through the public parts alone: commands at 20 Hz, the scripted grip, straight paths."""

from __future__ import annotations

import numpy as np
import pybullet as bullet

from bridge.messages import JointCommand
from bridge.skills import CloseGripper
from sim.sim_robot import SimRobot
from sim.world import ArmWorld
from urdf.description import ArmDescription, load_arm
from urdf.kinematics import PinocchioKinematics
from urdf.pose import Array, Pose

PERIOD_S = 0.05
ARM = load_arm("dofbot")


class Lifter:
    """One arm in one rig that grips a block where it is told to, `offset_m` (2,) from the block's middle."""

    def __init__(self, rig_name: str, arm: ArmDescription = ARM) -> None:
        self.arm = arm
        self.rig = arm.rig(rig_name)
        self.world = ArmWorld(arm, self.rig)
        self.robot = SimRobot(self.world, PERIOD_S)
        self.kinematics = PinocchioKinematics(arm, self.rig)
        self._seq = 0

    def close(self) -> None:
        self.robot.close()

    def weigh(self, mass_kg: float) -> None:
        """Give the block another mass."""
        bullet.changeDynamics(self.world.block, -1, mass=mass_kg, physicsClientId=self.world.client)

    def tool_from_block(self) -> Pose:
        return self.world.tool_pose().inverse() @ self.world.block_pose()

    def send(self, target_rad: Array) -> None:
        """One control period."""
        self._seq += 1
        start_ns = self.robot.now_ns()
        self.robot.send(JointCommand(self._seq, start_ns, tuple(target_rad.tolist()), PERIOD_S))
        self.robot.sleep_until(start_ns + round(PERIOD_S * 1e9))

    def wait(self, duration_s: float) -> None:
        for _ in range(round(duration_s / PERIOD_S)):
            self.send(self._target)

    def grip(self, offset_m: tuple[float, float], yaw_rad: float) -> CloseGripper:
        """Lay the block in the middle of the area, go down over it from 30 mm above, close the jaws."""
        block = Pose.from_rotvec([*self.rig.area_center_m, 0.015], [0.0, 0.0, yaw_rad])
        self._yaw_rad = yaw_rad
        self._xy_m = self.rig.area_center_m + offset_m
        low = self.rig.grasp_m
        above = np.array([*self._xy_m, low + 0.03])
        # From home on: an arm of six joints reaches most places with its elbow below the desk as well.
        joints = self.kinematics.solve(above, yaw_rad, self.rig.home_rad)
        self._target = np.append(joints, self.arm.gripper.open_rad)
        self.robot.reset(self._target, block)
        self._follow(np.linspace(low + 0.03, low, 15))
        self.wait(0.3)
        skill = CloseGripper(self.arm, self.arm.gripper.open_rad, PERIOD_S)
        for _ in range(80):
            self._target = np.append(self._target[:-1], skill.step(self.robot.read_state()))
            self.send(self._target)
            if skill.finished:
                break
        self.wait(0.3)
        return skill

    def lift(self) -> None:
        """Raise the tool to the hover height, 2 mm a period."""
        self._follow(np.arange(self.rig.grasp_m, self.rig.hover_m + 1e-9, 0.002))
        self.wait(0.3)

    def hold_up(self) -> tuple[float, float]:
        """Lift the block, hold it for 2 s; return how far it moved between the jaws meanwhile [m, rad]."""
        self.lift()
        before = self.tool_from_block()
        self.wait(2.0)
        return before.distance_to(self.tool_from_block())

    def open(self) -> None:
        """Let the block go."""
        self._target = np.append(self._target[:-1], self.arm.gripper.open_rad)
        self.wait(0.6)

    def _follow(self, heights_m: Array) -> None:
        for height in heights_m:
            joints = self.kinematics.solve(np.array([*self._xy_m, height]), self._yaw_rad, self._target[:-1])
            self._target = np.append(joints, self._target[-1])
            self.send(self._target)
