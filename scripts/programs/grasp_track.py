"""A scripted person who grasps the block: the way of the wrist that brings the tool over it, down, and up again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scripts.programs.pose_track import Waypoint
from urdf.description import Rig
from urdf.pose import Array

#: Where a hand is at ease, before the right shoulder (right, ahead, up): the middle of the way lies there.
_AT_EASE_M = (0.14, 0.33, -0.06)
_STILL_S, _ACROSS_S, _DOWN_S, _PINCH_S, _UP_S = 2.0, 4.0, 3.0, 2.0, 3.0


def grasp_waypoints(
    tool_m: Array, block_xy_m: Array, rig: Rig, scale: float, lift_m: float = 0.07
) -> tuple[Waypoint, ...]:
    """Return the right wrist's way, the left hand raised all along, for a tool at `tool_m` (3,) when it is engaged.

    The jaws keep their heading. `scale`: metres of tool for a metre of wrist. The block is lifted by `lift_m`.
    """
    above_m = np.array([*block_xy_m, rig.hover_m])
    grasp_m = np.array([*block_xy_m, rig.grasp_m])
    way_m = [tool_m, tool_m, above_m, above_m, grasp_m, grasp_m, grasp_m, np.add(grasp_m, (0.0, 0.0, lift_m))]
    times_s = np.cumsum([0.0, _STILL_S, _ACROSS_S, 0.5, _DOWN_S, 0.5, _PINCH_S, _UP_S]).tolist()
    wrists_m = _wrists_m(way_m, scale)
    pinching = [False] * 5 + [True] * 3
    track = [
        Waypoint(time_s, (float(x), float(y), float(z)), pinching=pinched, other_raised=True)
        for time_s, (x, y, z), pinched in zip(times_s, wrists_m, pinching, strict=True)
    ]
    last = track[-1]
    return (*track, Waypoint(last.time_s + 1.0, last.wrist_m, pinching=True, other_raised=True))


def _wrists_m(way_m: Sequence[Array], scale: float) -> Array:
    """Return the wrist (n, 3) for every place of the tool: to scale, the middle of the way where a hand is at ease."""
    tools_m = np.array(way_m)
    middle_m = (tools_m.min(axis=0) + tools_m.max(axis=0)) / 2
    return _AT_EASE_M + (tools_m - middle_m) / scale
