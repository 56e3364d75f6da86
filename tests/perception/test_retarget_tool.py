from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bridge.actions import MAX_STEP_M, MAX_TURN_RAD, decode_tool
from perception.body import Side
from perception.hand import HandReading
from perception.limb import Limb, limb_of
from perception.retarget import ToolTarget
from perception.retarget_tool import ToolRetarget, natural_scale, tool_action, tool_joints_rad
from tests.perception.limbs import body_with, limb_at
from urdf.description import load_arm
from urdf.kinematics import PinocchioKinematics
from urdf.pose import Array

ARM = load_arm("dofbot")
RIG = ARM.rig("table")
MIDDLE_M = (RIG.reach_lower_m + RIG.reach_upper_m) / 2
OPEN, PINCHED = HandReading(1.2, 2.0, 0.0), HandReading(0.1, 2.0, 0.0)


def tool(position_m: Array = MIDDLE_M, heading_rad: float = 0.2, closing: bool = False) -> ToolTarget:
    return ToolTarget(np.array(position_m, dtype=np.float64), heading_rad, closing)


def hand_at(wrist_m: tuple[float, float, float], hand: HandReading | None = None) -> Limb:
    return limb_at(np.array([[0, 0, 0], [0.1, 0.1, -0.25], wrist_m]), hand=hand)


START = hand_at((0.1, 0.3, -0.2))


def test_engaging_moves_nothing_wherever_the_hand_is() -> None:
    retarget = ToolRetarget(RIG)
    for at_m in (MIDDLE_M, RIG.reach_lower_m - 0.03):
        target = retarget.target(retarget.latch(START, tool(at_m), 0.4), START, tool(at_m))
        np.testing.assert_array_equal(target.position_m, at_m)
        assert target.heading_rad == 0.2


def test_the_tool_moves_as_the_wrist_does_to_scale() -> None:
    retarget = ToolRetarget(RIG)
    target = retarget.target(retarget.latch(START, tool(), 0.25), hand_at((0.15, 0.26, -0.12)), tool())
    np.testing.assert_allclose(target.position_m - MIDDLE_M, [0.0125, -0.01, 0.02], atol=1e-12)


def test_a_mirrored_hand_moves_the_tool_to_the_other_side() -> None:
    retarget = ToolRetarget(RIG)
    moved = hand_at((0.15, 0.3, -0.2))
    target = retarget.target(retarget.latch(START.mirrored(), tool(), 0.25), moved.mirrored(), tool())
    np.testing.assert_allclose(target.position_m - MIDDLE_M, [-0.0125, 0.0, 0.0], atol=1e-12)


def test_the_shoulder_may_move_as_it_likes() -> None:
    retarget = ToolRetarget(RIG)
    landmarks_m = np.array([[0.2, -0.5, 0.0], [0.2, -0.2, 0.0], [0.2, -0.2, -0.25]])
    here, leaning = (
        limb_of(body_with(landmarks_m + shift_m, Side.LEFT), Side.LEFT, 1.0) for shift_m in (0.0, [0.1, 0.05, -0.2])
    )
    assert here is not None
    assert leaning is not None
    target = retarget.target(retarget.latch(here, tool(), 0.25), leaning, tool())
    np.testing.assert_allclose(target.position_m, MIDDLE_M, atol=1e-12)


def test_scaling_anew_while_engaged_does_not_jump() -> None:
    retarget = ToolRetarget(RIG)
    away = hand_at((0.2, 0.3, -0.2))
    before = retarget.target(retarget.latch(START, tool(), 0.2), away, tool())
    again = retarget.latch(away, before, 0.4)
    np.testing.assert_allclose(retarget.target(again, away, before).position_m, before.position_m, atol=1e-12)
    further = retarget.target(again, hand_at((0.21, 0.3, -0.2)), before)
    assert further.position_m[0] - before.position_m[0] == pytest.approx(0.004)


@settings(max_examples=100, deadline=None)
@given(wrist_m=arrays(np.float64, 3, elements=st.floats(-2, 2)), scale=st.floats(0.01, 5))
def test_the_tool_never_leaves_the_workspace(wrist_m: Array, scale: float) -> None:
    retarget = ToolRetarget(RIG)
    x, y, z = wrist_m.tolist()
    target = retarget.target(retarget.latch(START, tool(), scale), hand_at((x, y, z)), tool())
    assert (target.position_m >= [*RIG.reach_lower_m[:2], RIG.grasp_m]).all()
    assert (target.position_m <= RIG.reach_upper_m + np.array([0.0, 0.0, 0.05])).all()


