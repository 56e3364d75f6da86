from __future__ import annotations

import numpy as np
import pytest

from bridge.encoding import REACH_STATE
from bridge.errors import BridgeError
from bridge.messages import RobotState
from bridge.reach import ReachAttempt
from tests.bridge.desk import ARM, PERIOD_S, RIG
from tests.bridge.numeric_ik import NumericKinematics
from urdf.pose import Array

GOAL_M = np.array([0.03, 0.16, 0.06])


class Arm:
    """An attempt whose arm is where the last target was."""

    def __init__(self) -> None:
        self.reach = ReachAttempt(ARM, RIG, NumericKinematics(ARM, RIG), PERIOD_S)
        self.reach.goal_m = GOAL_M
        self.target_rad: Array = np.array(RIG.home_rad)
        self.reach.begin(self.state())

    def state(self) -> RobotState:
        return RobotState(0, 0, tuple(self.target_rad.tolist()), (0.0,) * 6, (0.0,) * 6)

    @property
    def tool_m(self) -> Array:
        return (RIG.desk_from_base @ ARM.base_from_tool(self.target_rad)).position_m

    def step(self, action: list[float]) -> None:
        assert self.reach.see(self.state(), None, "", 0) == ""
        self.target_rad = self.reach.command(np.array(action, dtype=np.float32), "")


def test_the_tool_moves_as_the_action_says_by_at_most_10_mm() -> None:
    arm = Arm()
    start = arm.tool_m
    arm.step([0.5, 0.0, 0.0])
    np.testing.assert_allclose(arm.tool_m - start, [0.005, 0.0, 0.0], atol=2e-4)
    before = arm.tool_m
    arm.step([1.0, 1.0, 1.0])
    moved = arm.tool_m - before
    assert np.linalg.norm(moved) == pytest.approx(0.010, abs=3e-4)
    np.testing.assert_allclose(moved / np.linalg.norm(moved), np.full(3, 3**-0.5), atol=0.03)


def test_going_for_the_goal_arrives_and_the_features_say_so() -> None:
    arm = Arm()
    for _ in range(40):
        error = GOAL_M - arm.tool_m
        arm.step((error / max(0.010, float(np.linalg.norm(error)))).tolist())
    arm.reach.see(arm.state(), None, "", 0)
    assert arm.reach.distance_m() < 1e-3
    features = dict(zip(REACH_STATE.feature_names, arm.reach.observe().tolist(), strict=True))
    for axis in "xyz":
        assert abs(features[f"goal_from_tool_{axis}"]) < 0.03
        assert abs(features[f"goal_from_command_{axis}"]) < 0.03


def test_the_tool_stays_inside_the_reach_box() -> None:
    arm = Arm()
    for action in ([0.0, 0.0, -1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]):
        for _ in range(40):
            arm.step(action)
    assert (arm.tool_m >= RIG.reach_lower_m - 1e-3).all()
    assert (arm.tool_m <= RIG.reach_upper_m + 1e-3).all()


def test_while_something_is_missing_the_target_stands_still() -> None:
    arm = Arm()
    arm.step([0.2, 0.0, 0.0])
    before = arm.target_rad
    after = arm.reach.command(np.ones(3, dtype=np.float32), "the camera")
    np.testing.assert_array_equal(after, before)


def test_without_a_goal_nothing_is_observed_and_a_wrong_action_is_refused() -> None:
    arm = Arm()
    with pytest.raises(BridgeError, match="3 finite numbers"):
        arm.step([0.0, float("nan"), 0.0])
    with pytest.raises(BridgeError, match="3 finite numbers"):
        arm.step([0.0, 0.0])
    arm.reach.goal_m = None
    assert not arm.reach.ready
    assert arm.reach.see(arm.state(), None, "", 0) == "no goal is set"
    with pytest.raises(ValueError, match="goal"):
        arm.reach.observe()
