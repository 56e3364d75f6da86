"""What demonstrations are worth: cloned, and shown to soft actor-critic, against learning without them.

The oracle stands in for a person: its attempts are recorded by `tandem episodes record`, as anybody's are. Trainings
that are finished are kept in demonstrations_runs.jsonl: begun again, only what is missing is run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from policies.config import TrainConfig
from policies.errors import PolicyError
from policies.presets import find_preset
from scripts.cli import data_root
from scripts.programs.bench_train import EPISODES, mild, told
from scripts.programs.figures import Row, at_least, at_most
from scripts.programs.timed_run import Asked, KeptRuns, TimedRun

Progress = Callable[[str, float], None]

_SEED = 0
#: The first attempt that is recorded has this seed: no training and no evaluation plays it.
_FIRST = 77_000
_CLONE_RATE, _DEPTH_RATE, _PLACE_RATE = 0.9, 0.9, 0.9
_CLONE_MIN, _DEPTH_MIN, _PLACE_MIN = 10.0, 30.0, 10.0


@dataclass(frozen=True, slots=True)
class Shown:
    """What is recorded of the oracle, once."""

    task: str
    episodes: int
    sees: tuple[str, ...]

    def recording(self, folder: Path) -> str:
        """Return the recording, made now where there is none."""
        path = folder / f"{self.task}_{'_'.join(self.sees)}_{self.episodes}.mcap"
        if not path.exists():
            words = ["--policy", "oracle", "--task", self.task, "--episodes", str(self.episodes), "--sees", *self.sees]
            settings = ["--randomization", "mild", "--seed", str(_FIRST), "--no-pictures", "--json"]
            done = subprocess.run(
                [sys.executable, "-m", "scripts.main", "episodes", "record", *words, *settings],
                env={**os.environ, "TANDEM_DATA": str(folder)}, capture_output=True, text=True, check=False,
            )  # fmt: skip
            if done.returncode:
                raise PolicyError(f"the oracle could not be recorded: {done.stderr.strip()[-500:]}")
            Path(json.loads(done.stdout.splitlines()[-1])["episode"]).rename(path)
        return str(path)


_GRASP_STATE = Shown("grasp", 50, ("state",))
_GRASP_DEPTH = Shown("grasp", 25, ("proprioception", "wrist_depth"))
_PLACE_STATE = Shown("pick-place", 25, ("state",))


def measure(on_progress: Progress, only: str = "", kept: KeptRuns | None = None) -> Iterator[Row]:
    """Yield the rows whose figure contains `only`, as they are measured."""
    folder = data_root() / "bench" / "demonstrations"
    bench = _Bench(folder, kept or KeptRuns(data_root() / "bench" / "demonstrations_runs.jsonl"), on_progress)
    rows = {
        "BC from 50 demonstrations, grasp from state: success": bench.clone,
        "SAC + 25 demonstrations / SAC alone, grasp from depth: decisions to 90 %": bench.shown_depth,
        "pick-place: SAC + 25 demonstrations less SAC alone, best success in the same decisions": bench.shown_place,
    }
    for figure, take in rows.items():
        if only in figure:
            yield take(figure)


@dataclass(frozen=True, slots=True)
class _Bench:
    folder: Path
    kept: KeptRuns
    on_progress: Progress

    def clone(self, figure: str) -> Row:
        """Return the best of the evaluations of 200 episodes each."""
        config = mild(find_preset("bc"), 500)
        (run,) = self._runs(figure, [self._asked("bc", _shown(config, self._see(_GRASP_STATE)), 1.0, _CLONE_MIN)])
        return at_least(figure, max(run.rates, default=None), "", _CLONE_RATE, _rates(run))

    def shown_depth(self, figure: str) -> Row:
        """Return the ratio of the decisions; a run that never got there counts as those that it took."""
        config = mild(find_preset("depth-sac"), 500)
        shown = _shown(config, self._see(_GRASP_DEPTH))
        asked = [
            self._asked("depth-sac-shown", shown, _DEPTH_RATE, _DEPTH_MIN),
            self._asked("depth-sac", config, _DEPTH_RATE, _DEPTH_MIN),
        ]
        ours, alone = self._runs(figure, asked)
        value = ours.decisions / alone.decisions if ours.reached is not None else None
        return at_most(figure, value, "", 0.6, f"with: {told(ours)}; without: {told(alone)}")

    def shown_place(self, figure: str) -> Row:
        """Return by how much the best evaluation is better, as many being looked at of both runs."""
        config = mild(find_preset("pick-place"), 4_000)
        shown = _shown(config, self._see(_PLACE_STATE))
        ours, alone = self._runs(
            figure,
            [
                self._asked("pick-place-shown", shown, _PLACE_RATE, _PLACE_MIN),
                self._asked("pick-place", config, _PLACE_RATE, _PLACE_MIN),
            ],
        )
        common = min(len(ours.rates), len(alone.rates))
        value = max(ours.rates[:common]) - max(alone.rates[:common]) if common else None
        return at_least(figure, value, "", 0.01, f"with: {_rates(ours)}; without: {_rates(alone)}")

    def _see(self, shown: Shown) -> str:
        return shown.recording(self.folder)

    def _asked(self, preset: str, config: TrainConfig, rate: float, limit_min: float) -> Asked:
        return Asked(config, _SEED, rate, EPISODES, 60 * limit_min, preset=preset)

    def _runs(self, figure: str, asked: Sequence[Asked]) -> list[TimedRun]:
        return [
            self.kept.time_to(one, lambda share, k=k: self.on_progress(f"{figure} ({k}/{len(asked)})", share))
            for k, one in enumerate(asked, 1)
        ]


def _shown(config: TrainConfig, recording: str) -> TrainConfig:
    return replace(config, demonstrations=(recording,))


def _rates(run: TimedRun) -> str:
    rates = ", ".join(f"{100 * rate:.0f}" for rate in run.rates)
    of = f"{run.asked.episodes} episodes, {run.asked.config.screening_episodes} where few of those succeed"
    how = f"every {run.asked.config.evaluate_every:,} decisions, seed {run.asked.seed} at {run.git_commit[:7]}"
    return f"{rates} % of {of}, {how}"
