"""The safety filter: dense at the boundaries, hostile in every slot, straight, braking, above the desk."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.guards import GuardModel
from bridge.safety import SafetyFilter, SafetyOutput, SafetyState
from urdf.description import load_arm
from urdf.pose import Array

PERIOD_S = 0.05
ARM = load_arm("dofbot")
TABLE = ARM.rig("table")
READY = np.array([0.3, -0.5, -0.6, -0.7, 0.1, -1.0])
RETURN_SPEED_RAD_S = 0.3
BENT = np.array([0.0, -0.9, -0.6, -0.6, 0.0, -1.0])


def make_filter(rig: str = "table") -> SafetyFilter:
    return SafetyFilter(ARM, ARM.rig(rig), PERIOD_S)


def follow(
    safety: SafetyFilter, state: SafetyState, target: Array, steps: int, duration_s: float = PERIOD_S
) -> tuple[SafetyState, list[SafetyOutput]]:
    """Feed one target for a while to an arm that follows at once."""
    outputs: list[SafetyOutput] = []
    for _ in range(steps):
        state, output = safety.step(state, target, state.position_rad, duration_s)
        outputs.append(output)
    return state, outputs


def lowest_m(position: Array, rig: str = "table") -> float:
    """Lowest point of any moving guard sphere above the floor, by the chain's own matrices."""
    links = ARM.chain.link_matrices(ARM.joint_angles(position))
    base = ARM.rig(rig).desk_from_base
    heights = [
        base.apply(links[g.link][:3, :3] @ g.center_m + links[g.link][:3, 3])[2] - g.radius_m
        for g in ARM.guards
        if g.link != ARM.chain.root
    ]
    return float(min(heights) - ARM.rig(rig).floor_m)


def smallest_gap_m(position: Array) -> float:
    links = ARM.chain.link_matrices(ARM.joint_angles(position))
    centers = [links[g.link][:3, :3] @ g.center_m + links[g.link][:3, 3] for g in ARM.guards]
    return min(
        float(np.linalg.norm(centers[i] - centers[j])) - ARM.guards[i].radius_m - ARM.guards[j].radius_m
        for i, j in ARM.guard_pairs
    )


@pytest.mark.parametrize("rig", ["table", "hanging"])
def test_guard_clearances_agree_with_the_chain(rig: str) -> None:
    poses = np.random.default_rng(0).uniform(ARM.lower_rad, ARM.upper_rad, (200, 6))
    model = GuardModel(ARM, ARM.rig(rig))
    floor_checks = sum(g.link != ARM.chain.root for g in ARM.guards)
    checks = model.clearances_m(poses)
    for pose, row in zip(poses, checks, strict=True):
        assert row[:floor_checks].min() == pytest.approx(lowest_m(pose, rig), abs=1e-12)
        assert row[floor_checks:].min() == pytest.approx(smallest_gap_m(pose), abs=1e-12)


def test_a_small_legal_step_passes_unchanged() -> None:
    safety = make_filter()
    target = READY + 0.02
    state, output = safety.step(safety.initial(READY), target, READY, PERIOD_S)
    np.testing.assert_allclose(output.position_rad, target, atol=1e-12)
    assert (output.limited, output.held, output.reason) == (False, False, "")
    assert output.duration_s == PERIOD_S
    np.testing.assert_allclose(state.velocity_rad_s, 0.02 / PERIOD_S)


@pytest.mark.parametrize("slot", range(6))
@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf])
def test_one_bad_number_anywhere_holds(slot: int, poison: float) -> None:
    safety = make_filter()
    start = safety.initial(READY)
    bad = READY.copy()
    bad[slot] = poison
    for target, measured in ((bad, READY), (READY + 0.01, bad)):
        state, output = safety.step(start, target, measured, PERIOD_S)
        np.testing.assert_array_equal(output.position_rad, READY)
        np.testing.assert_array_equal(state.velocity_rad_s, np.zeros(6))
        assert output.held
        assert output.limited
        assert output.reason


