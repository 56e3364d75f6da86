"""`tandem calibrate hand-eye`: where a camera is, on the tool or before the arm; the arm drives itself."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
from rich.console import Console

from bridge.ports import Camera
from bridge.remote import RemoteRobot
from calibration.board_file import load_board
from calibration.boards import GRIPPER
from calibration.errors import BadSamples
from calibration.hand_eye import HandEyeResult
from calibration.hand_eye_file import HandEyeCalibration
from calibration.hand_eye_model import HandEyeNoise
from calibration.hand_eye_poses import HandEyePlanner
from calibration.hand_eye_routine import HandEyeRoutine, HandEyeSetup
from calibration.hand_eye_sample import MIN_SAMPLES, Mount
from calibration.servo import ServoCalibration
from scripts.cli import data_root, emit_json, refuse, say
from scripts.counted_progress import CountedProgress
from scripts.exit_codes import DONE
from scripts.programs.camera_choice import CameraChoice, open_robot_camera
from scripts.programs.hand_eye_by_hand import HandEyeByHand
from scripts.programs.hand_eye_plot import HandEyePicture, draw_hand_eye
from scripts.programs.hand_eye_run import BoardPattern, HandEyeRun, Pattern, TargetPattern
from scripts.programs.lab import ROBOT_NAME
from scripts.programs.picture_file import check_picture
from scripts.programs.posing import PosedArm
from scripts.programs.robot_link import RobotLink
from scripts.run import find_robot
from scripts.settled_memory import settled_memory
from urdf.description import ArmDescription, Rig
from urdf.pose import Array

_MOST_POSES = 100
_PIXEL_PX = 0.3
_GRIPPER_BOARD = "gripper"


@dataclass(frozen=True)
class CalibrateHandEyeArgs:
    """Measure where a camera is: on the tool, or before the arm. Move the arm first so that the camera sees the board.

    The arm then turns a little about where it stands, and goes to the poses that tell most: slowly, keep clear of it.
    Ctrl-C holds it; what was sampled is kept, and the same command goes on from there.
    """

    robot: str = ROBOT_NAME
    """`lab` (started if none runs), or a robot under data/robots that `tandem serve` serves."""
    camera: str = "desk=lab"
    """Which camera: uvc:0, realsense, remote:ENDPOINT, lab, and so on; NAME=uvc:0 gives it a name: desk or wrist for
    those of robot.toml, whose place runs then read. Its intrinsics are those of camera_NAME.json (`tandem calibrate
    camera`), else those that it tells."""
    mount: Literal["eye-in-hand", "eye-to-hand"] = "eye-to-hand"
    """eye-in-hand: the camera rides on the tool, the board lies still. eye-to-hand: the other way round."""
    board: str = "charuco"
    """Which board: a name that `tandem board make` printed, or gripper for the marker on the gripper."""
    poses: int = 15
    """How many samples, 5 to 100; each takes about 5 s on a Dofbot."""
    start_deg: tuple[float, ...] = ()
    """Joints of the first pose [deg], where the camera sees the board: on a Dofbot five. Default: where the arm is."""
    joint_sigma_deg: float = 0.0
    """What besides the steps of their readings the joints are uncertain by, one standard deviation [deg]: play, sag."""
    joint_offsets_deg: float = 0.0
    """Seek the joints' zeros too: how far off they may be, one standard deviation [deg]. 0 takes them as right."""
    by_hand: bool = False
    """Somebody else moves the arm; Enter takes a sample."""
    fresh: bool = False
    """Start over instead of going on where a stopped calibration ended."""
    seed: int = 0
    """Seed of the choice of poses, and of the lab where this command starts one."""
    out: Path | None = None
    """The picture: .png, .pdf or .svg. Default: calibration/hand_eye_NAME.png in the robot's folder."""
    key: Path | None = None
    """Our key file, where the arm is served with keys. Default: as robot.toml says."""
    take_over: bool = False
    """Take control from whoever has it."""
    json: bool = False
    """Print one JSON object as the last line of stdout."""


