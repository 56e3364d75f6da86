"""The safety filter's figures, worked out by hand: how far, how fast, how near, and in which words."""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np
import pytest

from bridge.safety import SafetyFilter, SafetyOutput, SafetyState
from tests.bridge.safety_histories import clearances_m
from urdf.description import ArmDescription, load_arm
from urdf.pose import Array
from urdf.rig import Guard

PERIOD_S = 0.05
ARM = load_arm("dofbot")
SPEED_RAD_S, GRIPPER_SPEED_RAD_S = 3.49, 1.98
LIMIT_RAD = 1.570796
FLOORS = 4  # moving guard spheres, the first columns of `clearances_m`
UP = np.array([0.0, 0.0, 0.0, 0.0, 0.0, -0.5])  # on the table, as far from everything as it gets


def at(joint: int, angle_rad: float, pose: Array = UP) -> Array:
    moved = pose.copy()
    moved[joint] = angle_rad
    return moved


def once(
    start: Array,
    target: Array,
    measured: Array | None = None,
    duration_s: float = PERIOD_S,
    safety: SafetyFilter | None = None,
) -> SafetyOutput:
    safety = safety or SafetyFilter(ARM, ARM.rig("table"), PERIOD_S)
    return safety.step(safety.initial(start), target, start if measured is None else measured, duration_s)[1]


@pytest.mark.parametrize(
    ("acceleration_rad_s2", "room_rad", "step_rad"),
    [  # in units u = a T^2: a step of v = k + f needs (k + 1) v - k (k + 1) / 2 of room
        (20.0, 0.02, 0.02),  # u = 0.05, 0.4 u of room: all of it
        (20.0, 0.04, 0.04),  # 0.8 u
        (20.0, 0.075, 0.0625),  # 1.5 u: 2 v - 1 = 1.5
        (20.0, 0.1, 0.075),  # 2 u: 2 v - 1 = 2
        (20.0, 0.15, 0.1),  # 3 u: 2, then 1
        (20.0, 0.25, 0.4 / 3),  # 5 u: 3 v - 3 = 5
        (20.0, 0.3, 0.15),  # 6 u: 3, then 2, then 1
        (5.0, 0.1, 0.04375),  # u = 0.0125, 8 u: 4 v - 6 = 8
        (5.0, 0.0, 0.0),
    ],
)
@pytest.mark.parametrize("side", [-1, 1])
def test_how_far_a_joint_goes_in_the_room_that_it_has(
    acceleration_rad_s2: float, room_rad: float, step_rad: float, side: int
) -> None:
    safety = SafetyFilter(ARM, ARM.rig("table"), PERIOD_S, acceleration_rad_s2)
    start = at(0, side * (LIMIT_RAD - room_rad))
    output = once(start, at(0, side * 9.0), safety=safety)
    assert side * (output.position_rad[0] - start[0]) == pytest.approx(step_rad, abs=1e-12)
    assert output.reason == ("joint 1: limit" if step_rad == room_rad else "joint 1: speed or braking distance")


def test_the_arm_brakes_with_twenty_radians_per_second_squared_unless_told_otherwise() -> None:
    assert once(at(0, LIMIT_RAD - 0.1), at(0, 9.0)).position_rad[0] == pytest.approx(LIMIT_RAD - 0.025, abs=1e-12)


@pytest.mark.parametrize("duration_s", [0.001, 0.02, 0.05, 0.2, 1.0])
@pytest.mark.parametrize("side", [-1, 1])
def test_how_fast_a_joint_turns(duration_s: float, side: int) -> None:
    """In the middle of its range, where braking asks for less only after 0.17 s."""
    start = at(4, 0.8)
    output = once(start, at(4, 0.8 + side * 9.0), duration_s=duration_s)
    if duration_s < 0.2:
        assert output.position_rad[4] - start[4] == pytest.approx(side * SPEED_RAD_S * duration_s, rel=1e-9)
        assert output.reason == "joint 5: speed or braking distance"
    assert output.duration_s == duration_s


@pytest.mark.parametrize(("asked_s", "given_s"), [(1e-9, 0.001), (0.0009, 0.001), (5.1, 5.0), (1e300, 5.0), (4.9, 4.9)])
def test_a_move_takes_between_a_millisecond_and_five_seconds(asked_s: float, given_s: float) -> None:
    start = at(0, -0.7)
    output = once(start, at(0, 0.7), duration_s=asked_s)
    assert output.duration_s == given_s
    assert output.position_rad[0] + 0.7 == pytest.approx(min(SPEED_RAD_S * given_s, 1.4), rel=1e-9)


