"""Worlds that step together, wherever they run, as training and evaluation use them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray

from policies.errors import NotFinite, UnfitWorlds
from policies.evaluation import EvaluationResult
from policies.learner import WorldStep
from policies.parts import Parts, as_parts

Array = NDArray[np.generic]
#: A Gymnasium vector environment, ours or any other.
Worlds = VectorEnv[Array | dict[str, Array], Array, Array]
Info = dict[str, object]


@runtime_checkable
class SplitStep(Protocol):
    """Worlds whose step can be sent on its way first and awaited later."""

    def step_async(self, actions: Array) -> None:
        """Send the actions."""
        ...

    def step_wait(self) -> tuple[Array | dict[str, Array], Array, Array, Array, Info]:
        """Return what `step` returns."""
        ...


class BatchPolicy(Protocol):
    """A policy that decides for many observations at once."""

    def act_batch(self, observations: Parts) -> NDArray[np.float32]:
        """Return the actions (n, a) for the named parts of n observations."""
        ...


@dataclass(frozen=True, slots=True)
class EpisodeRecord:
    """One finished training episode; `total` is its return in the environment's own reward scale."""

    total: float
    decisions: int
    success: bool


class Curriculum(Protocol):
    """What training must know of a curriculum: where it stands."""

    @property
    def index(self) -> int:
        """The number of the stage in which new episodes begin."""
        ...


def check_worlds(worlds: Worlds) -> None:
    """Raise UnfitWorlds where the next episode does not begin within the step that ends one."""
    mode = worlds.metadata.get("autoreset_mode")
    if mode is not AutoresetMode.SAME_STEP:
        raise UnfitWorlds(f"autoreset_mode must be {AutoresetMode.SAME_STEP}, got {mode}")


def split_infos(infos: Mapping[str, object], count: int) -> list[Info]:
    """Return one dict per world from Gymnasium's arrays over the worlds, each of which has its mask in `_name`."""
    rows: list[Info] = [{} for _ in range(count)]
    for name, values in infos.items():
        mask = infos.get(f"_{name}")
        if not isinstance(mask, np.ndarray):
            continue
        parts = split_infos(values, count) if isinstance(values, Mapping) else values
        assert isinstance(parts, list | np.ndarray)
        for world in np.flatnonzero(mask):
            rows[world][name] = parts[world]
    return rows


class Stepper:
    """Steps worlds and keeps the books of their episodes; `finished` and `lost` are the caller's to empty.

    Raises NotFinite where an observation or a reward is no number, before anything learns from it.
    """

    def __init__(self, worlds: Worlds) -> None:
        check_worlds(worlds)
        self.worlds, self.count = worlds, worlds.num_envs
        self.finished: list[tuple[int, EpisodeRecord]] = []
        self.lost = 0
        self.observations: Parts = {}
        self._totals, self._lengths = np.zeros(self.count), np.zeros(self.count, dtype=np.int64)
        self._actions: Array | None = None

    def reset(self, seed: int) -> Parts:
        """Begin new episodes everywhere: the same ones for the same seed."""
        self._totals[:], self._lengths[:] = 0.0, 0
        self.observations = as_parts(self.worlds.reset(seed=seed)[0])
        _check_finite(self.observations)
        return self.observations

    def send(self, actions: Array) -> None:
        """Send actions on their way, where the worlds can do that."""
        self._actions = actions
        if isinstance(self.worlds, SplitStep):
            self.worlds.step_async(actions)

    def wait(self) -> WorldStep:
        """Return what came of the actions that were sent."""
        assert self._actions is not None
        worlds = self.worlds
        results = worlds.step_wait() if isinstance(worlds, SplitStep) else worlds.step(self._actions)
        observations, rewards, terminated, truncated, infos = results
        self.observations = as_parts(observations)
        rewards = np.asarray(rewards, dtype=np.float64)
        terminated, truncated = np.asarray(terminated, dtype=np.bool_), np.asarray(truncated, dtype=np.bool_)
        self._totals += rewards
        self._lengths += 1
        over = terminated | truncated
        last: dict[int, Parts] = {}
        lost: set[int] = set()
        rows = split_infos(infos, self.count) if over.any() else []
        for world in np.flatnonzero(over).tolist():
            final = rows[world].get("final_obs")
            assert isinstance(final, np.ndarray | Mapping)
            last[world] = as_parts(final)
            info = rows[world].get("final_info", {})
            assert isinstance(info, Mapping)
            if info.get("lost", False):
                lost.add(world)
            else:
                success = bool(info.get("is_success", False))
                record = EpisodeRecord(float(self._totals[world]), int(self._lengths[world]), success)
                self.finished.append((world, record))
            self._totals[world], self._lengths[world] = 0.0, 0
        self.lost += len(lost)
        _check_finite({"reward": rewards, **self.observations})
        for world in last.keys() - lost:
            _check_finite({name: np.asarray(part)[None] for name, part in last[world].items()}, world)
        return WorldStep(self._actions, rewards, terminated, truncated, self.observations, last, frozenset(lost))


def _check_finite(parts: Parts, first: int = 0) -> None:
    for name, values in parts.items():
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            index: list[int] = np.argwhere(~np.isfinite(values))[0].tolist()
            what = "the reward" if name == "reward" else f"part {name!r} of the observation"
            place = f", number {index[1:]}" if len(index) > 1 else ""
            raise NotFinite(f"{what} of world {first + index[0]} is {values[tuple(index)]}{place}")


#: Share of the screening episodes that must succeed for an evaluation to go on.
_SCREENING_RATE = 0.8


def evaluate_workers(
    policy: BatchPolicy,
    worlds: Worlds,
    episodes: int,
    seed: int,
    should_stop: Callable[[], bool],
    screening: int = 0,
) -> EvaluationResult | None:
    """Run `episodes` seeded episodes over all worlds; None when stopped before the end.

    Where fewer than 80 % of the first `screening` episodes succeed, those are the evaluation.
    """
    start_s = time.monotonic()
    stepper = Stepper(worlds)
    stepper.reset(seed)
    quota = _shares(episodes, stepper.count)
    counted = np.zeros(stepper.count, dtype=np.int64)
    records: list[EpisodeRecord] = []
    for planned in sorted({min(screening, episodes), episodes} - {0}):
        wanted = _shares(planned, stepper.count)
        while np.any(counted < wanted):
            if should_stop():
                return None
            stepper.send(policy.act_batch(stepper.observations))
            stepper.wait()
            for world, record in stepper.finished:
                # Counting whichever end first would favour the short ones; a lost one is played again.
                if counted[world] < quota[world]:
                    counted[world] += 1
                    records.append(record)
            stepper.finished.clear()
        if sum(r.success for r in records) < _SCREENING_RATE * len(records):
            break
    count = max(1, len(records))
    return EvaluationResult(
        successes=sum(r.success for r in records),
        episodes=len(records),
        mean_return=sum(r.total for r in records) / count,
        mean_decisions=sum(r.decisions for r in records) / count,
        wall_s=time.monotonic() - start_s,
        lost=stepper.lost,
    )


def _shares(episodes: int, worlds: int) -> NDArray[np.int64]:
    """Return how many episodes each world plays."""
    return np.array([episodes // worlds + (i < episodes % worlds) for i in range(worlds)], dtype=np.int64)
