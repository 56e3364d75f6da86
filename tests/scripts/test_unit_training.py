"""Training for one robot: with its own servos, and ranges around them."""

from __future__ import annotations

import dataclasses
from contextlib import closing
from pathlib import Path
from typing import cast

import msgspec
import numpy as np
import pytest

from calibration.actuator import ActuatorModel, ServoErrors
from calibration.actuator_file import ActuatorCalibration
from calibration.actuator_fit import ActuatorErrors, FittedActuator
from calibration.errors import ForeignCalibration, NotCalibrated
from policies.presets import find_preset
from scripts.run_folder import SCHEMA, RunConfig, create_run_folder, read_run_config
from scripts.simulation import SimulatedTask, of_unit, simulated
from scripts.train import run
from scripts.train_settings import TrainArgs
from sim.env import ArmEnv
from urdf.description import load_arm

ARM = load_arm("dofbot")
MODEL = dataclasses.replace(ActuatorModel.nominal(ARM), dead_time_s=0.117, backlash_rad=(0.012,) * 6)


def unit(serial: str = "unit1") -> ActuatorCalibration:
    errors = ActuatorErrors(0.001, (0.02,) * 6, (0.0004,) * 6, (0.001,) * 6)
    fitted = FittedActuator(MODEL, ServoErrors.none(6), 0.001, (0.001,) * 6, 900, errors)
    return ActuatorCalibration.of(fitted, serial, ARM)


def test_the_worlds_have_the_units_servos_and_vary_as_its_file_says() -> None:
    settings = dataclasses.replace(find_preset("grasp"), randomization="hard")
    factory = of_unit(simulated(settings, "table"), unit())
    assert isinstance(factory, SimulatedTask)
    with closing(cast(ArmEnv, factory(0).unwrapped)) as env:
        assert env.robot.model == MODEL
        assert env.randomization.servo_speed_factor.low == pytest.approx(0.95)
        assert env.randomization.servo_dead_time_s.high == pytest.approx(0.005)
        assert env.randomization.servo_backlash_rad.high == pytest.approx(np.radians(0.1))
        assert env.randomization.servo_scale.low == 0.94  # which no motion tells


def test_a_world_in_which_nothing_varies_has_the_units_servos_and_no_other() -> None:
    settings = dataclasses.replace(find_preset("grasp"), randomization="none", servo_zero_deg=0.0)
    factory = cast(SimulatedTask, of_unit(simulated(settings, "table"), unit()))
    ranges = factory._ranges()
    assert ranges.servo_speed_factor.low == ranges.servo_speed_factor.high == 1.0


def test_a_run_keeps_the_unit_and_older_runs_read_as_before(tmp_path: Path) -> None:
    config = RunConfig(SCHEMA, "grasp", "table", 0, find_preset("grasp"), "", {}, "20260101T000000Z")
    assert b"unit" not in msgspec.json.encode(config)
    assert read_run_config(create_run_folder(tmp_path, config)) == config
    with_unit = msgspec.structs.replace(config, unit=unit())
    assert read_run_config(create_run_folder(tmp_path, with_unit)) == with_unit


def test_a_unit_that_was_never_measured_or_is_another_arms_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TANDEM_DATA", str(tmp_path))
    with pytest.raises(NotCalibrated, match="tandem calibrate actuator"):
        run(TrainArgs(unit="unit1"))
    path = unit("other").save(tmp_path)
    (tmp_path / "robots" / "unit1" / "calibration").mkdir(parents=True)
    path.rename(tmp_path / "robots" / "unit1" / "calibration" / "actuator.json")
    with pytest.raises(ForeignCalibration, match="other"):
        run(TrainArgs(unit="unit1"))
    assert not (tmp_path / "runs").exists()
