"""`tandem calibrate servos`: measure zero, direction and range of the servos by hand, with the torque off."""

from __future__ import annotations

import math
from contextlib import closing
from dataclasses import dataclass

from bridge.clock import MonotonicClock
from calibration.errors import RoutineStopped
from calibration.routines import MarkedPose, ServoRoutine
from calibration.servo import ServoCalibration
from hardware.errors import NotMeasured
from hardware.servo_bus import find_servos
from scripts.cli import data_root, emit_json, say
from scripts.programs.bus_choice import BusKind, open_bus
from urdf.description import load_arm


@dataclass(frozen=True)
class CalibrateServosArgs:
    """Measure zero, direction and range of the servos by hand, with the torque off."""

    port: str
    """Port of the servos: a serial one such as /dev/ttyUSB0, or an I2C one such as /dev/i2c-1."""
    robot: str
    """Name of this unit; its files live in data/robots/NAME."""
    bus: BusKind = "dofbot-serial"
    """What the servos are on; they are numbered 1, 2, 3 ... from the base to the gripper."""
    arm: str = "dofbot"
    """Which arm this is: dofbot, or dofbot-se whose jaws open 37 to 40 mm."""
    fresh: bool = False
    """Start over instead of going on where a stopped calibration ended."""
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
