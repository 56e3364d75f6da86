"""From an action to a tool target: what the numbers of a policy mean."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bridge.errors import BridgeError
from urdf.description import ArmDescription, Rig
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
#: Free tool motion; the jaws follow the tangent around the base, where every arm keeps them level.
CARTESIAN_ACTION = ActionLayout("cartesian", 1, ("dx", "dy", "dz"))
#: Free tool motion, a turn of the jaws, and what they do: close above zero, open below.
TOOL_ACTION = ActionLayout("tool", 1, ("dx", "dy", "dz", "dyaw", "grip"))
MAX_STEP_M = 0.010
MAX_TURN_RAD = math.radians(5.0)


def checked(action: NDArray[np.float32], layout: ActionLayout) -> Array:
    """Return the action as float64 (n,); raises BridgeError where its size is wrong or a number is not finite."""
    values = np.asarray(action, dtype=np.float64)
    if values.shape != (len(layout.names),) or not np.isfinite(values).all():
        raise BridgeError(f"an action is {len(layout.names)} finite numbers {layout.names}, got {action!r}")
    return values


def shortened(motion_m: Array, longest_m: float) -> Array:
    """Return a motion no longer than `longest_m`, in its own direction."""
    length = float(np.linalg.norm(motion_m))
    return motion_m * (longest_m / length) if length > longest_m else motion_m


def decode_cartesian(action: NDArray[np.float32]) -> Array:
    """Return the tool motion (3,) [m] of one control period, at most 10 mm long."""
    return shortened(MAX_STEP_M * checked(action, CARTESIAN_ACTION), MAX_STEP_M)


@dataclass(frozen=True, slots=True)
class ToolAction:
    """What a policy asks of tool and jaws in one control period."""

    motion_m: Array
    turn_rad: float
    close: bool


def decode_tool(action: NDArray[np.float32]) -> ToolAction:
    """Return the meaning of a `TOOL_ACTION`: at most 10 mm and 5 degrees a control period."""
    values = checked(action, TOOL_ACTION)
    turn = MAX_TURN_RAD * max(-1.0, min(1.0, float(values[3])))
    return ToolAction(shortened(MAX_STEP_M * values[:3], MAX_STEP_M), turn, bool(values[4] > 0.0))


def joint_action(description: ArmDescription) -> ActionLayout:
    """Return the layout of joint steps: each a share of what the joint can travel in a control period."""
    return ActionLayout(f"joints-{description.name}", 1, description.joint_names)


def decode_joints(action: NDArray[np.float32], description: ArmDescription, period_s: float) -> Array:
    """Return the joint steps (n,) [rad] of one control period: no joint is asked to go faster than it can."""
    shares = checked(action, joint_action(description))
    return np.clip(shares, -1.0, 1.0) * description.max_speed_rad_s * period_s


def decode_lateral(action: NDArray[np.float32]) -> Array:
    """Return the tool motion (2,) [m] of one control period; a vector longer than 10 mm is shortened, not clipped."""
    return shortened(MAX_LATERAL_STEP_M * checked(action, LATERAL_ACTION), MAX_LATERAL_STEP_M)


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