class HandEyeReport(msgspec.Struct, frozen=True):
    """The JSON line. Positions in mm, rotations in degrees; sigmas are the root mean square over the three axes."""

    path: str
    picture: str
    camera: str
    mount: str
    position_mm: tuple[float, float, float]
    quat_xyzw: tuple[float, ...]
    position_sigma_mm: float
    rotation_sigma_deg: float
    left_out_mm: float
    corner_px: float
    joint_factor: float
    rotation_span_deg: float
    condition: float
    samples: int
    bad: dict[str, str]
    skipped: int


def run(args: CalibrateHandEyeArgs) -> int:
    """Sample, solve, write and show; return the exit code."""
    trouble = _refused(args)
    if trouble:
        return refuse(f"tandem calibrate hand-eye: {trouble}")
    if args.out is not None:
        check_picture(args.out, "a picture of hand and eye")
    console = Console(stderr=True)
    name = CameraChoice.parse(args.camera).name
    with ExitStack() as stack:
        address = stack.enter_context(find_robot(args.robot, "table", args.seed, console))
        link = RobotLink.of(address, args.key, args.take_over)
        description = link.description
        servos = ServoCalibration.load(args.robot, description, data_root())
        step_rad = np.array([1.0 / abs(j.ticks_per_rad) for j in servos.joints])
        camera = open_robot_camera(args.camera, name, args.robot, description, key=args.key)
        stack.callback(camera.close)
        setup = _setup(args, name, camera, description, step_rad)
        routine, pattern = HandEyeRoutine(setup, data_root(), args.fresh), _pattern(args.board)
        if routine.samples:
            say(f"going on with {len(routine.samples)} samples from before (--fresh starts over)", args.json)
        stack.enter_context(settled_memory())
        arm = stack.enter_context(link.connect())
        where = Where(arm, description.rig(address.rig), step_rad, camera, pattern)
        with CountedProgress(console, "samples", max(args.poses - len(routine.samples), 1)) as progress:

            def advance(words: str) -> None:
                say(f"  {words}", args.json)
                if not words.startswith("skipped"):
                    progress.advance(words)

            found, skipped = sample_all(args, routine, where, advance)
    return finish(args, routine, found, skipped)


@dataclass(frozen=True, slots=True, eq=False)
class Where:
    """The arm under our control and its rig, the step of each joint's reading (n,), the camera and what it sees."""

    arm: RemoteRobot
    rig: Rig
    step_rad: Array
    camera: Camera
    pattern: Pattern


def sample_all(
    args: CalibrateHandEyeArgs, routine: HandEyeRoutine, where: Where, advance: Callable[[str], None]
) -> tuple[HandEyeResult, list[str]]:
    """Sample by hand or let the arm drive itself; return what was found, and what was skipped and why."""
    arm, step_rad, setup = where.arm, where.step_rad, routine.setup
    if args.by_hand:
        asked = HandEyeByHand(routine, arm, step_rad, where.camera, where.pattern)
        return asked.run(args.poses, _enter, advance), asked.skipped
    planner = HandEyePlanner(
        setup.description, where.rig, setup.mount, where.pattern.object_m, setup.intrinsics, setup.noise
    )
    driven = HandEyeRun(routine, PosedArm(arm, step_rad, arm.period_s), step_rad, where.camera, where.pattern, planner)
    try:
        if args.start_deg:
            driven.go_to(np.radians(args.start_deg))
        return driven.run(args.poses, np.random.default_rng(args.seed), advance), driven.skipped
    finally:
        arm.hold()


def _refused(args: CalibrateHandEyeArgs) -> str:
    """Return which argument cannot be, empty where all can."""
    if not MIN_SAMPLES <= args.poses <= _MOST_POSES:
        return f"--poses must be {MIN_SAMPLES} to {_MOST_POSES}, got {args.poses}"
    for name in ("joint_sigma_deg", "joint_offsets_deg"):
        if not 0.0 <= getattr(args, name) <= 10.0:
            return f"--{name.replace('_', '-')} must be 0 to 10, got {getattr(args, name)}"
    if not all(math.isfinite(v) and abs(v) <= 360 for v in args.start_deg):
        return f"--start-deg must be angles in degrees, got {args.start_deg}"
    return "--seed must be at least 0" if args.seed < 0 else ""


def _pattern(name: str) -> Pattern:
    return TargetPattern(GRIPPER) if name == _GRIPPER_BOARD else BoardPattern(load_board(name, data_root()))


