from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from calibration.actuator import ActuatorModel, ServoErrors
from calibration.actuator_file import ActuatorCalibration, actuator_for
from calibration.actuator_fit import ActuatorErrors, FittedActuator
from calibration.errors import BadArtifact, ForeignCalibration, NotCalibrated
from urdf.description import load_arm

ARM = load_arm("dofbot")
MODEL = replace(
    ActuatorModel.nominal(ARM), dead_time_s=0.093, skew_s=0.017, backlash_rad=(0.01, 0.02, 0.0, 0.0, 0.0, 0.0)
)
ERRORS = ActuatorErrors(0.004, (0.1, 0.05, 0.05, 0.05, 0.05, 0.05), (0.001,) * 6, (0.001,) * 6)
FITTED = FittedActuator(MODEL, ServoErrors.of(np.full(6, 0.01), np.full(6, 0.98)), 0.002, (0.002,) * 6, 1100, ERRORS)


def saved(data: Path, serial: str = "unit7") -> Path:
    return ActuatorCalibration.of(FITTED, serial, ARM).save(data)


def edited(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_an_identified_model_survives_the_disk(tmp_path: Path) -> None:
    path = saved(tmp_path)
    assert path == tmp_path / "robots" / "unit7" / "calibration" / "actuator.json"
    loaded = ActuatorCalibration.load("unit7", ARM, tmp_path)
    assert loaded.model() == MODEL
    assert loaded.servo().scale.tolist() == [0.98] * 6
    assert loaded.servo().zero_rad.tolist() == [0.01] * 6
    assert (loaded.residual, loaded.residual_unit) == (0.002, "rad")
    assert len(list((path.parent / "history").glob("actuator_*.json"))) == 1


def test_ranges_are_two_errors_of_the_fit_and_no_less_than_a_day_makes_of_it(tmp_path: Path) -> None:
    saved(tmp_path)
    ranges = ActuatorCalibration.load("unit7", ARM, tmp_path).ranges
    slowest = MODEL.max_speed_rad_s[0]
    assert ranges.speed_factor == pytest.approx((1 - 0.2 / slowest, 1 + 0.2 / slowest))
    assert ranges.dead_time_s == pytest.approx((-0.008, 0.008))
    assert ranges.backlash_rad == pytest.approx((0.0, 0.002))  # more than a tenth of a degree


def test_the_identified_model_is_used_where_there_is_one(tmp_path: Path) -> None:
    saved(tmp_path)
    assert actuator_for("unit7", ARM, tmp_path) == MODEL
    unmeasured = actuator_for("unit8", ARM, tmp_path)
    nominal = ActuatorModel.nominal(ARM)
    assert (unmeasured.dead_time_s, unmeasured.max_speed_rad_s) == (nominal.dead_time_s, nominal.max_speed_rad_s)
    assert unmeasured.backlash_rad == unmeasured.dead_band_rad == (0.0,) * 6


def test_a_file_that_is_spoilt_or_of_another_robot_is_no_reason_to_use_the_nominal_model(tmp_path: Path) -> None:
    path = saved(tmp_path)
    text = path.read_text()
    edited(path, surprise=1)
    with pytest.raises(BadArtifact, match="surprise"):
        actuator_for("unit7", ARM, tmp_path)
    path.write_text(text)
    edited(path, robot_serial="unit8")
    with pytest.raises(ForeignCalibration, match="unit8"):
        actuator_for("unit7", ARM, tmp_path)
    path.write_text(text)
    edited(path, arm_sha256="0" * 64)
    with pytest.raises(ForeignCalibration, match="made for arm"):
        actuator_for("unit7", ARM, tmp_path)


@pytest.mark.parametrize(
    ("key", "value"), [("dead_time_s", -0.1), ("skew_s", None), ("residual", -1.0), ("kind", "servo")]
)
def test_impossible_numbers_are_refused(tmp_path: Path, key: str, value: object) -> None:
    edited(saved(tmp_path), **{key: value})
    with pytest.raises(BadArtifact):
        ActuatorCalibration.load("unit7", ARM, tmp_path)


@pytest.mark.parametrize("key", ["backlash_rad", "max_speed_rad_s", "scale"])
def test_impossible_numbers_of_a_joint_are_refused(tmp_path: Path, key: str) -> None:
    path = saved(tmp_path)
    joints = json.loads(path.read_text())["joints"]
    joints[2][key] = -1.0
    edited(path, joints=joints)
    with pytest.raises(BadArtifact):
        ActuatorCalibration.load("unit7", ARM, tmp_path)


def test_missing_joints_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path)
    edited(path, joints=json.loads(path.read_text())["joints"][:5])
    with pytest.raises(BadArtifact, match="expected"):
        ActuatorCalibration.load("unit7", ARM, tmp_path)


def test_a_robot_without_a_file_is_not_calibrated(tmp_path: Path) -> None:
    with pytest.raises(NotCalibrated, match=r"actuator\.json"):
        ActuatorCalibration.load("unit7", ARM, tmp_path)