@pytest.mark.parametrize("joint", [0, 5])
@pytest.mark.parametrize("beyond_rad", [0.001, 0.2])
@pytest.mark.parametrize("upper", [True, False])
def test_a_joint_outside_returns_at_three_tenths_of_a_radian_per_second(
    joint: int, beyond_rad: float, upper: bool
) -> None:
    limit = float((ARM.upper_rad if upper else ARM.lower_rad)[joint])
    start = at(joint, limit + (beyond_rad if upper else -beyond_rad))
    inward = -1 if upper else 1
    for target in (at(joint, -0.5), at(joint, limit - 9.0 * inward)):
        moved = inward * (once(start, target).position_rad[joint] - start[joint])
        to_target = inward * (float(np.clip(target[joint], ARM.lower_rad[joint], ARM.upper_rad[joint])) - start[joint])
        assert moved == pytest.approx(min(0.3 * PERIOD_S, to_target), abs=1e-12)


def test_an_arm_that_sticks_is_led_for_a_period_and_a_fifth_of_a_second() -> None:
    safety, start = SafetyFilter(ARM, ARM.rig("table"), PERIOD_S), at(0, -1.0)
    for side in (1, -1):
        measured = at(0, side * -1.0)
        state = safety.initial(measured)
        for _ in range(20):
            state, _ = safety.step(state, at(0, side * 1.0), measured, PERIOD_S)
        state, output = safety.step(state, at(0, side * 1.0), measured, PERIOD_S)
        assert side * state.position_rad[0] + 1.0 == pytest.approx(SPEED_RAD_S * (PERIOD_S + 0.2), abs=1e-12)
        assert output.held
        assert output.reason == "joint 1: does not follow its commands"
    output = once(start, at(0, 0.0), at(0, -1.0 - SPEED_RAD_S * 0.2 - 0.1))  # 0.0745 of the step are left
    assert output.position_rad[0] == pytest.approx(-1.0 + SPEED_RAD_S * PERIOD_S - 0.1, abs=1e-12)
    assert output.reason == "joint 1: does not follow its commands"
    assert once(start, at(0, -1.1), at(0, 0.5)).held  # the same the other way
    assert not once(start, at(0, -1.1), at(0, -1.6)).limited  # behind it, on the way to it


@pytest.mark.parametrize(("beyond_rad", "stops"), [(0.0014, False), (0.0016, True)])
@pytest.mark.parametrize("side", [-1, 1])
def test_nearer_to_a_limit_than_a_servo_count_is_the_limit(beyond_rad: float, stops: bool, side: int) -> None:
    start = at(0, side * LIMIT_RAD)
    target = start + np.array([side * beyond_rad, 0.05, 0.0, 0.0, 0.0, 0.0])
    output = once(start, target)
    assert output.position_rad[1] == pytest.approx(0.0 if stops else 0.05, abs=1e-12)
    assert output.held == stops
    assert output.reason == ("joint 1: limit" if stops else "the target is outside the limits")


@pytest.mark.parametrize("side", [-1, 1])
def test_a_joint_that_stays_where_it_is_stops_no_other(side: int) -> None:
    """Neither at its limit, nor when its measurement is far off: it asks for no motion."""
    start = at(0, side * LIMIT_RAD)
    step = np.array([0.0, 0.05, 0.0, 0.0, 0.0, -0.05])
    for measured in (start, at(0, side * (LIMIT_RAD - 2.0)), at(0, side * (LIMIT_RAD + 2.0))):
        output = once(start, start + step, measured)
        np.testing.assert_allclose(output.position_rad, start + step, atol=1e-12)
        assert not output.limited


def test_a_target_just_inside_a_limit_is_not_moved_to_it() -> None:
    start = at(0, LIMIT_RAD - 0.01)
    assert once(start, at(0, LIMIT_RAD - 0.001)).position_rad[0] == pytest.approx(LIMIT_RAD - 0.001, abs=1e-12)


def test_the_slowest_joint_sets_the_pace_and_is_named() -> None:
    step = np.array([0.1, -0.2, 0.3, -0.4, 0.35, 0.0])
    output = once(UP, UP + step)
    np.testing.assert_allclose(output.position_rad - UP, step * SPEED_RAD_S * PERIOD_S / 0.4, atol=1e-12)
    assert output.reason == "joint 4: speed or braking distance"


