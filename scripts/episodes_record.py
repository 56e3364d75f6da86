"""`tandem episodes record`: demonstrations by the oracle, a trained policy or a person at the keys."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from rich.console import Console
from rich.live import Live

from bridge.episode_decisions import DemonstrationHeader
from bridge.episode_witness import demonstration_header
from bridge.observation import PRIVILEGED, STATE, ObservationSpec
from bridge.ports import Policy
from policies.evaluation import episode_seeds
from scripts.cli import data_root, emit_json, refuse
from scripts.counted_progress import CountedProgress
from scripts.evaluate import PolicyChoice, choose_policy, scripted_choice
from scripts.exit_codes import DONE, FAILED, INTERRUPTED
from scripts.keyboard import keyboard
from scripts.programs.demonstration_record import (
    AttemptClock,
    DemonstratedAttempt,
    Reel,
    SimulationTape,
    record_attempts,
    scene_eye,
)
from scripts.programs.desk_chart import DeskChart
from scripts.programs.episode_recording import RecordedRun, Recording, recording
from scripts.programs.keyboard_policy import STOPS, KeyboardPolicy, Situation
from scripts.simulation import environment_id, observation_spec
from sim.env import ArmEnv
from urdf.errors import ArmError, UnknownName

SIMULATED, KEYBOARD = "sim", "keyboard"


@dataclass(frozen=True)
class EpisodesRecordArgs:
    """Record demonstrations: what a policy, or you, sees and does, attempt by attempt.

    The recording lands in data/episodes and is on the disk as it goes: a crash costs the attempt under way. Ctrl-C
    keeps what is whole. Teleoperation is recorded by `tandem teleop`.
    """

    policy: str = "oracle"
    """oracle, random, hold, blind, keyboard (you, in simulation), a ready-trained policy (`tandem policies`), or a run
    (folder, name or `newest`)."""
    robot: str = SIMULATED
    """`sim`, `lab` (started if none runs), or a robot under data/robots that `tandem serve` serves (grasps)."""
    arm: str | None = None
    """In simulation: dofbot, ur5 or kuka_iiwa (default: the one that the policy was trained on, else dofbot)."""
    task: str | None = None
    """In simulation: reach, grasp or pick-place (default: what the policy was trained for, else grasp)."""
    rig: str | None = None
    """In simulation: how the arm is mounted, such as table or hanging (default: the policy's rig, else table)."""
    episodes: int = 10
    """How many attempts."""
    sees: tuple[str, ...] = ()
    """What is recorded of each observation beside what the policy reads: state, proprioception, or pictures such as
    wrist_depth (depth is kept without loss)."""
    picture_px: int = 64
    """Width and height of these pictures [px]."""
    frames: int = 1
    """How many of the last pictures an observation holds, 1 to 16."""
    randomization: str = "none"
    """In simulation: how far one attempt's world differs from the next one's: none, mild or hard."""
    discount: float = 1.0
    """In simulation: discount of the reward's shaping; 1 as in the presets of `tandem train`."""
    pictures: bool = True
    """In simulation: keep pictures of the scene, 4 a second, for the contact sheet."""
    seed: int = 1000
    """Seed of the attempts; on the lab's arm, of its hidden truth where this command starts the lab."""
    key: Path | None = None
    """Our key file, where the arm is served with keys (`tandem keys new`). Default: as robot.toml says."""
    take_over: bool = False
    """Take control from whoever has it."""
    json: bool = False
    """Print one JSON object as the last line of stdout."""


class RecordSummary(msgspec.Struct, frozen=True):
    """The JSON line: attempts that are whole in the recording, and how many of them succeeded."""

    episode: str
    robot: str
    arm: str
    task: str
    policy: str
    attempts: int
    successes: int
    wall_s: float = 0.0


@dataclass(slots=True)
class _Count:
    """What came of the attempts so far."""

    console: Console
    progress: CountedProgress
    attempts: list[DemonstratedAttempt] = field(default_factory=lambda: [])

    @property
    def whole(self) -> int:
        """Attempts that have an end."""
        return sum(attempt.success is not None for attempt in self.attempts)

    @property
    def successes(self) -> int:
        """Attempts that succeeded."""
        return sum(bool(attempt.success) for attempt in self.attempts)

    def advance(self, attempt: DemonstratedAttempt) -> None:
        """Take in one attempt."""
        self.attempts.append(attempt)
        self.progress.advance(f"{self.successes} succeeded")


def run(args: EpisodesRecordArgs) -> int:
    """Record; return the exit code."""
    console = Console(stderr=args.json)
    for option, value, least in (("episodes", args.episodes, 1), ("seed", args.seed, 0)):
        if value < least:
            return refuse(f"tandem episodes record: --{option} must be at least {least}, got {value}")
    start_s = time.monotonic()
    if args.robot == SIMULATED:
        exit_code, summary = _in_simulation(args, console)
    else:
        from scripts.episodes_record_robot import record_on_robot  # a simulation needs none of what it needs

        exit_code, summary = record_on_robot(args, console)
    _say(console, f"next: tandem episodes stats {Path(summary.episode).stem}")
    emit_json(msgspec.structs.replace(summary, wall_s=round(time.monotonic() - start_s, 3)), args.json)
    return exit_code


def _in_simulation(args: EpisodesRecordArgs, console: Console) -> tuple[int, RecordSummary]:
    choice = _choose(args)
    tape, exit_code = SimulationTape(), DONE
    with _open(args, choice, tape) as env, CountedProgress(console, "attempts", args.episodes) as progress:
        policy_of = None if args.policy == KEYBOARD else _policies(choice, env)
        clock, count = AttemptClock(env.robot), _Count(console, progress)
        header = _header(args, choice, env)
        run = RecordedRun(SIMULATED, env.description, env.rig, 1.0 / env.control_rate_hz, choice.name)
        record: Recording | None = None
        try:
            with recording(data_root(), run, clock, lambda text: _say(console, text), header) as record:
                reel = Reel(record.writer, clock, scene_eye(env) if args.pictures else None)
                try:
                    _play_all(args, env, tape, reel, header, policy_of, count)
                finally:
                    record.outcome = f"{count.successes} of {count.whole} attempts succeeded"
        except KeyboardInterrupt:
            if record is None:
                raise
            exit_code = INTERRUPTED
            _say(console, "tandem episodes record: interrupted; what is whole is kept")
    if record.tally is not None and record.tally.dropped + record.tally.lost:
        _say(console, f"{record.writer.path} has holes: make room on the disk and record again")
        exit_code = FAILED
    _say(console, f"{choice.arm} {choice.task}, {choice.name}: {record.outcome}")
    path, whole = str(record.writer.path), (count.whole, count.successes)
    return exit_code, RecordSummary(path, SIMULATED, choice.arm, choice.task, choice.name, *whole)


def _choose(args: EpisodesRecordArgs) -> PolicyChoice:
    if args.policy == KEYBOARD:
        return scripted_choice(KEYBOARD, args.rig, args.arm, args.task)
    try:
        return choose_policy(args.policy, args.rig, args.arm, args.task)
    except UnknownName as unknown:
        raise UnknownName("policy", args.policy, [KEYBOARD, *unknown.valid]) from None


def _seen(args: EpisodesRecordArgs, read: ObservationSpec) -> ObservationSpec:
    """Return what the policy reads and, besides, what is asked for."""
    if PRIVILEGED in args.sees:
        raise ArmError(f"--sees {PRIVILEGED}: no arm could show that; record what a policy can see")
    asked = observation_spec((*args.sees, STATE), args.picture_px, args.frames)
    keys = [view.key for view in read.views]
    return dataclasses.replace(
        read,
        state=read.state or STATE in args.sees,
        proprioception=read.proprioception or asked.proprioception,
        views=(*read.views, *(view for view in asked.views if view.key not in keys)),
        frames=read.frames if read.views else args.frames,
    )


@contextmanager
def _open(args: EpisodesRecordArgs, choice: PolicyChoice, tape: SimulationTape) -> Generator[ArmEnv]:
    env = ArmEnv(
        arm=choice.arm,
        task=choice.task,
        rig=choice.rig,
        spec=_seen(args, choice.spec),
        action_repeat=choice.action_repeat,
        randomization=args.randomization,
        discount=args.discount,
        recorder=tape,
    )
    try:
        yield env
    finally:
        env.close()


def _policies(choice: PolicyChoice, env: ArmEnv) -> Callable[[int], Policy]:
    """Return who plays the attempt with a seed; raises PolicyMismatch before anything is recorded."""
    trained = choice.make_policy(env, 0)
    return (lambda _: trained) if choice.folder is not None else lambda seed: choice.make_policy(env, seed)


def _header(args: EpisodesRecordArgs, choice: PolicyChoice, env: ArmEnv) -> DemonstrationHeader:
    layouts = env.observation_layout, env.action_layout
    header = demonstration_header(choice.task, env.observation_spec, *layouts, env.action_repeat, env.description)
    return msgspec.structs.replace(
        header,
        environment=environment_id(choice.arm, choice.task),
        randomization=args.randomization,
        discount=args.discount,
        seed=args.seed,
    )


def _play_all(
    args: EpisodesRecordArgs,
    env: ArmEnv,
    tape: SimulationTape,
    reel: Reel,
    header: DemonstrationHeader,
    policy_of: Callable[[int], Policy] | None,
    count: _Count,
) -> None:
    seeds = episode_seeds(args.seed, args.episodes)
    if policy_of is not None:
        record_attempts(env, tape, reel, header, seeds, policy_of, count.advance)
        return
    chart = DeskChart(env, colors=count.console.color_system is not None)
    with keyboard(STOPS) as keys, Live(console=count.console, auto_refresh=False, transient=True) as live:

        def show(situation: Situation) -> None:
            remark = f"attempt {len(count.attempts) + 1} of {args.episodes}, {count.successes} succeeded"
            live.update(chart.draw(situation, remark), refresh=True)

        person = KeyboardPolicy(env.action_layout, keys, show)

        def begin(_: int) -> Policy:
            person.begin()
            return person

        record_attempts(env, tape, reel, header, seeds, begin, count.advance)


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)
