"""`tandem evaluate`: count how often a policy succeeds in simulation, with the interval that the count supports."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bridge.encoding import ObservationLayout
from bridge.observation import ObservationSpec
from bridge.ports import Policy
from policies.artifact import MANIFEST_NAME
from policies.errors import ArtifactError
from policies.evaluation import episode_seeds, play, wilson_interval
from policies.onnx_policy import OnnxPolicy
from policies.scripted import SCRIPTED_NAMES, scripted_policy
from policies.shipped import MADE_NAME, shipped_folders
from scripts.cli import data_root, emit_json, refuse, resolve_run, run_folders
from scripts.exit_codes import DONE
from scripts.programs.area_map import Area, PlacedEpisode, Region, area_of, count_regions, place_of
from scripts.programs.area_plot import draw_area_map
from scripts.programs.picture_file import check_picture
from sim.env import STATE_ONLY, ArmEnv
from urdf.errors import ArmError, UnknownName

DEFAULT_ARM, DEFAULT_TASK = "dofbot", "grasp"


@dataclass(frozen=True)
class EvaluateArgs:
    """Count how often a policy succeeds in simulation. Episode k is the same whatever the number of workers."""

    policy: str = "newest"
    """A run (folder, name or `newest`), a ready-trained policy (`tandem policies`), or oracle, random, hold, blind."""
    arm: str | None = None
    """Which arm, such as dofbot, ur5 or kuka_iiwa (default: the one that the policy was trained on, else dofbot)."""
    task: str | None = None
    """What to do: reach, grasp or pick-place (default: what the policy was trained for, else grasp)."""
    rig: str | None = None
    """How the arm is mounted, such as table or hanging (default: the policy's rig, else table)."""
    episodes: int = 200
    """How many episodes."""
    seed: int = 1000
    """Seed of the episodes."""
    workers: int = 0
    """Processes (0: one per core)."""
    map: bool = False
    """Draw success by place: the area in cells, and every episode where its object lay (reach: where its goal was)."""
    out: Path | None = None
    """Where to write that map, .png, .pdf or .svg (default: under evaluation/ in the run, or in the data folder)."""
    json: bool = False
    """Print one JSON object as the last line of stdout."""


class EvaluateSummary(msgspec.Struct, frozen=True, omit_defaults=True):
    """The JSON line; with --map also its file, and the cells in metres of the desk frame."""

    success_rate: float
    successes: int
    episodes: int
    wilson_low: float
    wilson_high: float
    wall_s: float
    map: str | None = None
    regions: tuple[Region, ...] | None = None


@dataclass(frozen=True, slots=True)
class PolicyChoice:
    """Which policy to play, and on which arm, in which rig, at which task; what a worker process is told."""

    scripted: str
    folder: Path | None
    rig: str
    action_repeat: int
    arm: str = DEFAULT_ARM
    task: str = DEFAULT_TASK
    spec: ObservationSpec = STATE_ONLY
    """What the policy reads."""

    @property
    def run_folder(self) -> Path | None:
        """The run that trained it; None for a scripted or a shipped policy."""
        return None if self.folder is None or (self.folder / MADE_NAME).exists() else self.folder.parent

    @property
    def name(self) -> str:
        """What the policy is called: a trained one as its run."""
        return self.scripted if self.folder is None else (self.run_folder or self.folder).resolve().name

    def make_env(self) -> ArmEnv:
        """Return a new environment that fits the policy; raises UnknownName."""
        return ArmEnv(arm=self.arm, task=self.task, rig=self.rig, spec=self.spec, action_repeat=self.action_repeat)

    def make_policy(self, env: ArmEnv, seed: int) -> Policy:
        """Return the policy; raises PolicyMismatch where it was trained for something else."""
        if self.folder is None:
            return self.make_scripted(env.observation_layout, len(env.action_layout.names), seed)
        policy = OnnxPolicy(self.folder)
        policy.check(env.description, env.rig.name, env.observation_layout, env.observation_spec)
        action = env.action_layout
        policy.check_control(action.name, action.version, action.names, env.control_rate_hz)
        return policy

    def make_scripted(self, layout: ObservationLayout, action_size: int, seed: int) -> Policy:
        """Return the scripted policy of this choice."""
        rng = np.random.default_rng([seed, 1])  # not the stream that places the block
        return scripted_policy(self.scripted, layout, action_size, self.action_repeat, rng)


#: Decisions of the scripted policies last this many control periods, as those of the `grasp` preset.
SCRIPTED_ACTION_REPEAT = 3


def choose_policy(name: str, rig: str | None, arm: str | None = None, task: str | None = None) -> PolicyChoice:
    """Return the policy that a name means; raises UnknownName with every name there is. Runs come first.

    What is None follows a trained policy's manifest; `make_policy` refuses what it was not made for.
    """
    if name in SCRIPTED_NAMES:
        return scripted_choice(name, rig, arm, task)
    try:
        folder = _newest_policy() if name == "newest" else resolve_run(name) / "policy"
    except UnknownName as unknown:
        shipped = {folder.name: folder for folder in shipped_folders()}
        if name not in shipped:
            raise UnknownName("policy", name, [*SCRIPTED_NAMES, *shipped, *unknown.valid]) from None
        folder = shipped[name]
    policy = OnnxPolicy(folder)
    manifest = policy.manifest
    return PolicyChoice(
        "", folder, rig or manifest.rig, manifest.action_repeat, arm or manifest.arm, task or manifest.task, policy.spec
    )


def scripted_choice(name: str, rig: str | None, arm: str | None = None, task: str | None = None) -> PolicyChoice:
    """Return a policy that nobody trained; what is None is the Dofbot, on its table, at the grasp."""
    return PolicyChoice(name, None, rig or "table", SCRIPTED_ACTION_REPEAT, arm or DEFAULT_ARM, task or DEFAULT_TASK)


def _newest_policy() -> Path:
    """Return the policy of the newest run that exported one; raises UnknownName."""
    for folder in run_folders():
        if (folder / "policy" / MANIFEST_NAME).exists():
            return folder / "policy"
    ready = [folder.name for folder in shipped_folders()]
    raise ArtifactError(
        f"no run under {data_root() / 'runs'} has a policy yet: train one with `tandem train` (or set TANDEM_DATA), or "
        f"give a ready-trained one, `--policy dofbot-grasp-state`; valid: {', '.join([*ready, *SCRIPTED_NAMES])}"
    )


def run(args: EvaluateArgs) -> int:
    """Evaluate; return the exit code."""
    console = Console(stderr=args.json)
    for option, value, least in (("episodes", args.episodes, 1), ("seed", args.seed, 0), ("workers", args.workers, 0)):
        if value < least:
            return refuse(f"tandem evaluate: --{option} must be at least {least}, got {value}")
    choice = choose_policy(args.policy, args.rig, args.arm, args.task)
    path = _map_path(args, choice)
    area = _check(choice, args.map)
    start = time.monotonic()
    with _progress(console, args, choice) as advance:
        episodes = evaluate_places(choice, args.episodes, args.seed, args.workers, advance)
    successes = sum(episode.success for episode in episodes)
    low, high = wilson_interval(successes, args.episodes)
    wall_s = round(time.monotonic() - start, 3)
    _tell(
        console,
        f"{choice.arm} {choice.task}, {args.policy} on rig {choice.rig}: {successes} of {args.episodes} episodes "
        f"succeeded ({100 * low:.1f}-{100 * high:.1f} % with 95 % confidence), {wall_s:.0f} s",
    )
    summary = EvaluateSummary(successes / args.episodes, successes, args.episodes, low, high, wall_s)
    if path is not None and area is not None:
        regions = _draw_map(choice, args, area, episodes, path)
        _tell(console, f"Map: {path}")
        summary = msgspec.structs.replace(summary, map=str(path), regions=regions)
    emit_json(summary, args.json)
    return DONE


def _tell(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def _map_path(args: EvaluateArgs, choice: PolicyChoice) -> Path | None:
    """Return where the map goes, if there is to be one; raises ArmError where it cannot."""
    if not args.map:
        if args.out is not None:
            raise ArmError(f"--out {args.out} is the file of the map: add --map")
        return None
    folder = (choice.run_folder or data_root()) / "evaluation"
    who = f"{choice.name}_" if choice.run_folder is None else ""
    name = f"{who}{choice.arm}_{choice.task}_{choice.rig}_seed{args.seed}_{args.episodes}.png"
    path = args.out or folder / name
    check_picture(path, "a map")
    return path


def _draw_map(
    choice: PolicyChoice, args: EvaluateArgs, area: Area, episodes: Sequence[PlacedEpisode], path: Path
) -> tuple[Region, ...]:
    """Draw success by place; return the cells."""
    regions = count_regions(episodes, area)
    draw_area_map(episodes, regions, area, f"{choice.arm} {choice.task}, rig {choice.rig}, {choice.name}", path)
    return tuple(regions)


def _check(choice: PolicyChoice, placed: bool) -> Area | None:
    """Refuse what does not fit before any worker starts; return where its episodes are `placed`, if that is asked."""
    env = choice.make_env()
    try:
        choice.make_policy(env, 0)
        if not placed:
            return None
        env.reset(seed=0)
        return area_of(env.rig, env.scene)
    finally:
        env.close()


def evaluate_policy(
    choice: PolicyChoice, episodes: int, seed: int, workers: int, advance: Callable[[bool], None]
) -> list[bool]:
    """Return whether each of the episodes succeeded; `advance(success)` follows the progress."""
    return [episode.success for episode in evaluate_places(choice, episodes, seed, workers, advance)]


def evaluate_places(
    choice: PolicyChoice, episodes: int, seed: int, workers: int, advance: Callable[[bool], None]
) -> list[PlacedEpisode]:
    """Return whether each of the episodes succeeded and where its object lay; `advance(success)` follows."""
    seeds = episode_seeds(seed, episodes)
    count = min(workers or os.cpu_count() or 1, episodes)
    outcomes: list[PlacedEpisode] = []
    context = multiprocessing.get_context("spawn")
    with context.Pool(count, initializer=_begin_worker, initargs=(choice,)) as pool:
        for outcome in pool.imap(_play_one, seeds, chunksize=4):
            outcomes.append(outcome)
            advance(outcome.success)
    return outcomes


class AdvanceCallback:
    """Counts episodes into a progress bar."""

    def __init__(self, progress: Progress | None = None, label: str = "") -> None:
        self._progress = progress
        self._label = label
        self._successes = self._done = 0
        self._task = progress.add_task(label, total=None) if progress else None

    def expect(self, total: int) -> None:
        """Set how many episodes there will be."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, total=total)

    def __call__(self, success: bool) -> None:
        """Count one more episode."""
        self._done += 1
        self._successes += success
        if self._progress is not None and self._task is not None:
            text = f"{self._label}: {100 * self._successes / self._done:.0f} % success"
            self._progress.update(self._task, advance=1, description=text)


@contextmanager
def _progress(console: Console, args: EvaluateArgs, choice: PolicyChoice) -> Iterator[AdvanceCallback]:
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        advance = AdvanceCallback(
            progress, f"Evaluating {args.policy} at {choice.arm} {choice.task} on rig {choice.rig}"
        )
        advance.expect(args.episodes)
        yield advance


_worker: tuple[PolicyChoice, ArmEnv, Policy | None] | None = None


def _begin_worker(choice: PolicyChoice) -> None:
    global _worker  # a pool's worker has no other place for its environment
    env = choice.make_env()
    _worker = (choice, env, choice.make_policy(env, 0) if choice.folder else None)


def _play_one(seed: int) -> PlacedEpisode:
    assert _worker is not None
    choice, env, policy = _worker
    success = play(policy or choice.make_policy(env, seed), env, seed)[0]
    return PlacedEpisode(success, place_of(env.scene))