def test_the_gripper_has_its_own_pace_and_is_named_when_the_arm_is_free() -> None:
    output = once(UP, UP + np.array([0.01, 0.0, 0.0, 0.0, 0.0, -1.0]))
    np.testing.assert_allclose(
        output.position_rad - UP, [0.01, 0, 0, 0, 0, -GRIPPER_SPEED_RAD_S * PERIOD_S], atol=1e-12
    )
    assert output.reason == "joint 6: speed or braking distance"
    both = once(UP, UP + np.array([1.0, 0.0, 0.0, 0.0, 0.0, -1.0]))
    assert both.reason == "joint 1: speed or braking distance"
    assert both.position_rad[5] - UP[5] == pytest.approx(-GRIPPER_SPEED_RAD_S * PERIOD_S, abs=1e-12)


def test_limited_means_by_more_than_rounding_and_held_means_no_motion() -> None:
    start = at(0, LIMIT_RAD)
    assert not once(start, at(0, LIMIT_RAD + 0.9e-9)).limited
    assert once(start, at(0, LIMIT_RAD + 1.1e-9)).limited
    creeping = once(start, np.array([LIMIT_RAD + 1e-3, 2e-9, 0.0, 0.0, 0.0, -0.5]))
    assert creeping.limited
    assert not creeping.held
    still = once(start, np.array([LIMIT_RAD + 1e-3, 0.5e-9, 0.0, 0.0, 0.0, -0.5]))
    assert still.held
    resting = once(UP, UP)
    assert (resting.limited, resting.held, resting.reason) == (False, False, "")


@pytest.mark.parametrize(("joint", "step_rad"), [(3, 0.2), (5, -0.15)])
def test_a_joint_that_is_slowed_down_by_a_little_is_named_too(joint: int, step_rad: float) -> None:
    output = once(UP, at(joint, UP[joint] + step_rad))
    assert 0.5 < (output.position_rad[joint] - UP[joint]) / step_rad < 1.0
    assert output.reason == f"joint {joint + 1}: speed or braking distance"


def test_the_boundaries_of_the_tolerances_belong_to_the_smaller_side() -> None:
    """Against a limit at zero, where sums are exact."""
    arm = dataclasses.replace(ARM, lower_rad=np.array([0.0, *ARM.lower_rad[1:]]))
    safety = SafetyFilter(arm, arm.rig("table"), PERIOD_S)
    assert not once(UP, at(0, -1e-9), safety=safety).limited
    assert not once(UP, np.array([-1e-3, 1e-9, 0.0, 0.0, 0.0, -0.5]), safety=safety).held
    assert once(UP, np.array([-1.5e-3, 0.05, 0.0, 0.0, 0.0, -0.5]), safety=safety).held


@pytest.mark.parametrize(
    ("target", "measured", "duration_s", "reason"),
    [
        (np.full(6, math.nan), UP, 0.05, "the target is not finite or not one angle per joint"),
        (np.zeros(5), UP, 0.05, "the target is not finite or not one angle per joint"),
        (UP, np.full(6, math.inf), 0.05, "the measured position is not finite or not one angle per joint"),
        (UP, np.zeros((1, 6)), 0.05, "the measured position is not finite or not one angle per joint"),
        (UP, UP, 0.0, "the duration 0.0 s is not positive and finite"),
        (UP, UP, math.inf, "the duration inf s is not positive and finite"),
    ],
)
def test_a_refusal_says_what_is_wrong_and_stays_for_one_period(
    target: Array, measured: Array, duration_s: float, reason: str
) -> None:
    safety = SafetyFilter(ARM, ARM.rig("table"), 0.04)
    before = SafetyState(UP, np.ones(6), clearance_m=0.3)
    state, output = safety.step(before, target, measured, duration_s)
    assert (output.reason, output.duration_s, output.limited, output.held) == (reason, 0.04, True, True)
    assert state.clearance_m == 0.3
    assert (state.velocity_rad_s == 0.0).all()
    assert np.array_equal(state.position_rad, UP)


def test_text_in_a_slot_is_refused_like_any_other_nonsense() -> None:
    for nonsense in (np.array(["up"] * 6), np.array([None] * 6), np.array([[0.0], [1.0, 2.0]], dtype=object)):
        assert once(UP, nonsense).held


def test_what_a_state_and_an_output_hold_cannot_be_written() -> None:
    safety = SafetyFilter(ARM, ARM.rig("table"), PERIOD_S)
    start = UP.copy()
    state = safety.initial(start)
    start[0] = 1.0  # the state is a copy
    assert state.position_rad[0] == 0.0
    for target in (UP + 0.01, np.full(6, math.nan)):
        after, output = safety.step(state, target, UP, PERIOD_S)
        for array in (state.position_rad, after.position_rad, after.velocity_rad_s, output.position_rad):
            assert not array.flags.writeable


