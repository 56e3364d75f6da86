"""How long a training takes until it is good: `policies.training` itself, with a stopwatch beside it."""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from policies.config import TrainConfig
from policies.ledger import Progress
from policies.training import Hooks, train
from scripts.programs.demonstrated import read_demonstrated
from scripts.programs.figures import machine
from scripts.provenance import git_commit, versions
from scripts.run_folder import SCHEMA, RunConfig, create_run_folder, utc_now
from scripts.simulation import judged, judging_worlds, simulated, training_worlds
from scripts.train import manifest_for
from sim.vector_worker import WorldFactory

#: Decisions or evaluations that no run comes to: the stopwatch ends it.
_NEVER = 1_000_000_000
_RIG = "table"

Environments = Callable[[TrainConfig, str], WorldFactory]


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a training is timed to: an evaluation of `episodes` of which `rate` succeed, within `limit_s` of learning.

    It goes on for `further` evaluations after that. With an `evaluation_seed` all of them play the same episodes.
    """

    config: TrainConfig
    seed: int
    rate: float
    episodes: int
    limit_s: float
    further: int = 0
    evaluation_seed: int | None = None
    #: What curves call it.
    preset: str = "timed"


class TimedRun(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How one training went: times and decisions until the evaluation that reached the rate, or until the limit.

    `training_s` begins when the worlds stand and leaves out `evaluation_s`. `rates` are those of all evaluations, where
    one that its first episodes ended has theirs; `reached` is the index of the first that was good enough.
    """

    asked: Asked
    git_commit: str
    machine: str
    ended_utc: str
    reached: int | None
    training_s: float
    evaluation_s: float
    decisions: int
    rates: tuple[float, ...]


def time_to(
    asked: Asked,
    data: Path,
    environments: Environments = simulated,
    on_share: Callable[[float], None] = lambda share: None,
) -> TimedRun:
    """Train until it is as good as asked, or for as long as it may; `on_share` hears how much of that is spent.

    Its curves stay in a run folder under `data`, for `tandem plot`.
    """
    config = dataclasses.replace(
        asked.config,
        evaluation_episodes=asked.episodes,
        stop_evaluations=_NEVER,
        max_decisions=_NEVER,
    )
    factory = environments(config, _RIG)
    judged_in = judged(config, _RIG) if environments is simulated else factory
    commit = git_commit()
    record = RunConfig(SCHEMA, asked.preset, _RIG, asked.seed, config, commit, versions(), utc_now())
    manifest = manifest_for(record, judged_in)
    demonstrations = read_demonstrated(config, manifest, data)
    folder = create_run_folder(data, record)
    with (
        closing(training_worlds(factory, config)) as simulations,
        closing(judging_worlds(judged_in, config)) as judges,
    ):
        watch = _Stopwatch(asked, on_share)
        hooks = Hooks(watch.follow, should_stop=watch.is_over, evaluation_seed=asked.evaluation_seed)
        curriculum = simulations.curriculum
        train(
            config, simulations, judges, folder, manifest, asked.seed, hooks, curriculum=curriculum,
            demonstrations=demonstrations,
        )  # fmt: skip
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)  # the replay is most of what a run leaves
    return TimedRun(
        asked, commit, machine(), utc_now(), watch.reached, watch.at.learnt_s, watch.at.judged_s, watch.at.decisions,
        tuple(watch.rates),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Lap:
    learnt_s: float = 0.0
    judged_s: float = 0.0
    decisions: int = 0


@dataclass(slots=True)
class _Stopwatch:
    """Tells learning from judging by what a run reports, and ends it."""

    asked: Asked
    on_share: Callable[[float], None]
    rates: list[float] = field(default_factory=list)
    reached: int | None = None
    #: The last report, or the one of the evaluation that reached the rate.
    at: _Lap = _Lap()
    _began_s: float = field(default_factory=time.monotonic)
    _judged_s: float = 0.0
    _judging_since_s: float | None = None

    @property
    def learnt_s(self) -> float:
        """How long the run has learnt; stands still while it is judged."""
        now_s = time.monotonic() if self._judging_since_s is None else self._judging_since_s
        return now_s - self._began_s - self._judged_s

    def follow(self, progress: Progress) -> None:
        """Take in a report."""
        rate: float | None = None
        if progress.phase == "evaluate":
            self._judging_since_s = time.monotonic()
        elif self._judging_since_s is not None:
            self._judged_s += time.monotonic() - self._judging_since_s
            self._judging_since_s, rate = None, progress.evaluations[-1].success_rate if progress.evaluations else None
        if self.reached is None:
            self.at = _Lap(self.learnt_s, self._judged_s, progress.decisions)
        if rate is not None:
            self.rates.append(rate)
            if self.reached is None and rate >= self.asked.rate:
                self.reached = len(self.rates) - 1
        self.on_share(min(1.0, self.learnt_s / self.asked.limit_s))

    def is_over(self) -> bool:
        """Whether the run has shown what it was asked for, or has had its time."""
        if self.reached is None:
            return self.learnt_s >= self.asked.limit_s
        return len(self.rates) - 1 - self.reached >= self.asked.further


class KeptRuns:
    """Finished runs in a file, one JSON object a line: what is asked a second time on this machine is not run again.

    Their curves lie in `runs/` beside it.

    A line that asks for anything else, or was written by another version of these records, counts for nothing.
    """

    def __init__(self, path: Path, environments: Environments = simulated) -> None:
        self._path, self._environments = path, environments

    def time_to(self, asked: Asked, on_share: Callable[[float], None] = lambda share: None) -> TimedRun:
        """Return the kept run, or run it now and keep it."""
        kept = self._kept(asked)
        if kept is None:
            kept = time_to(asked, self._path.parent, self._environments, on_share)
            self._keep(kept)
        on_share(1.0)
        return kept

    def _kept(self, asked: Asked) -> TimedRun | None:
        lines = self._path.read_bytes().splitlines() if self._path.exists() else []
        runs = [run for run in map(_read, lines) if run and (run.asked, run.machine) == (asked, machine())]
        return runs[-1] if runs else None

    def _keep(self, run: TimedRun) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab") as file:
            # A line of its own, whatever a power cut left of the one before.
            file.write(b"\n" * _ends_midway(self._path) + msgspec.json.encode(run) + b"\n")


def _ends_midway(path: Path) -> bool:
    return not path.read_bytes().endswith(b"\n") and path.stat().st_size > 0


def _read(line: bytes) -> TimedRun | None:
    try:
        run = msgspec.json.decode(line, type=TimedRun)
    except msgspec.MsgspecError:
        return None
    # A setting that is new, or gone, would be filled in or left out without a word.
    return run if msgspec.json.encode(run) == line else None
