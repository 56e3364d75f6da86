from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from bridge.guards import GuardModel
from bridge.safety import SafetyFilter
from calibration.actuator import ActuatorModel, ActuatorState
from calibration.actuator_fit import fit_actuator
from calibration.actuator_log import ActuatorLog, Move
from calibration.errors import CalibrationError
from calibration.excitation import Room, excitation, find_room
from urdf.description import load_arm

pytest.importorskip("scipy", reason="SciPy is not part of the base install")

ARM = load_arm("dofbot")
PERIOD_S = 0.05


@pytest.mark.parametrize("rig_name", ["table", "hanging"])
def test_the_motion_keeps_clear_and_the_safety_filter_has_nothing_to_say(rig_name: str) -> None:
    rig, rng = ARM.rig(rig_name), np.random.default_rng(3)
    room = find_room(ARM, rig, rng)
    targets = excitation(room, ARM.max_speed_rad_s, PERIOD_S, 60.0, rng)
    assert (np.abs(targets - room.center_rad) <= room.reach_rad + 1e-9).all()
    assert GuardModel(ARM, rig).clearances_m(targets).min() > 0.0
    assert len(targets) * PERIOD_S == pytest.approx(60.0, abs=2.5)
    safety = SafetyFilter(ARM, rig, PERIOD_S)
    state = safety.initial(targets[0])
    for target in targets:
        state, output = safety.step(state, target, state.position_rad, PERIOD_S)
        np.testing.assert_allclose(output.position_rad, target, atol=1e-9)


def test_it_begins_gently_and_no_two_joints_start_a_swing_at_once() -> None:
    room = Room(np.zeros(6), 0.35)
    targets = excitation(room, np.full(6, 3.0), PERIOD_S, 80.0, np.random.default_rng(0))
    speed = np.abs(np.diff(targets, axis=0)) / PERIOD_S
    assert speed[: round(5.0 / PERIOD_S)].max() < 0.8
    fast = speed > 2.9
    starts = fast[1:] & ~fast[:-1]
    assert starts.sum() > 40
    assert starts.sum(axis=1).max() == 1


def test_less_time_than_it_takes_is_refused() -> None:
    with pytest.raises(CalibrationError, match="50 to 600 s"):
        excitation(Room(np.zeros(2), 0.3), np.full(2, 3.0), PERIOD_S, 20.0, np.random.default_rng(0))


def test_two_hidden_servos_are_identified_and_one_that_is_faster_than_it_may_go_is_told() -> None:
    """The first servo is slower than its limit of 3.0 rad/s, the second faster."""
    truth = ActuatorModel((2.5, 4.0), 0.113, 0.015, 0.02, (0.016, 0.009), (0.004, 0.0), (0.0014, 0.0014))
    rng = np.random.default_rng(4)
    targets = excitation(Room(np.zeros(2), 0.35), np.full(2, 3.0), PERIOD_S, 50.0, rng)
    sent_s = np.arange(len(targets)) * PERIOD_S + rng.uniform(0.0, 0.002, len(targets))
    moves = [Move(float(t), target, PERIOD_S) for t, target in zip(sent_s, targets, strict=True)]
    state = ActuatorState(truth, targets[0])
    for move in moves:
        state.submit(move.target_rad, move.duration_s, move.time_s)
    read_s = np.arange(0.3, 49.0, 0.11) + rng.uniform(-0.01, 0.01, 443)
    joints, readings = np.arange(len(read_s)) % 2, []
    for time_s, joint in zip(read_s.tolist(), joints.tolist(), strict=True):
        state.advance_to(time_s)
        readings.append(truth.reading_rad(joint, float(state.joint_rad[joint])))
    start = dataclasses.replace(truth, dead_time_s=0.08, max_speed_rad_s=(3.0, 3.0), backlash_rad=(), dead_band_rad=())
    found = fit_actuator(ActuatorLog.of(moves, read_s, joints, readings), start)
    assert found.model.dead_time_s == pytest.approx(truth.dead_time_s, abs=0.003)
    np.testing.assert_allclose(np.degrees(found.model.backlash_rad), np.degrees(truth.backlash_rad), atol=0.06)
    assert found.errors.speed_held == (False, True)
    assert found.model.max_speed_rad_s[0] == pytest.approx(2.5, rel=0.04)
    assert found.model.max_speed_rad_s[1] == 3.0
