"""A real, tiny task to learn on: a point in a square must come to rest near a goal. Runs without a simulator."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from bridge.actions import ActionLayout
from bridge.encoding import ObservationLayout
from bridge.observation import ObservationSpec
from urdf.description import load_arm


class PointEnv(gymnasium.Env[NDArray[np.float32], NDArray[np.float32]]):
    """Observation: goal minus point (2,). Action: a move of at most 0.3 per axis. Success: within 0.1 of the goal.

    It ends at success, or is truncated after 20 moves. Random moves rarely succeed: the goal is small.
    """

    def __init__(self, step_s: float = 0.0) -> None:
        self.observation_space = gymnasium.spaces.Box(-4.0, 4.0, (2,), np.float32)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.description = load_arm("dofbot")
        self.observation_spec = ObservationSpec()
        self.observation_layout = ObservationLayout("point", 1, ("goal_x", "goal_y"))
        self.action_layout = ActionLayout("point-move", 1, ("x", "y"))
        self.control_rate_hz = 20.0
        self.action_repeat = 1
        self._step_s = step_s
        self._offset = np.zeros(2)
        self._moves = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed)
        self._offset = self.np_random.uniform(-1.0, 1.0, 2)
        self._moves = 0
        return self._offset.astype(np.float32), {}

    def step(self, action: NDArray[np.float32]) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        if self._step_s:
            time.sleep(self._step_s)
        before = float(np.linalg.norm(self._offset))
        self._offset = np.clip(self._offset - 0.3 * np.clip(action, -1.0, 1.0), -2.0, 2.0)
        self._moves += 1
        distance = float(np.linalg.norm(self._offset))
        success = distance < 0.1
        reward = before - distance + float(success)
        return self._offset.astype(np.float32), reward, success, self._moves >= 20, {"is_success": success}


@dataclass(frozen=True)
class PointTask:
    """Builds the task in whichever process calls it."""

    step_s: float = 0.0

    def __call__(self, index: int = 0) -> PointEnv:
        return PointEnv(self.step_s)
