"""`tool`: the wrist's motion since the clutch engaged as the tool's, scaled, inside the workspace."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from bridge.actions import MAX_STEP_M, MAX_TURN_RAD
from bridge.ports import Kinematics
from perception.hand import Grip, closing
from perception.limb import Limb
from perception.retarget import ToolLatch, ToolTarget, slewed
from urdf.description import ArmDescription, Rig
from urdf.errors import Unreachable
from urdf.pose import Array

#: How far a wrist moves at ease. A workspace as wide is served without scaling.
EASY_MOTION_M = 0.5
#: The tool may rise over the box that an arm is to serve, to carry what it lifted.
_HEADROOM_M = 0.05


def natural_scale(rig: Rig) -> float:
    """Return the metres of tool for a metre of wrist with which an easy motion crosses the workspace."""
    return float((rig.reach_upper_m - rig.reach_lower_m).max()) / EASY_MOTION_M


class ToolRetarget:
    """Moves a tool as the wrist moves. Implements `perception.retarget.ToolRetarget`.

    The workspace is the box that the rig is to serve, grasp height and some headroom included, and always where the
    tool was latched. With `turning` the jaws turn as the hand rolls, where a hand model sees it.
    """

    def __init__(self, rig: Rig, grip: Grip = Grip.PINCH, turning: bool = False) -> None:
        self._grip = grip
        self._turning = turning
        lowest_m = min(rig.grasp_m, float(rig.reach_lower_m[2]))
        self._lower_m = np.array([*rig.reach_lower_m[:2], lowest_m])
        self._upper_m = np.add(rig.reach_upper_m, (0.0, 0.0, _HEADROOM_M))

    def latch(self, limb: Limb, tool: ToolTarget, scale: float) -> ToolLatch:
        """Return the beginning of a motion: the tool is at `tool` while the limb is as it is now.

        Raises ValueError for a scale that is not above 0.
        """
        if not 0.0 < scale < math.inf:
            raise ValueError(f"expected a scale above 0 (metres of tool for a metre of wrist), got {scale}")
        return ToolLatch(limb.wrist_m, None if limb.hand is None else limb.hand.roll_rad, tool, scale)

    def target(self, latch: ToolLatch, limb: Limb, before: ToolTarget) -> ToolTarget:
        """Return where the limb now sends the tool; `before` is the last target (at first, the latched tool)."""
        wanted_m = latch.tool.position_m + latch.scale * (limb.wrist_m - latch.wrist_m)
        lower_m = np.minimum(self._lower_m, latch.tool.position_m)
        upper_m = np.maximum(self._upper_m, latch.tool.position_m)
        heading_rad = self._heading_rad(latch, limb, before)
        return ToolTarget(
            np.clip(wanted_m, lower_m, upper_m), heading_rad, closing(limb.hand, before.closing, self._grip)
        )

    def _heading_rad(self, latch: ToolLatch, limb: Limb, before: ToolTarget) -> float:
        if not self._turning or limb.hand is None or latch.roll_rad is None:
            return before.heading_rad
        return latch.tool.heading_rad + math.remainder(limb.hand.roll_rad - latch.roll_rad, 2.0 * math.pi)


def tool_action(target: ToolTarget, position_m: Array, heading_rad: float, periods: int = 1) -> NDArray[np.float32]:
    """Return the `TOOL_ACTION` (5,) of `bridge.actions` that goes from the commanded tool towards the target.

    `periods`: so many control periods does it last, and gets there at their end where it can.
    """
    motion = (target.position_m - position_m) / (periods * MAX_STEP_M)
    turn = math.remainder(target.heading_rad - heading_rad, math.pi)  # jaws are symmetric: half a turn is none
    values = [*(motion / max(1.0, float(np.linalg.norm(motion)))), turn / (periods * MAX_TURN_RAD)]
    return np.array([*np.clip(values, -1.0, 1.0), 1.0 if target.closing else -1.0], dtype=np.float32)


def tool_joints_rad(
    description: ArmDescription, kinematics: Kinematics, target: ToolTarget, before_rad: Array, duration_s: float
) -> Array:
    """Return the joint targets (n,) `duration_s` after `before_rad` towards a tool target, by inverse kinematics.

    Where the arm cannot go it stays; the gripper goes as the hand says in any case.
    """
    gripper_rad = description.gripper.closed_rad if target.closing else description.gripper.open_rad
    try:
        arm_rad = kinematics.solve(target.position_m, target.heading_rad, before_rad, patient=False)
    except Unreachable:
        arm_rad = before_rad[:-1]
    return slewed(description, before_rad, np.append(arm_rad, gripper_rad), duration_s)
