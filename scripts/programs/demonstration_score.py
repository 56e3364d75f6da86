"""ScoredAttempts: decisions told to a recording with the rewards that a learner would have had for them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bridge.episode_witness import Demonstrator
from bridge.observation import Observed
from sim.tasks.task import SUCCESS_REWARD, Task

#: As in the presets of `tandem train`: the reward is progress itself.
SHAPING_DISCOUNT = 1.0


class ScoredAttempts:
    """What is earned is the gain of the task's potential, as in `sim.env.ArmEnv`, and 1 for a success at the end.

    The potential knows what the attempt knows: on an arm, what its camera has seen. Without a demonstrator nothing is
    written.
    """

    def __init__(self, demonstrator: Demonstrator | None, task: Task) -> None:
        self._demonstrator, self._task = demonstrator, task
        self._before: float | None = None

    def begin(self) -> None:
        """Begin the next attempt."""
        self._before = None
        if self._demonstrator is not None:
            self._demonstrator.begin()

    def decide(self, observation: Observed, action: NDArray[np.float32]) -> None:
        """Take in what was seen and what was done about it; what came of the decision before is known now."""
        potential = self._task.potential()
        if self._demonstrator is not None:
            if self._before is not None:
                self._demonstrator.outcome(SHAPING_DISCOUNT * potential - self._before)
            self._demonstrator.decide(observation, action)
        self._before = potential

    def end(self, success: bool | None) -> None:
        """End the attempt; None: it was given up, and nobody knows what would have come of it."""
        before, self._before = self._before, None
        if self._demonstrator is None or before is None:
            return
        if success is None:
            following = SHAPING_DISCOUNT * self._task.potential()
            self._demonstrator.outcome(following - before, truncated=True)
        else:
            self._demonstrator.outcome(SUCCESS_REWARD * success - before, terminated=True, success=success)
