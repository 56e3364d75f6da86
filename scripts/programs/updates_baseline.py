"""SAC of Stable-Baselines3, or of SBX, its sibling in JAX, timed on random transitions.

As a program (STATE_SIZE ACTION_SIZE BATCH) it speaks for SBX in a process of its own, by an interpreter that has it:
told a number of seconds in a line, it answers the updates per second over that time. It needs nothing of Tandem.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import gymnasium
import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.logger import Logger

#: What the replay is filled with.
TRANSITIONS = 10_000
#: SBX compiles a loop over the updates of a call; more in one call make it no quicker.
_SBX_UPDATES_A_CALL = 64


class Walk(NamedTuple):
    """What one endless episode went through: n + 1 observations, n actions and rewards."""

    observations: NDArray[np.generic]
    actions: NDArray[np.float32]
    rewards: NDArray[np.float32]


class Learner(Protocol):
    """What SB3's and SBX's learners have in common."""

    replay_buffer: ReplayBuffer | None

    def set_logger(self, logger: Logger) -> None:
        """Say where to log."""
        ...

    def train(self, gradient_steps: int, batch_size: int) -> None:
        """Take gradient steps."""
        ...


class Unplayed(gymnasium.Env[NDArray[np.generic], NDArray[np.float32]]):
    """Spaces without a world behind them: what it takes to make a learner that never acts."""

    def __init__(self, observation_space: gymnasium.Space[Any], action_space: gymnasium.Space[Any]) -> None:
        self.observation_space, self.action_space = observation_space, action_space


def drawn(space: gymnasium.spaces.Box, count: int, rng: np.random.Generator) -> NDArray[np.generic]:
    """Return random values (count, ...) for a part of an observation: whole bytes, or numbers around 0."""
    if space.dtype == np.uint8:
        return rng.integers(0, 256, (count, *space.shape), np.uint8)
    return rng.standard_normal((count, *space.shape), np.float32).astype(space.dtype)


def random_walk(space: gymnasium.spaces.Box, action_size: int, count: int, seed: int = 0) -> Walk:
    """Return `count` random transitions."""
    rng = np.random.default_rng(seed)
    seen = drawn(space, count + 1, rng)
    actions = rng.uniform(-1.0, 1.0, (count, action_size)).astype(np.float32)
    return Walk(seen, actions, rng.standard_normal(count, np.float32))


def fill(learner: Learner, walk: Walk) -> None:
    """Put the transitions into the learner's replay."""
    learner.set_logger(Logger(None, []))
    assert learner.replay_buffer is not None
    seen, actions, rewards = walk
    over = np.zeros(1, np.bool_)
    for at in range(len(actions)):
        now, then = seen[at : at + 1], seen[at + 1 : at + 2]
        learner.replay_buffer.add(now, then, actions[at : at + 1], rewards[at : at + 1], over, [{}])


def rate(update: Callable[[], object], seconds: float, updates_a_call: int = 1) -> float:
    """Return the updates per second over at least so long a time."""
    began_s, calls = time.perf_counter(), 0
    while (took_s := time.perf_counter() - began_s) < seconds:
        update()
        calls += 1
    return calls * updates_a_call / took_s


def main() -> int:
    """Answer for SBX until there are no more questions."""
    from sbx import SAC  # pyright: ignore[reportMissingImports]

    state_size, action_size, batch = (int(word) for word in sys.argv[1:])
    space = gymnasium.spaces.Box(-np.inf, np.inf, (state_size,), np.float32)
    learner = SAC("MlpPolicy", Unplayed(space, gymnasium.spaces.Box(-1.0, 1.0, (action_size,), np.float32)), seed=0)
    fill(learner, random_walk(space, action_size, TRANSITIONS))

    def update() -> None:
        learner.train(_SBX_UPDATES_A_CALL, batch)

    update()  # compiles
    for line in sys.stdin:
        print(rate(update, float(line), _SBX_UPDATES_A_CALL), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
