"""Environments in processes of their own, stepped together."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import forkserver
from typing import Protocol

import gymnasium
import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import SubprocVecEnv, VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn

from policies.evaluation import EvaluationResult

Environment = gymnasium.Env[NDArray[np.float32], NDArray[np.float32]]
#: Builds one environment; it is sent to the worker processes, so it must be importable there.
EnvironmentFactory = Callable[[], Environment]


_STABLE_BASELINES_WORKER = "stable_baselines3.common.vec_env.subproc_vec_env"


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


@dataclass(frozen=True, slots=True)
class _Worker:
    factory: EnvironmentFactory

    def __call__(self) -> Environment:
        # Ctrl-C reaches the whole process group; the learner decides when the workers end.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        return self.factory()


def warm_up(preload: Sequence[str] = ()) -> None:
    """Start the fork server that workers are forked from; it imports in the background what every worker needs.

    `preload` names further modules; call this before anything slow, and before `start_workers`.
    """
    multiprocessing.get_context("forkserver").set_forkserver_preload([_STABLE_BASELINES_WORKER, *preload])
    forkserver.ensure_running()


def start_workers(factory: EnvironmentFactory, count: int) -> SubprocVecEnv:
    """Start `count` processes with one environment each."""
    return SubprocVecEnv([_Worker(factory)] * count, start_method="forkserver")


class TrainingWorkers(VecEnvWrapper):
    """Workers that leave the learner time to learn: `while_stepping` runs between sending actions and waiting.

    Rewards are multiplied by `reward_scale`; `take_finished` hands out the episodes that ended.
    """

    def __init__(self, workers: VecEnv, reward_scale: float) -> None:
        super().__init__(workers)
        self.while_stepping: Callable[[], None] | None = None
        self._reward_scale = reward_scale
        self._totals = np.zeros(workers.num_envs)
        self._lengths = np.zeros(workers.num_envs, dtype=np.int64)
        self._finished: list[EpisodeRecord] = []

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
            success = bool(infos[index]["is_success"])
            self._finished.append(EpisodeRecord(float(self._totals[index]), int(self._lengths[index]), success))
            self._totals[index], self._lengths[index] = 0.0, 0
        return observations, rewards * self._reward_scale, dones, infos

    def take_finished(self) -> list[EpisodeRecord]:
        """Return the episodes that ended since the last call."""
        finished, self._finished = self._finished, []
        return finished


def evaluate_workers(
    policy: BatchPolicy, workers: VecEnv, episodes: int, seed: int, should_stop: Callable[[], bool]
) -> EvaluationResult | None:
    """Run the first `episodes / workers` episodes of every worker, seeded; None when stopped before the end.

    Each worker has its own quota: counting whichever episodes end first would favour the short ones.
    """
    start = time.monotonic()
    count = workers.num_envs
    quota = np.array([episodes // count + (i < episodes % count) for i in range(count)])
    finished, lengths, totals = np.zeros(count, dtype=np.int64), 0, 0.0
    successes = 0
    workers.seed(seed)
    observations = np.asarray(workers.reset(), dtype=np.float32)
    while np.any(finished < quota):
        if should_stop():
            return None
        counted = finished < quota
        observations, rewards, dones, infos = workers.step(policy.act_batch(np.asarray(observations, np.float32)))
        totals += float(rewards[counted].sum())
        lengths += int(counted.sum())
        for index in np.flatnonzero(dones & counted):
            successes += bool(infos[index]["is_success"])
            finished[index] += 1
    return EvaluationResult(successes, episodes, totals / episodes, lengths / episodes, time.monotonic() - start)
