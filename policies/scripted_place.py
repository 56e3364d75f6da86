"""Pick-and-place by rule: over the block, down, close, up, over the goal, down, open, up."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from bridge.actions import MAX_STEP_M, MAX_TURN_RAD
from bridge.encoding import OFFSET_SCALE_M, OPENING_SCALE_M, PICK_PLACE_STATE, PLACE_SCALE_M
from bridge.observation import Observed, state_of
from urdf.pose import Array

#: Over a point: near enough to go down.
_OVER_M = 0.003
#: On the way down: so far aside that it is better to go up again.
_ASIDE_M = 0.009
_ALIGNED_RAD = math.radians(2.0)
#: At the bottom the tool is no higher than this above the middle of the block.
_BOTTOM_M = 0.0085
#: Travelling with or beside a block, the tool is at least this high above the middle of it.
_CLEAR_M = 0.030
#: The block lies where it should.
_PLACED_M = 0.009
_NARROW_M = 0.036
_EMPTY_M = 0.010
#: A quarter of the fastest motion up and down: a block that is jerked slips.
_VERTICAL = 0.4


def _place(name: str) -> list[int]:
    axes = [f"{name}_{axis}" for axis in "xyz"]
    return [PICK_PLACE_STATE.index(axis) for axis in axes]


class PickPlacePolicy:
    """Reads `pick-place-state` alone and keeps no memory. `blind` takes the middle of the area for the block."""

    def __init__(self, action_repeat: int, blind: bool) -> None:
        self._repeat = action_repeat
        self._blind = blind
        self._block_from_command = _place("block_from_command")
        self._block_from_tool = _place("block_from_tool")
        self._block_from_goal = _place("block_from_goal")
        self._goal_from_command = _place("goal_from_command")
        self._tool = _place("tool")
        layout = PICK_PLACE_STATE
        self._turn = [layout.index("block_turn_cos4"), layout.index("block_turn_sin4")]
        self._opening, self._closing = layout.index("opening"), layout.index("closing")
        self._holding = layout.index("holding")

    def act(self, observation: Observed) -> NDArray[np.float32]:
        """Return the next motion."""
        o = state_of(observation).astype(np.float64)
        block, block_from_tool = OFFSET_SCALE_M * o[self._block_from_command], OFFSET_SCALE_M * o[self._block_from_tool]
        turn_rad = math.atan2(o[self._turn[1]], o[self._turn[0]]) / 4
        placed = math.hypot(*(OFFSET_SCALE_M * o[self._block_from_goal[:2]])) < _PLACED_M
        if self._blind:
            command_from_tool = block_from_tool - block
            block = np.append(-PLACE_SCALE_M * o[self._tool][:2] - command_from_tool[:2], block[2])
            turn_rad, placed = 0.0, False
        opening_m = OPENING_SCALE_M * float(o[self._opening])
        height_m = -float(block_from_tool[2])
        if o[self._closing] < 0.5:
            return self._fetch(block, turn_rad, height_m, opening_m, placed)
        if o[self._holding] < 0.5:
            return self._action(np.zeros(3), 0.0, close=opening_m > _EMPTY_M)
        error = OFFSET_SCALE_M * o[self._goal_from_command]
        # The block may hang a little beside the tool: it is the block that must come over the goal.
        error[:2] -= block_from_tool[:2]
        return self._carry(error)

    def _fetch(
        self, block: Array, turn_rad: float, height_m: float, opening_m: float, placed: bool
    ) -> NDArray[np.float32]:
        """With open jaws: to the block and down on it; up and away once it is placed."""
        if placed:
            return self._action(np.array([0.0, 0.0, 1.0]) * MAX_STEP_M, 0.0, close=False)
        lateral = np.array([block[0], block[1], 0.0])
        distance_m = float(np.linalg.norm(lateral))
        if distance_m > _OVER_M or abs(turn_rad) > _ALIGNED_RAD:
            low = -float(block[2]) < _CLEAR_M and distance_m > _CLEAR_M / 2
            motion = np.array([0.0, 0.0, MAX_STEP_M]) if low else lateral
            return self._action(motion, turn_rad, close=False)
        if opening_m < _NARROW_M:
            return self._action(np.zeros(3), 0.0, close=False)
        down = np.array([block[0], block[1], -_VERTICAL * MAX_STEP_M])
        return self._action(down, turn_rad, close=height_m <= _BOTTOM_M)

    def _carry(self, error: Array) -> NDArray[np.float32]:
        """With a block: up, over the goal, down, open."""
        lateral = np.array([error[0], error[1], 0.0])
        height_m = -float(error[2])
        low = height_m < _CLEAR_M
        distance_m = float(np.linalg.norm(lateral))
        if low and distance_m > _ASIDE_M:
            return self._action(np.array([0.0, 0.0, _VERTICAL * MAX_STEP_M]), 0.0, close=True)
        if not low and distance_m > _OVER_M:
            return self._action(0.6 * lateral, 0.0, close=True)
        down = -_VERTICAL * MAX_STEP_M if height_m > _BOTTOM_M else 0.0
        return self._action(np.array([0.5 * error[0], 0.5 * error[1], down]), 0.0, close=down < 0.0)

    def _action(self, motion_m: Array, turn_rad: float, close: bool) -> NDArray[np.float32]:
        """Return the action whose repetition over a decision gives this motion: vertical speeds are a period's."""
        lateral = motion_m[:2] / (MAX_STEP_M * self._repeat)
        length = float(np.linalg.norm(lateral))
        lateral = lateral / max(1.0, length)
        turn = max(-1.0, min(1.0, turn_rad / (MAX_TURN_RAD * self._repeat)))
        vertical = max(-1.0, min(1.0, motion_m[2] / MAX_STEP_M))
        return np.array([*lateral, vertical, turn, 1.0 if close else -1.0], dtype=np.float32)
