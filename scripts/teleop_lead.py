"""The part of `tandem teleop` that leads: source, screen, recording and session, and what is told after."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from perception.landmark_log import SUFFIX
from scripts.cli import data_root, emit_json
from scripts.exit_codes import DONE, FAILED, INTERRUPTED
from scripts.keyboard import NoTerminal
from scripts.programs.episode_recording import RecordedRun, Recording, recording
from scripts.programs.footage import Image
from scripts.programs.guide_window import has_display
from scripts.programs.lab import LabArgs, running_lab
from scripts.programs.overlay_arm import ArmSketch
from scripts.programs.robot_file import RobotFile
from scripts.programs.robot_link import RobotLink
from scripts.programs.teleop_arm import TeleopArm, simulated_arm
from scripts.programs.teleop_controls import KEYS_HELP, TeleopControls
from scripts.programs.teleop_ground import Ground
from scripts.programs.teleop_page import teleop_page
from scripts.programs.teleop_plot import draw_teleoperation
from scripts.programs.teleop_preview import GO_HELP, Confirmation
from scripts.programs.teleop_screen import KeyWindow, ScreenStyle, TeleopScreen
from scripts.programs.teleop_session import (
    PERIOD_S,
    Mode,
    Show,
    TeleopSession,
    TeleopSetup,
    free_header,
    show_nothing,
)
from scripts.programs.teleop_source import SourceChoice, TeleopSightings, landmarks_kept, open_source
from scripts.programs.teleop_summary import TeleopSummary, closing_words, summary_of
from scripts.programs.teleop_task import TaskSession
from scripts.teleop_task import PERIOD_S as TASK_PERIOD_S
from scripts.teleop_task import TaskChoice, open_ground
from sim.objects import BLOCK_SIZE_M
from urdf.description import ArmDescription, load_arm

if TYPE_CHECKING:
    from scripts.teleop import TeleopArgs

SIMULATED, LAB = "sim", "lab"
_NEAR_RAD = 0.8
Keys = list[Callable[[], str]]
Pedal = Callable[[], bool] | None
Tell = Callable[[str], None]


def is_harmless(robot: str) -> bool:
    """Whether nobody can be hurt by it."""
    return robot == LAB or robot.partition(":")[0] == SIMULATED


def lead(
    args: TeleopArgs,
    choice: SourceChoice,
    task: TaskChoice | None,
    arm: TeleopArm,
    link: RobotLink | None,
    keys: Keys,
    pedal: Pedal,
    tell: Tell,
) -> int:
    """Have the person lead the arm until they leave; return the exit code."""
    window = KeyWindow() if args.window and has_display() else None
    sources = [*keys, window.key] if window is not None else keys
    controls = TeleopControls(arm.clock, sources, args.deadman_key, pedal)
    if not controls.somebody_can_stop and not (choice.recorded and is_harmless(args.robot)):
        raise NoTerminal("nobody could stop the arm: run it in a terminal, with standard input not redirected")
    record, session, exit_code = None, None, DONE
    try:
        with ExitStack() as stack:
            # What is missing is told before a recording is begun, so that none is left empty.
            sightings = stack.enter_context(open_source(choice, arm.clock, _hands(args), args.people))
            ground = None if task is None else open_ground(task, arm, link, stack, tell)
            show = _screen(args, arm, sightings, window, tell, stack)
            if args.record:
                record = stack.enter_context(_recording(args, task, ground, arm, tell))
                path = record.writer.path.with_suffix(SUFFIX)
                stack.enter_context(landmarks_kept(sightings, choice, path))
            writer = None if record is None else record.writer
            setup = _setup(args, choice)
            if task is None or ground is None:
                session = TeleopSession(arm, setup, sightings, controls, writer, tell, show)
            else:
                session = TaskSession(
                    arm, setup, ground, task.spec, task.action_repeat, task.attempts, sightings, controls, writer, tell,
                    show,
                )  # fmt: skip
            tell(f"{KEYS_HELP}   {args.deadman_key} deadman" if keys or window else "no keys here: Ctrl-C holds")
            exit_code = DONE if session.run() else FAILED
            if record is not None:
                record.outcome = closing_words(_summary(arm, session, None))
    except KeyboardInterrupt:
        if session is None:
            raise
        exit_code = INTERRUPTED
        tell("tandem teleop: interrupted; the arm holds")
    return _close(args, arm, session, record, exit_code, tell)


def previewed(args: TeleopArgs, choice: SourceChoice, keys: Keys, pedal: Pedal, tell: Tell) -> bool:
    """Let the arm's twin in simulation follow the person; return whether they want the arm itself to."""
    description, rig_name = _twin_of(args)
    window = KeyWindow() if args.window and has_display() else None
    with ExitStack() as stack:
        arm = stack.enter_context(
            simulated_arm(description, description.rig(rig_name), real_time=not choice.is_landmarks)
        )
        sightings = stack.enter_context(open_source(choice, arm.clock, _hands(args), args.people))
        going = Confirmation(_screen(args, arm, sightings, window, tell, stack))
        sources = [*keys, window.key] if window is not None else keys
        heard = [*map(going.key_of, sources), going.gesture]
        controls = TeleopControls(arm.clock, heard, args.deadman_key, pedal)
        session = TeleopSession(arm, _setup(args, choice), sightings, controls, None, tell, going.show)
        tell(f"preview, a simulated {description.name} follows. {GO_HELP}")
        session.run()
    tell("now the arm itself: lower your hands first" if going.given else "the arm itself was not moved")
    return going.given


