from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.actuator import ActuatorModel, ActuatorState
from urdf.description import load_arm

MODEL = ActuatorModel((3.0,) * 6, dead_time_s=0.1, skew_s=0.01, min_move_s=0.02)


def test_nothing_moves_before_the_dead_time_and_each_joint_starts_its_share_of_the_skew_later() -> None:
    state = ActuatorState(MODEL, np.zeros(6))
    state.submit([1.0] * 6, 1.0)
    np.testing.assert_array_equal(state.step(0.1), np.zeros(6))
    # 10 ms later the first joint has moved for 10 ms at 1 rad/s, the last not at all, the others in between.
    np.testing.assert_allclose(state.step(0.01), [0.010, 0.008, 0.006, 0.004, 0.002, 0.0], atol=1e-12)


def test_all_joints_arrive_after_the_one_common_duration() -> None:
    state = ActuatorState(MODEL, np.zeros(6))
    target = np.array([0.1, -0.2, 0.3, -0.4, 0.5, -0.6])
    state.submit(target, 0.5)
    np.testing.assert_allclose(state.step(0.1 + 0.25)[0], 0.05, atol=1e-12)
    np.testing.assert_allclose(state.step(0.25 + 0.01), target, atol=1e-12)
    assert not state.velocity_rad_s.any()


def test_no_move_is_faster_than_the_servo() -> None:
    state = ActuatorState(MODEL, np.zeros(6))
    state.submit([1.5] * 6, 0.02)
    state.step(0.1)
    assert state.step(0.1)[0] == pytest.approx(0.3)  # 3 rad/s for 0.1 s
    assert state.step(0.5)[0] == 1.5  # 1.5 rad need 0.5 s


def test_a_new_command_interrupts_the_old_one_where_the_setpoint_stands() -> None:
    state = ActuatorState(MODEL, np.zeros(6))
    state.submit([1.0] * 6, 1.0)
    state.step(0.3)
    state.submit([0.0] * 6, 0.3)
    state.step(0.1)  # still under way during the second command's dead time: at 0.3
    assert state.position_rad[0] == pytest.approx(0.3)
    assert state.step(0.15)[0] == pytest.approx(0.15)
    assert state.step(1.0)[0] == 0.0


@given(
    st.lists(st.floats(0.001, 0.2), min_size=1, max_size=30),
    st.lists(st.tuples(st.floats(0.0, 0.8), st.floats(-2.0, 2.0), st.floats(0.01, 1.0)), max_size=5),
)
def test_the_motion_does_not_depend_on_how_time_is_cut(
    steps_s: list[float], commands: list[tuple[float, float, float]]
) -> None:
    total_s = sum(steps_s)
    cut, whole = ActuatorState(MODEL, np.zeros(6)), ActuatorState(MODEL, np.zeros(6))
    for at_s, target, duration_s in sorted(commands):
        for state in (cut, whole):
            state.submit([target] * 6, duration_s, now_s=at_s)
    for step_s in steps_s:
        cut.step(step_s)
    whole.step(total_s)
    np.testing.assert_allclose(cut.position_rad, whole.position_rad, atol=1e-9)


def test_looking_ahead_on_a_copy_leaves_the_state_alone() -> None:
    state = ActuatorState(MODEL, np.zeros(6))
    state.submit([1.0] * 6, 1.0)
    ahead = state.copy()
    ahead.step(0.6)
    assert ahead.position_rad[0] == pytest.approx(0.5)
    assert state.position_rad[0] == 0.0
    assert state.is_busy(0)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_target_that_is_not_finite_is_refused_before_anything_moves(bad: float) -> None:
    state = ActuatorState(MODEL, np.zeros(6))
    with pytest.raises(ValueError, match="finite"):
        state.submit([0.5] * 5 + [bad], 0.5)
    assert not state.step(2.0).any()


def test_the_nominal_model_has_the_servos_speed_and_the_grippers_gearing() -> None:
    model = ActuatorModel.nominal(load_arm("dofbot"))
    np.testing.assert_allclose(model.max_speed_rad_s[:5], math.radians(200), rtol=1e-3)
    # 200 servo degrees a second at 101 degrees per radian of the gripper angle
    assert model.max_speed_rad_s[5] == pytest.approx(200 / 101, rel=1e-2)


def test_a_step_is_cheap_enough_for_the_simulators_inner_loop() -> None:
    state = ActuatorState(MODEL, np.zeros(6))
    target = np.full(6, 0.3)
    best_s = math.inf
    for _ in range(5):
        started_s = time.perf_counter()
        for index in range(2000):
            if index % 12 == 0:
                state.submit(target, 0.05)
                target = -target
            state.step(1 / 240)
        best_s = min(best_s, (time.perf_counter() - started_s) / 2000)
    assert best_s < 15e-6
