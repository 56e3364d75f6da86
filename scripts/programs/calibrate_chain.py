"""All calibrations of one arm, one after the other: camera, servos, how they move, and where the camera stands.

The chain knows no truth: it has an arm that it commands, a camera that it reads and somebody who holds up a board.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import msgspec
import numpy as np

from bridge.errors import BridgeError, StaleFrame
from bridge.messages import JointCommand
from bridge.ports import Camera, Clock, Frame, Intrinsics, Robot
from calibration.actuator import ActuatorModel
from calibration.actuator_file import ActuatorCalibration
from calibration.actuator_fit import fit_actuator
from calibration.boards import GRIPPER, desk_from_board
from calibration.camera_file import CameraCalibration
from calibration.errors import CalibrationError
from calibration.excitation import excitation, find_room
from calibration.intrinsics import MODELS, Seen, calibrate
from calibration.marker_problem import PlaceReference
from calibration.servo import ServoCalibration
from calibration.servo_vision_file import ServoVisionReport, recalibrated
from scripts.calibrate_camera import look
from scripts.programs.actuator_run import MotionPlayer
from scripts.programs.board_show import BOARD, held_poses
from scripts.programs.calibrated_camera import printed_board, printed_desk_board
from scripts.programs.posing import PosedArm
from scripts.programs.servo_sight import ServoSight, SightSetup
from urdf.description import ArmDescription, Rig
from urdf.pose import Pose

#: How well a person puts the desk board at its place and a marker on the gripper: one standard deviation.
_BOARD_M, _BOARD_RAD = 0.001, math.radians(0.2)
_MOUNT_M, _MOUNT_RAD = 0.002, math.radians(0.3)
_PICTURE_S, _LOOK_NS = 10.0, 20_000_000
_PERIOD_S, _APPROACH_RAD_S = 0.05, 0.4
#: Every servo board of an arm in this chain takes these counts. Ref: i2c_register_map.xlsx, registers 0x11-0x16.
_TICKS = (96, 4000)
#: Corners of the labs fit to 0.4 to 0.6 px, and to more than this where the first calibration led the arm astray.
_WELL_PX = 1.0


class BoardHolder(Protocol):
    """Whoever holds a printed board before the camera."""

    def hold_up(self, camera_from_sheet: Pose | None) -> None:
        """Hold it there until further notice; None: put it away."""
        ...


@dataclass(frozen=True, slots=True)
class Bench:
    """An arm that is held, a camera that looks at it, and somebody with a printed board (and a block).

    `written_ns` tells when the command that was really sent last went to the servos.

    `wrist` is a depth camera at the wrist, where there is one.
    """

    robot: Robot
    camera: Camera
    holder: BoardHolder
    written_ns: Callable[[JointCommand], int]
    place_block: Callable[[Pose | None], object] | None = None
    wrist: Camera | None = None


@dataclass(frozen=True, slots=True)
class Workplace:
    """What a calibration has before it. `take_hold` connects with the calibrations that are in force then.

    `fresh`: every time it is called anew. An arm that somebody else serves keeps the calibration that it began with.
    """

    serial: str
    description: ArmDescription
    rig: Rig
    data: Path
    clock: Clock
    camera_name: str
    take_hold: Callable[[], AbstractContextManager[Bench]]
    fresh: bool = True
    #: On a simulated clock: let a thread that has just begun have its turn, and let one end.
    settle: Callable[[], None] = lambda: None
    unsettle: Callable[[Callable[[], None]], None] = lambda close: close()


@dataclass(frozen=True, slots=True)
class ChainSettings:
    """How much is looked at."""

    views: int = 24
    poses: int = 40
    rounds: int = 1
    motion_s: float = 75.0
    models: tuple[str, ...] = MODELS
    seed: int = 0


DEFAULTS = ChainSettings()


class StepReport(msgspec.Struct, frozen=True):
    """What came of one calibration: its artifact, its residual, and in words."""

    step: str
    done: bool
    words: str
    artifact: str = ""
    residual: float = 0.0
    unit: str = ""


@dataclass(slots=True)
class Chain:
    """Runs the steps; each is told to `tell` as it ends, and `advance` hears of every picture and pose."""

    place: Workplace
    settings: ChainSettings
    advance: Callable[[str], None] = lambda words: None
    tell: Callable[[StepReport], None] = lambda report: None
    reports: list[StepReport] = field(default_factory=list[StepReport])
    lens: Intrinsics | None = None
    corners_px: float = 0.0

    @property
    def pieces(self) -> int:
        """How often `advance` is called."""
        settings = self.settings
        return settings.views + settings.rounds * settings.poses + round(settings.motion_s)

    def run(self) -> list[StepReport]:
        """Calibrate everything; raises CalibrationError or BridgeError where a step that others need fails."""
        with self.place.take_hold() as bench:
            self.measure_camera(bench)
            self.measure_servos(bench, 0)
            self.try_actuator(bench)
        for number in range(1, self.settings.rounds if self.place.fresh else 1):
            with self.place.take_hold() as bench:
                self.measure_servos(bench, number)
        if self.place.fresh and self.corners_px > _WELL_PX:
            self._try_servos_again()
        return self.reports

    def _try_servos_again(self) -> None:
        """Measure once more: an arm led astray by its old zeros stalls, and its poses say less."""
        try:
            with self.place.take_hold() as bench:
                self.measure_servos(bench, self.settings.rounds)
        except KNOWN_TROUBLE as error:
            self._not_measured("servos again", f"not measured, what was measured stays: {error}")

    def _not_measured(self, step: str, words: str) -> None:
        self.reports.append(StepReport(step, False, words))
        self.tell(self.reports[-1])

    # Camera --------------------------------------------------------------------------------------
    def measure_camera(self, bench: Bench) -> None:
        """Have the board held up in many places, and fit the lens."""
        place, board = self.place, printed_board(BOARD, self.place.serial, self.place.data)
        rng = np.random.default_rng([self.settings.seed, 7])
        first = self._picture(bench.camera, place.clock.now_ns())
        size_px = (first.intrinsics.width_px, first.intrinsics.height_px)
        pictures: list[Seen] = []
        try:
            about = first.intrinsics if first.intrinsics.is_known else _common_lens(*size_px)
            for k, pose in enumerate(held_poses(self.settings.views, about, rng)):
                bench.holder.hold_up(pose)
                frame = self._picture(bench.camera, place.clock.now_ns() + _LOOK_NS)
                pictures.append(look(board, frame.rgb, f"view {k + 1}"))
                self.advance(f"camera: {len(pictures[-1].corners)} points")
        finally:
            bench.holder.hold_up(None)
        result = calibrate(pictures, size_px, self.settings.models)
        artifact = CameraCalibration.of(result, place.camera_name, BOARD, place.serial, place.description)
        path = artifact.save(place.data)
        self.lens = artifact.intrinsics()
        words = (
            f"focal length {self.lens.fx_px:.1f} px ± {100 * result.focal_sigma:.2f} %, "
            f"{len(result.views)} views, held-out error {result.held_out_rms_px:.2f} px"
        )
        self._report("camera", words, path, artifact.residual, "px")

    def _picture(self, camera: Camera, since_ns: int) -> Frame:
        """Return the first picture taken after `since_ns`; raises CalibrationError where none comes."""
        clock, end_ns = self.place.clock, since_ns + round(_PICTURE_S * 1e9)
        while clock.now_ns() < end_ns:
            try:
                frame = camera.read(_PICTURE_S)
            except StaleFrame:
                frame = None
            if frame is not None and frame.stamp_ns > since_ns:
                return frame
            clock.sleep_until(clock.now_ns() + _LOOK_NS)
        raise CalibrationError(f"the camera {self.place.camera_name!r} gave no picture in {_PICTURE_S:g} s")

    # Servos --------------------------------------------------------------------------------------
    def measure_servos(self, bench: Bench, number: int) -> None:
        """Drive the arm through poses that tell most, look at its marker, and fit zeros and scales.

        Again from the better calibration: the arm then goes where it is sent, so that poses and sag are what they are.
        """
        place, settings = self.place, self.settings
        before = ServoCalibration.load(place.serial, place.description, place.data)
        mounted = GRIPPER.markers[0]
        board = place.rig.desk_from_base.inverse() @ desk_from_board(place.rig)
        setup = SightSetup(
            place.description, place.rig, before, mounted,
            PlaceReference(mounted.target_from_marker, _MOUNT_M, _MOUNT_RAD),
            PlaceReference(board, _BOARD_M, _BOARD_RAD), printed_desk_board(place.serial, place.data),
        )  # fmt: skip
        step_rad = np.array([1.0 / abs(joint.ticks_per_rad) for joint in before.joints])
        arm = PosedArm(bench.robot, step_rad, clock=place.clock)
        sight = ServoSight(setup, arm, bench.camera, self.lens)
        try:
            for pose in sight.plan(settings.poses, settings.seed + number):
                self.advance(f"servos: {sight.visit(pose)}")
        finally:
            bench.robot.hold()
        fit = sight.fit()
        assert sight.seen.intrinsics is not None
        report = ServoVisionReport.of(fit, place.serial, place.description, sight.seen.intrinsics.fx_px)
        report.save(place.data)
        path = recalibrated(before, fit, place.description, _TICKS, report.residual).save(place.data)
        self.corners_px = report.residual
        worst = math.degrees(float(np.abs(fit.errors.zero_rad).max()))
        words = (
            f"{len(sight.seen.samples)} samples, {len(fit.dropped)} left out; zeros were off by up to {worst:.2f}°, "
            f"corners fit to {report.residual:.2f} px"
        )
        if fit.held:
            words += f"; not determined: {', '.join(fit.held)}"
        self._report("servos" if number == 0 else "servos again", words, path, report.residual, "px")

    # Actuator ------------------------------------------------------------------------------------
    def try_actuator(self, bench: Bench) -> None:
        """Measure how the servos follow; what cannot be told from the motion stays as it was: nothing depends on it."""
        try:
            self.measure_actuator(bench)
        except KNOWN_TROUBLE as error:
            self._not_measured("actuator", f"not measured, the nominal model stays: {error}")

    def measure_actuator(self, bench: Bench) -> None:
        """Swing every joint where the arm is clear, and fit how its servos follow."""
        place, description = self.place, self.place.description
        rng = np.random.default_rng([self.settings.seed, 8])
        room = find_room(description, place.rig, rng)
        targets = excitation(room, description.max_speed_rad_s, _PERIOD_S, self.settings.motion_s, rng)
        servos = ServoCalibration.load(place.serial, description, place.data)
        steps = tuple(1.0 / abs(joint.ticks_per_rad) for joint in servos.joints)
        arm = PosedArm(bench.robot, np.array(steps), clock=place.clock)
        arm.move_to(room.center_rad, _APPROACH_RAD_S)
        arm.stand()
        player = MotionPlayer(bench.robot, bench.written_ns, _PERIOD_S, place.clock)
        every = round(1.0 / _PERIOD_S)

        def on_period(number: int) -> None:
            if number % every == 0:
                self.advance("actuator: swinging")

        player.play(targets, on_period, lambda: False)
        bench.robot.hold()
        start = dataclasses.replace(ActuatorModel.nominal(description), readback_rad=steps)
        fitted = fit_actuator(player.log.as_log(room.center_rad), start, description.joint_names)
        artifact = ActuatorCalibration.of(fitted, place.serial, description)
        path = artifact.save(place.data)
        play_deg = math.degrees(max(fitted.model.backlash_rad[:-1]))
        words = (
            f"dead time {1000 * fitted.model.dead_time_s:.0f} ms ± {1000 * fitted.errors.dead_time_s:.1f}, play up to "
            f"{play_deg:.2f}°, {fitted.readings} readings fit to {math.degrees(fitted.residual_rad):.2f}°"
        )
        self._report("actuator", words, path, artifact.residual, artifact.residual_unit)

    def _report(self, step: str, words: str, path: Path, residual: float, unit: str) -> None:
        self.reports.append(StepReport(step, True, words, str(path), residual, unit))
        self.tell(self.reports[-1])


def _common_lens(width_px: int, height_px: int) -> Intrinsics:
    """Return a lens as most webcams have it: 60 degrees from left to right."""
    focal_px = 0.87 * width_px
    return Intrinsics(width_px, height_px, focal_px, focal_px, (width_px - 1) / 2, (height_px - 1) / 2)


KNOWN_TROUBLE = (CalibrationError, BridgeError)
