from __future__ import annotations

import math
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.actuator import NOMINAL_DEAD_TIME_S, ActuatorModel, ActuatorState, ServoErrors
from tests.calibration.brute_servo import TICK_S, BruteArm, Command
from urdf.description import load_arm

MODEL = ActuatorModel((3.0,) * 6, dead_time_s=0.1, skew_s=0.01, min_move_s=0.02)
ONE = ActuatorModel((3.0,), dead_time_s=0.0, skew_s=0.0, min_move_s=0.02)
REAL = replace(MODEL, backlash_rad=(0.0173,) * 6, dead_band_rad=(0.0137,) * 6)


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


@pytest.mark.parametrize("model", [MODEL, REAL])
@given(
    steps_s=st.lists(st.floats(0.001, 0.2), min_size=1, max_size=30),
    commands=st.lists(st.tuples(st.floats(0.0, 0.8), st.floats(-2.0, 2.0), st.floats(0.01, 1.0)), max_size=5),
)
def test_the_motion_does_not_depend_on_how_time_is_cut(
    model: ActuatorModel, steps_s: list[float], commands: list[tuple[float, float, float]]
) -> None:
    total_s = sum(steps_s)
    cut, whole = ActuatorState(model, np.zeros(6)), ActuatorState(model, np.zeros(6))
    for at_s, target, duration_s in sorted(commands):
        for state in (cut, whole):
            state.submit([target] * 6, duration_s, now_s=at_s)
    for step_s in steps_s:
        cut.step(step_s)
    whole.step(total_s)
    np.testing.assert_allclose(cut.position_rad, whole.position_rad, atol=1e-9)
    np.testing.assert_allclose(cut.joint_rad, whole.joint_rad, atol=1e-9)


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


# Backlash ------------------------------------------------------------------------------------------


def test_a_joint_that_turns_back_stands_still_until_the_gap_is_crossed() -> None:
    state = ActuatorState(replace(ONE, backlash_rad=(0.02,)), [0.0])
    state.submit([0.1], 1.0)
    assert state.step(0.05)[0] == 0.0  # the setpoint has gone 5 of the 10 mrad to the flank
    assert state.step(0.95)[0] == pytest.approx(0.09)
    assert state.position_rad[0] == 0.1
    state.submit([0.0], 1.0)
    assert state.step(0.2)[0] == pytest.approx(0.09)  # 20 mrad back: the whole gap
    assert state.step(0.1)[0] == pytest.approx(0.08)
    assert state.step(1.0)[0] == pytest.approx(0.01)


def test_without_backlash_and_dead_band_joint_and_setpoint_are_the_same_to_the_last_bit() -> None:
    rng = np.random.default_rng(2)
    state = ActuatorState(MODEL, np.zeros(6))
    for _ in range(50):
        state.submit(rng.uniform(-2.0, 2.0, 6), float(rng.uniform(0.02, 0.5)))
        joint = state.step(float(rng.uniform(0.001, 0.3)))
        assert joint.tobytes() == state.position_rad.tobytes() == state.joint_rad.tobytes()


def test_looking_ahead_on_a_copy_leaves_the_joint_alone_too() -> None:
    state = ActuatorState(REAL, np.zeros(6))
    state.submit([1.0] * 6, 1.0)
    ahead = state.copy()
    ahead.step(0.6)
    assert ahead.joint_rad[0] == pytest.approx(0.5 - 0.0173 / 2)
    assert state.joint_rad[0] == 0.0


def test_a_joint_put_somewhere_stands_in_the_middle_of_its_gap() -> None:
    state = ActuatorState(REAL, np.zeros(6))
    state.submit([1.0] * 6, 0.5)
    state.step(2.0)
    state.reset_joint(2, 0.3)
    assert state.joint_rad[2] == 0.3
    assert state.joint_rad[1] == pytest.approx(1.0 - 0.0173 / 2)


# Dead band -----------------------------------------------------------------------------------------


def test_a_servo_starts_no_correction_smaller_than_its_dead_band_and_makes_a_larger_one_whole() -> None:
    state = ActuatorState(replace(ONE, dead_band_rad=(0.01,)), [0.0])
    state.submit([0.009], 0.1)
    assert state.step(1.0)[0] == 0.0
    assert not state.is_busy(0)
    state.submit([0.018], 0.1)  # what was not done counts: 18 mrad are missing now
    assert state.step(1.0)[0] == 0.018
    state.submit([0.009], 0.1)
    assert state.step(1.0)[0] == 0.018


def test_a_moving_servo_told_to_stay_nearby_stops() -> None:
    state = ActuatorState(replace(ONE, dead_band_rad=(0.01,)), [0.0])
    state.submit([1.0], 1.0)
    state.step(0.5)
    state.submit([0.505], 0.1)
    assert state.step(1.0)[0] == pytest.approx(0.5)
    assert state.velocity_rad_s[0] == 0.0


