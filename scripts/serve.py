"""`tandem serve`: own a servo bus and serve its arm, to this machine or, with keys, to the network."""

from __future__ import annotations

import math
import signal
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from bridge.clock import MonotonicClock
from bridge.exits import OnExit, leave
from bridge.keys import KeyRing
from bridge.link import check_endpoint, check_unserved, default_endpoint
from bridge.ports import Clock, RelaxingRobot
from bridge.server import RobotServer
from bridge.server_settings import ServerSettings, ServerStatistics
from bridge.stop_latch import StopLatch
from bridge.watchdog import HOLD_S, OWN_S, WatchdogLimits
from calibration.actuator_file import actuator_for
from calibration.servo import ServoCalibration
from hardware.servo_bus import ServoBus
from hardware.servo_robot import ServoRobot
from hardware.witnessed_bus import WitnessedBus
from scripts.cli import data_root, emit_json, refuse, say
from scripts.exit_codes import DONE, INTERRUPTED
from scripts.programs.bus_choice import BusKind, open_bus, vitals_limits
from scripts.programs.robot_file import RobotFile, RobotFileError, robot_file_path, stop_latch_path
from scripts.programs.serve_notices import with_notices
from scripts.programs.stop_requests import StopRequests
from scripts.programs.stop_sources import StopSources, stop_sources
from scripts.programs.teller import Teller
from scripts.settled_memory import settled_memory
from urdf.description import ArmDescription, Rig, load_arm

if TYPE_CHECKING:
    from hardware.buses.legacy_tcp import LegacyServer
    from scripts.programs.served_recording import ServedRecorder

PERIOD_S = 0.05
_STANDING_UNKNOWN = (
    "a PCA9685 cannot read its servos, so nobody knows where the arm stands: put it into its rest pose and say "
    "--assume-rest. The torque comes on there, and an arm that stands elsewhere jumps"
)
_STANDING_READ = "these servos tell where they stand: leave --assume-rest out"
_LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class ServeArgs:
    """Own a servo bus and serve its arm. Ends on Ctrl-C or SIGTERM.

    On a terminal, the space bar is an emergency stop and `c` clears it.
    """

    robot: str
    """Name of this robot: its calibration is read from data/robots/NAME/calibration/servo.json."""
    port: str = ""
    """Port of the servos, such as /dev/ttyUSB0 or /dev/i2c-1. Default: as robot.toml says."""
    bus: BusKind | None = None
    """What the servos are on. Default: as robot.toml says, else dofbot-serial."""
    endpoint: str = ""
    """Where to serve: ipc://PATH, tcp://127.0.0.1:PORT, or with --keys tcp://ADDRESS:PORT; the state goes out on the
    port above. Default: as robot.toml says, else a socket of this user, named after the robot."""
    keys: bool = False
    """Let in who has a key, and nobody else: `tandem keys new NAME`."""
    arm: str = ""
    """Which arm it is. Default: as robot.toml says, else dofbot."""
    rig: str = ""
    """How it is mounted: decides where the floor is, and the rest pose. Default: as robot.toml says, else table."""
    hold_after_s: float = HOLD_S
    """Seconds without a command after which the arm holds."""
    park_after_s: float | None = None
    """Seconds without a command after which the arm walks slowly to its rest pose. Default: never."""
    on_stop: Literal["hold", "torque_off"] = "hold"
    """What an emergency stop does: hold = stand still with torque on; torque_off = let go (a raised arm falls)."""
    stop_button: int | None = None
    """GPIO number of a stop button to ground that opens when it is pressed, or when its cable is cut."""
    legacy: bool = False
    """Serve the 24-byte TCP stream of older programs as well, on 127.0.0.1:65432; it carries no keys."""
    allow_unauthenticated: str = ""
    """Serve that stream on this address of ours instead of loopback, to the addresses of --legacy-clients."""
    legacy_clients: tuple[str, ...] = ()
    """Addresses that may connect to the stream where it is served beyond loopback."""
    period_s: float = PERIOD_S
    """Seconds between commands: what clients are told, and what the arm's motions of its own are cut into."""
    move_time_s: float | None = None
    """Seconds that the servos are given for a command. Default: the command's own period. Longer is smoother, later."""
    assume_rest: bool = False
    """For servos that cannot be read (pca9685): take the arm to stand in its rest pose, and switch the torque on there.
    From wherever it really is, it jumps."""
    on_exit: OnExit = "relax"
    """How the arm is left: relax = ramp slowly to the rest pose, then torque off; hold = stand still with torque on;
    torque_off = let go at once (a raised arm falls)."""
    record: bool = True
    """Leave a recording of every motion in data/episodes (`tandem episodes`), whoever commanded it."""
    json: bool = False
    """Print the statistics as one JSON object on the last line."""


