"""Free attempts: no block, no goal, no end of their own. Whoever decides moves the tool, or the joints, freely.

What a policy observes is what an arm knows of itself. Both implement `bridge.attempt.Attempt`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bridge.actions import TOOL_ACTION, decode_joints, decode_tool, joint_action
from bridge.attempt import ToolMotion
from bridge.encoding import Phase, ToolFrame, encode_proprioception, proprioception_layout
from bridge.grasp import EASE_STEP_RAD, MAX_SQUEEZE_RAD
from bridge.messages import RobotState
from bridge.pick_place import OPENING_SPEED_RAD_S
from bridge.ports import BlockSighting, Kinematics
from bridge.skills import CloseGripper
from urdf.description import ArmDescription, Rig
from urdf.pose import Array

#: Commands come often: the arm gets as many as 50 a second.
FREE_HZ = 50
#: So far a joint's command runs ahead of the joint: an arm at full speed is 0.3 rad behind.
MAX_LEAD_RAD = 0.6
#: The tool may rise over the rig's reach box, to carry what it lifted.
HEADROOM_M = 0.05
#: A reading of the jaws older than this says nothing about how hard they press now.
_FRESH_S = 0.05


class _Free:
    """What both have in common: they see the arm, and nothing is ever missing."""

    deciding = True

    def __init__(self, description: ArmDescription, rig: Rig, kinematics: Kinematics, period_s: float) -> None:
        self.description = description
        self.rig = rig
        self.period_s = period_s
        self.motion = ToolMotion(kinematics)
        self.observation_layout = proprioception_layout(description)
        self.phase = Phase.MOVE
        self._frame = ToolFrame(description, rig)
        self._state: RobotState | None = None

    @property
    def ready(self) -> bool:
        """Whether the arm has been seen."""
        return self._state is not None

    def finish(self) -> None:
        """End the attempt with this period."""
        self.phase = Phase.DONE

    def see(self, state: RobotState, sighting: BlockSighting | None, missing: str, now_ns: int) -> str:
        """Take in the arm's state; nothing else is needed."""
        self._state = state
        return ""

    def observe(self) -> NDArray[np.float32]:
        """Return the features of `proprioception_layout`; raises ValueError before the arm has been seen."""
        if self._state is None:
            raise ValueError("no observation before the arm has been seen")
        return encode_proprioception(self._state, self._frame, self.motion.command_m, float(self.motion.target_rad[-1]))


class FreeToolAttempt(_Free):
    """The tool moves freely in the rig's reach box, and over the block area down to the desk; jaws open and close."""

    action_layout = TOOL_ACTION

    def begin(self, state: RobotState) -> None:
        """Start from where the arm is measured to be; that place belongs to the box, wherever it is."""
        self._state, self.phase = state, Phase.MOVE
        self._closing: CloseGripper | None = None
        self.motion.begin(np.array(state.position_rad))
        start_m, rig = self.motion.command_m, self.rig
        lowest_m = min(rig.grasp_m, float(rig.reach_lower_m[2]))
        self._lower_m = np.minimum([*rig.reach_lower_m[:2], lowest_m], start_m)
        self._upper_m = np.maximum(np.add(rig.reach_upper_m, (0.0, 0.0, HEADROOM_M)), start_m)

    @property
    def holding(self) -> bool:
        """Whether the jaws closed on something."""
        return self._closing is not None and self._closing.contact_rad is not None

    def command(self, action: NDArray[np.float32], waiting_for: str) -> Array:
        """Return the joint targets (n,) of this period."""
        assert self._state is not None
        if not waiting_for:
            wanted = decode_tool(action)
            command_m = np.clip(self.motion.command_m + wanted.motion_m, self._lower_m, self._upper_m)
            tool_m, _ = self.motion.locate(np.array(self._state.position_rad))
            self.motion.follow(command_m, self.motion.heading_rad + wanted.turn_rad, tool_m)
            self.motion.set_gripper(self._gripper_rad(wanted.close, self._state))
        return self.motion.target_rad

    def _gripper_rad(self, close: bool, state: RobotState) -> float:
        target = float(self.motion.target_rad[-1])
        if not close:
            self._closing = None
            return max(self.description.gripper.open_rad, target - OPENING_SPEED_RAD_S * self.period_s)
        if self._closing is None:
            self._closing = CloseGripper(self.description, target, self.period_s)
        if self._closing.finished:
            return target - self._ease_rad(target, state)
        return self._closing.step(state)

    def _ease_rad(self, target_rad: float, state: RobotState) -> float:
        """Return what to take back of a squeeze that is more than a servo may press for long."""
        pressed_rad = target_rad - state.position_rad[-1]
        fresh = state.reading_age_s[-1] < _FRESH_S
        return EASE_STEP_RAD if self.holding and fresh and pressed_rad > MAX_SQUEEZE_RAD else 0.0


class FreeJointAttempt(_Free):
    """Every joint moves freely inside its limits, no faster than it can."""

    def __init__(self, description: ArmDescription, rig: Rig, kinematics: Kinematics, period_s: float) -> None:
        super().__init__(description, rig, kinematics, period_s)
        self.action_layout = joint_action(description)

    def begin(self, state: RobotState) -> None:
        """Start from where the arm is measured to be."""
        self._state, self.phase = state, Phase.MOVE
        self.motion.begin(np.array(state.position_rad))

    def command(self, action: NDArray[np.float32], waiting_for: str) -> Array:
        """Return the joint targets (n,) of this period."""
        assert self._state is not None
        if not waiting_for:
            measured_rad, arm = np.array(self._state.position_rad), self.description
            wanted_rad = self.motion.target_rad + decode_joints(action, arm, self.period_s)
            led_rad = np.clip(wanted_rad, measured_rad - MAX_LEAD_RAD, measured_rad + MAX_LEAD_RAD)
            self.motion.target_rad = np.clip(led_rad, arm.lower_rad, arm.upper_rad)
            self.motion.command_m, self.motion.heading_rad = self.motion.locate(self.motion.target_rad)
        return self.motion.target_rad
