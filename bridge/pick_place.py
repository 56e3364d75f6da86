"""The pick-and-place attempt: the policy moves tool and jaws freely; closing is the skill that knows when to stop."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bridge.actions import TOOL_ACTION, clamp_to_workspace, decode_tool
from bridge.attempt import ToolMotion
from bridge.encoding import PICK_PLACE_STATE, Phase, PlaceSituation, encode_pick_place_state
from bridge.grasp import LATCH_DISTANCE_M, MAX_SIGHTING_AGE_S
from bridge.messages import RobotState
from bridge.ports import BlockSighting, Kinematics
from bridge.skills import CloseGripper
from urdf.description import ArmDescription, Rig
from urdf.pose import Array

OPENING_SPEED_RAD_S = 2.0


class PickPlaceAttempt:
    """Free motion of the tool over the block area. Implements `bridge.attempt.Attempt`."""

    observation_layout = PICK_PLACE_STATE
    action_layout = TOOL_ACTION
    deciding = True

    def __init__(self, description: ArmDescription, rig: Rig, kinematics: Kinematics, period_s: float) -> None:
        self.description = description
        self.rig = rig
        self.period_s = period_s
        self.motion = ToolMotion(kinematics)
        self._home_xy_m = self.motion.locate(rig.home_rad)[0][:2]
        self.phase = Phase.MOVE
        #: Where the block is to lie (3,), in the desk frame; set before `begin`.
        self.goal_m: Array | None = None

    @property
    def ready(self) -> bool:
        """Whether the block has been seen and a goal is set."""
        return self.block is not None and self.goal_m is not None

    @property
    def holding(self) -> bool:
        """Whether the jaws closed on something."""
        return self._closing is not None and self._closing.contact_rad is not None

    def begin(self, state: RobotState) -> None:
        """Start from where the arm is measured to be."""
        self.phase = Phase.MOVE
        self.block = None
        self._closing: CloseGripper | None = None
        self.motion.begin(np.array(state.position_rad))

    def see(self, state: RobotState, sighting: BlockSighting | None, missing: str, now_ns: int) -> str:
        """Take in arm and block; a block in the jaws travels with the tool whether it is seen or not."""
        self._state = state
        before = self.tool_m if self.block is not None else None
        self.tool_m, self._heading_rad = self.motion.locate(np.array(state.position_rad))
        age_s = (now_ns - sighting.stamp_ns) * 1e-9 if sighting is not None else np.inf
        if sighting is not None and age_s <= MAX_SIGHTING_AGE_S:
            self.block = self.rig.desk_from_base @ sighting.base_from_block
            return ""
        if self.block is None:
            return missing or "the block has not been seen"
        hidden = float(np.linalg.norm(self.block.position_m - self.tool_m)) < LATCH_DISTANCE_M
        if self.holding and before is not None:
            self.block = type(self.block)(self.block.position_m + self.tool_m - before, self.block.quat_xyzw)
        return "" if hidden else missing or f"the block was last seen {age_s:.1f} s ago"

    def observe(self) -> NDArray[np.float32]:
        """Return the features of `PICK_PLACE_STATE`; raises ValueError before the attempt is ready."""
        if self.block is None or self.goal_m is None:
            raise ValueError("no observation before the block has been seen and a goal is set")
        situation = PlaceSituation(
            tool_m=self.tool_m,
            command_m=self.motion.command_m,
            heading_rad=self._heading_rad,
            opening_m=self.description.gripper.opening_m(self._state.position_rad[-1]),
            closing=self._closing is not None,
            holding=self.holding,
            block=self.block,
            goal_m=self.goal_m,
        )
        return encode_pick_place_state(situation, self.rig)

    def command(self, action: NDArray[np.float32], waiting_for: str) -> Array:
        """Return the joint targets (n,) of this period; the tool stays over the area, between grasp and hover."""
        if not waiting_for:
            wanted = decode_tool(action)
            command = self.motion.command_m + wanted.motion_m
            command[:2] = clamp_to_workspace(command[:2], self.rig, self._home_xy_m)
            command[2] = max(self.rig.grasp_m, min(self.rig.hover_m, command[2]))
            self.motion.follow(command, self.motion.heading_rad + wanted.turn_rad, self.tool_m)
            self.motion.set_gripper(self._gripper_rad(wanted.close))
        return self.motion.target_rad

    def _gripper_rad(self, close: bool) -> float:
        target = float(self.motion.target_rad[-1])
        if not close:
            self._closing = None
            return max(self.description.gripper.open_rad, target - OPENING_SPEED_RAD_S * self.period_s)
        if self._closing is None:
            self._closing = CloseGripper(self.description, target, self.period_s)
        return self._closing.step(self._state)