@pytest.mark.parametrize("shape", [(), (5,), (7,), (1, 6), (6, 1), (0,)])
def test_a_wrong_shape_holds(shape: tuple[int, ...]) -> None:
    safety = make_filter()
    _, output = safety.step(safety.initial(READY), np.zeros(shape), READY, PERIOD_S)
    np.testing.assert_array_equal(output.position_rad, READY)
    assert output.held


@pytest.mark.parametrize("duration_s", [0.0, -0.05, math.nan, math.inf, -math.inf])
def test_a_bad_duration_holds_for_one_period(duration_s: float) -> None:
    safety = make_filter()
    _, output = safety.step(safety.initial(READY), READY + 0.01, READY, duration_s)
    np.testing.assert_array_equal(output.position_rad, READY)
    assert output.held
    assert output.duration_s == PERIOD_S


def test_numbers_that_no_float_can_hold_have_an_output_too() -> None:
    safety = make_filter()
    state = safety.initial(READY)
    _, output = safety.step(state, np.array([10**400] * 6, dtype=object), READY, PERIOD_S)
    assert output.held
    _, output = safety.step(state, READY + 0.01, READY, 10**400)
    assert output.duration_s == 5.0


def test_a_target_that_is_moved_into_the_limits_is_reported_with_a_reason() -> None:
    start = np.array([ARM.upper_rad[0], 0.0, 0.0, 0.0, 0.0, -0.5])
    safety = make_filter()
    _, output = safety.step(safety.initial(start), start + np.array([1e-3, 0, 0, 0, 0, 0]), start, PERIOD_S)
    assert output.limited
    assert output.reason == "the target is outside the limits"


def test_initial_refuses_what_is_no_pose() -> None:
    for bad in (np.zeros(5), np.full(6, np.nan)):
        with pytest.raises(ValueError, match="finite joint angles"):
            make_filter().initial(bad)


@pytest.mark.parametrize("joint", range(6))
@pytest.mark.parametrize("side", [-1, 1])
@pytest.mark.parametrize("beyond_rad", [-1e-2, -1e-3, -1e-6, 0.0, 1e-9, 1e-6, 1e-3, 1e-2, 0.1, 1.0, 1e6, 1e300])
def test_no_target_around_a_limit_leads_outside(joint: int, side: int, beyond_rad: float) -> None:
    safety = make_filter()
    limit = (ARM.lower_rad if side < 0 else ARM.upper_rad)[joint]
    start = np.array([0.0, 0.0, 0.0, 0.0, 0.0, -0.5])
    start[joint] = limit - side * 0.3
    target = start.copy()
    target[joint] = limit + side * beyond_rad
    state, outputs = follow(safety, safety.initial(start), target, 40)
    for output in outputs:
        assert (output.position_rad >= ARM.lower_rad).all()
        assert (output.position_rad <= ARM.upper_rad).all()
    expected = limit + side * min(beyond_rad, 0.0)
    assert state.position_rad[joint] == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize("joint", range(5))
def test_a_stream_towards_a_limit_brakes_no_harder_than_the_motor_can(joint: int) -> None:
    acceleration = 20.0
    safety = SafetyFilter(ARM, TABLE, PERIOD_S, max_acceleration_rad_s2=acceleration)
    start = np.array([0.0, 0.0, 0.0, 0.0, 0.0, -0.5])
    target = start.copy()
    target[joint] = 3.0 * ARM.upper_rad[joint]
    _, outputs = follow(safety, safety.initial(start), target, 60)
    positions = np.array([start[joint], *[o.position_rad[joint] for o in outputs]])
    speeds = np.diff(positions) / PERIOD_S
    assert speeds.max() == pytest.approx(ARM.max_speed_rad_s[joint], rel=0.01)
    assert -np.diff(speeds).min() / PERIOD_S <= acceleration * (1 + 1e-9)
    assert positions[-1] == pytest.approx(ARM.upper_rad[joint], abs=1e-9)


