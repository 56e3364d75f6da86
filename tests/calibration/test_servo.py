from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.errors import BadArtifact, CalibrationError, ForeignCalibration, NotCalibrated
from calibration.servo import JointServo, ServoCalibration
from urdf.description import load_arm

DOFBOT = load_arm("dofbot")
NOMINAL = ServoCalibration.nominal(DOFBOT, "unit1")


def rad_of_servo_degrees(degrees: list[float]) -> list[float]:
    """Joint angles that the vendor's library would call these degrees (gripper: 101 degrees per radian from -1.57)."""
    return [math.radians(d - 90) for d in degrees[:5]] + [degrees[5] / 101 - 1.57]


@pytest.mark.parametrize(
    ("degrees", "ticks"),
    [
        ([90, 90, 90, 90, 90, 30], (2000, 2000, 2000, 2000, 1487, 1267)),
        ([0, 0, 45, 180, 270, 0], (900, 3100, 2550, 900, 3700, 900)),
        ([180, 180, 135, 0, 0, 90], (3100, 900, 1450, 3100, 380, 2000)),
    ],
)
def test_the_nominal_counts_are_the_vendor_librarys_rounded(degrees: list[float], ticks: tuple[int, ...]) -> None:
    assert NOMINAL.to_ticks(rad_of_servo_degrees(degrees)) == ticks


@given(st.lists(st.floats(-1.55, 0.09), min_size=6, max_size=6))
def test_an_angle_survives_the_trip_through_counts_within_half_a_count(angles: list[float]) -> None:
    back = NOMINAL.to_rad(NOMINAL.to_ticks(angles))
    half_count_rad = [0.5 / abs(j.ticks_per_rad) + 1e-12 for j in NOMINAL.joints]
    assert (np.abs(back - angles) <= half_count_rad).all()


@given(st.integers(900, 3100))
def test_every_count_survives_the_trip_through_radians(ticks: int) -> None:
    for joint in NOMINAL.joints[:4]:
        assert joint.to_ticks(joint.to_rad(ticks)) == ticks


def test_every_whole_degree_reads_back_as_itself() -> None:
    for joint in NOMINAL.joints[:4]:
        for degree in range(-90, 91):
            assert round(math.degrees(joint.to_rad(joint.to_ticks(math.radians(degree))))) == degree


@given(st.floats(-1e9, 1e9))
def test_no_angle_leaves_the_servos_range(angle: float) -> None:
    for joint in NOMINAL.joints:
        assert joint.lower_ticks <= joint.to_ticks(angle) <= joint.upper_ticks


def test_a_servo_found_outside_its_range_is_not_made_to_jump_back() -> None:
    shoulder = NOMINAL.joints[1]
    found = shoulder.upper_ticks + 80
    assert shoulder.nearest_ticks(shoulder.to_rad(found), found) == found
    assert shoulder.nearest_ticks(shoulder.to_rad(found + 50), found) == found
    assert shoulder.nearest_ticks(shoulder.to_rad(found - 30), found) == found - 30


@pytest.mark.parametrize("angle", [math.nan, math.inf, -math.inf])
def test_an_angle_that_is_not_finite_is_refused(angle: float) -> None:
    with pytest.raises(CalibrationError, match="joint1"):
        NOMINAL.joints[0].to_ticks(angle)


def test_a_saved_calibration_loads_as_it_was_and_leaves_a_copy_in_history(tmp_path: Path) -> None:
    path = NOMINAL.save(tmp_path)
    assert path == tmp_path / "robots" / "unit1" / "calibration" / "servo.json"
    assert ServoCalibration.load("unit1", DOFBOT, tmp_path) == NOMINAL
    NOMINAL.save(tmp_path)
    assert len(list((path.parent / "history").glob("servo_*.json"))) == 2
    assert not list(path.parent.glob(".*"))  # no temporary file stays behind


def test_a_missing_calibration_is_an_error_that_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(NotCalibrated, match=r"unit9.*tandem calibrate servos"):
        ServoCalibration.load("unit9", DOFBOT, tmp_path)


def test_a_calibration_of_another_robot_is_refused(tmp_path: Path) -> None:
    NOMINAL.save(tmp_path)
    (tmp_path / "robots" / "unit2").mkdir()
    (tmp_path / "robots" / "unit1" / "calibration").rename(tmp_path / "robots" / "unit2" / "calibration")
    with pytest.raises(ForeignCalibration, match="unit1"):
        ServoCalibration.load("unit2", DOFBOT, tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour": "red"}, "colour"),
        ({"residual": None}, "residual"),
        ({"schema_version": 99}, "99"),
        ({"kind": "camera"}, "camera"),
        ({"joints": []}, "servo ids"),
    ],
)
def test_a_foreign_field_or_schema_is_an_error(tmp_path: Path, change: dict[str, object], message: str) -> None:
    path = NOMINAL.save(tmp_path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(BadArtifact, match=message):
        ServoCalibration.load("unit1", DOFBOT, tmp_path)


@pytest.mark.parametrize("field", ["schema_version", "robot_serial", "arm_sha256", "created_utc", "method", "joints"])
def test_a_missing_field_is_an_error_and_never_a_default(tmp_path: Path, field: str) -> None:
    path = NOMINAL.save(tmp_path)
    table = json.loads(path.read_text())
    del table[field]
    path.write_text(json.dumps(table))
    with pytest.raises(BadArtifact, match=field):
        ServoCalibration.load("unit1", DOFBOT, tmp_path)


def test_a_truncated_file_is_an_error(tmp_path: Path) -> None:
    path = NOMINAL.save(tmp_path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(BadArtifact, match=r"servo\.json"):
        ServoCalibration.load("unit1", DOFBOT, tmp_path)


@pytest.mark.parametrize("serial", ["", "../escape", "a/b", ".hidden", "x" * 65])
def test_a_serial_cannot_leave_its_folder(tmp_path: Path, serial: str) -> None:
    with pytest.raises(CalibrationError, match="serial"):
        ServoCalibration.load(serial, DOFBOT, tmp_path)


@pytest.mark.parametrize("change", [{"ticks_per_rad": 0.0}, {"lower_ticks": 3100}, {"upper_ticks": 5000}])
def test_a_servo_that_cannot_be_is_refused(change: dict[str, float]) -> None:
    good = {"joint": "joint1", "servo_id": 1, "zero_ticks": 2000.0, "ticks_per_rad": 700.0}
    with pytest.raises(BadArtifact, match="joint1"):
        JointServo(**(good | {"lower_ticks": 900, "upper_ticks": 3100} | change))  # pyright: ignore[reportArgumentType]
