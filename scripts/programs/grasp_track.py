"""A scripted person who grasps the block, or shows a task: the ways of the wrist that bring the tool there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from scripts.programs.pose_track import Waypoint
from urdf.description import Rig
from urdf.pose import Array

#: Where a hand is at ease, before the right shoulder (right, ahead, up): the middle of the way lies there.
_AT_EASE_M = (0.14, 0.33, -0.06)
_STILL_S, _ACROSS_S, _DOWN_S, _PINCH_S, _UP_S = 2.0, 4.0, 3.0, 2.0, 3.0
#: An attempt at the task `grasp`, and in it: the other hand lowered, the hand still, the way over the block, and back.
ATTEMPT_S = 11.5
_LOWERED_S, _STEADY_S, _LED_S, _BACK_S = 2.0, 0.8, 1.3, 2.0
#: At the task `pick-place`: over the block or the goal, down on it, and up.
_OVER_S, _SINK_S, _RISE_S = 2.5, 2.0, 1.5


def grasp_waypoints(
    tool_m: Array, block_xy_m: Array, rig: Rig, scale: float, lift_m: float = 0.07, turn_rad: float = 0.0
) -> tuple[Waypoint, ...]:
    """Return the right wrist's way, the left hand raised all along, for a tool at `tool_m` (3,) when it is engaged.

    `scale`: metres of tool for a metre of wrist. The block is lifted by `lift_m`. `turn_rad`: how far the hand rolls,
    and the jaws with it, on the way to the block.
    """
    above_m = np.array([*block_xy_m, rig.hover_m])
    grasp_m = np.array([*block_xy_m, rig.grasp_m])
    way_m = [tool_m, tool_m, above_m, above_m, grasp_m, grasp_m, grasp_m, np.add(grasp_m, (0.0, 0.0, lift_m))]
    times_s = np.cumsum([0.0, _STILL_S, _ACROSS_S, 0.5, _DOWN_S, 0.5, _PINCH_S, _UP_S]).tolist()
    wrists_m = _wrists_m(way_m, scale).tolist()
    pinching = [False] * 5 + [True] * 3
    track = [
        Waypoint(time_s, wrist_m, pinched, other_raised=True, roll_rad=turn_rad if number > 1 else 0.0)
        for number, (time_s, wrist_m, pinched) in enumerate(zip(times_s, wrists_m, pinching, strict=True))
    ]
    return (*track, replace(track[-1], time_s=track[-1].time_s + 1.0))


def _wrists_m(way_m: Sequence[Array], scale: float) -> Array:
    """Return the wrist (n, 3) for every place of the tool: to scale, the middle of the way where a hand is at ease."""
    tools_m = np.array(way_m)
    middle_m = (tools_m.min(axis=0) + tools_m.max(axis=0)) / 2
    return _AT_EASE_M + (tools_m - middle_m) / scale


def leading_waypoints(tool_m: Array, blocks_xy_m: Sequence[Array], scale: float) -> tuple[Waypoint, ...]:
    """Return the wrist's way over one block after the other, as the task `grasp` wants it led: it sinks by itself.

    The left hand is lowered when an attempt begins, for as long as it takes to be seen, and raised until the next.
    """
    places_m = [np.array([*block_xy_m, tool_m[2]]) for block_xy_m in blocks_xy_m]
    at_home_m, *over_m = _wrists_m([tool_m, *places_m], scale).tolist()
    track: list[Waypoint] = []
    for number, wrist_m in enumerate(over_m):
        begin_s = number * ATTEMPT_S
        for time_s, place_m, raised in (
            (0.0, at_home_m, False),
            (_LOWERED_S, at_home_m, True),
            (_LOWERED_S + _STEADY_S, at_home_m, True),
            (_LOWERED_S + _STEADY_S + _LED_S, wrist_m, True),
            (ATTEMPT_S - _BACK_S, wrist_m, True),
        ):
            track.append(Waypoint(begin_s + time_s, place_m, other_raised=raised))
    return (*track, Waypoint(len(over_m) * ATTEMPT_S, at_home_m))


def placing_waypoints(
    tool_m: Array, block_xy_m: Array, goal_xy_m: Array, turn_rad: float, rig: Rig, scale: float
) -> tuple[Waypoint, ...]:
    """Return the wrist's way that takes the block to a goal and lets go of it there, as the task `pick-place` wants it.

    `turn_rad`: how far the hand rolls, and the jaws with it, on the way to the block.
    """
    heights_m = (rig.hover_m, rig.grasp_m)
    block_m, block_low_m = (np.array([*block_xy_m, height_m]) for height_m in heights_m)
    goal_m, goal_low_m = (np.array([*goal_xy_m, height_m]) for height_m in heights_m)
    way = (
        (0.0, tool_m, False, False),
        (_LOWERED_S, tool_m, False, True),
        (_STEADY_S, tool_m, False, True),
        (_OVER_S, block_m, False, True),
        (_SINK_S, block_low_m, False, True),
        (0.5, block_low_m, True, True),
        (_PINCH_S + 0.5, block_low_m, True, True),
        (_RISE_S, block_m, True, True),
        (_OVER_S, goal_m, True, True),
        (_SINK_S, goal_low_m, True, True),
        (0.5, goal_low_m, False, True),
        (1.0, goal_low_m, False, True),
        (_RISE_S, goal_m, False, True),
        (1.0, goal_m, False, True),
    )
    times_s = np.cumsum([pause_s for pause_s, *_ in way]).tolist()
    wrists_m = _wrists_m([place_m for _, place_m, *_ in way], scale).tolist()
    return tuple(
        Waypoint(time_s, wrist_m, pinched, raised, turn_rad if number > 2 else 0.0)
        for number, (time_s, wrist_m, (_, _, pinched, raised)) in enumerate(zip(times_s, wrists_m, way, strict=True))
    )
