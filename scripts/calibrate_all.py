"""`tandem calibrate all`: from a box of hardware to a calibrated arm: camera, servos, and where the camera stands."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
from rich.console import Console

from bridge.clock import MonotonicClock
from bridge.messages import JointCommand
from bridge.ports import Camera
from calibration.errors import CalibrationError
from scripts.cli import data_root, emit_json, refuse
from scripts.counted_progress import CountedProgress
from scripts.exit_codes import DONE, FAILED
from scripts.programs.calibrate_chain import DEFAULTS, Bench, Chain, ChainSettings, StepReport, Workplace
from scripts.programs.calibrated_camera import DESK_CAMERA
from scripts.programs.camera_choice import open_camera
from scripts.programs.lab import ROBOT_NAME, running_lab
from scripts.programs.lab_process import LabProcess
from scripts.programs.lab_stage import StageHand
from scripts.programs.robot_file import RobotFile
from scripts.programs.robot_link import RobotLink
from scripts.run import PersonAtTheArm, own_lab
from scripts.settled_memory import settled_memory
from sim.lab_levels import gap_level
from urdf.description import load_arm
from urdf.pose import Pose


@dataclass(frozen=True)
class CalibrateAllArgs:
    """Calibrate one arm: the camera's lens from a printed board, the servos from a marker on the gripper.

    Last, how the servos follow their commands, from a minute of swinging.

    The arm drives itself slowly: keep clear; Ctrl-C holds it. What is measured replaces what was in force when the step
    is done, and the one before stays in history/.
    """

    robot: str = ROBOT_NAME
    """`lab` (started if none runs), or a robot under data/robots that `tandem serve` serves and whose robot.toml names
    a camera."""
    seed: int = 0
    """Seed of the lab's hidden truth, where this command starts the lab, and of the choice of poses."""
    level: str = "mild"
    """How far off that lab is: 0, mild or hard."""
    views: int = DEFAULTS.views
    """Pictures of the printed board (`tandem board make charuco`)."""
    poses: int = DEFAULTS.poses
    """Poses in which the servos are looked at, 4 s each."""
    rounds: int = DEFAULTS.rounds
    """How often the servos are measured; again from a better calibration where this command serves the arm itself."""
    key: Path | None = None
    """Our key file, where the arm is served with keys. Default: as robot.toml says."""
    take_over: bool = False
    """Take control from whoever has it."""
    json: bool = False
    """Print one JSON object as the last line of stdout."""


class CalibrateAllSummary(msgspec.Struct, frozen=True):
    """The JSON line."""

    robot: str
    steps: tuple[StepReport, ...]


class PersonWithBoard:
    """Asks whoever stands there to hold the printed board."""

    def __init__(self, console: Console) -> None:
        self._console, self._asked = console, 0

    def hold_up(self, camera_from_sheet: Pose | None) -> None:
        """Ask for another place, and wait for Enter."""
        if camera_from_sheet is None:
            self._console.print("Put the board away.")
            return
        self._asked += 1
        self._console.input(
            f"{self._asked}: hold the ChArUco board somewhere else before the camera, tilted, still, then press Enter: "
        )


def less_than_needed(settings: ChainSettings) -> str:
    """Return which of the settings is too small for a calibration, empty where none is."""
    for name, value, least in (
        ("views", settings.views, 8),
        ("poses", settings.poses, 12),
        ("rounds", settings.rounds, 1),
    ):
        if value < least:
            return f"--{name} must be at least {least}, got {value}"
    return ""


def run(args: CalibrateAllArgs) -> int:
    """Run the chain; return the exit code."""
    console = Console(stderr=args.json)
    gap_level(args.level)
    settings = ChainSettings(args.views, args.poses, args.rounds, seed=args.seed)
    too_little = less_than_needed(settings)
    if too_little:
        return refuse(f"tandem calibrate all: {too_little}")
    place = workplace_of(args, console)
    chain = Chain(place, settings, tell=lambda report: _say(console, f"{report.step}: {report.words}"))
    with settled_memory(), CountedProgress(console, "calibrating", chain.pieces) as progress:
        chain.advance = progress.advance
        reports = chain.run()
    words, code = outcome(args.robot, reports, place.fresh)
    _say(console, words)
    emit_json(CalibrateAllSummary(args.robot, tuple(reports)), args.json)
    return code


def outcome(robot: str, reports: Sequence[StepReport], fresh: bool) -> tuple[str, int]:
    """Return what came of all steps, in words, and the exit code: 1 where one of them measured nothing.

    `fresh`: whether the next command uses the calibration by itself.
    """
    how = "" if fresh else " Restart `tandem serve` to use it."
    missing = ", ".join(report.step for report in reports if not report.done)
    measured = f"{robot}: measured {', '.join(report.step for report in reports if report.done)}"
    if missing:
        return f"{measured}; NOT {missing}, for the reasons above.{how} Run it again, or that step alone.", FAILED
    return f"{measured}.{how} Now `tandem check-obs`.", DONE


def workplace_of(args: CalibrateAllArgs, console: Console, wrist: bool = False) -> Workplace:
    """Return the lab that this command starts, time and again, or an arm that somebody serves.

    `wrist`: start the lab with a depth camera at the wrist.
    """
    data, clock = data_root(), MonotonicClock()
    if args.robot == ROBOT_NAME and running_lab(data) is None:
        description = load_arm("dofbot")

        @contextmanager
        def own() -> Generator[Bench]:
            _say(console, f"starting the lab, seed {args.seed}, level {args.level} (2-5 s)")
            with (
                own_lab(LabProcess(seed=args.seed, level=args.level, wrist=wrist)) as robot,
                _bench(robot, args, console) as bench,
            ):
                yield bench

        return Workplace(args.robot, description, description.rig("table"), data, clock, DESK_CAMERA, own)
    address = RobotFile.load(args.robot, data)
    description = load_arm(address.arm)
    return Workplace(
        args.robot, description, description.rig(address.rig), data, clock, DESK_CAMERA,
        lambda: _bench(address, args, console), fresh=False,
    )  # fmt: skip


@contextmanager
def _bench(address: RobotFile, args: CalibrateAllArgs, console: Console) -> Generator[Bench]:
    """Connect to arm, camera and stage hand."""
    if not address.desk_camera:
        raise CalibrationError(f"robot.toml of {args.robot!r} names no camera: a calibration needs eyes")
    with ExitStack() as stack:
        robot = stack.enter_context(RobotLink.of(address, args.key, args.take_over).connect())
        camera = stack.enter_context(closing(_camera(address.desk_camera, address)))

        def written_ns(sent: JointCommand) -> int:
            return robot.written_ns or sent.stamp_ns

        wrist = stack.enter_context(closing(_camera(address.wrist_camera, address))) if address.wrist_camera else None
        if address.stage_endpoint:
            hand = stack.enter_context(closing(StageHand(address.stage_endpoint)))
            yield Bench(robot, camera, hand, written_ns, hand.place_block, wrist)
        else:
            person = PersonAtTheArm(console)
            yield Bench(robot, camera, PersonWithBoard(console), written_ns, person.place_block, wrist)


def _camera(name: str, address: RobotFile) -> Camera:
    return open_camera(name, key=Path(address.camera_key) if address.camera_key else None)


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)
