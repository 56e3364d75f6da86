from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from calibration.errors import BadArtifact, CalibrationError, RoutineStopped
from calibration.routines import MarkedPose, ServoRoutine, marked_poses
from calibration.servo import ServoCalibration
from urdf.description import load_arm

DOFBOT = load_arm("dofbot")
#: A unit unlike the vendor's scales: zero, counts per radian (signed), of each servo.
TRUE_ZERO = np.array([2031.0, 1962.0, 2048.0, 1975.0, 1440.0, 2790.0])
TRUE_SCALE = np.array([690.0, -715.0, -680.0, -700.0, 711.0, 1190.0])
#: What a Dofbot's servos take.
RANGE = (96, 4000)


class Unit:
    """An arm without torque, and the hand that moves it: its joints stand where the last pose said, not exactly."""

    def __init__(self, slip_deg: float = 0.0) -> None:
        self.angles = np.zeros(6)
        self.placed: list[MarkedPose] = []
        self._slip_rad = math.radians(slip_deg)
        self._rng = np.random.default_rng(11)

    def place(self, pose: MarkedPose) -> bool:
        self.placed.append(pose)
        self.angles[pose.joint] = pose.angle_rad + self._rng.uniform(-self._slip_rad, self._slip_rad)
        return True

    def read(self, servo_id: int) -> int:
        return round(TRUE_ZERO[servo_id - 1] + TRUE_SCALE[servo_id - 1] * self.angles[servo_id - 1])


def quiet(_pose: MarkedPose, _ticks: int, _remaining: int) -> None:
    """Nobody watches."""


def test_every_joint_is_visited_at_its_limits_and_right_angles_and_the_jaws_at_three_widths() -> None:
    poses = marked_poses(DOFBOT)
    degrees = [[round(math.degrees(p.angle_rad)) for p in poses if p.joint == j] for j in range(5)]
    assert degrees == [[-90, 0, 90]] * 4 + [[-90, 0, 90, 180]]
    assert [p.text for p in poses if p.joint == 5] == [
        "gripper open as far as it goes",
        "gripper closed on the 30 mm block",
        "gripper closed until the tips touch",
    ]


def test_exact_poses_give_the_units_own_zero_scale_direction_and_range(tmp_path: Path) -> None:
    unit = Unit()
    calibration = ServoRoutine(DOFBOT, "unit1", tmp_path, RANGE).run(unit.read, unit.place, quiet)
    np.testing.assert_allclose([j.zero_ticks for j in calibration.joints], TRUE_ZERO, atol=0.6)
    np.testing.assert_allclose([j.ticks_per_rad for j in calibration.joints], TRUE_SCALE, atol=0.6)
    assert calibration.residual < 0.6
    shoulder = calibration.joints[1]
    assert (shoulder.lower_ticks, shoulder.upper_ticks) == (
        round(1962 - 715 * math.pi / 2),
        round(1962 + 715 * math.pi / 2),
    )
    calibration.check_belongs("unit1", DOFBOT)


def test_a_hand_that_is_a_degree_off_still_gives_two_degrees_or_better(tmp_path: Path) -> None:
    unit = Unit(slip_deg=1.0)
    calibration = ServoRoutine(DOFBOT, "unit1", tmp_path, RANGE).run(unit.read, unit.place, quiet)
    truth = TRUE_ZERO + TRUE_SCALE * 0.5
    found = np.array(calibration.to_ticks([0.5] * 5 + [0.0]))
    assert (np.abs(found - truth)[:5] < math.radians(2.0) * np.abs(TRUE_SCALE)[:5]).all()
    assert 1.0 < calibration.residual < 25.0


def one_mark_wrong(angle_rad: float) -> float:
    return min(angle_rad, 1.2)


def never_moved(_angle_rad: float) -> float:
    return 0.0


@pytest.mark.parametrize("mistake", [one_mark_wrong, never_moved])
def test_a_joint_not_at_its_marks_is_named_and_it_alone_is_measured_again(
    tmp_path: Path, mistake: Callable[[float], float]
) -> None:
    unit = Unit()

    def misplace(pose: MarkedPose) -> bool:
        unit.place(pose)
        if pose.name == "joint3":
            unit.angles[pose.joint] = mistake(pose.angle_rad)
        return True

    with pytest.raises(CalibrationError, match=r"joint3.*run again"):
        ServoRoutine(DOFBOT, "unit1", tmp_path, RANGE).run(unit.read, misplace, quiet)
    again = ServoRoutine(DOFBOT, "unit1", tmp_path, RANGE)
    assert {p.name for p in again.remaining} == {"joint3"}
    calibration = again.run(unit.read, unit.place, quiet)
    assert calibration.joints[2].ticks_per_rad == pytest.approx(TRUE_SCALE[2], rel=0.01)


