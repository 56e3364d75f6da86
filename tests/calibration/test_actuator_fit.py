from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from calibration.actuator import ActuatorModel, ActuatorState
from calibration.actuator_fit import FittedActuator, fit_actuator
from calibration.actuator_log import ActuatorLog, Move, identification_motion
from calibration.errors import CalibrationError, NotIdentifiable
from tests.calibration.brute_servo import TICK_S, BruteArm
from urdf.description import load_arm
from urdf.pose import Array

pytest.importorskip("scipy", reason="SciPy is not part of the base install")

ARM = load_arm("dofbot")
NOMINAL = ActuatorModel.nominal(ARM)
CENTER = np.array([0.0, -0.5, -0.5, -0.5, 0.0, -0.8])
#: A unit that is not the nominal one in anything.
UNIT = BruteArm(
    dead_time_s=0.103,
    skew_s=0.019,
    speed_rad_s=np.array([3.9, 3.1, 2.8, 4.2, 3.5, 2.4]),
    backlash_rad=np.radians([0.9, 0.3, 1.1, 0.6, 0.0, 0.4]),
    dead_band_rad=np.radians([0.2, 0.36, 0.12, 0.52, 0.0, 0.28]),
)
SCALE = np.array([0.95, 1.02, 0.97, 1.0, 1.03, 0.99])
ZERO_RAD = np.radians([2.0, -1.5, 0.5, -3.0, 0.0, 1.0])
DURATION_S = 60.0


def reading_times(duration_s: float, rng: np.random.Generator) -> Array:
    """One servo read per control period of 50 ms, 10 ms early or late."""
    times = np.arange(0.1, duration_s - 0.1, 0.05)
    return times + rng.uniform(-0.01, 0.01, len(times))


@pytest.fixture(scope="module")
def fitted() -> FittedActuator:
    rng = np.random.default_rng(11)
    moves = identification_motion(CENTER, np.full(6, 0.35), DURATION_S, rng)
    motion = UNIT.motion([(m.time_s, m.target_rad, m.duration_s) for m in moves], DURATION_S)
    times = reading_times(DURATION_S, rng)
    joints = np.arange(len(times)) % 6
    truth = motion[np.round(times / TICK_S).astype(int), joints]
    step = np.array(NOMINAL.readback_rad)[joints]
    readings = np.round((SCALE[joints] * truth + ZERO_RAD[joints]) / step) * step
    # The host knows the instant of a reading to 3 ms.
    return fit_actuator(
        ActuatorLog.of(moves, times + rng.uniform(-0.003, 0.003, len(times)), joints, readings), NOMINAL
    )


def test_a_minute_of_motion_gives_dead_time_and_skew_to_2_ms(fitted: FittedActuator) -> None:
    assert fitted.model.dead_time_s == pytest.approx(UNIT.dead_time_s, abs=0.002)
    assert fitted.model.skew_s == pytest.approx(UNIT.skew_s, abs=0.002)


def test_and_every_joints_speed_to_4_percent(fitted: FittedActuator) -> None:
    np.testing.assert_allclose(fitted.model.max_speed_rad_s, UNIT.speed_rad_s, rtol=0.04)


def test_and_every_joints_backlash_to_a_twentieth_of_a_degree(fitted: FittedActuator) -> None:
    np.testing.assert_allclose(np.degrees(fitted.model.backlash_rad), np.degrees(UNIT.backlash_rad), atol=0.05)


def test_and_every_joints_dead_band_to_a_fifth_of_a_degree(fitted: FittedActuator) -> None:
    np.testing.assert_allclose(np.degrees(fitted.model.dead_band_rad), np.degrees(UNIT.dead_band_rad), atol=0.2)
    assert float(np.abs(np.subtract(fitted.model.dead_band_rad, UNIT.dead_band_rad)).mean()) < math.radians(0.06)


def test_and_every_joints_scale_and_zero(fitted: FittedActuator) -> None:
    np.testing.assert_allclose(fitted.servo.scale, SCALE, atol=0.003)
    np.testing.assert_allclose(np.degrees(fitted.servo.zero_rad), np.degrees(ZERO_RAD), atol=0.1)


def test_the_residual_is_what_quantisation_and_timing_leave(fitted: FittedActuator) -> None:
    assert math.radians(0.02) < fitted.residual_rad < math.radians(0.25)
    assert len(fitted.joint_residual_rad) == 6
    assert fitted.readings > 1100
    assert fitted.model.readback_rad == NOMINAL.readback_rad
    assert fitted.model.min_move_s == NOMINAL.min_move_s


# What a log does not tell --------------------------------------------------------------------------

TWO = ActuatorModel((3.0, 3.0), 0.1, 0.02, 0.02, (0.01, 0.01), (0.005, 0.005), (0.0014, 0.0014))
Edit = Callable[[tuple[Move, ...]], tuple[Move, ...]]


def recorded(moves: tuple[Move, ...], duration_s: float = 40.0) -> ActuatorLog:
    state = ActuatorState(TWO, moves[0].target_rad)
    for move in moves:
        state.submit(move.target_rad, move.duration_s, move.time_s)
    times = reading_times(duration_s, np.random.default_rng(4))
    joints = np.arange(len(times)) % 2
    readings: list[float] = []
    for time_s, joint in zip(times.tolist(), joints.tolist(), strict=True):
        state.advance_to(time_s)
        readings.append(TWO.reading_rad(joint, float(state.joint_rad[joint])))
    return ActuatorLog.of(moves, times, joints, readings)


