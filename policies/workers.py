"""Worlds that run elsewhere, as training and evaluation use them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn

from policies.evaluation import EvaluationResult


class BatchPolicy(Protocol):
    """A policy that decides for many observations at once."""

    def act_batch(self, observations: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the actions (n, a) for observations (n, d)."""
        ...


@dataclass(frozen=True, slots=True)
class EpisodeRecord:
    """One finished training episode; `total` is its return in the environment's own reward scale."""

    total: float
    decisions: int
    success: bool


class Curriculum(Protocol):
    """What training must know of a curriculum: where it stands, and how to go on from there."""

    @property
    def index(self) -> int:
        """The number of the stage in which new episodes begin."""
        ...

    def capture(self) -> bytes:
        """Return its state as text."""
        ...

    def resume(self, captured: bytes) -> None:
        """Go on from what `capture` returned."""
        ...


class TrainingWorkers(VecEnvWrapper):
    """Workers that leave the learner time to learn: `while_stepping` runs between sending actions and waiting.

    Rewards are multiplied by `reward_scale`; `take_finished` hands out the episodes that ended, `take_lost` how many
    were lost with a worker that died.
    """

    def __init__(self, workers: VecEnv, reward_scale: float) -> None:
        super().__init__(workers)
        self.while_stepping: Callable[[], None] | None = None
        self._reward_scale = reward_scale
        self._totals = np.zeros(workers.num_envs)
        self._lengths = np.zeros(workers.num_envs, dtype=np.int64)
        self._finished: list[EpisodeRecord] = []
        self._lost = 0

    def reset(self) -> NDArray[np.float32]:  # type: ignore[override]
        """Start new episodes everywhere and return their first observations."""
        self._totals[:] = 0.0
        self._lengths[:] = 0
        return np.asarray(self.venv.reset(), dtype=np.float32)

    def step_wait(self) -> VecEnvStepReturn:
        """Learn, then wait for the workers; rewards come back scaled."""
        if self.while_stepping is not None:
            self.while_stepping()
        observations, rewards, dones, infos = self.venv.step_wait()
        self._totals += rewards
        self._lengths += 1
        for index in np.flatnonzero(dones):
            if infos[index].get("lost", False):
                self._lost += 1
            else:
                success = bool(infos[index]["is_success"])
                self._finished.append(EpisodeRecord(float(self._totals[index]), int(self._lengths[index]), success))
            self._totals[index], self._lengths[index] = 0.0, 0
        return observations, rewards * self._reward_scale, dones, infos

    def take_finished(self) -> list[EpisodeRecord]:
        """Return the episodes that ended since the last call."""
        finished, self._finished = self._finished, []
        return finished

    def take_lost(self) -> int:
        """Return how many episodes were lost since the last call."""
        lost, self._lost = self._lost, 0
        return lost


#: Share of the screening episodes that must succeed for an evaluation to go on.
_SCREENING_RATE = 0.8


def evaluate_workers(
    policy: BatchPolicy,
    workers: VecEnv,
    episodes: int,
    seed: int,
    should_stop: Callable[[], bool],
    screening: int = 0,
) -> EvaluationResult | None:
    """Run `episodes` seeded episodes over all workers; None when stopped before the end.

    Where fewer than 80 % of the first `screening` episodes succeed, those are the evaluation.
    """
    start = time.monotonic()
    workers.seed(seed)
    observations = np.asarray(workers.reset(), dtype=np.float32)
    tally = _Tally(workers.num_envs)
    for planned in sorted({min(screening, episodes), episodes} - {0}):
        quota = _shares(planned, workers.num_envs)
        while np.any(tally.finished < quota):
            if should_stop():
                return None
            results = workers.step(policy.act_batch(observations))
            observations = np.asarray(results[0], dtype=np.float32)
            tally.add(results, _shares(episodes, workers.num_envs))
        if tally.successes < _SCREENING_RATE * tally.count:
            break
    return tally.result(time.monotonic() - start)


def _shares(episodes: int, workers: int) -> NDArray[np.int64]:
    """Return how many episodes each worker runs: counting whichever end first would favour the short ones."""
    return np.array([episodes // workers + (i < episodes % workers) for i in range(workers)], dtype=np.int64)


class _Tally:
    """Counts the episodes of an evaluation. An episode enters with its whole return, once it has ended."""

    def __init__(self, workers: int) -> None:
        self.finished = np.zeros(workers, dtype=np.int64)
        self.successes = 0
        self._running_total = np.zeros(workers)
        self._running_length = np.zeros(workers, dtype=np.int64)
        self._total, self._length = 0.0, 0

    @property
    def count(self) -> int:
        """The number of finished episodes."""
        return int(self.finished.sum())

    def add(self, results: VecEnvStepReturn, quota: NDArray[np.int64]) -> None:
        """Take in one step of every worker; episodes beyond a worker's quota do not count, nor do lost ones."""
        _, rewards, dones, infos = results
        self._running_total += rewards
        self._running_length += 1
        for index in np.flatnonzero(dones):
            if self.finished[index] < quota[index] and not infos[index].get("lost", False):
                self.finished[index] += 1
                self.successes += bool(infos[index]["is_success"])
                self._total += float(self._running_total[index])
                self._length += int(self._running_length[index])
            self._running_total[index], self._running_length[index] = 0.0, 0

    def result(self, wall_s: float) -> EvaluationResult:
        """Return the counts as a result."""
        count = max(1, self.count)
        return EvaluationResult(self.successes, self.count, self._total / count, self._length / count, wall_s)
