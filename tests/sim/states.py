"""Environments that observe the task's state alone, with that said in their types."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim.env import ArmEnv
from sim.observer import Observation

State = NDArray[np.float32]


def state_of(observation: Observation) -> State:
    """Return an observation that is one vector."""
    assert isinstance(observation, np.ndarray)
    assert observation.dtype == np.float32
    return observation.astype(np.float32, copy=False)


def start(env: ArmEnv, seed: int, options: dict[str, object] | None = None) -> State:
    """Reset; return the state."""
    return state_of(env.reset(seed=seed, options=options)[0])


def advance(env: ArmEnv, action: State) -> tuple[State, float, bool, bool, dict[str, object]]:
    """Step; return the state and the rest."""
    observation, reward, terminated, truncated, info = env.step(action)
    return state_of(observation), reward, terminated, truncated, info
