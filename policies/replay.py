"""Replay memory: what many worlds went through, in arrays that are made once. Pictures stay as small as they came.

Every observation is stored once, in a slot of its own; a transition is a slot and the slot of the observation that
`steps` decisions later follows it. Returns over several steps are put together as they come in, never across the end
of an episode. Ref: Sutton and Barto, Reinforcement Learning (2018), chapter 7.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray

from policies.errors import BadConfig, CheckpointError
from policies.learner import WorldStep
from policies.parts import Parts, Tensors, parts_of, stored_dtype


class Batch(NamedTuple):
    """Transitions (b, ...): `rewards` (b,) are discounted sums, `discounts` (b,) what the value of `following` counts.

    A discount is 0 where the episode terminated; where it was merely cut off, its last observation counts.
    """

    observations: Tensors
    actions: torch.Tensor
    rewards: torch.Tensor
    discounts: torch.Tensor
    following: Tensors

    def to(self, device: torch.device) -> Batch:
        """Return the same on another device."""
        if device.type == "cpu":
            return self
        now, then = ({n: t.to(device) for n, t in parts.items()} for parts in (self.observations, self.following))
        return Batch(now, self.actions.to(device), self.rewards.to(device), self.discounts.to(device), then)


def joined(one: Batch, other: Batch) -> Batch:
    """Return the transitions of both."""
    return Batch(
        {name: torch.cat([part, other.observations[name]]) for name, part in one.observations.items()},
        torch.cat([one.actions, other.actions]),
        torch.cat([one.rewards, other.rewards]),
        torch.cat([one.discounts, other.discounts]),
        {name: torch.cat([part, other.following[name]]) for name, part in one.following.items()},
    )


class Replay:
    """The last `capacity` observations of `worlds` worlds that step together."""

    def __init__(
        self,
        space: gymnasium.Space[object],
        action_size: int,
        worlds: int,
        capacity: int,
        discount: float,
        steps: int = 1,
    ) -> None:
        least = worlds * (steps + 2)
        if steps < 1 or capacity < least:
            raise BadConfig(f"steps {steps} must be 1 or more, a capacity for {worlds} worlds {least}: got {capacity}")
        self.capacity, self.steps, self.discount = capacity, steps, discount
        try:
            self.arrays: dict[str, NDArray[np.generic]] = {
                f"seen.{name}": np.zeros((capacity, *box.shape), stored_dtype(box.dtype))
                for name, box in parts_of(space).items()
            }
        except (MemoryError, ValueError) as error:  # ValueError: more than an array can have
            raise BadConfig(f"no memory for a capacity of {capacity} observations: {error}") from error
        self.arrays |= {
            "actions": np.zeros((capacity, action_size), np.float32),
            "rewards": np.zeros(capacity, np.float32),
            "discounts": np.zeros(capacity, np.float32),
            "following": np.zeros(capacity, np.int64),
            #: Whether the slot's transition is complete.
            "ready": np.zeros(capacity, np.bool_),
        }
        self._names = list(parts_of(space))
        self._next = self.filled = 0
        self._open: list[deque[int]] = [deque() for _ in range(worlds)]
        self._at = np.zeros(worlds, np.int64)

    # Writing ---------------------------------------------------------------------------------------------------------
    def begin(self, observations: Parts) -> None:
        """Take in the first observations (worlds, ...) after a reset; episodes under way are forgotten."""
        for waiting in self._open:
            waiting.clear()
        self._at = self._store(observations)

    def add(self, step: WorldStep) -> None:
        """Take in one step of all worlds. Of a lost episode, what is not complete is forgotten."""
        actions, rewards, terminated, truncated, following, last, lost = step
        at, self._at = self._at, self._store(following)
        arrays = self.arrays
        arrays["actions"][at] = actions
        arrays["rewards"][at] = 0.0
        for world, slot in enumerate(at.tolist()):
            waiting = self._open[world]
            if world in lost:
                waiting.clear()
                continue
            waiting.append(slot)
            for age, earlier in enumerate(reversed(waiting)):
                arrays["rewards"][earlier] += self.discount**age * rewards[world]
            if terminated[world] or truncated[world]:
                end = int(self._store({name: part[None] for name, part in last[world].items()})[0])
                while waiting:
                    self._complete(waiting, end, 0.0 if terminated[world] else self.discount ** len(waiting))
            elif len(waiting) == self.steps:
                self._complete(waiting, int(self._at[world]), self.discount**self.steps)

    def _complete(self, waiting: deque[int], following: int, discount: float) -> None:
        slot = waiting.popleft()
        self.arrays["following"][slot] = following
        self.arrays["discounts"][slot] = discount
        self.arrays["ready"][slot] = True

    def _store(self, observations: Parts) -> NDArray[np.int64]:
        count = len(observations[self._names[0]])
        slots = (self._next + np.arange(count)) % self.capacity
        for name in self._names:
            self.arrays[f"seen.{name}"][slots] = observations[name]
        self.arrays["ready"][slots] = False
        self._next = (self._next + count) % self.capacity
        self.filled = min(self.filled + count, self.capacity)
        return slots

    # Reading ---------------------------------------------------------------------------------------------------------
    def __len__(self) -> int:
        return int(self.arrays["ready"][: self.filled].sum())

    def sample(self, count: int, rng: np.random.Generator) -> Batch:
        """Return `count` transitions drawn with replacement; raises ValueError where there is none."""
        slots = rng.integers(self.filled, size=count) if self.filled else np.zeros(0, np.int64)
        ready = self.arrays["ready"]
        while len(slots) < count or not ready[slots].all():
            if not ready.any():
                raise ValueError("no transition is complete yet")
            missing = np.logical_not(ready[slots])
            slots[missing] = rng.integers(self.filled, size=int(missing.sum()))
        following = self._taken("following", slots).numpy()
        return Batch(
            {name: self._taken(f"seen.{name}", slots) for name in self._names},
            self._taken("actions", slots),
            self._taken("rewards", slots),
            self._taken("discounts", slots),
            {name: self._taken(f"seen.{name}", following) for name in self._names},
        )

    def _taken(self, name: str, slots: NDArray[np.int64]) -> torch.Tensor:
        # NumPy copies whole rows; PyTorch's index takes 60 times as long for rows of float16.
        return torch.from_numpy(self.arrays[name].take(slots, axis=0))

    def observations(self, count: int, rng: np.random.Generator, names: Sequence[str]) -> Parts:
        """Return up to `count` observations, each another one."""
        slots = rng.choice(self.filled, size=min(count, self.filled), replace=False)
        return {name: self.arrays[f"seen.{name}"][slots] for name in names}

    # Keeping ---------------------------------------------------------------------------------------------------------
    def capture(self) -> Parts:
        """Return what a checkpoint keeps, as copies; at the end of an episode in all worlds nothing else is open."""
        kept = {f"replay.{name}": array[: self.filled].copy() for name, array in self.arrays.items()}
        return {**kept, "replay.place": np.array([self._next, self.filled])}

    def restore(self, kept: Mapping[str, NDArray[np.generic]]) -> None:
        """Take over what `capture` returned; raises CheckpointError where it is of another shape. Then `begin`."""
        place = kept.get("replay.place")
        if place is None or place.shape != (2,):
            raise CheckpointError("the checkpoint holds no replay")
        self._next, self.filled = (int(v) for v in place)
        for name, array in self.arrays.items():
            stored = kept.get(f"replay.{name}")
            if stored is None or stored.shape != (self.filled, *array.shape[1:]) or self.filled > self.capacity:
                raise CheckpointError(
                    f"the checkpoint's replay has {None if stored is None else stored.shape} for {name}, "
                    f"this run's {array.shape}: resume it with the settings that it was begun with"
                )
            array[: self.filled] = stored
            array[self.filled :] = 0
