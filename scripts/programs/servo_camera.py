"""`tandem calibrate servos --camera`: finds arm and camera, drives, fits, writes, and shows what came of it."""

from __future__ import annotations

import math
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from rich.console import Console

from calibration.boards import GRIPPER, Marker, desk_from_board
from calibration.errors import CalibrationError
from calibration.marker_problem import PlaceReference
from calibration.servo import ServoCalibration
from calibration.servo_vision import MIN_SAMPLES
from calibration.servo_vision_file import ServoVisionReport, recalibrated
from hardware.cameras.newest import NewestCamera
from scripts.cli import data_root, emit_json, refuse, say
from scripts.counted_progress import CountedProgress
from scripts.exit_codes import DONE
from scripts.programs.bus_choice import ticks_range
from scripts.programs.calibrated_camera import printed_desk_board
from scripts.programs.camera_choice import CameraChoice, open_robot_camera
from scripts.programs.picture_file import check_picture
from scripts.programs.posing import PosedArm
from scripts.programs.robot_file import RobotFile
from scripts.programs.robot_link import RobotLink
from scripts.programs.servo_plot import SightPicture, draw_sight
from scripts.programs.servo_sight import ServoSight, SightSetup
from scripts.programs.sight_log import SightLog
from scripts.run import find_robot
from scripts.settled_memory import settled_memory
from urdf.description import ArmDescription, Rig
from urdf.pose import Pose

if TYPE_CHECKING:
    from scripts.calibrate_servos import SightArgs

_MOST_POSES = 200
_LOOSE_DEG = 3.0
#: Under what name a robot's own camera is calibrated: camera_desk.json.
_DESK = "desk"


class ServoSightResult(msgspec.Struct, frozen=True):
    """The JSON line. Angles in degrees; `held` names what was left as it was, `*_std` are standard deviations."""

    path: str
    report: str
    picture: str
    samples: int
    dropped: int
    skipped: int
    held: tuple[str, ...]
    residual_px: float
    zero_deg: dict[str, float]
    zero_std_deg: dict[str, float]
    scale: dict[str, float]
    scale_std: dict[str, float]


def measure(robot: str, args: SightArgs, fresh: bool, json: bool) -> int:
    """Measure the servos of a served arm with a camera; return the exit code.

    What an earlier run that was stopped has seen counts, unless `fresh`.
    """
    trouble = _refused(args)
    if trouble:
        return refuse(f"tandem calibrate servos: {trouble}")
    if args.out is not None:
        check_picture(args.out, "a picture of the servos")
    console = Console(stderr=True)
    with ExitStack() as stack:
        address = stack.enter_context(find_robot(robot, "table", args.seed, console))
        link = RobotLink.of(address, args.key, args.take_over)
        description, rig = link.description, link.description.rig(address.rig)
        before = ServoCalibration.load(robot, description, data_root())
        setup = sight_setup(robot, args, description, rig, before)
        camera = stack.enter_context(closing(open_sight_camera(args, robot, address, description)))
        stack.enter_context(settled_memory())
        arm = stack.enter_context(link.connect())
        step_rad = np.array([1.0 / abs(j.ticks_per_rad) for j in before.joints])
        sight, log = ServoSight(setup, PosedArm(arm, step_rad, arm.period_s), camera), SightLog(robot, data_root())
        if fresh:
            log.forget()
        try:
            _visit_all(sight, log, args, console, json)
        finally:
            arm.hold()
    done = _finish(robot, args, sight, address, json)
    log.finish()
    return done


def _refused(args: SightArgs) -> str:
    """Return which number cannot be, empty where all can."""
    if not MIN_SAMPLES <= args.poses <= _MOST_POSES:
        return f"--poses must be {MIN_SAMPLES} to {_MOST_POSES}, got {args.poses}"
    for name in ("marker_mm", "mount_mm", "mount_deg", "board_mm", "board_deg"):
        value = getattr(args, name)
        if not (math.isfinite(value) and value > 0):
            return f"--{name.replace('_', '-')} must be above 0, got {value}"
    for name in ("marker_at_mm", "marker_rpy_deg", "board_at_mm", "board_turn_deg"):
        value = getattr(args, name)
        if value is not None and not np.isfinite(value).all():
            return f"--{name.replace('_', '-')} must be numbers, got {value}"
    return "--seed must be at least 0" if args.seed < 0 else ""


