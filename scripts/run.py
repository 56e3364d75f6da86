"""`tandem run`: run a policy on an arm, the lab's or one on the desk."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
import tyro
from rich.console import Console

from bridge.actions import LATERAL_ACTION
from bridge.clock import MonotonicClock
from bridge.encoding import GRASP_STATE
from bridge.episode_witness import Demonstrator, WitnessedPolicy, demonstration_header
from bridge.errors import BridgeError, PolicyMismatch
from bridge.grasp import CONTROL_HZ
from bridge.loop import LoopStatistics, LoopStep
from bridge.ports import Policy
from policies.evaluation import wilson_interval
from policies.onnx_policy import OnnxPolicy
from scripts.cli import data_root, emit_json, refuse
from scripts.counted_progress import CountedProgress
from scripts.evaluate import PolicyChoice, choose_policy
from scripts.exit_codes import DONE
from scripts.programs.desk_eyes import CameraPlace, DeskChoice
from scripts.programs.episode_feeds import PictureFeed, watch_attempts
from scripts.programs.episode_recording import RecordedRun, recording
from scripts.programs.lab import ROBOT_NAME, LabArgs, running_lab
from scripts.programs.lab_process import LabProcess
from scripts.programs.lab_stage import StageHand
from scripts.programs.robot_eyes import EyesKind, check_views, needs_wrist, open_eyes
from scripts.programs.robot_file import RobotFile
from scripts.programs.robot_link import RobotLink
from scripts.programs.robot_run import AttemptRecord, RobotRun, Stage
from scripts.settled_memory import settled_memory
from sim.lab_truth import TruthFile
from urdf.description import ArmDescription, Rig, load_arm
from urdf.errors import UnknownName
from urdf.pose import Pose

_LAST_WORDS_S = 8.0
_ROBOTS_OWN = DeskChoice()


@dataclass(frozen=True)
class RunArgs:
    """Run a policy on an arm: observation from servo read-back and camera alone, success judged by the camera."""

    policy: str = "newest"
    """A run (folder, name or `newest`), a ready-trained policy (`tandem policies`), or oracle, random, hold, blind."""
    robot: str = ROBOT_NAME
    """`lab` (started if none runs), or a robot under data/robots that `tandem serve` serves and whose robot.toml names
    a camera (such as camera = "uvc:0"; for policies that read depth, wrist = "realsense")."""
    episodes: int = 10
    """How many attempts."""
    eyes: EyesKind = EyesKind.AUTO
    """By what the block is found: `markers` on it or its `colour` in the desk camera's pictures, its shape in those of
    the wrist's depth camera (`depth`), or the newest locator of `tandem train-locator` there (`learned`).
    `auto`: depth for policies that read depth, markers for the others."""
    camera: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """A camera that looks at the desk, in place of the one that robot.toml names: lab, left=uvc:0, realsense and so on.
    Given more than once, what they see of the block is fused, each weighed by its covariance."""
    camera_place: CameraPlace = CameraPlace.AUTO
    """By what it is known where a camera that looks at the desk is: by the desk's `board` in its pictures, as `tandem
    calibrate hand-eye` measured it (`hand-eye`), or by the board and, where that is not seen, as measured (`auto`)."""
    seed: int = 0
    """Seed of the lab's hidden truth, where this command starts the lab."""
    key: Path | None = None
    """Our key file, where the arm is served with keys (`tandem keys new`). Default: as robot.toml says."""
    take_over: bool = False
    """Take control from whoever has it."""
    record: bool = True
    """Leave a recording of the run in data/episodes (`tandem episodes`): 5 pictures a second, 0.2 MB/s."""
    json: bool = False
    """Print one JSON object as the last line of stdout."""


class RunSummary(msgspec.Struct, frozen=True):
    """The JSON line. `lab_truth_successes` is null on a real arm, where nobody knows the truth.

    `commands_held` counts the commands that did not move the arm as asked: nothing was seen, the safety filter held, or
    the server refused them as late. `episode` is the recording of the run, null where none was asked for.
    """

    episodes: int
    successes: int
    lab_truth_successes: int | None
    agreements: int | None
    commands_sent: int
    commands_held: int
    missed_deadlines: int
    loop_hz: float
    p99_loop_ms: float
    episode: str | None = None


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """Everything a report wants to know about a run on an arm."""

    summary: RunSummary
    attempts: tuple[AttemptRecord, ...]
    truths: tuple[bool, ...]
    work_ms: tuple[float, ...]
    """The work done in each control period; the rest of its 50 ms the loop slept."""


class PersonAtTheArm:
    """The stage hand of a real arm: asks whoever stands there."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._attempts = 0

    def place_block(self, desk_from_block: Pose | None = None) -> None:
        """Ask for the block to be placed, and wait for Enter."""
        where = "somewhere in the marked area"
        if desk_from_block is not None:
            x, y, _ = (1000 * desk_from_block.position_m).tolist()
            where = f"at {x:g} {y:g} mm, turned by {math.degrees(desk_from_block.yaw_rad):g}°"
        self._console.input(f"Put the block {where}, hands off, then press Enter: ")

    def begin_attempt(self) -> int:
        """Count the attempt."""
        self._attempts += 1
        return self._attempts

    def end_attempt(self) -> None:
        """Nothing to write down."""


def run(args: RunArgs) -> int:
    """Run the attempts; return the exit code."""
    console = Console(stderr=args.json)
    if args.episodes < 1:
        return refuse(f"tandem run: --episodes must be at least 1, got {args.episodes}")
    desk = DeskChoice(args.camera, args.camera_place)
    desk.names()  # refuses what cannot be before a lab is started in vain
    choice = choose_policy(args.policy, None)
    if args.robot == ROBOT_NAME:
        # Before a lab is started in vain.
        arm = load_arm(LabArgs.arm)
        make_policy(choice, arm, arm.rig(choice.rig))
    with (
        find_robot(args.robot, choice.rig, args.seed, console, needs_wrist(choice.spec, args.eyes)) as robot,
        CountedProgress(console, "attempts", args.episodes) as progress,
    ):
        tally = Tally(console, progress)
        recorded_as = args.robot if args.record else None
        link = RobotLink.of(robot, args.key, args.take_over)
        outcome = run_on(
            link,
            choice,
            args.episodes,
            console,
            tally.advance,
            recorded_as=recorded_as,
            eyes=args.eyes,
            robot_name=args.robot,
            desk=desk,
        )
    _say(console, closing(outcome))
    emit_json(outcome.summary, args.json)
    return DONE


class Tally:
    """Tells about each attempt as it ends, and counts it."""

    def __init__(self, console: Console, progress: CountedProgress) -> None:
        self._console, self._progress, self._successes = console, progress, 0

    def advance(self, attempt: AttemptRecord) -> None:
        """Take in one finished attempt."""
        self._successes += attempt.success
        _say(self._console, describe_attempt(attempt))
        self._progress.advance(f"{self._successes} succeeded")


def make_policy(choice: PolicyChoice, description: ArmDescription, rig: Rig) -> Policy:
    """Return the policy that an arm will run; raises PolicyMismatch where it was trained for something else."""
    if choice.folder is None:
        return choice.make_scripted(GRASP_STATE, len(LATERAL_ACTION.names), 0)
    policy = OnnxPolicy(choice.folder)
    check_views(policy.spec)
    policy.check(description, rig.name, GRASP_STATE, policy.spec)
    policy.check_control(LATERAL_ACTION.name, LATERAL_ACTION.version, LATERAL_ACTION.names, CONTROL_HZ)
    return policy


@contextmanager
def find_robot(
    name: str, rig: str, seed: int, console: Console, wrist: bool = False, others: Sequence[str] = ()
) -> Iterator[RobotFile]:
    """Give the address of a robot; a lab is started where none runs, and ended again.

    `wrist`: that lab is started with a depth camera at its wrist. `others`: what else the caller's --robot takes.
    """
    data = data_root()
    if name != ROBOT_NAME:
        valid = sorted(p.parent.name for p in (data / "robots").glob("*/robot.toml"))
        if name not in valid:
            raise UnknownName("robot", name, sorted({*valid, ROBOT_NAME, *others}))
        yield RobotFile.load(name, data)
        return
    lab = running_lab(data)
    if lab is not None:
        _say(console, f"using the lab that runs already (pid {lab.pid}), with the truth it was started with")
        yield lab
        return
    _say(console, "starting the lab: a servo board, its world and a camera (2-5 s)")
    with own_lab(LabProcess(rig, seed, wrist=wrist)) as robot:
        yield robot


@contextmanager
def own_lab(lab: LabProcess) -> Iterator[RobotFile]:
    """Run a lab for as long as the context lasts. When the lab dies, its last words are the error: raises LabFailed."""
    with lab:
        try:
            yield lab.robot
        except BridgeError:
            # What is seen first is an arm that does not answer; why it does not is told a moment later.
            end_s = time.monotonic() + _LAST_WORDS_S
            while time.monotonic() < end_s:
                lab.check()
                time.sleep(0.1)
            raise
        lab.check()


def run_on(
    link: RobotLink,
    choice: PolicyChoice,
    episodes: int,
    console: Console,
    advance: Callable[[AttemptRecord], None],
    on_step: Callable[[LoopStep], None] | None = None,
    recorded_as: str | None = ROBOT_NAME,
    eyes: EyesKind = EyesKind.AUTO,
    robot_name: str = ROBOT_NAME,
    demonstrate: bool = False,
    data: Path | None = None,
    desk: DeskChoice = _ROBOTS_OWN,
) -> RunOutcome:
    """Run the attempts on a robot that can be reached. The policy is checked before anything moves.

    `demonstrate`: the recording holds what the policy saw and did as well, so that others can learn from it.

    `recorded_as` is the robot's name in the recording of the run; None leaves none. `robot_name`: its folder under
    `data`/robots, for what was measured of its cameras. `desk`: other cameras than its own that look at the desk.
    """
    address, description = link.address, link.description
    rig = description.rig(address.rig)
    policy = WitnessedPolicy(make_policy(choice, description, rig))
    header = demonstration_header("grasp", choice.spec, GRASP_STATE, LATERAL_ACTION, choice.action_repeat, description)
    with ExitStack() as stack:
        stack.enter_context(settled_memory())
        robot = link.connect()
        stack.callback(robot.close)
        if robot.rig_name != rig.name:
            raise PolicyMismatch(f"the server's arm stands in rig {robot.rig_name!r}, robot.toml says {rig.name!r}")
        seen = open_eyes(address, description, rig, choice.spec, eyes, stack, robot_name, data, desk)
        stage = _stage(address, console, stack)
        runner = RobotRun(robot, rig, seen.source, policy, choice.spec, choice.action_repeat, pictures=seen.pictures)
        runner.watcher.on_state = seen.on_state
        runner.watcher.onward = on_step
        runner.watcher.on_waiting = lambda missing: _say(console, f"the arm holds: {missing}")
        record = None
        if recorded_as is not None:
            run = RecordedRun(recorded_as, description, rig, 1.0 / CONTROL_HZ, choice.name)
            clock, demonstration = MonotonicClock(), header if demonstrate else None
            record = stack.enter_context(recording(data_root(), run, clock, lambda t: _say(console, t), demonstration))
            stack.callback(PictureFeed(seen.camera, record.writer).close)
            watch_attempts(runner.watcher, record.writer)
            if demonstrate:
                policy.demonstrator = Demonstrator(record.writer, header, clock)
        runner.go_home()
        attempts: list[AttemptRecord] = []
        for _ in range(episodes):
            if policy.demonstrator is not None:
                policy.demonstrator.begin()
            attempts.append(runner.attempt(stage))
            if policy.demonstrator is not None:
                policy.demonstrator.end(attempts[-1].success, truncated=bool(runner.loop.gave_up))
            advance(attempts[-1])
            if record is not None:
                record.writer.event("attempt", describe_attempt(attempts[-1]))
                record.outcome = f"{sum(a.success for a in attempts)} of {len(attempts)} attempts succeeded"
    truths = _truths(address, attempts)
    held = runner.statistics.commands_held + robot.commands_held + robot.commands_refused
    summary = _summary(attempts, truths, runner.statistics, held, record and record.writer.path)
    return RunOutcome(summary, tuple(attempts), truths, tuple(runner.statistics.work_ms))


def _stage(address: RobotFile, console: Console, stack: ExitStack) -> Stage:
    if not address.stage_endpoint:
        return PersonAtTheArm(console)
    hand = StageHand(address.stage_endpoint)
    stack.callback(hand.close)
    return hand


def _truths(address: RobotFile, attempts: list[AttemptRecord]) -> tuple[bool, ...]:
    """Return what really happened in each attempt, from the lab's truth file; empty on a real arm."""
    if not address.truth_path:
        return ()
    outcomes = {o.attempt: o.success for o in TruthFile.load(Path(address.truth_path)).outcomes}
    return tuple(outcomes[a.number] for a in attempts)


def _summary(
    attempts: list[AttemptRecord],
    truths: tuple[bool, ...],
    statistics: LoopStatistics,
    held: int,
    episode: Path | None,
) -> RunSummary:
    return RunSummary(
        episodes=len(attempts),
        successes=sum(a.success for a in attempts),
        lab_truth_successes=sum(truths) if truths else None,
        agreements=sum(a.success == t for a, t in zip(attempts, truths, strict=True)) if truths else None,
        commands_sent=statistics.commands_sent,
        commands_held=held,
        missed_deadlines=statistics.missed_deadlines,
        loop_hz=round(statistics.loop_hz, 3),
        p99_loop_ms=round(statistics.p99_loop_ms, 3),
        episode=str(episode) if episode is not None else None,
    )


def describe_attempt(attempt: AttemptRecord) -> str:
    """Return what the camera saw of an attempt, in a line."""
    where = "block not seen"
    if attempt.desk_from_block is not None:
        x, y, _ = 1000 * attempt.desk_from_block.position_m
        where = f"block at ({x:+4.0f}, {y:4.0f}) mm"
    verdict = f"lifted {1000 * attempt.rise_m:.0f} mm" if attempt.success else f"failed: {attempt.why}"
    return f"attempt {attempt.number}: {where}, {verdict}, {attempt.duration_s:.1f} s"


def closing(outcome: RunOutcome) -> str:
    """Return what came of a run, in a sentence or two."""
    summary = outcome.summary
    low, high = wilson_interval(summary.successes, summary.episodes)
    text = (
        f"{summary.successes} of {summary.episodes} attempts succeeded ({100 * low:.0f}-{100 * high:.0f} % with 95 % "
        f"confidence), judged by the camera; {summary.commands_sent} commands at {summary.loop_hz:.1f} Hz, "
        f"{summary.missed_deadlines} deadlines missed, p99 of the work in a period {summary.p99_loop_ms:.1f} ms"
    )
    if summary.lab_truth_successes is not None:
        text += f". The lab's truth: {summary.lab_truth_successes}, camera and truth agree on {summary.agreements}."
    return text


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)
