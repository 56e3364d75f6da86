"""How quickly our learners update, how soon they grasp, and whether they stay good: against what was promised.

The whole of it takes hours. Trainings that are finished are kept, with their settings, in train_runs.jsonl: begun
again, only what is missing is run.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import msgspec
import torch

from policies.config import TrainConfig
from policies.learner_config import SacConfig
from policies.presets import PRESETS, find_preset
from scripts.cli import data_root
from scripts.programs import bench_pendulum, bench_ppo, updates_race
from scripts.programs.figures import Row, at_least, at_most
from scripts.programs.timed_run import Asked, KeptRuns, TimedRun

Progress = Callable[[str, float], None]

SEEDS = (0, 1, 2)
RATE, EPISODES = 0.95, 200
_STATE_LIMIT_MIN, _DEPTH_LIMIT_MIN, _RECORD_LIMIT_MIN = 15.0, 45.0, 20.0
_PICK_PLACE_RATE, _PICK_PLACE_MIN = 0.9, 30.0
_FURTHER, _COMPARED = 20, 5
#: So far the curves of depth go on after they were good enough.
_SHOWN = 3
_COLLAPSE_SEED = 1_000_000
_GOAL = f"minutes to {100 * RATE:.0f} % ({EPISODES} episodes, full area, randomisation mild)"


class Promise(Protocol):
    """A figure that can be measured by itself."""

    @property
    def figure(self) -> str:
        """What its row is called."""
        ...

    def measure(self, runs: KeptRuns, on_progress: Progress) -> Row:
        """Return its row."""
        ...


# What is timed -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Timed:
    """Minutes until the rate, evaluations included, the median of the runs. One without success counts as its limit."""

    figure: str
    asked: tuple[Asked, ...]
    bar_min: float
    note: str = ""

    def measure(self, runs: KeptRuns, on_progress: Progress) -> Row:
        """Run what is not kept."""
        found = run_all(self.figure, self.asked, runs, on_progress)
        text = "; ".join([*map(told, found), *([self.note] if self.note else [])])
        return at_most(self.figure, median_minutes(found), "min", self.bar_min, text)


@dataclass(frozen=True, slots=True)
class Ratio:
    """What the median run of ours takes, of what the median run of another learner takes."""

    figure: str
    ours: tuple[Asked, ...]
    theirs: tuple[Asked, ...]
    bar: float
    note: str = ""

    def measure(self, runs: KeptRuns, on_progress: Progress) -> Row:
        """Run what is not kept."""
        found = run_all(self.figure, (*self.ours, *self.theirs), runs, on_progress)
        mine, others = found[: len(self.ours)], found[len(self.ours) :]
        text = f"{median_minutes(mine):.2f} / {median_minutes(others):.2f} min; {self.note}; "
        text += f"ours: {'; '.join(map(told, mine))}; theirs: {'; '.join(map(told, others))}"
        return at_most(self.figure, median_minutes(mine) / median_minutes(others), "", self.bar, text)


@dataclass(frozen=True, slots=True)
class Lasting:
    """How much worse a run is at the end than at its best, over the evaluations after it was good enough."""

    figure: str
    asked: Asked
    bar: float

    def measure(self, runs: KeptRuns, on_progress: Progress) -> Row:
        """Run what is not kept."""
        (run,) = run_all(self.figure, (self.asked,), runs, on_progress)
        if run.reached is None:
            return at_least(self.figure, None, "", self.bar, told(run))
        after = run.rates[run.reached + 1 :]
        last = statistics.median(after[-_COMPARED:])
        best = statistics.median(sorted(after)[-_COMPARED:])
        return at_least(
            self.figure, last - best, "", self.bar,
            f"{len(after)} evaluations of the same {run.asked.episodes} episodes, every "
            f"{run.asked.config.evaluate_every:,} decisions: median of the last {_COMPARED} {last:.3f}, of the best "
            f"{best:.3f}, the worst of all {min(after):.3f}; {told(run)}",
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Success:
    """The best success of any evaluation within the time that a run has."""

    figure: str
    asked: Asked
    bar: float

    def measure(self, runs: KeptRuns, on_progress: Progress) -> Row:
        """Run what is not kept."""
        (run,) = run_all(self.figure, (self.asked,), runs, on_progress)
        return at_least(self.figure, max(run.rates, default=None), "", self.bar, told(run))


@dataclass(frozen=True, slots=True)
class Quick:
    """A figure that is measured in a minute or two, and not kept."""

    figure: str
    bar: float
    take: Callable[[str, float, Progress], Row]

    def measure(self, runs: KeptRuns, on_progress: Progress) -> Row:
        """Measure it."""
        return self.take(self.figure, self.bar, on_progress)


@dataclass(frozen=True, slots=True)
class Missing:
    """A figure of a preset that there is not."""

    figure: str
    preset: str
    bar_min: float

    def measure(self, runs: KeptRuns, on_progress: Progress) -> Row:
        """Say so."""
        return at_most(self.figure, None, "min", self.bar_min, f"there is no preset {self.preset}")


def run_all(figure: str, asked: Sequence[Asked], runs: KeptRuns, on_progress: Progress) -> list[TimedRun]:
    """Return the runs in order: those that are kept, and those that are run now."""
    found: list[TimedRun] = []
    for number, one in enumerate(asked, 1):
        what = f"{figure} ({number}/{len(asked)}, seed {one.seed})"
        found.append(runs.time_to(one, lambda share, what=what: on_progress(what, share)))
    return found


def median_minutes(runs: Sequence[TimedRun]) -> float:
    """Return the median minutes, evaluations included; a run that never got there counts as its limit."""
    took_s = [run.asked.limit_s if run.reached is None else run.training_s + run.evaluation_s for run in runs]
    return statistics.median(took_s) / 60


def told(run: TimedRun) -> str:
    """Return how a run went."""
    judged_min, learnt_min = run.evaluation_s / 60, run.training_s / 60
    where = f"seed {run.asked.seed} at commit {run.git_commit[:7]}"
    if run.reached is None:
        best = max(run.rates, default=0.0)
        limit = f"counts as {run.asked.limit_s / 60:g}"
        return f"{where}: NOT REACHED in {learnt_min:.2f} min of learning (best {100 * best:.1f} %), {limit}"
    return (
        f"{where}: {learnt_min:.2f} min of learning + {judged_min:.2f} min in {run.reached + 1} evaluations = "
        f"{learnt_min + judged_min:.2f} min, {run.decisions:,} decisions"
    )


# What is promised ----------------------------------------------------------------------------------------------------


def state_grasp() -> TrainConfig:
    """Return the settings of the grasp from state, trained and judged under mild randomisation."""
    return mild(find_preset("grasp"), 500)


def mild(config: TrainConfig, evaluate_every: int) -> TrainConfig:
    """Return the settings with mild randomisation wherever it is drawn, and so many decisions between evaluations."""
    return replace(config, randomization="mild", judged_randomization="mild", evaluate_every=evaluate_every)


def sb3_grasp() -> TrainConfig:
    """Return the same task learnt by Stable-Baselines3's SAC with the defaults that its users have.

    One update per decision; neither rewards scaled nor weights averaged, which its users do not do either. One torch
    thread, with which it is quicker beside two processes that simulate.
    """
    defaults = SacConfig(
        hidden=(256, 256),
        learning_rate=3e-4,
        batch_size=256,
        updates_per_decision=1.0,
        warm_up=100,
        capacity=1_000_000,
        steps=1,
        target_rate=0.005,
        averaging_rate=1.0,
        initial_temperature=1.0,
        entropy_per_action=-1.0,
    )
    return replace(state_grasp(), algo="sb3-sac", sac=defaults, reward_scale=1.0, torch_threads=1)


def asked(
    preset: str, config: TrainConfig, seeds: Sequence[int], limit_min: float, further: int = 0
) -> tuple[Asked, ...]:
    """Return what is timed, once for each seed; `further` evaluations follow, for the curves."""
    limit_s = 60 * limit_min
    return tuple(Asked(config, seed, RATE, EPISODES, limit_s, further, preset=preset) for seed in seeds)


def promises() -> Sequence[Promise]:
    """Return all that is promised."""
    state = asked("grasp", state_grasp(), SEEDS, _STATE_LIMIT_MIN)
    return (
        Quick("SAC updates/s, MLP 256x256, batch 256, ours / SB3", 2.0, updates_race.mlp_against_sb3),
        Quick("SAC updates/s, MLP 256x256, batch 256, ours / SBX", 1.0, updates_race.mlp_against_sbx),
        Quick(
            "depth actor-critic updates/s at batch 128, ours / SB3 CnnPolicy", 8.0, updates_race.depth_against_sb3
        ),
        *_of_seeds("state grasp", state, 3.0),
        *_of_preset("depth-asym", 15.0, SEEDS, _DEPTH_LIMIT_MIN),
        *_of_preset("depth-distill", 15.0, SEEDS, _DEPTH_LIMIT_MIN),
        *_of_record("depth-sac", SEEDS[:1], _RECORD_LIMIT_MIN),
        Ratio(
            "state grasp: ours / SB3 SAC, time to 95 %",
            state,
            asked("grasp by sb3-sac", sb3_grasp(), SEEDS, _STATE_LIMIT_MIN),
            0.5,
            "SB3 with its defaults (256x256, 3e-4, batch 256) and 1 update per decision, in the same worlds",
        ),
        *(_lasting(state_grasp(), "state grasp", seed, -0.03) for seed in SEEDS),
        *(_lasting(config, label, seed, -1.0) for label, config in _without_measures() for seed in SEEDS),
        *(_of_arm(task, arm) for arm in ("ur5", "kuka_iiwa") for task in ("reach", "grasp")),
        _of_pick_place(),
        Quick("PPO CartPole-v1 mean return, worst of 3 seeds", bench_ppo.BAR, _cartpole),
        Quick("SAC Pendulum-v1 mean return", bench_pendulum.BAR, bench_pendulum.measure),
    )  # fmt: skip


def _of_seeds(label: str, runs: tuple[Asked, ...], bar_min: float) -> Iterator[Promise]:
    """Yield a promise for each seed, and one for their median."""
    for one in runs:
        yield Timed(f"{label}: {_GOAL}, seed {one.seed}", (one,), bar_min)
    yield Timed(f"{label}: {_GOAL}, median of seeds", runs, bar_min)


def _of_preset(preset: str, bar_min: float, seeds: Sequence[int], limit_min: float) -> Iterator[Promise]:
    label = f"{preset} grasp from 64x64 wrist depth"
    if preset in PRESETS:
        yield from _of_seeds(label, asked(preset, mild(find_preset(preset), 1_000), seeds, limit_min, _SHOWN), bar_min)
    else:
        yield Missing(f"{label}: {_GOAL}, median of seeds", preset, bar_min)


def _of_record(preset: str, seeds: Sequence[int], limit_min: float) -> Iterator[Promise]:
    """Yield what is measured for the record, where there is such a preset: the limit is no promise."""
    if preset in PRESETS:
        runs = asked(preset, mild(find_preset(preset), 1_000), seeds, limit_min, _SHOWN)
        figure = f"{preset} grasp from 64x64 wrist depth: {_GOAL}, for the record"
        yield Timed(figure, runs, limit_min, f"nothing is promised: {limit_min:g} min is all that it may take")


def _without_measures() -> Iterator[tuple[str, TrainConfig]]:
    """Yield the grasp without each of the measures against collapse: for the record, whether they matter."""
    config = state_grasp()
    yield "without layer norms, for the record", replace(config, sac=replace(config.sac, layer_norm=False))
    yield "without running average, for the record", replace(config, sac=replace(config.sac, averaging_rate=1.0))


def _lasting(config: TrainConfig, label: str, seed: int, bar: float) -> Promise:
    # Every evaluation in full: what is compared must be the same episodes.
    config = replace(config, screening_episodes=0)
    (one,) = asked("grasp", config, (seed,), _STATE_LIMIT_MIN)
    kept_up = Asked(config, seed, one.rate, one.episodes, one.limit_s, _FURTHER, _COLLAPSE_SEED, one.preset)
    return Lasting(f"{label}: no collapse after {100 * RATE:.0f} %, seed {seed}", kept_up, bar)


def _of_arm(task: str, arm: str) -> Promise:
    config = replace(find_preset(task if task in PRESETS else "grasp"), task=task, arm=arm, evaluate_every=500)
    figure = f"{arm} {task} from state: minutes to {100 * RATE:.0f} % ({EPISODES} episodes, full area)"
    note = f"randomisation {config.randomization} in training, {config.judged_randomization} in evaluation"
    return Timed(figure, asked(f"{task} {arm}", config, (0,), _STATE_LIMIT_MIN), 5.0, note)


def _of_pick_place() -> Promise:
    config = mild(find_preset("pick-place"), 8_000)
    (one,) = asked("pick-place", config, SEEDS[:1], _PICK_PLACE_MIN)
    figure = f"pick-place from state: best success within {_PICK_PLACE_MIN:g} min of learning"
    return Success(figure, msgspec.structs.replace(one, rate=_PICK_PLACE_RATE), _PICK_PLACE_RATE)


def _cartpole(figure: str, bar: float, on_progress: Progress) -> Row:
    torch.set_num_threads(1)
    returns: list[float] = []
    for seed in bench_ppo.SEEDS:
        returns.append(bench_ppo.cartpole(seed))
        on_progress(figure, len(returns) / len(bench_ppo.SEEDS))
    text = f"seeds {', '.join(map(str, bench_ppo.SEEDS))}: {', '.join(f'{value:.1f}' for value in returns)}"
    return at_least(figure, min(returns), "", bar, f"{text}; 100 episodes after {bench_ppo.FRAMES:,} decisions")


def measure(
    on_progress: Progress, only: str = "", promised: Sequence[Promise] | None = None, runs: KeptRuns | None = None
) -> Iterator[Row]:
    """Yield the rows whose figure contains `only`, as they are measured."""
    runs = runs or KeptRuns(data_root() / "bench" / "train_runs.jsonl")
    for promise in promises() if promised is None else promised:
        if only in promise.figure:
            yield promise.measure(runs, on_progress)
