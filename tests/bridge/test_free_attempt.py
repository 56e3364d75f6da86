from __future__ import annotations

import math

import numpy as np
import pytest

from bridge.actions import MAX_STEP_M, joint_action
from bridge.attempt import MAX_LEAD_M
from bridge.encoding import Phase
from bridge.errors import BridgeError
from bridge.free_attempt import HEADROOM_M, MAX_LEAD_RAD, FreeJointAttempt, FreeToolAttempt
from bridge.messages import RobotState
from tests.bridge.desk import ARM, BLOCK_RAD, RIG
from tests.bridge.numeric_ik import NumericKinematics
from urdf.pose import Array

PERIOD_S = 0.02
OPEN, CLOSE = -1.0, 1.0


class Arm:
    """A free attempt whose arm is where the last target was, its jaws no further closed than the block allows."""

    def __init__(self, kind: type[FreeToolAttempt] | type[FreeJointAttempt]) -> None:
        self.attempt = kind(ARM, RIG, NumericKinematics(ARM, RIG), PERIOD_S)
        self.target_rad: Array = np.array(RIG.home_rad)
        self.stuck_rad: Array | None = None
        self.attempt.begin(self.state())

    def state(self) -> RobotState:
        position = (self.target_rad if self.stuck_rad is None else self.stuck_rad).copy()
        position[-1] = min(position[-1], BLOCK_RAD)
        return RobotState(0, 0, tuple(position.tolist()), (0.0,) * 6, (0.0,) * 6)

    @property
    def tool_m(self) -> Array:
        return (RIG.desk_from_base @ ARM.base_from_tool(self.target_rad)).position_m

    def step(self, *action: float, waiting_for: str = "") -> None:
        missing = self.attempt.see(self.state(), None, "marker 3", 0)
        self.target_rad = self.attempt.command(np.array(action, dtype=np.float32), missing or waiting_for)


def test_the_tool_goes_as_the_action_says_and_no_block_is_needed() -> None:
    arm = Arm(FreeToolAttempt)
    start_m = arm.tool_m
    arm.step(0.0, 0.4, 0.3, 0.0, OPEN)
    assert arm.attempt.ready
    assert arm.tool_m - start_m == pytest.approx([0.0, 0.004, 0.003], abs=2e-4)


def test_while_it_waits_nothing_moves() -> None:
    arm = Arm(FreeToolAttempt)
    arm.step(0.0, 1.0, 0.0, 0.0, CLOSE, waiting_for="nobody is in the picture")
    assert arm.target_rad == pytest.approx(RIG.home_rad)


def test_the_tool_stays_in_its_box_which_has_room_over_it() -> None:
    arm = Arm(FreeToolAttempt)
    for _ in range(60):
        arm.step(0.0, 0.0, -1.0, 0.0, OPEN)
    assert arm.tool_m[2] == pytest.approx(min(RIG.grasp_m, RIG.reach_lower_m[2]), abs=1e-3)
    for _ in range(60):
        arm.step(0.0, 0.0, 1.0, 0.0, OPEN)
    assert arm.tool_m[2] <= RIG.reach_upper_m[2] + HEADROOM_M + 1e-3


def test_a_tool_that_cannot_follow_is_waited_for() -> None:
    arm = Arm(FreeToolAttempt)
    start_m = arm.tool_m
    arm.stuck_rad = np.array(RIG.home_rad)
    for _ in range(20):
        arm.step(0.0, 0.5, 0.5, 0.0, OPEN)
    assert np.linalg.norm(arm.tool_m - start_m) <= MAX_LEAD_M + MAX_STEP_M


def test_the_jaws_close_on_a_block_hold_it_and_open_again() -> None:
    arm = Arm(FreeToolAttempt)
    for _ in range(150):
        arm.step(0.0, 0.0, 0.0, 0.0, CLOSE)
    tool = arm.attempt
    assert isinstance(tool, FreeToolAttempt)
    assert tool.holding
    assert BLOCK_RAD < arm.target_rad[-1] < BLOCK_RAD + 0.08
    for _ in range(60):
        arm.step(0.0, 0.0, 0.0, 0.0, OPEN)
    assert not tool.holding
    assert arm.target_rad[-1] == pytest.approx(ARM.gripper.open_rad, abs=0.05)


def test_a_joint_step_is_a_share_of_what_the_joint_can_do() -> None:
    arm = Arm(FreeJointAttempt)
    arm.step(0.5, 0.0, 0.0, 0.0, 0.0, 0.0)
    moved = arm.target_rad - RIG.home_rad
    assert moved[0] == pytest.approx(0.5 * ARM.max_speed_rad_s[0] * PERIOD_S)
    assert moved[1:] == pytest.approx(np.zeros(5))
    arm.step(9.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    assert arm.target_rad[0] - RIG.home_rad[0] == pytest.approx(1.5 * ARM.max_speed_rad_s[0] * PERIOD_S)


def test_joints_stay_inside_their_limits_and_near_the_arm() -> None:
    arm = Arm(FreeJointAttempt)
    for _ in range(400):
        arm.step(1.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    assert arm.target_rad[0] == pytest.approx(ARM.upper_rad[0])
    stuck = Arm(FreeJointAttempt)
    stuck.stuck_rad = np.array(RIG.home_rad)
    for _ in range(400):
        stuck.step(1.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    assert stuck.target_rad[0] - RIG.home_rad[0] == pytest.approx(MAX_LEAD_RAD)


def test_what_is_observed_is_what_an_arm_knows_of_itself() -> None:
    arm = Arm(FreeToolAttempt)
    arm.step(0.0, 0.0, 0.0, 0.0, OPEN)
    layout = arm.attempt.observation_layout
    features = dict(zip(layout.feature_names, arm.attempt.observe().tolist(), strict=True))
    assert features["joint2_position"] == pytest.approx(RIG.home_rad[1], abs=1e-6)
    assert features["tool_z"] == pytest.approx(10 * arm.tool_m[2] / 4, abs=1e-3)


def test_it_goes_on_until_it_is_finished() -> None:
    arm = Arm(FreeToolAttempt)
    assert arm.attempt.phase == Phase.MOVE
    arm.attempt.finish()
    assert arm.attempt.phase == Phase.DONE
    arm.attempt.begin(arm.state())
    assert arm.attempt.phase == Phase.MOVE


def test_an_action_that_is_no_action_is_refused() -> None:
    with pytest.raises(BridgeError, match="finite"):
        Arm(FreeToolAttempt).step(0.0, math.nan, 0.0, 0.0, OPEN)
    with pytest.raises(BridgeError, match=str(len(joint_action(ARM).names))):
        Arm(FreeJointAttempt).step(0.0, 0.0)
