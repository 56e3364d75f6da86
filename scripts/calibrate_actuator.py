"""`tandem calibrate actuator`: how this arm's servos move, from a motion that it plays: dead time, speed, play, ..."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
from rich.console import Console

from bridge.clock import MonotonicClock
from bridge.errors import CommandRefused
from bridge.exits import leave
from bridge.messages import JointCommand
from bridge.ports import Robot
from bridge.stop_latch import StopLatch
from calibration.actuator import ActuatorModel
from calibration.actuator_file import ActuatorCalibration
from calibration.actuator_fit import FittedActuator, fit_actuator
from calibration.errors import RoutineStopped
from calibration.excitation import Room, excitation, find_room
from calibration.servo import ServoCalibration
from hardware.servo_robot import ServoRobot
from hardware.witnessed_bus import WitnessedBus
from scripts.cli import data_root, emit_json, refuse, say
from scripts.counted_progress import CountedProgress
from scripts.exit_codes import DONE
from scripts.programs.actuator_plot import ActuatorPicture, draw_actuator
from scripts.programs.actuator_run import MotionLog, MotionPlayer
from scripts.programs.bus_choice import BusKind, open_bus
from scripts.programs.bus_recording import ArmScribe
from scripts.programs.episode_recording import RecordedRun, recording
from scripts.programs.picture_file import check_picture
from scripts.programs.posing import PosedArm
from scripts.programs.robot_file import stop_latch_path
from scripts.programs.robot_link import RobotLink
from scripts.run import find_robot
from scripts.settled_memory import settled_memory
from urdf.description import ArmDescription, Rig, load_arm
from urdf.pose import Array

_PERIOD_S = 0.05
_LEAST_S, _MOST_S = 50.0, 600.0
_APPROACH_RAD_S = 0.4


@dataclass(frozen=True)
class CalibrateActuatorArgs:
    """Measure how an arm's servos move: dead time, speed, play, dead band, skew. Writes its actuator.json.

    The arm swings all joints by up to 20 degrees about a pose where it is clear, slowly at first, then as fast as its
    safety filter lets it: keep clear of it. Nothing may lie between its jaws. Ctrl-C holds it, and writes nothing.
    """

    robot: str
    """A robot under data/robots that `tandem serve` serves, or `lab` (started if none runs)."""
    port: str = ""
    """Drive the servos on this port ourselves, such as /dev/ttyUSB0, instead of a served arm. It relaxes at the end."""
    bus: BusKind = "dofbot-serial"
    """With --port: what the servos are on."""
    arm: str = "dofbot"
    """With --port: which arm it is."""
    rig: str = "table"
    """With --port: how it is mounted."""
    seconds: float = 90.0
    """How long the motion lasts [s], 50 to 600. A bus that reads slowly wants more."""
    seed: int = 0
    """Seed of the motion, and of the lab where this command starts one."""
    out: Path | None = None
    """The picture: .png, .pdf or .svg. Default: calibration/actuator.png in the robot's folder."""
    key: Path | None = None
    """Our key file, where the arm is served with keys. Default: as robot.toml says."""
    take_over: bool = False
    """Take control from whoever has it."""
    json: bool = False
    """Print one JSON object as the last line of stdout."""


class ActuatorResult(msgspec.Struct, frozen=True):
    """The JSON line. Angles in degrees, times in ms; `speed_held`: joints that kept up and may be faster."""

    path: str
    picture: str
    readings: int
    residual_deg: float
    dead_time_ms: float
    dead_time_error_ms: float
    skew_ms: float
    speed_deg_s: dict[str, float]
    play_deg: dict[str, float]
    dead_band_deg: dict[str, float]
    speed_held: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Arm:
    """An arm in hand, and how to learn when a command was written."""

    robot: Robot
    description: ArmDescription
    rig: Rig

    def written_ns(self, sent: JointCommand) -> int:
        """Return when the last command went to the servos, by our clock."""
        return int(getattr(self.robot, "written_ns", 0)) or sent.stamp_ns


