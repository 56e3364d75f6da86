from __future__ import annotations

import math

import numpy as np
import pytest

from bridge.encoding import PICK_PLACE_STATE
from bridge.messages import RobotState
from bridge.pick_place import PickPlaceAttempt
from bridge.ports import BlockSighting
from tests.bridge.desk import ARM, BLOCK_RAD, PERIOD_S, RIG
from tests.bridge.numeric_ik import NumericKinematics
from urdf.pose import Array, Pose

BLOCK = Pose.from_rotvec([0.02, 0.15, 0.015], [0.0, 0.0, 0.2])
GOAL_M = np.array([-0.03, 0.16, 0.015])
STILL = [0.0, 0.0, 0.0, 0.0, -1.0]
CLOSE = [0.0, 0.0, 0.0, 0.0, 1.0]


class Arm:
    """An attempt whose arm is where the last target was, its jaws no further closed than the block allows."""

    def __init__(self) -> None:
        self.place = PickPlaceAttempt(ARM, RIG, NumericKinematics(ARM, RIG), PERIOD_S)
        self.place.goal_m = GOAL_M
        self.block: Pose | None = BLOCK
        self.target_rad: Array = np.array(RIG.home_rad)
        self.jaws_stop_rad = BLOCK_RAD
        self.periods = 0
        self.waiting = ""
        self.place.begin(self.state())

    def state(self) -> RobotState:
        position = self.target_rad.copy()
        position[-1] = min(position[-1], self.jaws_stop_rad)
        return RobotState(0, 0, tuple(position.tolist()), (0.0,) * 6, (0.0,) * 6)

    @property
    def tool(self) -> Pose:
        return RIG.desk_from_base @ ARM.base_from_tool(self.target_rad)

    def step(self, action: list[float], seen_ns: int | None = None) -> None:
        now_ns = self.periods * 50_000_000
        base_from_block = RIG.desk_from_base.inverse() @ self.block if self.block is not None else None
        sighting = (
            None if base_from_block is None else BlockSighting(base_from_block, now_ns if seen_ns is None else seen_ns)
        )
        self.waiting = self.place.see(self.state(), sighting, "marker 3", now_ns)
        self.target_rad = self.place.command(np.array(action, dtype=np.float32), self.waiting)
        self.periods += 1

    def features(self) -> dict[str, float]:
        return dict(zip(PICK_PLACE_STATE.feature_names, self.place.observe().tolist(), strict=True))


def test_the_tool_moves_and_turns_as_the_action_says() -> None:
    arm = Arm()
    start = arm.tool
    arm.step([0.6, -0.3, 0.0, 0.5, -1.0])
    np.testing.assert_allclose(arm.tool.position_m - start.position_m, [0.006, -0.003, 0.0], atol=3e-4)
    assert math.degrees(arm.tool.yaw_rad - start.yaw_rad) == pytest.approx(2.5, abs=0.2)


def test_the_tool_stays_between_grasp_and_hover() -> None:
    arm = Arm()
    for _ in range(20):
        arm.step([0.0, 0.0, -1.0, 0.0, -1.0])
    assert arm.tool.position_m[2] == pytest.approx(RIG.grasp_m, abs=5e-4)
    for _ in range(20):
        arm.step([0.0, 0.0, 1.0, 0.0, -1.0])
    assert arm.tool.position_m[2] == pytest.approx(RIG.hover_m, abs=5e-4)


def test_closing_stops_at_a_block_and_opening_lets_it_go() -> None:
    arm = Arm()
    for _ in range(80):
        arm.step(CLOSE)
    features = arm.features()
    assert features["closing"] == features["holding"] == 1.0
    squeeze_m = ARM.gripper.opening_m(BLOCK_RAD) - ARM.gripper.opening_m(float(arm.target_rad[-1]))
    assert 0.001 < squeeze_m < 0.0025
    arm.step(STILL)
    assert arm.features()["holding"] == 0.0
    for _ in range(30):
        arm.step(STILL)
    assert arm.target_rad[-1] == pytest.approx(ARM.gripper.open_rad)


def test_the_features_tell_where_block_and_goal_are() -> None:
    arm = Arm()
    arm.step(STILL)
    arm.step(STILL)
    features, tool = arm.features(), arm.tool
    for k, axis in enumerate("xyz"):
        assert features[f"block_from_tool_{axis}"] == pytest.approx(
            (BLOCK.position_m - tool.position_m)[k] / 0.03, abs=0.02
        )
        assert features[f"block_from_goal_{axis}"] == pytest.approx((BLOCK.position_m - GOAL_M)[k] / 0.03, abs=1e-5)
    turn = 4 * (BLOCK.yaw_rad - tool.yaw_rad)
    assert features["block_turn_cos4"] == pytest.approx(math.cos(turn), abs=0.02)
    assert features["block_turn_sin4"] == pytest.approx(math.sin(turn), abs=0.02)


def test_a_block_that_was_never_seen_or_is_lost_far_from_the_tool_stops_the_arm() -> None:
    arm = Arm()
    arm.block = None
    arm.step([1.0, 0.0, 0.0, 0.0, -1.0])
    assert arm.waiting == "marker 3"
    assert not arm.place.ready
    np.testing.assert_array_equal(arm.target_rad, RIG.home_rad)
    arm.block = BLOCK
    arm.step(STILL)
    assert arm.waiting == ""
    arm.periods = 100
    before = arm.target_rad
    arm.step([1.0, 0.0, 0.0, 0.0, -1.0], seen_ns=0)
    assert "marker 3" in arm.waiting
    np.testing.assert_array_equal(arm.target_rad, before)


def test_a_block_in_the_jaws_travels_with_the_tool_when_nobody_sees_it() -> None:
    arm = Arm()
    arm.block = Pose(arm.tool.position_m, BLOCK.quat_xyzw)
    for _ in range(80):
        arm.step(CLOSE)
    arm.block = None
    start = arm.tool.position_m
    for _ in range(6):
        arm.step([0.5, 0.0, 0.0, 0.0, 1.0])
    arm.place.see(arm.state(), None, "marker 3", arm.periods * 50_000_000)
    assert arm.waiting == ""
    assert arm.place.block is not None
    moved = arm.place.block.position_m - start
    np.testing.assert_allclose(moved, arm.tool.position_m - start, atol=1e-4)
    assert moved[0] > 0.02