def motion() -> tuple[Move, ...]:
    return identification_motion([0.0, 0.0], [0.5, 0.5], 40.0, np.random.default_rng(3))


def test_the_motion_made_for_it_tells_everything() -> None:
    found = fit_actuator(recorded(motion()), replace(TWO, dead_time_s=0.06, max_speed_rad_s=(2.0, 4.0)))
    assert found.model.dead_time_s == pytest.approx(0.1, abs=0.002)
    np.testing.assert_allclose(found.model.max_speed_rad_s, 3.0, rtol=0.02)


def without_swings(moves: tuple[Move, ...]) -> tuple[Move, ...]:
    return tuple(m for m in moves if m.duration_s != 0.02)


def without_steps(moves: tuple[Move, ...]) -> tuple[Move, ...]:
    return tuple(m for m in moves if m.duration_s != 0.1)


def second_joint_rests(moves: tuple[Move, ...]) -> tuple[Move, ...]:
    return tuple(replace(m, target_rad=m.target_rad * [1.0, 0.0]) for m in moves)


@pytest.mark.parametrize(
    ("edit", "parameter", "where", "motion_to_add"),
    [
        (without_swings, "max_speed_rad_s", "joint1", "shortest time"),
        (without_steps, "dead_band_rad", "joint1", "single steps"),
        (second_joint_rests, "dead_time_s", "joint2", "0.5 s"),
    ],
)
def test_what_the_log_does_not_determine_is_refused_by_name_with_the_motion_to_add(
    edit: Edit, parameter: str, where: str, motion_to_add: str
) -> None:
    with pytest.raises(NotIdentifiable, match=motion_to_add) as refusal:
        fit_actuator(recorded(edit(motion())), TWO, ("joint1", "joint2"))
    assert (refusal.value.parameter, refusal.value.where) == (parameter, where)


def test_a_joint_that_never_turns_back_shows_no_backlash() -> None:
    rng = np.random.default_rng(8)
    moves = [Move(0.0, np.full(2, -3.0), 0.5)]
    for k in range(40):  # by turns slowly, at once, and by a small step, always upwards
        step, duration_s = ((0.1, 0.5), (0.4, 0.02), (0.01, 0.1))[k % 3]
        moves.append(Move(0.9 * k + float(rng.uniform(0, 0.2)), moves[-1].target_rad + step, duration_s))
    with pytest.raises(NotIdentifiable, match="turn back") as refusal:
        fit_actuator(recorded(tuple(moves)), TWO)
    assert refusal.value.parameter == "backlash_rad"


def test_a_log_with_hardly_a_reading_is_refused() -> None:
    log = recorded(motion())
    few = ActuatorLog.of(log.moves, log.reading_s[:30], log.reading_joint[:30], log.reading_rad[:30])
    with pytest.raises(NotIdentifiable, match="20 are needed"):
        fit_actuator(few, TWO)


def test_a_log_of_another_arm_is_refused() -> None:
    with pytest.raises(CalibrationError, match="2 joints, the model of 6"):
        fit_actuator(recorded(motion()), NOMINAL)


# The log -------------------------------------------------------------------------------------------


def test_readings_are_sorted_by_time() -> None:
    log = ActuatorLog.of(motion(), [2.0, 1.0], [1, 0], [0.5, 0.25])
    assert log.reading_s.tolist() == [1.0, 2.0]
    assert log.reading_joint.tolist() == [0, 1]
    assert log.reading_rad.tolist() == [0.25, 0.5]


@pytest.mark.parametrize(
    ("moves", "readings", "why"),
    [
        ((), ([1.0], [0], [0.0]), "no move"),
        ((Move(1.0, np.zeros(2), 0.1), Move(0.5, np.zeros(2), 0.1)), ([1.0], [0], [0.0]), "move 1 at 0.5 s"),
        ((Move(1.0, np.array([0.0, math.nan]), 0.1),), ([1.0], [0], [0.0]), "move 0"),
        ((Move(1.0, np.zeros(2), 0.0),), ([1.0], [0], [0.0]), "duration_s"),
        ((Move(1.0, np.zeros(2), 0.1),), ([1.0], [2], [0.0]), "joint 2"),
        ((Move(1.0, np.zeros(2), 0.1),), ([1.0], [0], [math.inf]), "finite"),
        ((Move(1.0, np.zeros(2), 0.1),), ([1.0, 2.0], [0], [0.0]), "differ"),
    ],
)
def test_what_is_no_log_is_refused(
    moves: tuple[Move, ...], readings: tuple[list[float], list[int], list[float]], why: str
) -> None:
    with pytest.raises(CalibrationError, match=why):
        ActuatorLog.of(moves, *readings)


def test_the_motion_stays_within_its_reach() -> None:
    center, reach = np.array([0.1, -0.5, 0.2]), np.array([0.3, 0.2, 0.1])
    moves = identification_motion(center, reach, 60.0, np.random.default_rng(0))
    targets = np.array([m.target_rad for m in moves])
    assert (np.abs(targets - center) <= reach + 1e-12).all()
    assert moves[0].target_rad.tolist() == center.tolist()
    assert moves[-1].time_s + 0.5 < 60.0