def run(args: CalibrateActuatorArgs) -> int:
    """Play, fit, write, show; return the exit code."""
    if not (math.isfinite(args.seconds) and _LEAST_S <= args.seconds <= _MOST_S):
        return refuse(f"tandem calibrate actuator: --seconds must be {_LEAST_S:g} to {_MOST_S:g}, got {args.seconds}")
    if args.seed < 0:
        return refuse(f"tandem calibrate actuator: --seed must be at least 0, got {args.seed}")
    if args.out is not None:
        check_picture(args.out, "a picture of the servos' motion")
    console = Console(stderr=True)
    rng = np.random.default_rng(args.seed)
    with arm_in_hand(args, console) as arm, settled_memory():
        room = find_room(arm.description, arm.rig, rng)
        log = _play(args, arm, room, rng, console)
    return _finish(args, arm.description, room, log, console)


@contextmanager
def arm_in_hand(args: CalibrateActuatorArgs, console: Console) -> Iterator[_Arm]:
    """Give the served arm, or the one on a port of ours, which is recorded, and relaxes afterwards.

    Raises CommandRefused, before anything moves, where the arm's emergency stop is latched.
    """
    with ExitStack() as stack:
        if not args.port:
            address = stack.enter_context(find_robot(args.robot, args.rig, args.seed, console))
            link = RobotLink.of(address, args.key, args.take_over)
            robot = stack.enter_context(link.connect())
            yield _Arm(robot, link.description, link.description.rig(address.rig))
            return
        description, clock = load_arm(args.arm), MonotonicClock()
        rig = description.rig(args.rig)
        calibration = ServoCalibration.load(args.robot, description, data_root())
        stopped = StopLatch(stop_latch_path(args.robot, data_root())).read()
        if stopped:
            raise CommandRefused(f"{args.robot} has an {stopped}: serve it, and clear it first (`tandem stop --clear`)")
        what = RecordedRun(args.robot, description, rig, _PERIOD_S, "calibrate actuator")
        record = stack.enter_context(recording(data_root(), what, clock, lambda text: say(text, args.json)))
        scribe = ArmScribe(record.writer.take, clock, calibration)
        bus = WitnessedBus(open_bus(args.bus, args.port, calibration.servo_ids, clock), scribe)
        stack.callback(bus.close)
        owned = ServoRobot.connect(bus, calibration, description, rig, clock)
        scribe.watch(owned.read_state)
        stack.callback(leave, owned, "relax", rig.rest_rad, lambda: False)
        yield _Arm(owned, description, rig)


def _play(args: CalibrateActuatorArgs, arm: _Arm, room: Room, rng: np.random.Generator, console: Console) -> MotionLog:
    """Go slowly to the room's middle and play; raises RoutineStopped where the person stops it."""
    targets_rad = excitation(room, arm.description.max_speed_rad_s, _PERIOD_S, args.seconds, rng)
    steps = np.full(len(room.center_rad), math.radians(0.5))
    say(f"{args.seconds:.0f} s of motion, up to {math.degrees(room.reach_rad):.0f} degrees about a clear pose. Keep "
        f"clear of the arm; Ctrl-C holds it.", args.json)  # fmt: skip
    try:
        posed = PosedArm(arm.robot, steps, _PERIOD_S)
        posed.move_to(room.center_rad, _APPROACH_RAD_S)
        posed.stand()
        player = MotionPlayer(arm.robot, arm.written_ns, _PERIOD_S)
        with CountedProgress(console, "moving", len(targets_rad)) as progress:
            player.play(targets_rad, lambda _: progress.advance(), lambda: False)
    except KeyboardInterrupt:
        arm.robot.hold()
        raise RoutineStopped("stopped: the arm holds, and nothing was written") from None
    arm.robot.hold()
    return player.log