def test_speed_is_limited_joint_by_joint() -> None:
    safety = make_filter()
    for joint in range(6):
        target = READY.copy()
        target[joint] += 0.6
        _, output = safety.step(safety.initial(READY), target, READY, PERIOD_S)
        assert output.position_rad[joint] - READY[joint] == pytest.approx(ARM.max_speed_rad_s[joint] * PERIOD_S)
        assert output.limited
        assert not output.held


def test_the_path_stays_straight_in_joint_space_when_one_joint_is_too_slow() -> None:
    safety = make_filter()
    target = READY + np.array([0.8, -0.05, 0.1, 0.02, -0.4, 0.3])
    state = safety.initial(READY)
    for _ in range(12):
        state, output = safety.step(state, target, state.position_rad, PERIOD_S)
        done = (output.position_rad - READY)[:5]
        along = (target - READY)[:5]
        cosine = float(done @ along / np.linalg.norm(done) / np.linalg.norm(along))
        assert cosine == pytest.approx(1.0, abs=1e-12)
    np.testing.assert_allclose(state.position_rad, target, atol=1e-9)


def test_the_arm_stops_as_one_when_one_joint_reaches_its_limit() -> None:
    safety = make_filter()
    start = np.array([1.4, 0.0, 0.0, 0.0, 0.0, -0.5])
    target = start + np.array([0.4, -0.4, 0.0, 0.0, 0.0, 0.0])
    state, outputs = follow(safety, safety.initial(start), target, 60)
    moved = state.position_rad - start
    assert state.position_rad[0] == pytest.approx(ARM.upper_rad[0])
    assert moved[1] == pytest.approx(-moved[0])
    assert outputs[-1].held
    assert "joint 1" in outputs[-1].reason


@pytest.mark.parametrize("beyond_rad", [1e-12, 1e-6, 1e-3])
def test_a_target_a_rounding_beyond_a_limit_does_not_stop_the_arm(beyond_rad: float) -> None:
    safety = make_filter()
    start = np.array([ARM.upper_rad[0], 0.0, 0.0, 0.0, 0.0, -0.5])
    target = start + np.array([beyond_rad, 0.05, 0.0, 0.0, 0.0, 0.0])
    _, output = safety.step(safety.initial(start), target, start, PERIOD_S)
    np.testing.assert_allclose(output.position_rad - start, [0.0, 0.05, 0.0, 0.0, 0.0, 0.0], atol=1e-12)


def test_a_slow_gripper_does_not_slow_the_arm() -> None:
    safety = make_filter()
    target = READY + np.array([0.02, 0.0, 0.0, 0.0, 0.0, 1.0])
    _, output = safety.step(safety.initial(READY), target, READY, PERIOD_S)
    assert output.position_rad[0] == pytest.approx(target[0])
    assert output.position_rad[5] == pytest.approx(READY[5] + ARM.max_speed_rad_s[5] * PERIOD_S)


def test_a_joint_found_outside_its_limits_comes_back_slowly() -> None:
    safety = make_filter()
    start = np.array([0.0, 0.0, 0.0, ARM.upper_rad[3] + 0.2, 0.0, -0.5])
    target = np.zeros(6)
    state = safety.initial(start)
    angles = [start[3]]
    for _ in range(40):
        state, _ = safety.step(state, target, state.position_rad, PERIOD_S)
        angles.append(state.position_rad[3])
    outside = [a for a in angles if a > ARM.upper_rad[3]]
    assert (np.diff(outside) < 0).all()
    assert -np.diff(outside).min() <= RETURN_SPEED_RAD_S * PERIOD_S * (1 + 1e-9)
    assert angles[-1] == pytest.approx(0.0, abs=1e-9)


