"""`tandem teleop`: lead an arm by the motion of your own, seen by a webcam."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from perception.body import Side
from perception.landmark_log import SUFFIX
from perception.teleop_policy import Deadman
from scripts.cli import data_root, emit_json
from scripts.exit_codes import BAD_INPUT, DONE, FAILED, INTERRUPTED
from scripts.keyboard import NoTerminal, keyboard
from scripts.programs.episode_recording import RecordedRun, Recording, recording
from scripts.programs.footage import Image
from scripts.programs.guide_window import has_display
from scripts.programs.robot_link import RobotLink
from scripts.programs.teleop_arm import TeleopArm, served_arm, simulated_arm
from scripts.programs.teleop_controls import KEYS_HELP, STOPS, TeleopControls
from scripts.programs.teleop_page import teleop_page
from scripts.programs.teleop_plot import draw_teleoperation
from scripts.programs.teleop_screen import KeyWindow, ScreenStyle, TeleopScreen
from scripts.programs.teleop_session import PERIOD_S, Mode, TeleopSession, TeleopSetup, free_header
from scripts.programs.teleop_source import SourceChoice, TeleopSightings, open_source
from scripts.programs.teleop_summary import closing_words, summary_of
from scripts.run import find_robot
from scripts.settled_memory import settled_memory
from sim.objects import BLOCK_SIZE_M
from urdf.description import load_arm
from urdf.errors import ArmError

SIMULATED, LAB, TWIN = "sim", "lab", "sim:kuka-twin"
_NEAR_RAD = 0.8


@dataclass(frozen=True)
class TeleopArgs:
    """Lead an arm by the motion of your own. Try it in simulation first (`--robot sim`), then on an arm.

    The arm follows while you are seen, have held still for five pictures, and hold the deadman: your other hand above
    its shoulder. Keys: space emergency stop, c clears it, + - larger or smaller motion, q leaves.
    """

    source: str = "camera"
    """camera (uvc:0), uvc:N, realsense, remote:ENDPOINT, a video (.mp4 .avi .mov .mkv .webm), or FILE.landmarks."""
    robot: str = SIMULATED
    """sim, sim:dofbot, sim:ur5, sim:kuka_iiwa, sim:kuka-twin (two arms, a film of a recording), lab (started if none
    runs), or a robot under data/robots that `tandem serve` serves."""
    mode: Mode = Mode.TOOL
    """tool: the tool moves as the wrist does; arm: the posture in space is copied; planar: its outline in the
    picture."""
    side: Side = Side.RIGHT
    """Whose motion: your right or left arm's."""
    mirror: bool = False
    """As in a mirror: for whoever faces the arm."""
    scale: float | None = None
    """Metres of tool for a metre of wrist, 0.05 to 2. Default: what suits the arm. + and - change it."""
    turning: bool = False
    """The jaws turn as the hand rolls (tool)."""
    hands: bool = True
    """Look for hands: a pinch closes the gripper (tool). Without, a picture takes a third of the time."""
    people: int = 1
    """For how many people is looked, 1 to 3. With 1 the model stays with whom it sees, and takes half the time."""
    deadman: Deadman = Deadman.HAND
    """hand (the other one, raised), key, or none: only for recordings, in simulation and in the lab. A pedal that sends
    a key is a key."""
    deadman_key: str = "d"
    """Which key is the deadman; it counts as held while it repeats."""
    come_home: bool = True
    """Go home slowly, 2 s after you were lost; without, the arm stays."""
    max_gap_deg: float | None = None
    """How far [deg] any joint may be from your posture when you engage (arm, planar). Default: 46 on an arm, any in
    simulation and for recordings."""
    window: bool = True
    """Show a window where there is a display."""
    page: int | None = None
    """Show the same as a page at http://127.0.0.1:PORT, for a machine without a display (`ssh -L`)."""
    record: bool = True
    """Leave a recording in data/episodes: the run, and the landmarks beside it."""
    seed: int = 0
    """Seed of the lab's hidden truth, where this command starts the lab."""
    rig: str = "table"
    """How the simulated arm is mounted, and the lab's where this command starts it."""
    key: Path | None = None
    """Our key file, where the arm is served with keys (`tandem keys new`). Default: as robot.toml says."""
    take_over: bool = False
    """Take control from whoever has it."""
    out: Path | None = None
    """Where the picture of the run goes (.png .svg .pdf; for the twins .gif). Default: data/teleop/."""
    json: bool = False
    """Print one JSON object as the last line of stdout."""