def _setup(
    args: CalibrateHandEyeArgs, name: str, camera: Camera, description: ArmDescription, step_rad: Array
) -> HandEyeSetup:
    count = description.arm_joint_count
    read = HandEyeNoise.of_read_back(_PIXEL_PX, step_rad[:count])
    joint_rad = np.hypot(read.joint_rad, math.radians(args.joint_sigma_deg))
    offset_rad = np.full(count, math.radians(args.joint_offsets_deg))
    noise = replace(read, joint_rad=joint_rad, offset_rad=offset_rad)
    intrinsics = camera.read(5.0).intrinsics
    mount = Mount(args.mount.replace("-", "_"))
    return HandEyeSetup(description, args.robot, name, intrinsics, mount, args.board, noise)


def _enter(text: str) -> bool:
    say(f"{text} [Enter = done, q = stop]", json=True)
    try:
        return not input().strip().lower().startswith("q")
    except EOFError:
        return False


def finish(args: CalibrateHandEyeArgs, routine: HandEyeRoutine, found: HandEyeResult, skipped: list[str]) -> int:
    """Write and show; nothing has been written in force before."""
    setup = routine.setup
    if len(found.good) < MIN_SAMPLES:
        raise BadSamples(f"{len(found.good)} good samples: {MIN_SAMPLES} are needed")
    calibration = HandEyeCalibration.of(
        found, setup.camera, setup.intrinsics, setup.board, setup.serial, setup.description
    )
    path = calibration.save(data_root())
    routine.finish()
    picture = args.out or path.with_suffix(".png")
    draw_hand_eye(HandEyePicture(setup, found, routine.samples), picture)
    say(_table(found), args.json)
    for sample in found.samples:
        if sample.is_bad:
            say(f"sample {sample.name} is bad and was left out: {sample.why}", args.json)
    say(_closing(found, path, picture), args.json)
    emit_json(_report(found, setup.camera, path, picture, skipped), args.json)
    return DONE


def _table(found: HandEyeResult) -> str:
    lines = ["sample  corners [px]  left out [mm]  [deg]  sigmas"]
    for s in found.samples:
        mark = "  BAD" if s.is_bad else ""
        way, turn = 1000 * s.left_out_m, math.degrees(s.left_out_rad)
        lines.append(f"{s.name:<6}  {s.reprojection_px:>12.2f}  {way:>13.2f}  {turn:>5.2f}  {s.sigmas:>6.1f}{mark}")
    return "\n".join(lines)


def _closing(found: HandEyeResult, path: Path, picture: Path) -> str:
    frame = "tool" if found.mount is Mount.EYE_IN_HAND else "base"
    x, y, z = 1000 * found.pose.position_m
    text = (
        f"The camera is at ({x:.1f}, {y:.1f}, {z:.1f}) mm in the {frame}'s frame, known to "
        f"{1000 * found.position_sigma_m:.2f} mm and {math.degrees(found.rotation_sigma_rad):.3f} deg; a sample that "
        f"is left out is predicted to {1000 * found.left_out_m():.2f} mm. The tool turned by up to "
        f"{math.degrees(found.span.largest_rad):.0f} deg. "
    )
    if found.joint_factor > 2.0:
        text += (
            f"The joints are {found.joint_factor:.0f} times as uncertain as their readings: play, sag or wrong zeros. "
            f"Try --joint-offsets-deg 1, or tandem calibrate servos. "
        )
    return text + f"Saved to {path}. Picture: {picture}"


def _report(found: HandEyeResult, camera: str, path: Path, picture: Path, skipped: list[str]) -> HandEyeReport:
    x, y, z = (float(v) for v in 1000 * found.pose.position_m)
    return HandEyeReport(
        str(path),
        str(picture),
        camera,
        found.mount.value,
        (x, y, z),
        tuple(float(v) for v in found.pose.quat_xyzw),
        1000 * found.position_sigma_m,
        math.degrees(found.rotation_sigma_rad),
        1000 * found.left_out_m(),
        found.pixel_px,
        found.joint_factor,
        math.degrees(found.span.largest_rad),
        found.condition,
        len(found.good),
        {s.name: s.why for s in found.samples if s.is_bad},
        len(skipped),
    )
