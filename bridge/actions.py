"""From an action to a tool target: what the numbers of a policy mean."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bridge.errors import BridgeError
from urdf.description import Rig
from urdf.pose import Array

#: The tool may leave the block area by this much on every side (and reach as far as home).
WORKSPACE_MARGIN_M = 0.015


@dataclass(frozen=True, slots=True)
class ActionLayout:
    """The meaning of an action vector in [-1, 1]; `version` changes whenever the meaning does."""

    name: str
    version: int
    names: tuple[str, ...]


#: Lateral tool motion in the desk frame. The heading of the jaws is no action: where the block's pose is known, its
#: right value follows from geometry alone, and learning it would only spend samples.
LATERAL_ACTION = ActionLayout("lateral", 1, ("dx", "dy"))
MAX_LATERAL_STEP_M = 0.010


def decode_lateral(action: NDArray[np.float32]) -> Array:
    """Return the tool motion (2,) [m] of one control period; a vector longer than 10 mm is shortened, not clipped."""
    values = np.asarray(action, dtype=np.float64)
    if values.shape != (2,) or not np.isfinite(values).all():
        raise BridgeError(f"an action is two finite numbers {LATERAL_ACTION.names}, got {action!r}")
    motion = MAX_LATERAL_STEP_M * values
    length = math.hypot(motion[0], motion[1])
    return motion * (MAX_LATERAL_STEP_M / length) if length > MAX_LATERAL_STEP_M else motion


def clamp_to_workspace(desk_xy_m: Array, rig: Rig, home_xy_m: Array) -> Array:
    """Return the nearest point of the box around block area and home."""
    half = rig.area_size_m / 2
    lower = np.minimum(rig.area_center_m - half, home_xy_m) - WORKSPACE_MARGIN_M
    upper = np.maximum(rig.area_center_m + half, home_xy_m) + WORKSPACE_MARGIN_M
    return np.minimum(np.maximum(desk_xy_m, lower), upper)


def jaw_heading(block_yaw_rad: float, block_xy_m: Array) -> float:
    """Return the heading of the jaws for a cube: its yaw plus the quarter turn that lies nearest to the tangent.

    The tool leans in the vertical plane through the base axis. Jaws along the tangent stay level however much it
    leans; jaws along the radius would lean with it.
    """
    tangent = math.atan2(float(block_xy_m[1]), float(block_xy_m[0])) - math.pi / 2
    return block_yaw_rad + math.pi / 2 * round((tangent - block_yaw_rad) / (math.pi / 2))