def test_a_joint_outside_never_goes_further_out() -> None:
    safety = make_filter()
    start = np.array([0.0, 0.0, 0.0, ARM.upper_rad[3] + 0.2, 0.0, -0.5])
    state = safety.initial(start)
    for _ in range(20):
        state, output = safety.step(state, start + 0.5, state.position_rad, PERIOD_S)
        assert output.position_rad[3] <= start[3]


def test_an_arm_that_does_not_follow_is_not_led_away() -> None:
    safety = make_filter()
    start = np.array([0.0, 0.0, 0.0, 0.0, 0.0, -0.5])
    target = np.array([1.5, 0.0, 0.0, 0.0, 0.0, -0.5])
    state = safety.initial(start)
    for _ in range(100):
        state, _ = safety.step(state, target, start, PERIOD_S)
    assert state.position_rad[0] < 1.0
    _, output = safety.step(state, target, start, PERIOD_S)
    assert output.held
    assert "does not follow" in output.reason
    state, output = safety.step(state, start, start, PERIOD_S)
    assert output.position_rad[0] < state.position_rad[0] + 1e-12
    assert not output.held


def test_squeezing_a_block_may_lead_the_gripper() -> None:
    safety = make_filter()
    state = safety.initial(READY)
    target = READY.copy()
    target[5] = 0.0
    for _ in range(100):
        state, _ = safety.step(state, target, READY, PERIOD_S)
    assert state.position_rad[5] == pytest.approx(0.0)


@pytest.mark.parametrize("seed", range(20))
def test_a_target_under_the_desk_never_puts_a_guard_under_the_floor(seed: int) -> None:
    rng = np.random.default_rng(seed)
    poses = rng.uniform(ARM.lower_rad, ARM.upper_rad, (2000, 6))
    under = next(p for p in poses if lowest_m(p) < -0.02)
    safety = make_filter()
    start = np.zeros(6)
    assert lowest_m(start) > 0
    state, outputs = follow(safety, safety.initial(start), under, 60, duration_s=float(rng.uniform(0.02, 0.4)))
    for output in outputs:
        assert lowest_m(output.position_rad) >= -1e-9
    assert outputs[-1].limited
    assert "guard" in outputs[-1].reason
    back, _ = follow(safety, state, start, 100)
    np.testing.assert_allclose(back.position_rad, start, atol=1e-9)


def test_a_way_into_the_desk_is_walked_up_to_the_desk_and_the_gripper_stays_free() -> None:
    under = np.array([0.0, -1.5, -1.2, -0.3, 0.0, -0.2])
    assert lowest_m(under) < -0.02
    safety = make_filter()
    start = np.array([0.0, 0.0, 0.0, 0.0, 0.0, -1.5])
    state, outputs = follow(safety, safety.initial(start), under, 60)
    assert 0 <= lowest_m(state.position_rad) < 2e-3
    assert state.position_rad[5] == pytest.approx(-0.2)
    assert outputs[-1].held


def test_a_long_step_is_checked_on_its_way() -> None:
    """Both ends stand high, the straight way between them dips through the desk."""
    first = np.array([0.0, 0.034, 0.223, 0.576, 0.0, -1.0])
    second = np.array([0.0, -0.017, -0.207, -0.617, 0.0, -1.0])
    lows = [lowest_m(p, "hanging") for p in np.linspace(first, second, 15)]
    assert lows[0] > 0
    assert lows[-1] > 0
    assert min(lows) < -0.05
    safety = make_filter("hanging")
    _, output = safety.step(safety.initial(first), second, first, 1.0)
    assert output.limited
    for point in np.linspace(first, output.position_rad, 50):
        assert lowest_m(point, "hanging") >= -2e-3