def run(args: TeleopArgs) -> int:
    """Lead the arm until the person leaves; return the exit code."""
    console = Console(stderr=args.json)

    def tell(text: str) -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    problem = _problem(args)
    if problem:
        tell(f"tandem teleop: {problem}")
        return BAD_INPUT
    choice = SourceChoice.parse(args.source)
    if args.robot == TWIN:
        return _film(args, choice, tell)
    if args.deadman is Deadman.NONE and not (choice.recorded and _is_harmless(args.robot)):
        tell("tandem teleop: --deadman none is for recordings, in simulation or in the lab: nobody could let go")
        return BAD_INPUT
    with ExitStack() as stack:
        keys = _keys(stack)
        stack.enter_context(settled_memory())
        arm = stack.enter_context(_arm(args, choice, console))
        return _lead(args, choice, arm, keys, tell)


def _problem(args: TeleopArgs) -> str:
    """Return what is wrong with the arguments, empty where nothing is."""
    if args.scale is not None and not 0.05 <= args.scale <= 2.0:
        return f"--scale must be 0.05 to 2 (metres of tool for a metre of wrist), got {args.scale:g}"
    if args.page is not None and not 1 <= args.page <= 65535:
        return f"--page must be a port, 1 to 65535, got {args.page}"
    if not 1 <= args.people <= 3:
        return f"--people must be 1 to 3, got {args.people}"
    if args.max_gap_deg is not None and not 0.0 < args.max_gap_deg <= 360.0:
        return f"--max-gap-deg must be above 0 and at most 360, got {args.max_gap_deg:g}"
    if len(args.deadman_key) != 1 or args.deadman_key in (*STOPS, "c", "+", "-", "="):
        return f"--deadman-key must be one key that means nothing else, got {args.deadman_key!r}"
    if args.deadman is Deadman.PEDAL:
        return "--deadman pedal: a pedal sends a key: say --deadman key --deadman-key X"
    return ""


def _is_harmless(robot: str) -> bool:
    """Whether nobody can be hurt by it."""
    return robot == LAB or robot.partition(":")[0] == SIMULATED


def _keys(stack: ExitStack) -> list[Callable[[], str]]:
    """Return the keys of the terminal, where there is one."""
    if not sys.stdin.isatty():
        return []
    terminal = stack.enter_context(keyboard(STOPS))
    return [lambda: terminal.read(0.0)]


@contextmanager
def _arm(args: TeleopArgs, choice: SourceChoice, console: Console) -> Generator[TeleopArm]:
    kind, _, name = args.robot.partition(":")
    if kind == SIMULATED:
        description = load_arm(name or "dofbot")
        # A recording of landmarks needs nobody's time but its own.
        with simulated_arm(description, description.rig(args.rig), real_time=not choice.is_landmarks) as arm:
            yield arm
        return
    with (
        find_robot(args.robot, args.rig, args.seed, console) as robot,
        served_arm(args.robot, RobotLink.of(robot, args.key, args.take_over)) as arm,
    ):
        yield arm


def _lead(
    args: TeleopArgs, choice: SourceChoice, arm: TeleopArm, keys: list[Callable[[], str]], tell: Callable[[str], None]
) -> int:
    window = KeyWindow() if args.window and has_display() else None
    controls = TeleopControls(arm.clock, [*keys, window.key] if window is not None else keys, args.deadman_key)
    if not controls.somebody_can_stop and not (choice.recorded and _is_harmless(args.robot)):
        raise NoTerminal("nobody could stop the arm: run it in a terminal, with standard input not redirected")
    record, session, exit_code = None, None, DONE
    try:
        with ExitStack() as stack:
            if args.record:
                run = RecordedRun(arm.name, arm.description, arm.rig, PERIOD_S, f"teleop {args.mode}")
                record = stack.enter_context(recording(data_root(), run, arm.clock, tell, free_header(arm, args.mode)))
            log_path = None if record is None else record.writer.path.with_suffix(SUFFIX)
            sightings = stack.enter_context(open_source(choice, arm.clock, _hands(args), args.people, log_path))
            session = _session(args, choice, arm, sightings, controls, record, window, tell, stack)
            tell(f"{KEYS_HELP}   {args.deadman_key} deadman" if keys or window else "no keys here: Ctrl-C holds")
            exit_code = DONE if session.run() else FAILED
            if record is not None:
                record.outcome = closing_words(summary_of(session.recorder.notes, session.loop.statistics, None))
    except KeyboardInterrupt:
        if session is None:
            raise
        exit_code = INTERRUPTED
        tell("tandem teleop: interrupted; the arm holds")
    return _close(args, arm, session, record, exit_code, tell)