def test_no_range_goes_beyond_what_the_servos_of_the_bus_take(tmp_path: Path) -> None:
    unit = Unit()
    calibration = ServoRoutine(DOFBOT, "unit1", tmp_path, (1000, 3000)).run(unit.read, unit.place, quiet)
    shoulder = calibration.joints[1]  # its marks read 839 and 3085
    assert (shoulder.lower_ticks, shoulder.upper_ticks) == (1000, 3000)


def test_what_a_hand_may_be_off_is_less_on_servos_that_count_coarsely(tmp_path: Path) -> None:
    """LX-16A: 1000 counts for 240 degrees, so 8 counts are what 2 degrees are; FIELD 7.4."""
    unit = Unit()
    per_rad = 1000 / math.radians(240)

    def read(servo_id: int) -> int:
        return round(500 + per_rad * unit.angles[servo_id - 1])

    def misplace(pose: MarkedPose) -> bool:
        unit.place(pose)
        if pose.name == "joint3" and pose.angle_rad > 1.0:
            unit.angles[pose.joint] -= math.radians(6.0)
        return True

    with pytest.raises(CalibrationError, match=r"joint3.*of error \(at most 6\)"):
        ServoRoutine(DOFBOT, "unit1", tmp_path, (0, 1000)).run(read, misplace, quiet)


def test_a_joint_that_is_not_held_still_is_asked_for_again(tmp_path: Path) -> None:
    unit = Unit()
    shakes = iter([0, 30, 0] + [0] * 1000)
    ServoRoutine(DOFBOT, "unit1", tmp_path, RANGE).run(lambda i: unit.read(i) + next(shakes), unit.place, quiet)
    assert [p.text for p in unit.placed[:2]] == ["joint1 at -90 deg"] * 2


def test_a_stopped_routine_goes_on_where_it_ended_and_replaces_nothing_before_it_is_complete(tmp_path: Path) -> None:
    old = ServoCalibration.nominal(DOFBOT, "unit1")
    old.save(tmp_path)
    unit = Unit()
    with pytest.raises(RoutineStopped, match="7 poses are kept"):
        ServoRoutine(DOFBOT, "unit1", tmp_path, RANGE).run(
            unit.read, lambda p: len(unit.placed) < 7 and unit.place(p), quiet
        )
    assert ServoCalibration.load("unit1", DOFBOT, tmp_path) == old
    again, seen = ServoRoutine(DOFBOT, "unit1", tmp_path, RANGE), list[int]()
    calibration = again.run(unit.read, unit.place, lambda _pose, _ticks, remaining: seen.append(remaining))
    assert seen == list(range(11, -1, -1))
    assert len({(p.joint, p.angle_rad) for p in unit.placed}) == len(unit.placed) == 19
    calibration.save(tmp_path)
    again.finish()
    assert ServoCalibration.load("unit1", DOFBOT, tmp_path) == calibration
    assert len(ServoRoutine(DOFBOT, "unit1", tmp_path, RANGE).remaining) == 19


def test_should_stop_is_asked_before_every_pose(tmp_path: Path) -> None:
    unit = Unit()
    with pytest.raises(RoutineStopped):
        ServoRoutine(DOFBOT, "unit1", tmp_path, RANGE).run(
            unit.read, unit.place, quiet, should_stop=lambda: len(unit.placed) > 2
        )
    assert len(unit.placed) == 3


def test_measurements_of_another_arm_or_damaged_ones_are_not_gone_on_with(tmp_path: Path) -> None:
    unit = Unit()
    with pytest.raises(RoutineStopped):
        ServoRoutine(DOFBOT, "unit1", tmp_path, RANGE).run(
            unit.read, lambda p: len(unit.placed) < 2 and unit.place(p), quiet
        )
    partial = tmp_path / "robots" / "unit1" / "calibration" / "servo_partial.json"
    text = partial.read_text()
    partial.write_text(text.replace(DOFBOT.sha256, "0" * 64))
    with pytest.raises(BadArtifact, match="--fresh"):
        ServoRoutine(DOFBOT, "unit1", tmp_path, RANGE)
    partial.write_text(text[:30])
    with pytest.raises(BadArtifact, match="--fresh"):
        ServoRoutine(DOFBOT, "unit1", tmp_path, RANGE)
    assert len(ServoRoutine(DOFBOT, "unit1", tmp_path, RANGE, fresh=True).remaining) == 19
