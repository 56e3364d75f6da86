"""`tandem serve`: own a servo bus and serve its arm to this machine."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from bridge.clock import MonotonicClock
from bridge.exits import OnExit, leave
from bridge.link import check_endpoint, check_unserved, default_endpoint
from bridge.ports import Clock, RelaxingRobot
from bridge.server import RobotServer, ServerStatistics
from calibration.actuator_file import actuator_for
from calibration.servo import ServoCalibration
from hardware.buses.dofbot_serial import DofbotSerialBus
from hardware.servo_robot import ServoRobot
from scripts.cli import data_root, emit_json, say
from scripts.exit_codes import DONE, INTERRUPTED
from scripts.programs.robot_file import RobotFile, robot_file_path
from scripts.settled_memory import settled_memory
from urdf.description import Rig, load_arm

PERIOD_S = 0.05
FAULT_LOOK_S = 0.25


@dataclass(frozen=True)
class ServeArgs:
    """Own a servo bus and serve its arm on this machine. Ends on Ctrl-C or SIGTERM."""

    port: str
    """Serial port of the servo board, such as /dev/ttyUSB0."""
    robot: str
    """Name of this robot: its calibration is read from data/robots/NAME/calibration/servo.json."""
    endpoint: str = ""
    """Where to serve: ipc://PATH or tcp://127.0.0.1:PORT. Default: a socket of this user, named after the robot."""
    arm: str = "dofbot"
    """Which arm it is."""
    rig: str = "table"
    """How it is mounted: decides where the floor is, and the rest pose."""
    on_exit: OnExit = "relax"
    """How the arm is left: relax = ramp slowly to the rest pose, then torque off; hold = stand still with torque on;
    torque_off = let go at once (a raised arm falls)."""
    json: bool = False
    """Print the statistics as one JSON object on the last line."""


class StopRequests:
    """Counts the signals that ask for an end: the first ends serving, another one ends the ramp to the rest pose."""

    def __init__(self) -> None:
        self.first: signal.Signals | None = None
        self._count = 0

    def note(self, number: int, _frame: object) -> None:
        """Take a signal."""
        self.first = self.first or signal.Signals(number)
        self._count += 1

    def requested(self) -> bool:
        """Return whether serving shall end."""
        return self._count > 0

    def later(self) -> Callable[[], bool]:
        """Return a check that answers only to signals that come after now."""
        before = self._count
        return lambda: self._count > before

    @contextmanager
    def listening(self) -> Generator[StopRequests]:
        """Catch SIGINT, SIGTERM and SIGHUP for as long as the context lasts."""
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = {number: signal.signal(number, self.note) for number in numbers}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def run(args: ServeArgs) -> int:
    """Serve until told to stop; return the exit code."""
    description = load_arm(args.arm)
    rig = description.rig(args.rig)
    calibration = ServoCalibration.load(args.robot, description, data_root())
    actuator = actuator_for(args.robot, description, data_root())
    endpoint = check_endpoint(args.endpoint or default_endpoint(args.robot))
    check_unserved(endpoint)  # all that can be wrong is found before the torque comes on
    say(f"servo calibration of {args.robot} from {calibration.created_utc}: {calibration.method}", args.json)
    clock = MonotonicClock()
    with StopRequests().listening() as stop:
        say(f"opening {args.port}", args.json)
        bus = DofbotSerialBus(args.port, clock)
        try:
            robot = ServoRobot.connect(bus, calibration, description, rig, clock, actuator, PERIOD_S)
        except BaseException:
            bus.close()
            raise
        say("every servo answers; torque is on, the arm stands where it stood", args.json)
        _introduce(args, endpoint)
        statistics = serve_robot(robot, rig, endpoint, clock, args.on_exit, stop, _teller(args.json))
    health = bus.read_health()
    with suppress(OSError):
        say(f"bus: {health.frames_sent} frames sent, {health.reads_ok} reads, {health.timeouts} timeouts", args.json)
        emit_json({"server": statistics, "bus": health, "on_exit": args.on_exit}, args.json)
    return INTERRUPTED if stop.first is signal.SIGINT else DONE


def serve_robot(
    robot: RelaxingRobot,
    rig: Rig,
    endpoint: str,
    clock: Clock,
    on_exit: OnExit,
    stop: StopRequests,
    tell: Callable[[str], None],
) -> ServerStatistics:
    """Serve until a signal or an error, then leave the arm as asked, whichever it was, and give it back."""
    statistics = ServerStatistics()
    try:
        with settled_memory(), RobotServer(robot, rig.name, PERIOD_S, endpoint, clock) as server:
            statistics = server.statistics
            tell(f"ready: serving {robot.description.name} ({rig.name}) on {server.endpoint}")
            server.serve(_with_fault_notice(robot, stop, tell))
        return statistics
    finally:
        tell(f"served: {_in_words(statistics)}")
        tell(f"leaving the arm: {on_exit}" + (" (a second signal stops the ramp)" if on_exit == "relax" else ""))
        leave(robot, on_exit, rig.rest_rad, stop.later())


def _introduce(args: ServeArgs, endpoint: str) -> None:
    """Write robot.toml, which tells `tandem run --robot NAME` where the arm is reached, unless there is one."""
    if not robot_file_path(args.robot, data_root()).exists():
        RobotFile(arm=args.arm, rig=args.rig, port=args.port, endpoint=endpoint).save(args.robot, data_root())


def _teller(json: bool) -> Callable[[str], None]:
    """Return a `tell` that never fails: whoever read our output may be dead, and the arm must still be set down."""

    def tell(text: str) -> None:
        with suppress(OSError):
            say(text, json)

    return tell


def _with_fault_notice(robot: RelaxingRobot, stop: StopRequests, tell: Callable[[str], None]) -> Callable[[], bool]:
    """Return the server's `should_stop`, which also tells once when a fault has latched."""
    told = ""
    due_s = 0.0

    def should_stop() -> bool:
        nonlocal told, due_s
        now_s = time.monotonic()
        if now_s >= due_s:
            due_s = now_s + FAULT_LOOK_S
            fault = robot.read_state().fault
            if fault and fault != told:
                told = fault
                tell(f"fault: {fault}. The arm holds and takes no command until this server is started again")
        return stop.requested()

    return should_stop


def _in_words(s: ServerStatistics) -> str:
    return (
        f"{s.sessions} sessions, {s.accepted} commands accepted, {s.stale} stale, {s.duplicate} duplicate, "
        f"{s.refused} refused, {s.corrupt} corrupt messages, {s.holds} holds asked for, "
        f"{s.watchdog_holds} by the watchdog"
    )
