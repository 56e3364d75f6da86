"""`tandem teleop`: lead an arm by the motion of your own, seen by a webcam."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from hardware.pedal import foot_pedal
from perception.body import Side
from perception.teleop_policy import Deadman
from scripts.cli import refuse
from scripts.exit_codes import DONE
from scripts.keyboard import keyboard
from scripts.programs.robot_eyes import WRIST
from scripts.programs.robot_link import RobotLink
from scripts.programs.teleop_arm import TeleopArm, served_arm, simulated_arm
from scripts.programs.teleop_controls import STOPS
from scripts.programs.teleop_preview import GO_KEY
from scripts.programs.teleop_session import PERIOD_S, Mode
from scripts.programs.teleop_source import SourceChoice
from scripts.run import find_robot
from scripts.settled_memory import settled_memory
from scripts.teleop_lead import SIMULATED, is_harmless, lead, previewed
from scripts.teleop_task import PERIOD_S as TASK_PERIOD_S
from scripts.teleop_task import ShownTask, TaskChoice
from urdf.description import load_arm

TWIN = "sim:kuka-twin"
_SIMULATIONS = (SIMULATED, "sim:dofbot", "sim:ur5", "sim:kuka_iiwa", TWIN)


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
    """hand (the other one, raised), key, pedal (--pedal), or none: only for recordings, in simulation and in the lab. A
    pedal that sends a key is a key."""
    deadman_key: str = "d"
    """Which key is the deadman; it counts as held while it repeats."""
    pedal: int | None = None
    """GPIO (BCM number) of a pedal on a Raspberry Pi, whose contact to ground is closed while it is trodden on."""
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
    preview: bool = False
    """First the same arm in simulation: raise both hands over your head for a second, or press g, and then the same
    loop leads the arm itself."""
    task: ShownTask | None = None
    """Show a task: attempts that others learn from (`tandem train --algo bc`, and sac with demonstrations), seen and
    acted on as their policies do. grasp: you lead it over the block while it sinks. pick-place: you lead it all the
    way, and open and close the jaws."""
    episodes: int = 10
    """How many attempts at the task."""
    sees: tuple[str, ...] = ("state", "proprioception")
    """What is recorded of each observation of the task: state, proprioception, or pictures such as wrist_depth."""
    picture_px: int = 64
    """Width and height of these pictures [px]."""
    action_repeat: int = 3
    """Control periods (20 a second) that one decision of the task lasts; as the training that is to learn from it."""
    seed: int = 0
    """Seed of the lab's hidden truth, where this command starts the lab; of the task's places and goals."""
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
        return refuse(f"tandem teleop: {problem}")
    choice = SourceChoice.parse(args.source)
    if args.robot == TWIN:
        from scripts.teleop_film import film

        return film(args, choice, tell)
    task = _task(args)
    if args.deadman is Deadman.NONE and not (choice.recorded and is_harmless(args.robot)):
        return refuse(
            "tandem teleop: --deadman none is for recordings, in simulation or in the lab: nobody could let go"
        )
    with ExitStack() as stack:
        keys = _keys(stack)
        pedal = None if args.pedal is None else stack.enter_context(foot_pedal(args.pedal))
        stack.enter_context(settled_memory())
        if args.preview and not previewed(args, choice, keys, pedal, tell):
            return DONE
        arm, link = stack.enter_context(_arm(args, choice, console))
        return lead(args, choice, task, arm, link, keys, pedal, tell)


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
    if len(args.deadman_key) != 1 or args.deadman_key in (*STOPS, GO_KEY, "c", "+", "-", "="):
        return f"--deadman-key must be one key that means nothing else, got {args.deadman_key!r}"
    if args.task is not None and args.mode is not Mode.TOOL:
        return f"--task {args.task} moves the tool: --mode tool, got {args.mode}"
    if args.preview and args.robot.partition(":")[0] == SIMULATED:
        return f"--preview is for an arm, {args.robot} is a simulation already"
    if (args.deadman is Deadman.PEDAL) != (args.pedal is not None):
        return "--deadman pedal and --pedal GPIO belong together; a pedal that sends a key: --deadman key"
    return ""


def _keys(stack: ExitStack) -> list[Callable[[], str]]:
    """Return the keys of the terminal, where there is one."""
    if not sys.stdin.isatty():
        return []
    terminal = stack.enter_context(keyboard(STOPS))
    return [lambda: terminal.read(0.0)]


def _task(args: TeleopArgs) -> TaskChoice | None:
    if args.task is None:
        return None
    return TaskChoice.of(args.task, args.episodes, args.sees, args.picture_px, args.action_repeat, args.seed)


@contextmanager
def _arm(args: TeleopArgs, choice: SourceChoice, console: Console) -> Generator[tuple[TeleopArm, RobotLink | None]]:
    kind, _, name = args.robot.partition(":")
    if kind == SIMULATED:
        description = load_arm(name or "dofbot")
        period_s = PERIOD_S if args.task is None else TASK_PERIOD_S
        # A recording of landmarks needs nobody's time but its own.
        with simulated_arm(description, description.rig(args.rig), not choice.is_landmarks, period_s) as arm:
            yield arm, None
        return
    wrist = any(part.startswith(WRIST) for part in args.sees)
    with find_robot(args.robot, args.rig, args.seed, console, wrist, _SIMULATIONS) as robot:
        link = RobotLink.of(robot, args.key, args.take_over)
        with served_arm(args.robot, link) as arm:
            yield arm, link
