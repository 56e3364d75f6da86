"""`tandem calibrate servos`: zero, scale, direction and range of the servos, by hand or with a camera."""

from __future__ import annotations

import math
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from bridge.clock import MonotonicClock
from calibration.errors import RoutineStopped
from calibration.routines import MarkedPose, ServoRoutine
from calibration.servo import ServoCalibration
from hardware.errors import NotMeasured
from hardware.servo_bus import find_servos
from scripts.cli import data_root, emit_json, refuse, say
from scripts.programs.bus_choice import BusKind, open_bus
from urdf.description import load_arm


@dataclass(frozen=True)
class SightArgs:
    """How a camera measures the servos of a served arm. It stands still and sees the gripper's marker."""

    camera: str = ""
    """Measure with this camera, not by hand: robot (the one that robot.toml names, as the lab's), or as everywhere
    uvc:0, realsense, remote:ENDPOINT ... The arm is a served one (`tandem serve`) and drives itself: keep clear."""
    lens: str = ""
    """Name of the camera's calibration, data/robots/NAME/calibration/camera_LENS.json (`tandem calibrate camera`).
    Default: desk for --camera robot, else the camera's own name; without a file, what the camera says of itself."""
    marker: int = 40
    """Number of the marker on the gripper, as `tandem board make` prints it."""
    marker_mm: float = 34.0
    """Side of its black square [mm], as measured on the print."""
    marker_at_mm: tuple[float, float, float] | None = None
    """Middle of the marker in the tool's frame [mm]: z along the fingers to the grip point. Default: the front of the
    Dofbot's gripper servo, 69 mm above the grip point."""
    marker_rpy_deg: tuple[float, float, float] = (90.0, 0.0, 180.0)
    """How the marker is turned in the tool's frame, roll, pitch, yaw [deg], where --marker-at-mm is given."""
    mount: Literal["measured", "rough"] = "measured"
    """measured: the marker's edges are in line with the gripper to --mount-deg, the reference of the last joint's
    zero. rough: they are not, and that zero is left as it was."""
    mount_mm: float = 2.0
    """How well the marker's place is known [mm], one standard deviation."""
    mount_deg: float = 0.3
    """How well its turn is known [deg], one standard deviation."""
    board: Literal["placed", "none"] = "placed"
    """placed: the desk board lies at --board-at-mm to --board-deg, the reference of the first joint's zero.
    none: it does not, and that zero is left as it was."""
    board_at_mm: tuple[float, float] | None = None
    """Middle of the desk board in the desk's frame [mm]. Default: the middle of the rig's block area."""
    board_turn_deg: float = 0.0
    """How the board is turned on the desk [deg]; 0 has its long side across the arm's front."""
    board_mm: float = 1.0
    """How well the board's place is known [mm], one standard deviation."""
    board_deg: float = 0.2
    """How well its turn is known [deg], one standard deviation."""
    poses: int = 36
    """How many poses to look at; each takes about 4 s on a Dofbot."""
    seed: int = 0
    """Seed of the choice of poses, and of the lab where this command starts one."""
    out: Path | None = None
    """The picture: .png, .pdf or .svg. Default: calibration/servo_vision.png in the robot's folder."""
    key: Path | None = None
    """Our key file, where the arm is served with keys. Default: as robot.toml says."""
    take_over: bool = False
    """Take control from whoever has it."""


@dataclass(frozen=True)
class CalibrateServosArgs:
    """Measure zero, scale, direction and range of the servos: by hand with the torque off, or with --camera."""

    robot: str
    """Name of this unit; its files live in data/robots/NAME."""
    port: str = ""
    """By hand: port of the servos, a serial one such as /dev/ttyUSB0, or an I2C one such as /dev/i2c-1."""
    bus: BusKind = "dofbot-serial"
    """By hand: what the servos are on; they are numbered 1, 2, 3 ... from the base to the gripper."""
    arm: str = "dofbot"
    """By hand: which arm this is, dofbot, or dofbot-se whose jaws open 37 to 40 mm."""
    fresh: bool = False
    """Start over instead of going on where a stopped calibration ended."""
    sight: Annotated[SightArgs, tyro.conf.arg(name="")] = field(default_factory=SightArgs)
    """With a camera."""
    json: bool = False
    """Print one JSON object as the last line of stdout."""


@dataclass(frozen=True)
class CalibrateServosResult:
    """What was measured and where it is in force."""

    path: str
    residual_ticks: float
    zero_ticks: dict[str, float]
    ticks_per_rad: dict[str, float]


def run(args: CalibrateServosArgs) -> int:
    """Measure one way or the other; return the exit code."""
    if bool(args.port) == bool(args.sight.camera):
        return refuse("tandem calibrate servos: say --port PORT to measure by hand, or --camera NAME, one of the two")
    if args.sight.camera:
        from scripts.programs.servo_camera import measure  # OpenCV and matplotlib, which the Pi has not

        return measure(args.robot, args.sight, args.fresh, args.json)
    return _by_hand(args)


def _by_hand(args: CalibrateServosArgs) -> int:
    """Guide a person through the marked poses; return the exit code."""
    description = load_arm(args.arm)
    root = data_root()
    if args.bus == "pca9685":
        raise NotMeasured("a PCA9685 only sends pulses: its servos cannot be read, so not measured by hand either")
    servo_ids = range(1, len(description.joint_names) + 1)
    with closing(open_bus(args.bus, args.port, servo_ids, MonotonicClock())) as bus:
        routine = ServoRoutine(description, args.robot, root, bus.ticks_range, args.fresh)
        find_servos(bus, servo_ids)
        if not _agrees(
            f"{len(routine.remaining)} poses to measure. Support the arm: its torque goes off now.", args.json
        ):
            raise RoutineStopped("stopped before the torque went off; nothing has changed")
        bus.set_torque(False)
        calibration = routine.run(
            read_ticks=lambda servo_id: bus.read_ticks(servo_id).ticks,
            place=lambda pose: _agrees(f"Put {pose.text} and hold it there.", args.json),
            on_progress=lambda pose, ticks, remaining: _progress(pose, ticks, remaining, args.json),
        )
    path = calibration.save(root)
    routine.finish()
    say(_table(calibration), args.json)
    say(f"Saved to {path}. The torque is off; largest residual {calibration.residual:.1f} ticks.", args.json)
    zeros = {j.joint: j.zero_ticks for j in calibration.joints}
    scales = {j.joint: j.ticks_per_rad for j in calibration.joints}
    emit_json(CalibrateServosResult(str(path), calibration.residual, zeros, scales), args.json)
    return 0


def _agrees(text: str, json: bool) -> bool:
    """Ask; return False when the person wants to stop."""
    say(f"{text} [Enter = done, q = stop]", json)
    try:
        return not input().strip().lower().startswith("q")
    except EOFError:
        return False


def _progress(pose: MarkedPose, ticks: int, remaining: int, json: bool) -> None:
    say(f"  {pose.text}: {ticks} ticks; {remaining} to go", json)


def _table(calibration: ServoCalibration) -> str:
    lines = ["joint     servo  zero ticks  ticks/deg  range ticks"]
    for j in calibration.joints:
        per_deg = j.ticks_per_rad * math.pi / 180
        lines.append(
            f"{j.joint:<9} {j.servo_id:>5}  {j.zero_ticks:>10.1f}  {per_deg:>+9.3f}  {j.lower_ticks}..{j.upper_ticks}"
        )
    return "\n".join(lines)