@pytest.mark.parametrize("bad", [np.zeros(5), np.zeros(7), np.array([0, 0, 0, 0, 0, math.inf]), np.full(6, math.nan)])
def test_a_state_needs_a_finite_angle_for_every_joint(bad: Array) -> None:
    with pytest.raises(ValueError, match="expected 6 finite joint angles"):
        SafetyFilter(ARM, ARM.rig("table"), PERIOD_S).initial(bad)


# The desk -------------------------------------------------------------------------------------------
HANGING = ARM.rig("hanging")


@functools.cache
def hanging_low(depth_m: float) -> Array:
    """Return a pose of the hanging arm whose turn about joint 2 is lowest right there, `depth_m` under the floor.

    Joints 3 and 4 fold it as far as it takes; joint 2 points the result straight down.
    """

    def lowest(fold_rad: float) -> tuple[float, float]:
        middle, found = 0.0, (0.0, 0.0)
        for width in (0.6, 0.02, 6e-4, 2e-5):
            swings = middle + np.linspace(-width, width, 81)
            poses = np.tile([0.0, 0.0, -fold_rad, 2 * fold_rad, 0.0, -0.5], (len(swings), 1))
            poses[:, 1] = swings
            heights = clearances_m(ARM, HANGING, poses)[:, :FLOORS].min(axis=1)
            found = float(heights.min()), float(swings[np.argmin(heights)])
            middle = found[1]
        return found

    low, high = 0.0, 1.2
    for _ in range(35):
        middle = (low + high) / 2
        low, high = (middle, high) if lowest(middle)[0] < -depth_m else (low, middle)
    return np.array([0.0, lowest(high)[1], -high, 2 * high, 0.0, -0.5])


def height_m(pose: Array) -> float:
    return float(clearances_m(ARM, HANGING, pose[None])[0, :FLOORS].min())


def swing(pose: Array, by_rad: float) -> Array:
    return pose + np.array([0.0, by_rad, 0.0, 0.0, 0.0, 0.0])


def over(pose: Array, width_rad: float, gripper_rad: float = 0.0) -> tuple[Array, SafetyOutput]:
    """Swing about joint 2 from half a width before the pose to half a width behind it."""
    start, target = swing(pose, -width_rad / 2), swing(pose, width_rad / 2)
    target[5] += gripper_rad
    safety = SafetyFilter(ARM, HANGING, PERIOD_S)
    return start, once(start, target, duration_s=1.0, safety=safety)


def test_a_step_of_more_than_a_tenth_of_a_radian_is_checked_on_its_way() -> None:
    pose = hanging_low(0.0001)
    start, output = over(pose, 0.11)
    assert height_m(start) > 0 > height_m(pose)
    assert output.reason == "guard: gripper_link at the floor"
    start, short = over(pose, 0.099)  # shorter ones at their end alone: half a millimetre is the most that this costs
    assert height_m(start) > 0
    assert not short.limited


@pytest.mark.parametrize(("width_rad", "depth_m"), [(0.11, 0.0002), (0.25, 0.0006), (0.9, 0.0006)])
def test_the_arm_goes_the_last_whole_64th_before_the_hit_and_the_gripper_all_its_way(
    width_rad: float, depth_m: float
) -> None:
    """Or a part of a 64th, where the step is so long that its own samples lie nearer."""
    pose = hanging_low(depth_m)
    start, output = over(pose, width_rad, gripper_rad=-0.2)
    coarse = math.ceil(width_rad / 0.1)
    parts = coarse * math.ceil(64 / coarse)
    gone = next(k for k in range(parts) if height_m(swing(start, width_rad * (k + 1) / parts)) < 0)
    assert 0 < gone < parts / 2
    assert output.position_rad[1] - start[1] == pytest.approx(width_rad * gone / parts, abs=1e-12)
    assert output.position_rad[5] == pytest.approx(start[5] - 0.2, abs=1e-12)
    assert output.limited
    assert not output.held


def test_a_shallow_dip_between_the_fine_samples_is_no_reason_to_go_on() -> None:
    """What was hit on the coarse way is looked at again, so the arm never stops without having found where."""
    for width_rad in np.linspace(0.11, 0.95, 40):
        start, output = over(hanging_low(2e-6), float(width_rad))
        reached = np.linspace(start, output.position_rad, 500)
        assert clearances_m(ARM, HANGING, reached)[:, :FLOORS].min() >= -2e-6 - 1e-9
        assert not output.limited or height_m(output.position_rad) >= 0


