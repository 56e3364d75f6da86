"""Policies that nobody trained: the oracle that proves a task possible, and baselines that must not solve it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bridge.actions import MAX_LATERAL_STEP_M, MAX_STEP_M
from bridge.encoding import OFFSET_SCALE_M, PICK_PLACE_STATE, PLACE_SCALE_M, REACH_STATE, ObservationLayout
from bridge.observation import Observed, state_of
from bridge.ports import Policy
from policies.scripted_place import PickPlacePolicy
from urdf.errors import UnknownName


class HoldPolicy:
    """Does nothing: the zero action."""

    def __init__(self, action_size: int) -> None:
        self._action = np.zeros(action_size, dtype=np.float32)

    def act(self, observation: Observed) -> NDArray[np.float32]:
        """Return zeros."""
        return self._action.copy()


class RandomPolicy:
    """Draws every action uniformly from [-1, 1]."""

    def __init__(self, action_size: int, rng: np.random.Generator) -> None:
        self._action_size = action_size
        self._rng = rng

    def act(self, observation: Observed) -> NDArray[np.float32]:
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

    def act(self, observation: Observed) -> NDArray[np.float32]:
        """Return the motion towards the point, as far as one decision goes."""
        state = state_of(observation)
        error_m = OFFSET_SCALE_M * state[self._error].astype(np.float64)
        if not self._to_block:
            error_m -= PLACE_SCALE_M * state[self._block]  # the area's middle as seen from the command
        motion = error_m / self._reach_m
        return (motion / max(1.0, float(np.linalg.norm(motion)))).astype(np.float32)


#: Where the blind policy goes: this high above the middle of the block area.
BLIND_REACH_M = 0.10


class ReachPolicy:
    """Goes straight for the goal (`oracle`) or for a point above the middle of the block area (`blind`)."""

    def __init__(self, action_repeat: int, blind: bool) -> None:
        self._reach_m = MAX_STEP_M * action_repeat
        self._blind = blind
        self._goal = [REACH_STATE.index(f"goal_from_command_{axis}") for axis in "xyz"]
        self._goal_from_tool = [REACH_STATE.index(f"goal_from_tool_{axis}") for axis in "xyz"]
        self._tool = [REACH_STATE.index(f"tool_{axis}") for axis in "xyz"]

    def act(self, observation: Observed) -> NDArray[np.float32]:
        """Return the motion towards the point, as far as one decision goes."""
        state = state_of(observation)
        error_m = OFFSET_SCALE_M * state[self._goal].astype(np.float64)
        if self._blind:
            tool_from_command = error_m - OFFSET_SCALE_M * state[self._goal_from_tool]
            error_m = tool_from_command - PLACE_SCALE_M * state[self._tool] + [0.0, 0.0, BLIND_REACH_M]
        motion = error_m / self._reach_m
        return (motion / max(1.0, float(np.linalg.norm(motion)))).astype(np.float32)


SCRIPTED_NAMES = ("oracle", "random", "hold", "blind")


def scripted_policy(
    name: str, layout: ObservationLayout, action_size: int, action_repeat: int, rng: np.random.Generator
) -> Policy:
    """Return a scripted policy by name; raises UnknownName."""
    match name:
        case "oracle" | "blind":
            return _guided(layout, action_repeat, name == "blind")
        case "hold":
            return HoldPolicy(action_size)
        case "random":
            return RandomPolicy(action_size, rng)
        case _:
            raise UnknownName("policy", name, SCRIPTED_NAMES)


def _guided(layout: ObservationLayout, action_repeat: int, blind: bool) -> Policy:
    """Return the policy that knows what a layout means."""
    if layout == REACH_STATE:
        return ReachPolicy(action_repeat, blind)
    if layout == PICK_PLACE_STATE:
        return PickPlacePolicy(action_repeat, blind)
    return StraightPolicy(layout, action_repeat, to_block=not blind)
