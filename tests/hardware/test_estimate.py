from __future__ import annotations

import math

import numpy as np
import pytest

from calibration.actuator import ActuatorModel, ActuatorState
from hardware.estimate import PoseEstimate, ReadSchedule

MODEL = ActuatorModel((3.5,) * 6)
S = 1_000_000_000


def test_the_estimate_follows_the_model_of_the_commands() -> None:
    estimate = PoseEstimate(MODEL, np.zeros(6), now_ns=5 * S)
    estimate.command(np.full(6, 0.5), 1.0, now_ns=5 * S)
    position, velocity = estimate.at(5 * S + round(0.58 * S))  # 80 ms dead time, then half way
    assert position[0] == pytest.approx(0.25)
    assert velocity[0] == pytest.approx(0.5)


def test_a_reading_of_a_standing_joint_is_believed() -> None:
    estimate = PoseEstimate(MODEL, np.zeros(6), now_ns=0)
    lag = estimate.correct(2, 0.05, stamp_ns=S)
    assert lag == pytest.approx(-0.05)
    position, _ = estimate.at(2 * S)
    assert position[2] == pytest.approx(0.05, rel=0.02)
    assert estimate.reading_age_s(3 * S) == (3.0, 3.0, 2.0, 3.0, 3.0, 3.0)
    assert estimate.reading_rad() == (0.0, 0.0, 0.05, 0.0, 0.0, 0.0)


def test_a_reading_of_a_fast_joint_counts_for_little_but_the_grippers_counts_whole() -> None:
    estimate = PoseEstimate(MODEL, np.zeros(6), now_ns=0)
    estimate.command(np.full(6, 3.0), 1.0, now_ns=0)
    before, _ = estimate.at(S // 2)
    estimate.correct(0, float(before[0]) - 0.1, stamp_ns=S // 2)
    estimate.correct(5, float(before[5]) - 0.1, stamp_ns=S // 2)
    after, _ = estimate.at(S // 2)
    assert before[0] - 0.01 < after[0] <= before[0]
    assert after[5] == pytest.approx(before[5] - 0.1)


def test_a_reading_is_compared_with_the_model_at_its_own_time() -> None:
    estimate = PoseEstimate(MODEL, np.zeros(6), now_ns=0)
    estimate.command(np.full(6, 1.0), 1.0, now_ns=0)
    estimate.at(round(0.6 * S))  # someone has already asked for a later time
    lag = estimate.correct(5, 0.484, stamp_ns=round(0.58 * S))  # gripper: 80 + 12 ms delay, so 0.488 at 0.58 s
    assert lag == pytest.approx(0.488 - 0.484, abs=1e-9)


def test_readings_keep_the_estimate_within_a_degree_of_servos_slower_than_the_model() -> None:
    truth_model = ActuatorModel((3.5,) * 6, dead_time_s=0.12)
    truth, estimate = ActuatorState(truth_model, np.full(6, 0.02)), PoseEstimate(MODEL, np.full(6, 0.02), now_ns=0)
    schedule, worst_rad = ReadSchedule(6), 0.0
    for tick in range(400):  # 20 s at 20 Hz, a slow sine
        now_ns = tick * S // 20
        target = np.full(6, 0.02 + 0.3 * math.sin(0.8 * tick / 20))
        truth.advance_to(now_ns * 1e-9)
        truth.submit(target, 0.05)
        estimate.command(target, 0.05, now_ns)
        joint = schedule.next(gripper_moves=False)
        estimate.correct(joint, float(truth.position_rad[joint]), now_ns)
        worst_rad = max(worst_rad, float(np.abs(estimate.at(now_ns)[0] - truth.position_rad).max()))
    assert math.degrees(worst_rad) < 1.0


def test_a_hold_meets_the_servos_where_their_dead_time_will_have_brought_them() -> None:
    truth, estimate = ActuatorState(MODEL, np.zeros(6)), PoseEstimate(MODEL, np.zeros(6), now_ns=0)
    truth.submit(np.full(6, 2.0), 1.0)
    estimate.command(np.full(6, 2.0), 1.0, now_ns=0)
    truth.advance_to(0.4)
    point = estimate.stopping_point_rad(round(0.4 * S))
    truth.submit(point, 0.1)
    truth.advance_to(0.6)
    highest = truth.position_rad.copy()
    truth.advance_to(1.5)
    # No joint swings back by more than its speed times the 12 ms of skew.
    np.testing.assert_allclose(truth.position_rad, highest, atol=2.0 * 0.012 + 1e-9)


def test_every_servo_is_read_in_turn() -> None:
    schedule = ReadSchedule(6)
    assert [schedule.next(False) for _ in range(12)] == [0, 1, 2, 3, 4, 5] * 2


def test_a_moving_gripper_is_read_every_second_turn_and_nobody_starves() -> None:
    schedule = ReadSchedule(6)
    turns = [schedule.next(True) for _ in range(12)]
    assert turns == [5, 0, 5, 1, 5, 2, 5, 3, 5, 4, 5, 0]
