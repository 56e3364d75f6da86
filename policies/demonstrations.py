"""Demonstrations: what somebody did who can do it, as arrays that a learner reads."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import gymnasium
import numpy as np
from numpy.typing import NDArray

from policies.errors import UnfitDemonstrations
from policies.learner import WorldStep
from policies.parts import ALONE, Parts, chosen_parts, parts_of, stored_dtype
from policies.replay import Replay


@dataclass(frozen=True, slots=True)
class Demonstration:
    """One attempt of k decisions. `observations` (k + 1, ...) by part end with what was seen when it was over.

    `actions` (k, a) are in -1 to 1, `rewards` (k,) as the environment gives them. `terminated`: it ended because the
    task was over, and not because the time was.
    """

    observations: Parts
    actions: NDArray[np.float32]
    rewards: NDArray[np.float64]
    terminated: bool


@dataclass(frozen=True, slots=True)
class Demonstrations:
    """Attempts at one task by one arm; `fitted` makes them those of a learner's worlds."""

    attempts: tuple[Demonstration, ...]

    @property
    def decisions(self) -> int:
        """How many decisions there are."""
        return sum(len(attempt.actions) for attempt in self.attempts)

    @property
    def sha256(self) -> str:
        """What tells them from others: a run that goes on must learn from the same."""
        digest = hashlib.sha256()
        for attempt in self.attempts:
            for part in (*(attempt.observations[n] for n in sorted(attempt.observations)), attempt.actions):
                digest.update(np.ascontiguousarray(part).tobytes())
            digest.update(attempt.rewards.tobytes() + bytes([attempt.terminated]))
        return digest.hexdigest()

    def fitted(
        self, space: gymnasium.Space[object], actions: gymnasium.Space[object], names: Sequence[str]
    ) -> Demonstrations:
        """Return them with the parts of an observation space alone; raises UnfitDemonstrations where one is missing.

        `names` are what the parts of the space are called where it has no names itself, being one array.
        """
        wanted = parts_of(space)
        if list(wanted) == [ALONE] and len(names) != 1:
            raise UnfitDemonstrations(f"worlds that show one array alone have one name for it, got {list(names)}")
        if not self.attempts:
            raise UnfitDemonstrations("there is no demonstration: record some with `tandem episodes record`")
        return Demonstrations(tuple(_fitted(a, k, wanted, actions, names) for k, a in enumerate(self.attempts, 1)))

    def replay(
        self, space: gymnasium.Space[object], action_size: int, discount: float, steps: int, reward_scale: float
    ) -> Replay:
        """Return a replay that holds all of their transitions, with returns over `steps` decisions."""
        capacity = sum(2 * len(attempt.actions) + 3 for attempt in self.attempts) + steps + 2
        replay = Replay(space, action_size, 1, capacity, discount, steps)
        for attempt in self.attempts:
            seen, last = attempt.observations, len(attempt.actions) - 1
            replay.begin({name: part[:1] for name, part in seen.items()})
            for k, action in enumerate(attempt.actions):
                over = k == last
                replay.add(
                    WorldStep(
                        actions=action[None],
                        rewards=reward_scale * attempt.rewards[k : k + 1],
                        terminated=np.array([over and attempt.terminated]),
                        truncated=np.array([over and not attempt.terminated]),
                        following={name: part[k + 1 : k + 2] for name, part in seen.items()},
                        last={0: {name: part[k + 1] for name, part in seen.items()}} if over else {},
                    )
                )
        return replay

    def seen(self, space: gymnasium.Space[object], names: Sequence[str] = ()) -> Parts:
        """Return what was seen at every decision (n, ...), the named parts of the space; none: all of them."""
        boxes = chosen_parts(space, names)
        return {name: np.concatenate([a.observations[name][:-1] for a in self.attempts]) for name in boxes}

    def chunks(self, length: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return what was done from every decision on (n, length, a), and which of it was (n, length).

        After the end of an attempt nothing was done: there stand zeros.
        """
        done = np.zeros((self.decisions, length, self.attempts[0].actions.shape[1]), np.float32)
        was_done = np.zeros((self.decisions, length), np.bool_)
        row = 0
        for attempt in self.attempts:
            for k in range(len(attempt.actions)):
                ahead = attempt.actions[k : k + length]
                done[row, : len(ahead)], was_done[row, : len(ahead)] = ahead, True
                row += 1
        return done, was_done


def _fitted(
    attempt: Demonstration,
    number: int,
    wanted: dict[str, gymnasium.spaces.Box],
    actions: gymnasium.Space[object],
    names: Sequence[str],
) -> Demonstration:
    """Return one attempt with the wanted parts alone."""
    count = len(attempt.actions)
    if not isinstance(actions, gymnasium.spaces.Box) or attempt.actions.shape[1:] != actions.shape:
        raise UnfitDemonstrations(
            f"demonstration {number} has actions {attempt.actions.shape}, the worlds take {actions}"
        )
    if not count or not (np.abs(attempt.actions) <= 1.0).all():
        raise UnfitDemonstrations(f"demonstration {number} has {count} actions, or some that are not from -1 to 1")
    called = {ALONE: names[0]} if list(wanted) == [ALONE] else {name: name for name in wanted}
    parts: dict[str, NDArray[np.generic]] = {}
    for name, box in wanted.items():
        part = attempt.observations.get(called[name])
        if part is None or part.shape != (count + 1, *box.shape):
            raise UnfitDemonstrations(
                f"demonstration {number} has {None if part is None else part.shape[1:]} for {called[name]!r}, the "
                f"worlds show {box.shape}; it has {', '.join(attempt.observations)}. Record again with "
                f"`tandem episodes record --sees {' '.join(called.values())}`"
            )
        parts[name] = part.astype(stored_dtype(box.dtype), copy=False)
    return Demonstration(parts, attempt.actions, attempt.rewards, attempt.terminated)
