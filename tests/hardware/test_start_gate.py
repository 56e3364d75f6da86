from __future__ import annotations

import numpy as np
import pytest

from hardware.start_gate import Gate, through_gate
from urdf.pose import Array

T = 0.05
HERE = np.array([0.1, -0.9, -0.6, -0.6, 0.0, -1.0])


def offset(joint: int, by_rad: float) -> Array:
    moved = HERE.copy()
    moved[joint] += by_rad
    return moved


@pytest.mark.parametrize("joint", range(6))
def test_a_near_first_command_passes_whole_and_opens_the_gate(joint: int) -> None:
    gate, target = through_gate(Gate.CLOSED, offset(joint, 0.29), HERE, HERE, T)
    assert gate is Gate.OPEN
    np.testing.assert_array_equal(target, offset(joint, 0.29))


@pytest.mark.parametrize("joint", range(6))
def test_a_far_first_command_is_approached_at_half_a_radian_a_second(joint: int) -> None:
    gate, target = through_gate(Gate.CLOSED, offset(joint, -0.31), HERE, HERE, T)
    assert gate is Gate.APPROACHING
    np.testing.assert_allclose(target, offset(joint, -0.025))


def test_the_approach_is_straight_ends_at_the_target_and_takes_its_time() -> None:
    goal = HERE + np.array([1.0, 0.5, -0.25, 0.0, 0.1, 0.2])
    gate, at, steps = Gate.CLOSED, HERE, 0
    while gate is not Gate.OPEN:
        gate, at = through_gate(gate, goal, at, at, T)
        steps += 1
        share = (at - HERE)[0] / 1.0
        np.testing.assert_allclose((at - HERE)[:5], share * (goal - HERE)[:5], atol=1e-12)
    np.testing.assert_array_equal(at, goal)
    assert steps == pytest.approx(1.0 / 0.5 / T, abs=1)


def test_the_gripper_is_as_slow_and_waits_for_no_joint() -> None:
    _, at = through_gate(Gate.CLOSED, HERE + np.array([1.0, 0, 0, 0, 0, 0.02]), HERE, HERE, T)
    np.testing.assert_allclose(at - HERE, [0.025, 0, 0, 0, 0, 0.02])
    _, at = through_gate(Gate.CLOSED, HERE + np.array([0.02, 0, 0, 0, 0, 1.0]), HERE, HERE, T)
    np.testing.assert_allclose(at - HERE, [0.02, 0, 0, 0, 0, 0.025])


def test_a_target_that_moves_is_caught_up_with() -> None:
    gate, at, steps = Gate.CLOSED, HERE, 0
    while gate is not Gate.OPEN:
        goal = offset(0, 0.6 + 0.2 * steps * T)  # runs away at 0.2 rad/s: 0.6 / (0.5 - 0.2) = 2 s
        gate, at = through_gate(gate, goal, at, at, T)
        steps += 1
    assert steps * T == pytest.approx(2.0, abs=0.1)


def test_an_open_gate_limits_nothing() -> None:
    far = offset(2, 2.0)
    gate, target = through_gate(Gate.OPEN, far, HERE, HERE, T)
    assert gate is Gate.OPEN
    np.testing.assert_array_equal(target, far)


def test_far_is_far_from_where_the_arm_is_measured_not_from_what_was_sent() -> None:
    gate, target = through_gate(Gate.CLOSED, offset(1, -0.1), HERE, offset(1, 0.25), T)  # pushed aside
    assert gate is Gate.APPROACHING
    np.testing.assert_allclose(target, offset(1, -0.025))


def test_jaws_that_squeeze_are_compared_with_their_command() -> None:
    gate, _ = through_gate(Gate.CLOSED, HERE, HERE, offset(5, -0.4), T)
    assert gate is Gate.OPEN