def _hands(args: TeleopArgs) -> bool:
    return args.hands and args.mode is Mode.TOOL


def _session(
    args: TeleopArgs,
    choice: SourceChoice,
    arm: TeleopArm,
    sightings: TeleopSightings,
    controls: TeleopControls,
    record: Recording | None,
    window: KeyWindow | None,
    tell: Callable[[str], None],
    stack: ExitStack,
) -> TeleopSession:
    writer = None if record is None else record.writer
    sinks: list[Callable[[Image], None]] = [] if window is None else [window]
    if args.page is not None:
        sinks.append(stack.enter_context(teleop_page(args.page)))
        tell(f"the screen: http://127.0.0.1:{args.page}")
    if not sinks:
        return TeleopSession(arm, _setup(args, choice), sightings, controls, writer, tell)
    style = ScreenStyle(args.side, args.mirror, record is not None, args.mode is Mode.TOOL)
    screen = stack.enter_context(TeleopScreen(sightings, style, sinks))
    return TeleopSession(arm, _setup(args, choice), sightings, controls, writer, tell, screen.show)


def _setup(args: TeleopArgs, choice: SourceChoice) -> TeleopSetup:
    free = choice.recorded or args.robot.startswith(SIMULATED)
    gap_rad = math.inf if free else _NEAR_RAD
    return TeleopSetup(
        mode=args.mode,
        side=args.side,
        mirror=args.mirror,
        deadman=args.deadman,
        scale=args.scale,
        turning=args.turning,
        return_s=2.0 if args.come_home else None,
        max_gap_rad=gap_rad if args.max_gap_deg is None else math.radians(args.max_gap_deg),
    )


def _close(
    args: TeleopArgs,
    arm: TeleopArm,
    session: TeleopSession,
    record: Recording | None,
    exit_code: int,
    tell: Callable[[str], None],
) -> int:
    """Tell what came of it, and draw it."""
    notes = session.recorder.notes
    rise_m = None if arm.block is None else float(arm.block().position_m[2]) - BLOCK_SIZE_M / 2
    summary = summary_of(notes, session.loop.statistics, None if record is None else record.writer.path, rise_m)
    tell(closing_words(summary))
    if notes.times_s:
        path = args.out or data_root() / "teleop" / f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        draw_teleoperation(notes, f"{arm.description.name} ({arm.name}), {args.mode}, {Path(args.source).name}", path)
        tell(f"picture: {path}")
    emit_json(summary, args.json)
    return exit_code


def _film(args: TeleopArgs, choice: SourceChoice, tell: Callable[[str], None]) -> int:
    """Let the twin Kukas copy a recording, and film them."""
    from scripts.programs.teleop_gif import film_twin
    from scripts.programs.teleop_source import look_through

    if not choice.recorded:
        raise ArmError(f"--robot {TWIN} films a recording: --source video.mp4 or FILE{SUFFIX}")
    path = args.out or data_root() / "teleop" / "kuka-twin.gif"
    path.parent.mkdir(parents=True, exist_ok=True)
    sightings = look_through(choice, hands=False)
    seen = sum(bool(sighting.bodies) for sighting in sightings)
    if not seen:
        tell(f"nobody is in any of the {len(sightings)} pictures of {args.source}: there is nothing to copy")
        return FAILED
    steps = film_twin(sightings, path, f"tandem teleop --robot {TWIN}", lambda what, share: None)
    moved_rad = max(float(np.abs(next(iter(step.sent_rad.values()))).max()) for step in steps)
    tell(f"{seen} of {len(sightings)} pictures show a person; the film: {path}")
    emit_json({"pictures": len(sightings), "with_person": seen, "film": path, "largest_rad": moved_rad}, args.json)
    return DONE