@dataclass(frozen=True, slots=True)
class Served:
    """What is served, as the command line and robot.toml say together."""

    address: RobotFile
    settings: ServerSettings
    is_news: bool
    """Whether robot.toml says otherwise, or nothing."""

    @staticmethod
    def of(args: ServeArgs) -> Served:
        """Fill in from robot.toml what was not said; raises RobotFileError, EndpointRefused or ValueError."""
        path = robot_file_path(args.robot, data_root())
        known = RobotFile.load(args.robot, data_root()) if path.exists() else RobotFile("dofbot", "table", "", "")
        address = msgspec.structs.replace(
            known,
            arm=args.arm or known.arm,
            rig=args.rig or known.rig,
            port=args.port or known.port,
            bus=args.bus or known.bus,
            endpoint=check_endpoint(args.endpoint or _known_endpoint(known, args.robot), keyed=args.keys),
        )
        if not address.port:
            raise RobotFileError(f"which port are the servos of {args.robot!r} on? Say --port, such as /dev/ttyUSB0")
        limits = WatchdogLimits(args.hold_after_s, args.park_after_s, min(args.hold_after_s / 2, OWN_S))
        keys = KeyRing(data_root() / "keys") if args.keys else None
        latch = StopLatch(stop_latch_path(args.robot, data_root()))
        return Served(address, ServerSettings(limits, args.on_stop == "torque_off", keys, latch), address != known)


def _known_endpoint(known: RobotFile, robot: str) -> str:
    """Return where robot.toml says; where that is a login's default, that of this one: a service has another folder."""
    usual = default_endpoint(robot)
    return known.endpoint if known.endpoint and Path(known.endpoint).name != Path(usual).name else usual


def run(args: ServeArgs) -> int:
    """Serve until told to stop; return the exit code. All that can be wrong is found before the torque comes on."""
    if problem := _problem(args):
        return refuse(f"tandem serve: {problem}")
    served = Served.of(args)
    address = served.address
    calibration = _checked(args, served)
    say(f"servo calibration of {args.robot} from {calibration.created_utc}: {calibration.method}", args.json)
    clock = MonotonicClock()
    with ExitStack() as stack:
        tell: Callable[[str], None] = stack.enter_context(Teller(args.json))
        stop = stack.enter_context(StopRequests().listening())
        stops = stack.enter_context(stop_sources(args.stop_button))
        record: ServedRecorder | None = None
        if args.record:
            record = stack.enter_context(_recorder(args, served, calibration, clock, tell))
            tell = record.listening(tell)
        legacy = stack.enter_context(_legacy(args, address, load_arm(address.arm), tell))
        tell(f"opening {address.port} ({address.bus})")
        bus = open_bus(address.bus, address.port, calibration.servo_ids, clock)
        robot = _connect(args, served, bus if record is None else WitnessedBus(bus, record.scribe), calibration, clock)
        tell("every servo answers; torque is on, the arm stands where it stood")
        if served.is_news:  # tells `tandem run` and `tandem stop` where the arm is reached
            tell(f"written to {address.save(args.robot, data_root())}: where it is reached")
        statistics = serve_robot(
            robot, robot.description.rig(address.rig), address.endpoint, clock, args.on_exit, stop, tell,
            served.settings, stops, partial(_beside, record, legacy), args.period_s,
        )  # fmt: skip
        health = bus.read_health()
        tell(f"bus: {health.frames_sent} frames sent, {health.reads_ok} reads, {health.timeouts} timeouts")
    with suppress(OSError):
        emit_json({"server": statistics, "bus": health, "on_exit": args.on_exit}, args.json)
    return INTERRUPTED if stop.first is signal.SIGINT else DONE


def _problem(args: ServeArgs) -> str:
    """Return what is wrong with the arguments, empty where nothing is."""
    times_s = {
        "--hold-after-s": args.hold_after_s,
        "--park-after-s": args.park_after_s,
        "--period-s": args.period_s,
        "--move-time-s": args.move_time_s,
    }
    for name, value in times_s.items():
        if value is not None and not (math.isfinite(value) and value > 0.0):
            return f"{name} must be above 0 and finite, got {value:g}"
    if args.park_after_s is not None and args.park_after_s <= args.hold_after_s:
        return f"--park-after-s must be above --hold-after-s, {args.hold_after_s:g}, got {args.park_after_s:g}"
    if args.legacy_clients and not args.allow_unauthenticated:
        return "--legacy-clients are let in on an address of ours: say --allow-unauthenticated ADDRESS as well"
    return ""