def _finish(
    args: CalibrateActuatorArgs, description: ArmDescription, room: Room, played: MotionLog, console: Console
) -> int:
    """Fit, write and show."""
    log = played.as_log(room.center_rad)
    names, start = description.joint_names, _start(args.robot, description)
    with CountedProgress(console, "fitting", len(names)) as progress:
        fitted = fit_actuator(log, start, names, partial(_advance, progress))
    calibration = ActuatorCalibration.of(fitted, args.robot, description)
    path = calibration.save(data_root())
    picture = args.out or path.with_name("actuator.png")
    draw_actuator(ActuatorPicture(args.robot, names, log, fitted, start), picture)
    say(_table(fitted, names), args.json)
    held = tuple(n for n, is_held in zip(names, fitted.errors.speed_held, strict=True) if is_held)
    if held:
        say(f"{', '.join(held)}: kept up with the arm's speed limit and may be faster; that limit stands.", args.json)
    say(
        f"{fitted.readings} readings, fit to {math.degrees(fitted.residual_rad):.3f} degrees. Saved to {path}; the one "
        f"before is in history/. `tandem serve` uses it from its next start, `tandem train --unit {args.robot}` trains "
        f"with it. Picture: {picture}",
        args.json,
    )
    emit_json(_result(fitted, names, held, path, picture), args.json)
    return DONE


def _start(robot: str, description: ArmDescription) -> ActuatorModel:
    """Return the nominal model with the reading steps of this unit's servos."""
    import dataclasses

    servos = ServoCalibration.load(robot, description, data_root())
    steps = tuple(1.0 / abs(j.ticks_per_rad) for j in servos.joints)
    return dataclasses.replace(ActuatorModel.nominal(description), readback_rad=steps)


def _advance(progress: CountedProgress, name: str) -> None:
    progress.advance(name)


def _degrees(values: Array | tuple[float, ...], names: tuple[str, ...]) -> dict[str, float]:
    return {name: math.degrees(float(v)) for name, v in zip(names, values, strict=True)}


def _result(
    fitted: FittedActuator, names: tuple[str, ...], held: tuple[str, ...], path: Path, picture: Path
) -> ActuatorResult:
    model = fitted.model
    return ActuatorResult(
        path=str(path),
        picture=str(picture),
        readings=fitted.readings,
        residual_deg=math.degrees(fitted.residual_rad),
        dead_time_ms=1e3 * model.dead_time_s,
        dead_time_error_ms=1e3 * fitted.errors.dead_time_s,
        skew_ms=1e3 * model.skew_s,
        speed_deg_s=_degrees(model.max_speed_rad_s, names),
        play_deg=_degrees(model.backlash_rad, names),
        dead_band_deg=_degrees(model.dead_band_rad, names),
        speed_held=held,
    )


def _table(fitted: FittedActuator, names: tuple[str, ...]) -> str:
    model, errors = fitted.model, fitted.errors
    lines = [
        f"dead time {1e3 * model.dead_time_s:.1f} ± {1e3 * errors.dead_time_s:.1f} ms, from the first joint to the "
        f"last {1e3 * model.skew_s:.1f} ms",
        "joint       speed [deg/s]    play [deg]    dead band [deg]   reading / command",
    ]
    for j, name in enumerate(names):
        speed, speed_error = math.degrees(model.max_speed_rad_s[j]), math.degrees(errors.speed_rad_s[j])
        told = f">= {speed:.0f}" if errors.speed_held[j] else f"{speed:.0f} ± {speed_error:.0f}"
        play = f"{math.degrees(model.backlash_rad[j]):.2f} ± {math.degrees(errors.backlash_rad[j]):.2f}"
        band = f"{math.degrees(model.dead_band_rad[j]):.2f} ± {math.degrees(errors.dead_band_rad[j]):.2f}"
        lines.append(f"{name:<9} {told:>15} {play:>15} {band:>17} {float(fitted.servo.scale[j]):>15.4f}")
    return "\n".join(lines)
