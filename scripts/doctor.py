"""`tandem doctor`: what would stop a run on this computer, and how to mend it. Looks and reads; moves nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bridge.clock import MonotonicClock
from bridge.errors import KeyRefused
from bridge.keys import ClientKey
from bridge.link import default_endpoint
from bridge.ports import Clock
from bridge.stop_latch import StopLatch
from calibration.errors import CalibrationError
from calibration.servo import ServoCalibration
from hardware.errors import is_line, port_holders
from scripts.cli import data_root, emit_json
from scripts.exit_codes import DONE, FAILED
from scripts.programs import doctor_machine
from scripts.programs.bus_choice import BusKind
from scripts.programs.doctor_camera import camera
from scripts.programs.doctor_link import is_served, link
from scripts.programs.doctor_ports import ports
from scripts.programs.doctor_servos import servos
from scripts.programs.findings import Finding, Level, fail, ok, printer, warn
from scripts.programs.host import Host
from scripts.programs.robot_file import RobotFile, RobotFileError, robot_file_path, stop_latch_path
from urdf.description import ArmDescription, load_arm
from urdf.errors import ArmError

_ROBOT = "Robot"


@dataclass(frozen=True)
class DoctorArgs:
    """Find what would stop a run, and how to mend it. Moves nothing and changes no torque."""

    robot: str = ""
    """Name of a robot: looks at its files in data/robots/NAME, at its servos unless it is being served, and at the link
    if it is."""
    port: str = ""
    """Port of the servos, where it is another than robot.toml says: /dev/ttyUSB0, /dev/i2c-1. Its servos are read."""
    bus: BusKind | None = None
    """What the servos are on, where it is another than robot.toml says."""
    endpoint: str = ""
    """Where a served arm is reached, where it is another than robot.toml says."""
    key: Path | None = None
    """Our key file, where the arm is served with keys. Default: as robot.toml says."""
    camera: str = ""
    """A camera to look through for two seconds, such as uvc:0 (`tandem camera list`). Default: those of robot.toml."""
    arm: str = ""
    """Which arm it is, where it is another than robot.toml says. Default: dofbot."""
    json: bool = False
    """Print one JSON object as the last line of stdout."""


@dataclass(frozen=True, slots=True)
class Doctored:
    """What `--json` prints."""

    ok: bool
    findings: list[Finding]


@dataclass(slots=True)
class Patient:
    """The arm in question, as far as it is known."""

    robot: str
    port: str
    bus: BusKind
    endpoint: str
    key: Path | None
    description: ArmDescription
    is_elsewhere: bool
    """Whether the arm hangs on another computer: then there is no port to look at, and no calibration."""
    rig: str = ""
    """How robot.toml says that it is mounted."""
    calibration: ServoCalibration | None = None
    trouble: list[Finding] = field(default_factory=list[Finding])
    cameras: tuple[str, ...] = ()
    camera_key: Path | None = None


def run(args: DoctorArgs) -> int:
    """Look, tell what was found, and return 1 where something would stop a run."""
    show = printer(args.json)
    findings = list(show.show(_examine(args, Host(), data_root(), MonotonicClock())))
    show.close(findings)
    failed = any(finding.level is Level.FAIL for finding in findings)
    emit_json(Doctored(not failed, findings), args.json)
    return FAILED if failed else DONE


def _examine(args: DoctorArgs, host: Host, root: Path, clock: Clock) -> Iterator[Finding]:
    patient = _patient(args, root)
    yield from doctor_machine.machine(host)
    yield from doctor_machine.timing(host, clock)
    yield from doctor_machine.disk(root)
    if patient.port or not patient.is_elsewhere:
        yield from ports(host, patient.port)
    yield from doctor_machine.cameras(host)
    for choice in (args.camera,) if args.camera else patient.cameras:
        yield from camera(choice, args.key if args.camera else patient.camera_key)
    yield from patient.trouble
    if args.robot or args.port or args.endpoint:
        yield from _arm(patient, clock, bool(args.endpoint))
    else:
        yield _robots(root)


def _arm(patient: Patient, clock: Clock, must_be_served: bool) -> Iterator[Finding]:
    """Ask the server if there is one, else the servos."""
    try:
        key = ClientKey.load(patient.key) if patient.key else None
    except KeyRefused as error:
        yield fail("Link", "key", str(error), "`tandem keys new NAME` where the arm is served; carry its file here")
        return
    served = bool(patient.endpoint) and is_served(patient.endpoint, patient.description, clock, key)
    if served or patient.is_elsewhere or must_be_served:
        yield from link(patient.endpoint, patient.description, patient.rig, clock, key)
    port = Path(patient.port) if patient.port else None
    readable = port is not None and port.exists() and is_line(port)
    holders = port_holders(port) if port is not None and readable else []
    if served or any(name.startswith("tandem ") for name in holders):
        yield ok("Servos", patient.port or "servos", "the server's to read while it runs")
        if not served:
            yield _shut(patient.endpoint)
    elif readable:
        ids = patient.calibration.servo_ids if patient.calibration else _first_ids(patient.description)
        yield from servos(patient.bus, patient.port, ids, clock, patient.calibration)


def _shut(endpoint: str) -> Finding:
    """Return what it means that somebody has the servos, and no server lets us in."""
    if not endpoint:
        text = "its address is not known: nobody asked it"
        return warn("Link", "server", text, "--robot NAME, whose robot.toml has it, or --endpoint")
    text = f"{endpoint} does not let us in, or does not answer"
    return fail("Link", "server", text, "--key FILE, if it is served with keys (`tandem keys new`)")


def _patient(args: DoctorArgs, root: Path) -> Patient:
    """Return what is known of the arm: its files, and what the words of the command line change of them."""
    trouble: list[Finding] = []
    filed: RobotFile | None = None
    if args.robot:
        path = robot_file_path(args.robot, root)
        try:
            filed = RobotFile.load(args.robot, root)
            trouble.append(ok(_ROBOT, str(path), f"{filed.arm} ({filed.rig}), {_place(filed)}"))
        except RobotFileError as error:
            start = f"tandem serve --robot {args.robot} --port PORT writes it"
            if path.exists():
                trouble.append(fail(_ROBOT, "robot.toml", str(error), f"mend it, or delete it: {start}"))
            else:
                trouble.append(warn(_ROBOT, "robot.toml", str(error), start))
    description = _description(args, filed, trouble)
    patient = Patient(
        args.robot,
        args.port or (filed.port if filed else ""),
        args.bus or (filed.bus if filed else "dofbot-serial"),
        args.endpoint or (filed.endpoint if filed else default_endpoint(args.robot) if args.robot else ""),
        args.key or (Path(filed.key) if filed and filed.key else None),
        description,
        bool(args.endpoint or (filed and filed.endpoint)) and not (args.port or (filed and filed.port)),
        trouble=trouble,
    )
    if filed is not None:
        patient.cameras = tuple(filter(None, (filed.desk_camera, filed.wrist_camera)))
        patient.camera_key = Path(filed.camera_key) if filed.camera_key else None
        patient.rig = filed.rig
    if args.robot and not patient.is_elsewhere:
        _calibrated(patient, root)
        stopped = StopLatch(stop_latch_path(args.robot, root)).read()
        if stopped:
            patient.trouble.append(
                fail(
                    _ROBOT,
                    "emergency stop",
                    f"{stopped}: still latched",
                    f"once it is served: tandem stop --robot {args.robot} --clear",
                )
            )
    return patient


def _description(args: DoctorArgs, filed: RobotFile | None, trouble: list[Finding]) -> ArmDescription:
    """Return the arm; a file that names one, or a rig, that there is not, is a finding and no end of the others."""
    if args.arm or filed is None:
        return load_arm(args.arm or "dofbot")
    try:
        description = load_arm(filed.arm)
        description.rig(filed.rig)
    except ArmError as error:
        trouble.append(fail(_ROBOT, "robot.toml", str(error), "mend it"))
        return load_arm("dofbot")
    return description


def _calibrated(patient: Patient, root: Path) -> None:
    try:
        patient.calibration = ServoCalibration.load(patient.robot, patient.description, root)
    except CalibrationError as error:
        words = f"tandem calibrate servos --robot {patient.robot} --port {patient.port or 'PORT'} --bus {patient.bus}"
        patient.trouble.append(fail(_ROBOT, "servo calibration", str(error).partition(" Run `tandem")[0], words))
    else:
        made = patient.calibration
        text = f"of {made.created_utc}, {made.method}, largest residual {made.residual:.1f} {made.residual_unit}"
        patient.trouble.append(ok(_ROBOT, "servo calibration", text))


def _place(filed: RobotFile) -> str:
    return f"on {filed.bus} at {filed.port}" if filed.port else f"served at {filed.endpoint}"


def _robots(root: Path) -> Finding:
    names = sorted(path.parent.name for path in root.glob("robots/*/robot.toml"))
    if names:
        return ok(_ROBOT, "known here", f"{', '.join(names)}; `tandem doctor --robot {names[0]}` looks closer")
    return ok(_ROBOT, "robots", "none known here yet; `tandem doctor --port PORT` asks the servos at a port")


def _first_ids(description: ArmDescription) -> range:
    return range(1, len(description.joint_names) + 1)