def test_a_pinch_closes_the_gripper_and_a_hidden_hand_leaves_it() -> None:
    retarget = ToolRetarget(RIG)
    latch = retarget.latch(START, tool(), 0.3)
    pinched = retarget.target(latch, hand_at((0.1, 0.3, -0.2), PINCHED), tool())
    assert pinched.closing
    assert retarget.target(latch, START, pinched).closing
    assert not retarget.target(latch, hand_at((0.1, 0.3, -0.2), OPEN), pinched).closing


@pytest.mark.parametrize("turning", [False, True])
def test_the_jaws_turn_with_the_hand_where_that_is_asked_for(turning: bool) -> None:
    retarget = ToolRetarget(RIG, turning=turning)
    unrolled = hand_at((0.1, 0.3, -0.2), HandReading(1.2, 2.0, math.pi - 0.1))
    rolled = hand_at((0.1, 0.3, -0.2), HandReading(1.2, 2.0, -math.pi + 0.2))
    target = retarget.target(retarget.latch(unrolled, tool(), 0.3), rolled, tool())
    assert target.heading_rad == pytest.approx(0.5 if turning else 0.2)


@pytest.mark.parametrize("scale", [0.0, -1.0, math.nan, math.inf])
def test_a_scale_that_moves_nothing_or_backwards_is_refused(scale: float) -> None:
    with pytest.raises(ValueError, match="scale above 0"):
        ToolRetarget(RIG).latch(START, tool(), scale)


def test_at_its_natural_scale_half_a_metre_of_wrist_crosses_the_workspace() -> None:
    assert 0.5 * natural_scale(RIG) == pytest.approx(float((RIG.reach_upper_m - RIG.reach_lower_m).max()))


def test_an_action_goes_towards_the_target_in_its_direction_and_no_further() -> None:
    near = decode_tool(tool_action(tool(np.add(MIDDLE_M, [0.003, -0.004, 0.0]), 0.25), MIDDLE_M, 0.2))
    np.testing.assert_allclose(near.motion_m, [0.003, -0.004, 0.0], atol=1e-7)
    assert near.turn_rad == pytest.approx(0.05)
    assert not near.close
    far = decode_tool(tool_action(tool(np.add(MIDDLE_M, [0.3, -0.4, 0.0]), 1.2, closing=True), MIDDLE_M, 0.2))
    np.testing.assert_allclose(far.motion_m, [0.6 * MAX_STEP_M, -0.8 * MAX_STEP_M, 0.0], atol=1e-7)
    assert far.turn_rad == pytest.approx(MAX_TURN_RAD)
    assert far.close


def test_jaws_turn_the_short_way() -> None:
    action = decode_tool(tool_action(tool(heading_rad=0.2 + math.pi - 0.03), MIDDLE_M, 0.2))
    assert action.turn_rad == pytest.approx(-0.03)


def test_joints_lead_to_the_target_no_faster_than_they_can() -> None:
    kinematics = PinocchioKinematics(ARM, RIG)
    home_m, heading_rad, _ = kinematics.tool_in_desk(RIG.home_rad)
    target = tool(np.add(home_m, [0.03, 0.01, 0.01]), heading_rad, closing=True)
    joints_rad = RIG.home_rad
    for _ in range(60):
        after_rad = tool_joints_rad(ARM, kinematics, target, joints_rad, 1 / 30)
        assert (np.abs(after_rad - joints_rad) <= ARM.max_speed_rad_s / 30 + 1e-9).all()
        joints_rad = after_rad
    reached_m = (RIG.desk_from_base @ ARM.base_from_tool(joints_rad)).position_m
    np.testing.assert_allclose(reached_m, target.position_m, atol=1e-3)
    assert joints_rad[-1] == pytest.approx(ARM.gripper.closed_rad)


def test_out_of_reach_the_arm_stays_and_the_gripper_still_obeys() -> None:
    kinematics = PinocchioKinematics(ARM, RIG)
    after_rad = tool_joints_rad(ARM, kinematics, tool(np.array([0.0, 2.0, 0.1]), 0.0, True), RIG.home_rad, 0.1)
    assert after_rad[:-1].tolist() == RIG.home_rad[:-1].tolist()
    assert after_rad[-1] > RIG.home_rad[-1]
