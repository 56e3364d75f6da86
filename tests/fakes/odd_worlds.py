"""Worlds that do to their worker what worlds do on a bad day, and some that look at it. No simulator, no learner."""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from sim.curriculum import FULL_STAGE, Stage
from tests.fakes.point_env import PointEnv

Pictures = dict[str, NDArray[Any]]


class Views(gymnasium.Env[Any, Any]):
    """A Dict observation of float16, uint8 and float32 that tells world, episode seed and step; a Discrete action.

    Episodes of world i last 3 + i steps. Its actions come back in the state.
    """

    def __init__(self, index: int) -> None:
        box = gymnasium.spaces.Box
        self.observation_space = gymnasium.spaces.Dict(
            {
                "depth": box(0.0, 3.0, (1, 4, 5), np.float16),
                "rgb": box(0, 255, (3, 4, 5), np.uint8),
                "state": box(-np.inf, np.inf, (3,), np.float32),
            }
        )
        self.action_space = gymnasium.spaces.Discrete(5)
        self._index, self._seed, self._moves = index, 0, 0

    def _observe(self, action: int) -> Pictures:
        return {
            "depth": np.full((1, 4, 5), 0.25 * self._moves, np.float16),
            "rgb": np.full((3, 4, 5), self._index, np.uint8),
            "state": np.array([self._seed % 1000, self._moves, action], np.float32),
        }

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Pictures, dict[str, Any]]:
        super().reset(seed=seed)
        self._seed, self._moves = int(self.np_random.integers(1000)), 0
        return self._observe(0), {"options": str(options)}

    def step(self, action: int) -> tuple[Pictures, float, bool, bool, dict[str, Any]]:
        self._moves += 1
        over = self._moves == 3 + self._index
        return self._observe(int(action)), float(self._moves), over, False, {"is_success": over} if over else {}


class StagedEnv(PointEnv):
    """PointEnv with a stage: the goal lies within `area_upper`; every episode ends after `2 + index` steps, well."""

    def __init__(self, index: int) -> None:
        super().__init__()
        self.index, self.stage = index, FULL_STAGE
        self.begun_at: Stage = FULL_STAGE

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        self.begun_at = self.stage
        observation, info = super().reset(seed=seed, options=options)
        self._offset *= self.stage.area_upper[0]
        return (observation * self.stage.area_upper[0]).astype(np.float32), info

    def step(self, action: NDArray[np.float32]) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        observation, reward, _, _, _ = super().step(action)
        over = self._moves >= 2 + self.index
        return observation, reward, over, False, {"is_success": True, "was": self.begun_at.name} if over else {}


class Failing(PointEnv):
    """Raises, hangs or dies where it is told to, when a file with its index lies in the folder."""

    def __init__(self, index: int, where: str, how: str, folder: Path, step_s: float) -> None:
        self._index, self._where, self._how, self._folder = index, where, how, folder
        self._fail("build")
        super().__init__(step_s)

    def _fail(self, where: str) -> None:
        if where != self._where or not (self._folder / str(self._index)).exists():
            return
        match self._how:
            case "raise":
                raise ArithmeticError(f"world {self._index} cannot go on")
            case "hang":
                time.sleep(3600.0)
            case "exit":
                os._exit(7)
            case "die":
                os.kill(os.getpid(), signal.SIGKILL)
            case "die once":
                (self._folder / str(self._index)).unlink()
                os.kill(os.getpid(), signal.SIGKILL)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        self._fail("reset")
        return super().reset(seed=seed, options=options)

    def step(self, action: NDArray[np.float32]) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        self._fail("step")
        return super().step(action)


class Introspective(PointEnv):
    """Tells at each reset which modules its process has loaded, and how many threads it runs after some algebra."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        observation, _ = super().reset(seed=seed, options=options)
        matrix = np.ones((600, 600))
        np.linalg.solve(matrix @ matrix + np.eye(600), matrix)
        threads = len(list(Path("/proc/self/task").iterdir()))
        return observation, {"modules": " ".join(sys.modules), "threads": threads}


@dataclass(frozen=True)
class FailingTask:
    """Builds `Failing` worlds."""

    where: str
    how: str
    folder: Path
    step_s: float = 0.0

    def __call__(self, index: int) -> Failing:
        return Failing(index, self.where, self.how, self.folder, self.step_s)


class WrongShape(PointEnv):
    """Its observations are not those of its space."""

    def step(self, action: NDArray[np.float32]) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = super().step(action)
        return observation[:1], reward, terminated, truncated, info


def point(index: int) -> PointEnv:
    """Build a PointEnv."""
    return PointEnv()


def wrong_shape(index: int) -> WrongShape:
    """Build a WrongShape."""
    return WrongShape()


def introspective(index: int) -> Introspective:
    """Build an Introspective."""
    return Introspective()


def different(index: int) -> gymnasium.Env[Any, Any]:
    """Build worlds that do not fit together."""
    return PointEnv() if index == 0 else StretchedEnv()


class StretchedEnv(PointEnv):
    """PointEnv with a wider space."""

    def __init__(self) -> None:
        super().__init__()
        self.observation_space = gymnasium.spaces.Box(-5.0, 5.0, (2,), np.float32)


def grasp(index: int) -> gymnasium.Env[Any, Any]:
    """Build the Dofbot's grasp."""
    from sim.env import ArmEnv

    return ArmEnv()


def choosing(index: int) -> gymnasium.Env[Any, Any]:
    """Build a world whose actions are choices."""
    env = PointEnv()
    env.action_space = gymnasium.spaces.Discrete(3)  # pyright: ignore[reportAttributeAccessIssue]
    return env


def unreadable(index: int) -> gymnasium.Env[Any, Any]:
    """Build a world whose observation has a part that is no Box."""
    env = PointEnv()
    parts = {"state": env.observation_space, "word": gymnasium.spaces.Discrete(3)}
    env.observation_space = gymnasium.spaces.Dict(parts)  # pyright: ignore[reportAttributeAccessIssue]
    return env


def unfit(index: int) -> gymnasium.Env[Any, Any]:
    """Build a world whose observation is no Box."""
    env = PointEnv()
    env.observation_space = gymnasium.spaces.Discrete(3)  # pyright: ignore[reportAttributeAccessIssue]
    return env