def _twin_of(args: TeleopArgs) -> tuple[ArmDescription, str]:
    """Return what arm a robot is, and its rig; raises RobotFileError where nobody knows."""
    if args.robot == LAB and running_lab(data_root()) is None:
        return load_arm(LabArgs.arm), args.rig
    address = RobotFile.load(args.robot, data_root())
    return load_arm(address.arm), address.rig


def _hands(args: TeleopArgs) -> bool:
    return args.hands and args.mode is Mode.TOOL


def _screen(
    args: TeleopArgs,
    arm: TeleopArm,
    sightings: TeleopSightings,
    window: KeyWindow | None,
    tell: Tell,
    stack: ExitStack,
) -> Show:
    """Return who shows the person what happens."""
    sinks: list[Callable[[Image], None]] = [] if window is None else [window]
    if args.page is not None:
        sinks.append(stack.enter_context(teleop_page(args.page)))
        tell(f"the screen: http://127.0.0.1:{args.page}")
    if not sinks:
        return show_nothing
    style = ScreenStyle(args.side, args.mirror, args.record, args.mode is Mode.TOOL)
    return stack.enter_context(TeleopScreen(sightings, style, ArmSketch(arm.description, arm.rig), sinks)).show


def _recording(
    args: TeleopArgs, task: TaskChoice | None, ground: Ground | None, arm: TeleopArm, tell: Tell
) -> AbstractContextManager[Recording]:
    """Return the recording of a run; of a task as of any policy that does it."""
    if task is None or ground is None:
        header, period_s = free_header(arm, args.mode), PERIOD_S
    else:
        header, period_s = task.header(ground, arm), TASK_PERIOD_S
    run = RecordedRun(arm.name, arm.description, arm.rig, period_s, f"teleop {args.mode}")
    return recording(data_root(), run, arm.clock, tell, header)


def _setup(args: TeleopArgs, choice: SourceChoice) -> TeleopSetup:
    free = choice.recorded or args.robot.startswith(SIMULATED)
    goes_home = args.come_home and args.task is None  # the way home is none of the task's
    gap_rad = math.inf if free else _NEAR_RAD
    return TeleopSetup(
        mode=args.mode,
        side=args.side,
        mirror=args.mirror,
        deadman=args.deadman,
        scale=args.scale,
        turning=args.turning,
        return_s=2.0 if goes_home else None,
        let_go_first=args.preview,
        max_gap_rad=gap_rad if args.max_gap_deg is None else math.radians(args.max_gap_deg),
    )


def _summary(arm: TeleopArm, session: TeleopSession | TaskSession, record: Recording | None) -> TeleopSummary:
    rise_m = None if arm.world is None else float(arm.world.block_pose().position_m[2]) - BLOCK_SIZE_M / 2
    shown = session.shown if isinstance(session, TaskSession) else None
    path = None if record is None else record.writer.path
    return summary_of(session.recorder.notes, session.loop.statistics, path, rise_m, shown)


def _close(
    args: TeleopArgs,
    arm: TeleopArm,
    session: TeleopSession | TaskSession,
    record: Recording | None,
    exit_code: int,
    tell: Tell,
) -> int:
    """Tell what came of it, and draw it."""
    notes, summary = session.recorder.notes, _summary(arm, session, record)
    tell(closing_words(summary))
    if notes.times_s:
        name = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()) if record is None else record.writer.path.stem
        path = args.out or data_root() / "teleop" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        title = f"{arm.description.name} led by {Path(args.source).name}"
        recorded = "not recorded" if record is None else f"recording {name}"
        remark = f"{recorded}   \u00b7   robot {arm.name}   \u00b7   {args.task or args.mode}"
        draw_teleoperation(notes, title, remark, path)
        tell(f"picture: {path}")
    emit_json(summary, args.json)
    return exit_code