def _checked(args: ServeArgs, served: Served) -> ServoCalibration:
    """Return the calibration of this unit; raises whatever would stop the server once the torque is on."""
    address = served.address
    description = load_arm(address.arm)
    description.rig(address.rig)
    calibration = ServoCalibration.load(args.robot, description, data_root())
    if args.assume_rest != (address.bus == "pca9685"):
        raise RobotFileError(_STANDING_UNKNOWN if address.bus == "pca9685" else _STANDING_READ)
    check_unserved(address.endpoint)
    if served.settings.keys is not None:
        from scripts.programs.legacy_serving import revoke_left_behind

        served.settings.keys.server()
        revoke_left_behind(served.settings.keys)
    return calibration


def _recorder(
    args: ServeArgs, served: Served, calibration: ServoCalibration, clock: Clock, tell: Callable[[str], None]
) -> ServedRecorder:
    """Return what records every motion; imported where it is asked for, which takes 60 ms."""
    from scripts.programs.episode_recording import RecordedRun, recording_header
    from scripts.programs.served_recording import ServedRecorder

    description = load_arm(served.address.arm)
    what = RecordedRun(args.robot, description, description.rig(served.address.rig), args.period_s, "serve")
    return ServedRecorder(data_root(), recording_header(data_root(), what, clock), calibration, clock, tell)


def _connect(args: ServeArgs, served: Served, bus: ServoBus, calibration: ServoCalibration, clock: Clock) -> ServoRobot:
    """Take hold of the arm on a bus, which is closed where that fails."""
    try:
        description = load_arm(served.address.arm)
        rig = description.rig(served.address.rig)
        return ServoRobot.connect(
            bus, calibration, description, rig, clock, actuator_for(args.robot, description, data_root()),
            args.period_s, args.move_time_s, vitals_limits(served.address.bus),
            rig.rest_rad if args.assume_rest else None,
        )  # fmt: skip
    except BaseException:
        bus.close()
        raise


def serve_robot(
    robot: RelaxingRobot,
    rig: Rig,
    endpoint: str,
    clock: Clock,
    on_exit: OnExit,
    stop: StopRequests,
    tell: Callable[[str], None],
    settings: ServerSettings | None = None,
    stops: StopSources | None = None,
    beside: Callable[[RobotServer, RelaxingRobot, Callable[[str], None]], AbstractContextManager[object]] | None = None,
    period_s: float = PERIOD_S,
) -> ServerStatistics:
    """Serve until a signal or an error, then leave the arm as asked, whichever it was, and give it back.

    While an emergency stop is latched nothing moves the arm: instead of relaxing it is held then.
    `stops` are looked at several times in a hundredth of a second; `beside` is what runs next to the server.
    """
    statistics, server = ServerStatistics(), None
    latch = settings.latch if settings is not None else None
    try:
        with (
            settled_memory(),
            RobotServer(robot, rig.name, period_s, endpoint, clock, settings, tell) as server,
            beside(server, robot, tell) if beside is not None else nullcontext(),
        ):
            statistics = server.statistics
            tell(f"ready: serving {robot.description.name} ({rig.name}) on {server.endpoint}")
            server.serve(with_notices(server, robot, stop, stops, tell))
        return statistics
    finally:
        tell(f"served: {statistics.in_words()}")
        # A server that could not begin knows of no stop: then the disk does.
        stopped = server.stopped if server is not None else latch.read() if latch is not None else ""
        if on_exit == "relax" and stopped:
            tell(f"leaving the arm: hold, for nothing moves it after the {stopped}")
            on_exit = "hold"
        else:
            tell(f"leaving the arm: {on_exit}" + (" (a second signal stops the ramp)" if on_exit == "relax" else ""))
        leave(robot, on_exit, rig.rest_rad, stop.later())


def _legacy(
    args: ServeArgs, address: RobotFile, description: ArmDescription, tell: Callable[[str], None]
) -> AbstractContextManager[LegacyServer | None]:
    """Bind the stream of older programs, where it is asked for; raises EndpointRefused."""
    if not (args.legacy or args.allow_unauthenticated):
        return nullcontext()
    from scripts.programs.legacy_serving import legacy_stream

    ring = KeyRing(data_root() / "keys") if args.keys else None
    host = args.allow_unauthenticated or _LOOPBACK
    return legacy_stream(address.endpoint, description, host, args.legacy_clients, ring, tell)


@contextmanager
def _beside(
    record: ServedRecorder | None,
    legacy: LegacyServer | None,
    server: RobotServer,
    robot: RelaxingRobot,
    _tell: Callable[[str], None],
) -> Generator[None]:
    """Record, and serve the stream of older programs as one of the server's clients: filter, lease, watchdog hold."""
    if record is not None:
        record.watch(robot.read_state, lambda: server.controller)
    if legacy is not None:
        legacy.start()
    try:
        yield
    finally:
        if legacy is not None:
            legacy.close()
