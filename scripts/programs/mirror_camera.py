"""The camera's part of a mirror: where the links really stand, which no servo's reading tells.

After the motion the arm goes to poses all over its room and rests there; a camera sees the marker on its gripper, and
the fit of `tandem calibrate servos --camera` tells how each servo misjudges its joint. Nothing is changed by it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass

import numpy as np

from bridge.errors import BridgeError
from bridge.remote import RemoteRobot
from calibration.errors import CalibrationError
from calibration.servo import ServoCalibration
from hardware.cameras.newest import NewestCamera
from hardware.errors import HardwareError
from scripts.calibrate_servos import SightArgs
from scripts.cli import data_root
from scripts.programs.mirror_links import CameraLook
from scripts.programs.posing import PosedArm
from scripts.programs.robot_file import RobotFile
from scripts.programs.servo_camera import open_sight_camera, sight_setup
from scripts.programs.servo_sight import ServoSight
from urdf.description import ArmDescription, Rig

#: Called with how many poses there will be.
Plan = Callable[[int], None]
#: Called after each pose with what came of it.
Advance = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class MirrorEye:
    """A camera that is to look at an arm, under the lens and the servo calibration that are in force for it."""

    robot: str
    sight: SightArgs
    address: RobotFile
    description: ArmDescription
    rig: Rig

    def check(self) -> None:
        """Open the camera and close it again: one that is not there is told before the arm moves; raises."""
        self._camera().close()

    def look(self, arm: RemoteRobot, plan: Plan, advance: Advance) -> CameraLook:
        """Drive the arm through the poses and fit. What goes wrong is in the answer: the motion's figures stay."""
        try:
            return self._look(arm, plan, advance)
        except (CalibrationError, BridgeError, HardwareError) as error:
            return CameraLook(self.sight.camera, trouble=str(error))

    def _look(self, arm: RemoteRobot, plan: Plan, advance: Advance) -> CameraLook:
        before = ServoCalibration.load(self.robot, self.description, data_root())
        setup = sight_setup(self.robot, self.sight, self.description, self.rig, before)
        step_rad = np.array([1.0 / abs(joint.ticks_per_rad) for joint in before.joints])
        with ExitStack() as stack:
            camera = stack.enter_context(closing(self._camera()))
            stack.callback(arm.hold)
            sight = ServoSight(setup, PosedArm(arm, step_rad, arm.period_s), camera)
            return look_around(sight, self.sight, plan, advance)

    def _camera(self) -> NewestCamera:
        return open_sight_camera(self.sight, self.robot, self.address, self.description)


def look_around(sight: ServoSight, args: SightArgs, plan: Plan, advance: Advance) -> CameraLook:
    """Go to the poses that tell most, look, and return the fit; raises CalibrationError."""
    poses_rad = sight.plan(args.poses, args.seed)
    plan(len(poses_rad))
    for pose_rad in poses_rad:
        advance(sight.visit(pose_rad))
    fit = sight.fit()
    assert sight.seen.intrinsics is not None
    return CameraLook(args.camera, fit, fit.kept_residual * sight.seen.intrinsics.fx_px)