def sight_setup(
    robot: str, args: SightArgs, description: ArmDescription, rig: Rig, before: ServoCalibration
) -> SightSetup:
    """Return what is looked at, and what the options say is known of it."""
    mounted = GRIPPER.markers[0].target_from_marker
    if args.marker_at_mm is not None:
        mounted = Pose.from_rpy(np.array(args.marker_at_mm) / 1000, np.radians(args.marker_rpy_deg))
    desk_board = desk_from_board(rig)
    if args.board_at_mm is not None or args.board_turn_deg:
        x, y = desk_board.position_m[:2] if args.board_at_mm is None else np.array(args.board_at_mm) / 1000
        desk_board = Pose.from_rpy([x, y, 0.0], [0.0, 0.0, math.radians(args.board_turn_deg)])
    board = PlaceReference(
        rig.desk_from_base.inverse() @ desk_board, args.board_mm / 1000, math.radians(args.board_deg)
    )
    # About the fingers, the last joint's axis, it is the reference; how it is tilted the pictures tell.
    turns_rad = np.radians([_LOOSE_DEG, _LOOSE_DEG, args.mount_deg])
    mount = PlaceReference(mounted, args.mount_mm / 1000, turns_rad)
    return SightSetup(
        description, rig, before, Marker(args.marker, "gripper", args.marker_mm / 1000, mounted),
        mount if args.mount == "measured" else None, board if args.board == "placed" else None,
        printed_desk_board(robot, data_root()),
    )  # fmt: skip


def open_sight_camera(args: SightArgs, robot: str, address: RobotFile, description: ArmDescription) -> NewestCamera:
    """Open the camera that is named, under the lens that was calibrated for it; raises NotCalibrated without one."""
    text = address.desk_camera if args.camera == "robot" else args.camera
    if not text:
        raise CalibrationError(f"robot.toml of {robot!r} names no camera: say --camera uvc:0, or whichever it is")
    role = args.lens or (_DESK if args.camera == "robot" else CameraChoice.parse(text).name)
    return open_robot_camera(text, role, robot, description, key=args.key)


def _visit_all(sight: ServoSight, log: SightLog, args: SightArgs, console: Console, json: bool) -> None:
    with ExitStack() as stack:
        progress: list[CountedProgress] = []

        def advance(visited: int, planned: int, words: str) -> None:
            if progress:
                progress[0].advance(words)
                return
            if visited:
                say(f"Going on after {visited} of {planned} poses; --fresh starts over.", json)
            say(f"{planned - visited} poses to look at, slowly. Keep clear of the arm; Ctrl-C holds it.", json)
            progress.append(stack.enter_context(CountedProgress(console, "looking", planned - visited)))

        log.visit(sight, args.poses, args.seed, advance)


def _finish(robot: str, args: SightArgs, sight: ServoSight, address: RobotFile, json: bool) -> int:
    """Fit, write and show; nothing has been written before."""
    fit, seen, setup = sight.fit(), sight.seen, sight.setup
    assert seen.intrinsics is not None
    focal_px, root = seen.intrinsics.fx_px, data_root()
    report = ServoVisionReport.of(fit, robot, setup.description, focal_px)
    calibration = recalibrated(setup.before, fit, setup.description, ticks_range(address.bus), report.residual)
    report_path, path = report.save(root), calibration.save(root)
    picture = args.out or path.with_name("servo_vision.png")
    draw_sight(SightPicture(robot, setup, seen, fit, report), picture)
    say(_table(report), json)
    for held in fit.held:
        say(f"{held}: NOT determined by what was seen, left as it was. {_how_to_determine(held, setup)}", json)
    left_out = f"{len(fit.dropped)} left out as outliers, {len(seen.skipped)} poses skipped"
    say(
        f"{len(seen.samples)} samples ({left_out}), corners fit to {report.residual:.2f} px. Saved to {path}; the one "
        f"before is in history/. Restart `tandem serve` to use it. Picture: {picture}",
        json,
    )
    joints = report.joints
    emit_json(
        ServoSightResult(
            str(path), str(report_path), str(picture), len(seen.samples), len(fit.dropped), len(seen.skipped),
            fit.held, report.residual,
            {j.joint: math.degrees(j.zero_rad) for j in joints},
            {j.joint: math.degrees(j.zero_std_rad) for j in joints},
            {j.joint: j.scale for j in joints}, {j.joint: j.scale_std for j in joints},
        ),
        json,
    )  # fmt: skip
    return DONE


def _how_to_determine(held: str, setup: SightSetup) -> str:
    names = setup.description.joint_names[:-1]
    if held == f"{names[0]} zero":
        return "It needs the desk board at a known place: --board placed, in view of the camera."
    if held == f"{names[-1]} zero":
        return "It needs a marker in line with the gripper: --mount measured."
    return "Take more poses (--poses), or have the camera see the marker in more turns."


def _table(report: ServoVisionReport) -> str:
    lines = ["joint     zero was off [deg]   scale was off [%]   play [deg]"]
    for j in report.joints:
        zero = "held" if j.zero_held else f"{math.degrees(j.zero_rad):+.2f} ± {math.degrees(j.zero_std_rad):.2f}"
        scale = "held" if j.scale_held else f"{100 * (j.scale - 1):+.2f} ± {100 * j.scale_std:.2f}"
        lines.append(f"{j.joint:<9} {zero:>18}  {scale:>18}  {math.degrees(j.play_rad):>11.2f}")
    return "\n".join(lines)