def test_the_known_clearance_is_used_up_by_motion_and_found_anew_by_looking() -> None:
    safety = SafetyFilter(ARM, ARM.rig("table"), PERIOD_S)
    low = np.array([0.0, -0.9, -0.6, -0.6, 0.0, -1.0])
    step = np.array([0.01, -0.01, 0.01, 0.01, 0.01, 0.01])
    state, _ = safety.step(safety.initial(low), low + step, low, PERIOD_S)
    there = clearances_m(ARM, ARM.rig("table"), (low + step)[None]).min()
    assert state.clearance_m == pytest.approx(there, abs=1e-12)  # looked: nobody had before
    known = SafetyState(low, np.zeros(6), clearance_m=0.02)
    state, _ = safety.step(known, low + step, low, PERIOD_S)
    # The lengths from each joint to the farthest sphere's centre, straightened out [m] (FIELD 8.1, arm.toml).
    lengths_m = [0.38518416, 0.34373294, 0.26088294, 0.17803294, 0.105]
    assert state.clearance_m == pytest.approx(0.02 - 0.01 * sum(lengths_m), abs=2e-9)
    assert state.clearance_m < 0.02 - 0.01 * sum(lengths_m) + 1e-9
    spent = SafetyState(low, np.zeros(6), clearance_m=0.01 * sum(lengths_m))
    state, _ = safety.step(spent, low + step, low, PERIOD_S)
    assert state.clearance_m == pytest.approx(there, abs=1e-12)


def test_a_billionth_of_a_metre_of_the_known_clearance_is_kept_for_rounding() -> None:
    safety = SafetyFilter(ARM, ARM.rig("table"), PERIOD_S)
    there = clearances_m(ARM, ARM.rig("table"), UP[None]).min()
    for known_m, left_m in ((1e-9, there), (1.5e-9, 0.5e-9)):
        state, _ = safety.step(SafetyState(UP, np.zeros(6), known_m), UP, UP, PERIOD_S)
        assert state.clearance_m == pytest.approx(left_m, rel=1e-6)


def test_nobody_knows_the_clearance_of_a_pose_that_was_just_found() -> None:
    assert SafetyFilter(ARM, ARM.rig("table"), PERIOD_S).initial(UP).clearance_m == -math.inf
    assert SafetyState(UP, np.zeros(6)).clearance_m == -math.inf


def test_after_a_hit_the_known_clearance_is_that_of_where_the_arm_stopped() -> None:
    safety, pose = SafetyFilter(ARM, HANGING, PERIOD_S), hanging_low(0.0005)
    start = swing(pose, -0.2)
    state, output = safety.step(safety.initial(start), swing(pose, 0.2), start, 1.0)
    assert output.limited
    assert state.clearance_m == pytest.approx(clearances_m(ARM, HANGING, state.position_rad[None]).min(), abs=1e-9)


def with_a_guard_on_a_finger() -> ArmDescription:
    """The Dofbot with one sphere more, on the tip of a finger: the gripper itself can touch the desk now."""
    tip = Guard("left_finger", np.array([0.0, 0.0, 0.050]), 0.004)
    return dataclasses.replace(ARM, guards=(*ARM.guards, tip))


def test_a_hit_that_the_gripper_does_not_change_does_not_stop_it() -> None:
    """With a guard on a finger the gripper is checked, and the arm's own hit stays as deep as it is, to the bit."""
    arm = with_a_guard_on_a_finger()
    safety, rng = SafetyFilter(arm, HANGING, PERIOD_S), np.random.default_rng(9)
    poses = rng.uniform(arm.lower_rad, arm.upper_rad, (20_000, 6))
    checks = clearances_m(arm, HANGING, poses)
    folded = poses[(checks[:, : FLOORS + 1].min(axis=1) > 0.1) & (checks[:, FLOORS + 1 :].min(axis=1) < 0)]
    assert len(folded) > 3
    for start in folded[:5]:
        start[5] = -0.8
        output = once(start, at(5, -0.75, start), safety=safety)
        assert not output.limited


def test_a_gripper_that_carries_guards_stops_at_the_desk_with_the_arm() -> None:
    arm = with_a_guard_on_a_finger()
    assert {j.child for j in arm.chain.joints} >= {"left_finger"}
    safety, rng = SafetyFilter(arm, HANGING, PERIOD_S), np.random.default_rng(8)
    stopped = 0
    for _ in range(120):
        start, target = rng.uniform(arm.lower_rad, arm.upper_rad, (2, 6))
        if clearances_m(arm, HANGING, start[None]).min() <= 0:
            continue
        output = once(start, target, duration_s=1.0, safety=safety)
        assert clearances_m(arm, HANGING, output.position_rad[None]).min() >= -1e-12
        stopped += output.reason.startswith("guard: left_finger")
    assert stopped > 0
