"""Policies that nobody trained: the baselines a task must not be solved by."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class HoldPolicy:
    """Does nothing: the zero action."""

    def __init__(self, action_size: int) -> None:
        self._action = np.zeros(action_size, dtype=np.float32)

    def act(self, observation: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return zeros."""
        return self._action.copy()


class RandomPolicy:
    """Draws every action uniformly from [-1, 1]."""

    def __init__(self, action_size: int, rng: np.random.Generator) -> None:
        self._action_size = action_size
        self._rng = rng

    def act(self, observation: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return uniform numbers."""
        return self._rng.uniform(-1.0, 1.0, self._action_size).astype(np.float32)
