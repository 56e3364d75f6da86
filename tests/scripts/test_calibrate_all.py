"""What `tandem calibrate all` says of its steps."""

from __future__ import annotations

from pathlib import Path

import pytest

from calibration.errors import CalibrationError
from scripts.calibrate_all import outcome
from scripts.exit_codes import DONE, FAILED
from scripts.programs.calibrate_chain import Chain, ChainSettings, StepReport
from scripts.programs.lab_unit import LabUnit
from scripts.programs.quick_lab import QuickLab

CAMERA = StepReport("camera", True, "focal length 523 px")


def test_a_step_that_measured_nothing_fails_the_command_and_leaves_the_nominal_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stall(*_: object) -> None:
        raise CalibrationError("joint2 fell 13 degrees behind")

    monkeypatch.setattr(Chain, "measure_actuator", stall)
    lab = QuickLab(LabUnit("dofbot", "table", 0, "0"), tmp_path, tmp_path / "out")
    try:
        chain = Chain(lab.workplace(), ChainSettings(), reports=[CAMERA])
        with lab.taking_hold() as bench:
            chain.try_actuator(bench)
    finally:
        lab.close()
    words, code = outcome("lab", chain.reports, fresh=True)
    assert code == FAILED
    assert words == "lab: measured camera; NOT actuator, for the reasons above. Run it again, or that step alone."
    assert "joint2 fell 13 degrees behind" in chain.reports[-1].words
    assert not list(tmp_path.rglob("actuator.json"))


def test_all_that_was_measured_is_told_and_what_to_restart() -> None:
    words, code = outcome("arm1", [CAMERA, StepReport("servos", True, "")], fresh=False)
    assert code == DONE
    assert words == "arm1: measured camera, servos. Restart `tandem serve` to use it. Now `tandem check-obs`."
