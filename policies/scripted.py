"""Policies that nobody trained: the oracle that proves a task possible, and baselines that must not solve it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bridge.actions import MAX_LATERAL_STEP_M
from bridge.encoding import OFFSET_SCALE_M, PLACE_SCALE_M, ObservationLayout
from bridge.ports import Policy
from urdf.errors import UnknownName


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


class StraightPolicy:
    """Goes straight for a point: the block (`oracle`) or the middle of the block area (`blind`).

    It reads the grasp-state observation by feature name and corrects the commanded position, which has no lag.
    """

    def __init__(self, layout: ObservationLayout, action_repeat: int, to_block: bool) -> None:
        self._error = [layout.index("block_from_command_x"), layout.index("block_from_command_y")]
        self._block = [layout.index("block_x"), layout.index("block_y")]
        self._reach_m = MAX_LATERAL_STEP_M * action_repeat
        self._to_block = to_block

    def act(self, observation: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the motion towards the point, as far as one decision goes."""
        error_m = OFFSET_SCALE_M * observation[self._error].astype(np.float64)
        if not self._to_block:
            error_m -= PLACE_SCALE_M * observation[self._block]  # the area's middle as seen from the command
        motion = error_m / self._reach_m
        return (motion / max(1.0, float(np.linalg.norm(motion)))).astype(np.float32)


SCRIPTED_NAMES = ("oracle", "random", "hold", "blind")


def scripted_policy(
    name: str, layout: ObservationLayout, action_size: int, action_repeat: int, rng: np.random.Generator
) -> Policy:
    """Return a scripted policy by name; raises UnknownName."""
    match name:
        case "oracle":
            return StraightPolicy(layout, action_repeat, to_block=True)
        case "blind":
            return StraightPolicy(layout, action_repeat, to_block=False)
        case "hold":
            return HoldPolicy(action_size)
        case "random":
            return RandomPolicy(action_size, rng)
        case _:
            raise UnknownName("policy", name, SCRIPTED_NAMES)
