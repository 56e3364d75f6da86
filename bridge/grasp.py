"""The grasp attempt: descend under the policy, close, lift, hold. The same object runs in simulation and on the arm."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from bridge.actions import LATERAL_ACTION, clamp_to_workspace, decode_lateral, jaw_heading
from bridge.attempt import ToolMotion
from bridge.encoding import GRASP_STATE, GraspSituation, Phase, encode_grasp_state
from bridge.messages import RobotState
from bridge.ports import BlockSighting, Kinematics
from bridge.skills import CloseGripper
from urdf.description import ArmDescription, Rig
from urdf.pose import Array, Pose

CONTROL_HZ = 20
#: The tool sinks this much in a control period: 42 periods from hover to grasp.
DESCENT_STEP_M = 0.001
LIFT_STEP_M = 0.002
HOLD_S = 0.5
SETTLE_S = 0.25
#: The jaws turn towards the block's heading this fast: 100 deg/s.
HEADING_STEP_RAD = math.radians(5.0)
#: The board cuts a servo's torque after 3 s at 60 counts (0.049 rad of the jaws) from its target.
MAX_SQUEEZE_RAD = 0.042
EASE_STEP_RAD = 0.01
#: Nearer than this the block's pose is latched: the gripper is about to hide the markers.
LATCH_DISTANCE_M = 0.06
MAX_SIGHTING_AGE_S = 2.0
#: A block that is not seen for this long ends the attempt.
PATIENCE_S = 8.0


class GraspAttempt:
    """State machine of one grasp. Implements `bridge.attempt.Attempt`."""

    observation_layout = GRASP_STATE
    action_layout = LATERAL_ACTION

    def __init__(self, description: ArmDescription, rig: Rig, kinematics: Kinematics, period_s: float) -> None:
        self.description = description
        self.rig = rig
        self.period_s = period_s
        self.motion = ToolMotion(kinematics, patient=True)
        self._home_xy_m = self.motion.locate(rig.home_rad)[0][:2]
        self.phase = Phase.DONE

    @property
    def ready(self) -> bool:
        """Whether the block has been seen."""
        return self.block is not None

    @property
    def deciding(self) -> bool:
        """Whether the policy moves the tool: the rest is scripted."""
        return self.phase == Phase.DESCEND

    @property
    def looking(self) -> bool:
        """Whether a newer sighting would still count."""
        return self.phase == Phase.DESCEND and not self._latched

    @property
    def closed_on_something(self) -> bool:
        """Whether the jaws were stopped before they met: by the block, or whatever else lay between them."""
        return self._closing.contact_rad is not None

    @property
    def unreachable_count(self) -> int:
        """How often the tool could not be sent where the policy wanted it."""
        return self.motion.unreachable_count

    def begin(self, state: RobotState) -> None:
        """Start from where the arm is measured to be, so that nothing jumps."""
        position = np.array(state.position_rad)
        self.phase = Phase.DESCEND
        self.block: Pose | None = None
        self._latched = False
        self._waited_s = self._elapsed_s = 0.0
        self.grasp_rad = position
        self.motion.begin(position)
        command = self.motion.command_m
        self.motion.command_m = np.array([*command[:2], max(command[2], self.rig.hover_m)])
        self._closing = CloseGripper(self.description, float(position[-1]), self.period_s)

    def see(self, state: RobotState, sighting: BlockSighting | None, missing: str, now_ns: int) -> str:
        """Take in the newest sighting; return what is missing before the arm may move (empty: nothing)."""
        self._state = state
        self._tool_m, self._tool_heading_rad = self.motion.locate(np.array(state.position_rad))
        if self._latched or self.phase != Phase.DESCEND:
            return ""
        if sighting is None:
            return missing or "the block has not been seen"
        age_s = (now_ns - sighting.stamp_ns) * 1e-9
        if age_s > MAX_SIGHTING_AGE_S:
            return f"the block was last seen {age_s:.1f} s ago; {missing or 'no newer sighting'}"
        self.block = self.rig.desk_from_base @ sighting.base_from_block
        self._latched = float(np.linalg.norm(self.block.position_m - self._tool_m)) < LATCH_DISTANCE_M
        return ""

    def observe(self) -> NDArray[np.float32]:
        """Return what the policy sees; raises ValueError before the block has been seen."""
        if self.block is None:
            raise ValueError("no observation before the block has been seen")
        situation = GraspSituation(
            tool_m=self._tool_m,
            tool_heading_rad=self._tool_heading_rad,
            command_m=self.motion.command_m,
            opening_m=self.description.gripper.opening_m(self._state.position_rad[-1]),
            block=self.block,
            phase=self.phase,
        )
        return encode_grasp_state(situation, self.rig)

    def lateral_distance_m(self) -> float:
        """Return how far the tool is from the block, seen from above."""
        assert self.block is not None
        return float(np.hypot(*(self.block.position_m - self._tool_m)[:2]))

    def command(self, action: NDArray[np.float32], waiting_for: str) -> Array:
        """Return the joint targets (n,) of this period and advance the phase; while waiting, the target stands still.

        A wait longer than `PATIENCE_S` ends the attempt.
        """
        if waiting_for:
            self._waited_s += self.period_s
            if self._waited_s > PATIENCE_S:
                self.phase = Phase.DONE
            return self.motion.target_rad
        self._waited_s = 0.0
        if self.phase == Phase.DESCEND:
            self._descend(action)
        elif self.phase == Phase.CLOSE:
            self._close()
        elif self.phase == Phase.LIFT:
            self._ease_grip()
            self._lift()
        elif self.phase == Phase.HOLD:
            self._ease_grip()
            self._wait(HOLD_S, Phase.DONE)
        return self.motion.target_rad

    # Phases --------------------------------------------------------------------------------------
    def _descend(self, action: NDArray[np.float32]) -> None:
        assert self.block is not None
        command = self.motion.command_m.copy()
        command[:2] = clamp_to_workspace(command[:2] + decode_lateral(action), self.rig, self._home_xy_m)
        command[2] = max(self.rig.grasp_m, command[2] - DESCENT_STEP_M)
        wanted = jaw_heading(self.block.yaw_rad, self.block.position_m)
        self.motion.heading_rad = self.motion.turned_towards(wanted, HEADING_STEP_RAD)
        self.motion.move(command)
        # The descent goes on where the arm cannot follow: an attempt ends.
        self.motion.command_m = np.array([*self.motion.command_m[:2], command[2]])
        # The bottom is held until the arm, which lags its commands, has arrived as well.
        if command[2] <= self.rig.grasp_m:
            self._wait(SETTLE_S, Phase.CLOSE)

    def _close(self) -> None:
        gripper = self._closing.step(self._state)
        self.motion.set_gripper(gripper)
        self.grasp_rad = self.motion.target_rad
        if self._closing.finished:
            # Jaws that closed on nothing have nothing to lift.
            self._wait(SETTLE_S, Phase.LIFT if self.closed_on_something else Phase.DONE)

    def _ease_grip(self) -> None:
        """Take back a squeeze that has become more than the servo may press for long: soft pads give, readings lag."""
        measured = self._state.position_rad[-1]
        target = float(self.motion.target_rad[-1])
        if self._state.reading_age_s[-1] < self.period_s and target - measured > MAX_SQUEEZE_RAD:
            self.motion.set_gripper(target - EASE_STEP_RAD)

    def _lift(self) -> None:
        command = self.motion.command_m.copy()
        command[2] = min(self.rig.hover_m, command[2] + LIFT_STEP_M)
        self.motion.move(command)
        self.motion.command_m = np.array([*self.motion.command_m[:2], command[2]])
        if command[2] >= self.rig.hover_m:
            self._wait(SETTLE_S, Phase.HOLD)

    def release_poses(self) -> list[Array]:
        """Return joint targets (n,) that set the block down after an attempt: low, jaws open, high again."""
        opened = self.grasp_rad.copy()
        opened[-1] = self.description.gripper.open_rad
        return [self.grasp_rad, opened, np.append(self.motion.target_rad[:-1], opened[-1])]

    def _wait(self, duration_s: float, following: Phase) -> None:
        self._elapsed_s += self.period_s
        if self._elapsed_s >= duration_s - 1e-9:
            self._elapsed_s = 0.0
            self.phase = following