def test_the_arm_does_not_fold_into_itself() -> None:
    rng = np.random.default_rng(5)
    hits = [p for p in rng.uniform(ARM.lower_rad, ARM.upper_rad, (4000, 6)) if smallest_gap_m(p) < -0.01]
    assert len(hits) >= 5
    safety = make_filter("hanging")
    free = np.array([0.0, -0.5, -0.6, -0.6, 0.0, -1.0])
    assert lowest_m(free, "hanging") > 0
    assert smallest_gap_m(free) > 0
    for target in hits[:30]:
        _, outputs = follow(safety, safety.initial(free), target, 60)
        assert min(smallest_gap_m(o.position_rad) for o in outputs) >= -1e-9


@pytest.mark.parametrize("rig", ["table", "hanging"])
@pytest.mark.parametrize("seed", range(3))
def test_counting_the_clearance_down_changes_no_output(seed: int, rig: str) -> None:
    safety, rng = make_filter(rig), np.random.default_rng(seed)
    state, computed = safety.initial(ARM.rig(rig).home_rad), 0
    target = state.position_rad
    for step in range(600):
        if step % 20 == 0:
            target = rng.uniform(ARM.lower_rad, ARM.upper_rad)
        looked = SafetyState(state.position_rad, state.velocity_rad_s)
        following, output = safety.step(state, target, state.position_rad, PERIOD_S)
        anew, expected = safety.step(looked, target, state.position_rad, PERIOD_S)
        assert np.array_equal(output.position_rad, expected.position_rad)
        assert output.reason == expected.reason
        assert following.clearance_m <= anew.clearance_m + 1e-12
        computed += following.clearance_m == anew.clearance_m
        state = following
    assert computed < 500  # most steps need no look


def test_motion_out_of_a_hit_is_allowed_and_deeper_is_not() -> None:
    rng = np.random.default_rng(7)
    under = next(p for p in rng.uniform(ARM.lower_rad, ARM.upper_rad, (4000, 6)) if -0.03 < lowest_m(p) < -0.01)
    safety = make_filter()
    state, outputs = follow(safety, safety.initial(under), under * 0.0, 120)
    heights = [lowest_m(o.position_rad) for o in outputs]
    assert heights[-1] > 0
    np.testing.assert_allclose(state.position_rad, np.zeros(6), atol=1e-9)
    gradient = np.array([(lowest_m(under + d) - lowest_m(under)) for d in 1e-4 * np.eye(6)])
    _, output = safety.step(safety.initial(under), under - 0.05 * np.sign(gradient), under, PERIOD_S)
    assert lowest_m(output.position_rad) >= lowest_m(under) - 1e-9


hostile = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True),
    st.floats(-4.0, 4.0),
    st.sampled_from([*ARM.lower_rad.tolist(), *ARM.upper_rad.tolist(), 0.0]),
)


@settings(max_examples=150, deadline=None)
@given(
    targets=st.lists(st.lists(hostile, min_size=6, max_size=6), min_size=1, max_size=25),
    durations=st.lists(st.one_of(st.just(PERIOD_S), st.floats()), min_size=25, max_size=25),
    rig=st.sampled_from(["table", "hanging"]),
)
def test_any_stream_stays_inside_limits_speeds_and_above_the_desk(
    targets: list[list[float]], durations: list[float], rig: str
) -> None:
    safety = make_filter(rig)
    state = safety.initial(BENT)
    assert lowest_m(BENT, rig) > 0
    for target, duration_s in zip(targets, durations, strict=False):
        before = state.position_rad
        state, output = safety.step(state, np.array(target), before, duration_s)
        position = output.position_rad
        assert np.isfinite(position).all()
        assert math.isfinite(output.duration_s)
        assert output.duration_s > 0
        assert (position >= ARM.lower_rad).all()
        assert (position <= ARM.upper_rad).all()
        assert (np.abs(position - before) <= ARM.max_speed_rad_s * output.duration_s + 1e-9).all()
        assert lowest_m(position, rig) >= -1e-9
        np.testing.assert_array_equal(position, state.position_rad)