# All together --------------------------------------------------------------------------------------


def test_the_exact_model_agrees_with_a_simulation_in_tiny_steps() -> None:
    rng = np.random.default_rng(5)
    n = 6
    brute = BruteArm(0.08, 0.012, rng.uniform(2.0, 4.0, n), rng.uniform(0.0, 0.03, n), rng.uniform(0.0, 0.01, n))
    model = ActuatorModel(
        tuple(brute.speed_rad_s), 0.08, 0.012, 0.02, tuple(brute.backlash_rad), tuple(brute.dead_band_rad)
    )
    commands: list[Command] = [(0.0, np.zeros(n), 0.1)]
    for k in range(1, 30):
        reach = 0.6 if k % 3 else 0.02
        commands.append((0.2 * k, commands[-1][1] + rng.uniform(-reach, reach, n), float(rng.uniform(0.02, 0.5))))
    state = ActuatorState(model, np.zeros(n))
    for time_s, target, duration_s in commands:
        state.submit(target, duration_s, time_s)
    expected = brute.motion(commands, 6.0)
    for tick in range(0, len(expected), 97):
        state.advance_to(tick * TICK_S)
        # Two ticks at full speed: 2 mrad.
        np.testing.assert_allclose(state.joint_rad, expected[tick], atol=2 * TICK_S * 4.0)


def test_readings_come_in_whole_steps() -> None:
    model = replace(MODEL, readback_rad=(0.01, 0.0, 0.01, 0.01, 0.01, 0.01))
    position = np.array([0.0149, 0.0149, -0.0151, 0.5, 0.0, -0.0049])
    np.testing.assert_allclose(model.readings_rad(position), [0.01, 0.0149, -0.02, 0.5, 0.0, 0.0], atol=1e-12)
    assert MODEL.readings_rad(position).tobytes() == position.tobytes()


def test_servo_errors_say_where_joints_really_stand() -> None:
    errors = ServoErrors.of([0.1, -0.2], [1.0, 0.95])
    np.testing.assert_allclose(errors.joint_rad(np.array([1.0, 2.0])), [1.1, 1.7])
    np.testing.assert_allclose(errors.servo_rad(np.array([1.1, 1.7])), [1.0, 2.0])
    angles = np.array([0.123456789, -1.1])
    assert ServoErrors.none(2).joint_rad(angles).tobytes() == angles.tobytes()


@pytest.mark.parametrize(("zero", "scale"), [([0.0], [1.0, 1.0]), ([math.nan], [1.0]), ([0.0], [0.0]), ([0.0], [-1.0])])
def test_servo_errors_that_no_servo_has_are_refused(zero: list[float], scale: list[float]) -> None:
    with pytest.raises(ValueError, match="positive scale"):
        ServoErrors.of(zero, scale)


@pytest.mark.parametrize("name", ["backlash_rad", "dead_band_rad", "readback_rad"])
@pytest.mark.parametrize("bad", [(0.1,), (-0.1, 0.0), (math.nan, 0.0), (math.inf, 0.0)])
def test_a_model_names_the_number_that_no_servo_has(name: str, bad: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match=name):
        replace(ActuatorModel((1.0, 1.0)), **{name: bad})


def test_the_dofbots_numbers_are_those_of_its_table() -> None:
    arm = load_arm("dofbot")
    model = ActuatorModel.nominal(arm)
    assert model.dead_time_s == NOMINAL_DEAD_TIME_S == arm.actuator.dead_time_s
    assert model.skew_s == 0.012
    assert math.degrees(model.readback_rad[0]) == pytest.approx(180 / 2200, rel=1e-3)
    assert math.degrees(model.readback_rad[4]) == pytest.approx(270 / 3320, rel=1e-3)
    assert math.degrees(model.readback_rad[5]) == pytest.approx(180 / 2200 * math.degrees(1) / 101, rel=1e-3)
    assert all(0 < math.degrees(gap) <= 1.0 for gap in model.backlash_rad)  # the sheet's limit
    assert ActuatorModel.nominal(arm, dead_time_s=0.1) == replace(model, dead_time_s=0.1)


def test_the_nominal_model_has_the_servos_speed_and_the_grippers_gearing() -> None:
    model = ActuatorModel.nominal(load_arm("dofbot"))
    np.testing.assert_allclose(model.max_speed_rad_s[:5], math.radians(200), rtol=1e-3)
    # 200 servo degrees a second at 101 degrees per radian of the gripper angle
    assert model.max_speed_rad_s[5] == pytest.approx(200 / 101, rel=1e-2)


@pytest.mark.parametrize("model", [MODEL, REAL])
def test_a_step_is_cheap_enough_for_the_simulators_inner_loop(model: ActuatorModel) -> None:
    state = ActuatorState(model, np.zeros(6))
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
