"""The reach attempt: bring the tool to a point and stop there."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from bridge.actions import CARTESIAN_ACTION, decode_cartesian
from bridge.attempt import ToolMotion
from bridge.encoding import REACH_STATE, Phase, encode_reach_state
from bridge.messages import RobotState
from bridge.ports import BlockSighting, Kinematics
from urdf.description import ArmDescription, Rig
from urdf.pose import Array

#: Jaws follow the tangent this fast: 200 deg/s.
HEADING_STEP_RAD = math.radians(10.0)


class ReachAttempt:
    """The policy moves the tool freely inside the rig's reach box. Implements `bridge.attempt.Attempt`."""

    observation_layout = REACH_STATE
    action_layout = CARTESIAN_ACTION
    deciding = True

    def __init__(self, description: ArmDescription, rig: Rig, kinematics: Kinematics, period_s: float) -> None:
        self.description = description
        self.rig = rig
        self.period_s = period_s
        self.motion = ToolMotion(kinematics)
        self.phase = Phase.MOVE
        #: Where the tool is to go (3,), in the desk frame; set before `begin`.
        self.goal_m: Array | None = None

    @property
    def ready(self) -> bool:
        """Whether a goal is set: nothing else has to be seen."""
        return self.goal_m is not None

    def begin(self, state: RobotState) -> None:
        """Start from where the arm is measured to be."""
        self.motion.begin(np.array(state.position_rad))

    def see(self, state: RobotState, sighting: BlockSighting | None, missing: str, now_ns: int) -> str:
        """Take in the arm's state; a reach needs no block."""
        self.tool_m, _ = self.motion.locate(np.array(state.position_rad))
        return "" if self.ready else "no goal is set"

    def observe(self) -> NDArray[np.float32]:
        """Return the features of `REACH_STATE`; raises ValueError without a goal."""
        if self.goal_m is None:
            raise ValueError("no observation before a goal is set")
        return encode_reach_state(self.tool_m, self.motion.command_m, self.goal_m, self.rig)

    def heading_at(self, point_m: Array) -> float:
        """Return the heading of the jaws at a point: along the tangent around the base."""
        return math.atan2(point_m[1], point_m[0]) - math.pi / 2

    def distance_m(self) -> float:
        """Return how far the tool is from the goal."""
        assert self.goal_m is not None
        return float(np.linalg.norm(self.goal_m - self.tool_m))

    def command(self, action: NDArray[np.float32], waiting_for: str) -> Array:
        """Return the joint targets (n,) of this period; the tool stays inside the reach box."""
        if not waiting_for:
            goal = self.motion.command_m + decode_cartesian(action)
            command = np.minimum(np.maximum(goal, self.rig.reach_lower_m), self.rig.reach_upper_m)
            heading = self.motion.turned_towards(self.heading_at(command), HEADING_STEP_RAD)
            self.motion.follow(command, heading, self.tool_m)
        return self.motion.target_rad
