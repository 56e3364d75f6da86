"""What learns, whichever algorithm it is: the one interface between the training loop and SAC, PPO and SB3's."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from policies.errors import NotFinite
from policies.parts import Parts

Array = NDArray[np.generic]


class WorldStep(NamedTuple):
    """One step of all worlds (n, ...). Where an episode ended, `following` is the first observation of the next.

    `last[world]` is what the episode of that world ended with; `lost` are the worlds whose episode was lost with its
    process: cut off, and nothing to learn from.
    """

    actions: Array
    rewards: NDArray[np.float64]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    following: Parts
    last: Mapping[int, Parts]
    lost: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class LearnerState:
    """All that a learner needs to go on: weights and moments, arrays, and what else can be written as text."""

    tensors: Mapping[str, torch.Tensor] = field(default_factory=dict)
    arrays: Parts = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)


def updates_due(per_decision: float, decisions: int, worlds: int) -> int:
    """Return the gradient steps that a step of all worlds is worth, `decisions` having been taken before it.

    What is left over of one is carried to the next: half a step per decision of one world is a whole one every other
    time.
    """
    before, after = (math.floor(per_decision * taken + 1e-9) for taken in (decisions, decisions + worlds))
    return after - before


def refuse_not_finite(said: Iterable[Mapping[str, float]], weights: Iterable[torch.Tensor]) -> None:
    """Raise NotFinite where a loss or a weight is no number: from these a Beta head still draws sound actions."""
    for losses in said:
        for name, value in losses.items():
            if not math.isfinite(value):
                raise NotFinite(f"what the learner says of {name} is {value}: a smaller learning rate may help")
    if not all(bool(torch.isfinite(tensor).all()) for tensor in weights):
        raise NotFinite("a weight is no number any more: a smaller learning rate may help")


class Learner(Protocol):
    """Acts in many worlds at once and improves by what comes of it; knows nothing of files, clocks or people.

    The loop calls `begin` after every reset of all worlds, and then in turn `act`, `improve` (while the worlds step, so
    the step under way is not known yet) and `take_in`.
    """

    @property
    def updates(self) -> int:
        """Gradient steps so far."""
        ...

    @property
    def policy(self) -> torch.nn.Module:
        """What is evaluated and exported: named parts of an observation (n, ...) to actions (n, a), without noise."""
        ...

    def begin(self, observations: Parts) -> None:
        """Take in the first observations after a reset of all worlds."""
        ...

    def act(self, observations: Parts) -> Array:
        """Return the actions to try, (n, a), or (n,) where they are discrete."""
        ...

    def improve(self) -> None:
        """Take the gradient steps that are due."""
        ...

    def take_in(self, step: WorldStep) -> None:
        """Remember one step of all worlds."""
        ...

    def scalars(self) -> Mapping[str, float]:
        """Return what the last updates said of themselves, for the log; all of them are finite or the run ends."""
        ...

    def seen(self, count: int, rng: np.random.Generator) -> Parts:
        """Return up to `count` observations that were met, as the policy reads them."""
        ...

    def capture(self) -> LearnerState:
        """Return a copy of all that the learner needs to go on after a reset of all worlds."""
        ...

    def restore(self, state: LearnerState) -> None:
        """Take over what `capture` returned; raises CheckpointError where it is of another layout."""
        ...
