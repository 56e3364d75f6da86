from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from calibration.errors import ForeignCalibration
from calibration.servo import ServoCalibration
from urdf.description import load_arm
from urdf.errors import ArmError, UnknownName
from urdf.tables import read_table


def arm(root: Path, name: str, text: str) -> Path:
    folder = root / name
    folder.mkdir()
    (folder / "arm.toml").write_text(text)
    return folder / "arm.toml"


def test_a_variant_says_only_what_differs(tmp_path: Path) -> None:
    arm(tmp_path, "wide", 'urdf = "a.urdf"\njoints = ["j1", "j2"]\n[gripper]\nopen_rad = -1.5\nclosed_rad = 0.1\n')
    path = arm(tmp_path, "narrow", 'extends = "wide"\njoints = ["j1"]\n[gripper]\nopen_rad = -0.5\n')
    assert read_table(path, tmp_path) == {
        "urdf": "a.urdf",
        "joints": ["j1"],  # a list is replaced, a table is merged
        "gripper": {"open_rad": -0.5, "closed_rad": 0.1},
    }


def test_a_variant_of_an_unknown_arm_lists_the_arms_that_exist(tmp_path: Path) -> None:
    arm(tmp_path, "wide", "")
    path = arm(tmp_path, "narrow", 'extends = "wyde"\n')
    with pytest.raises(UnknownName, match="wide") as caught:
        read_table(path, tmp_path)
    assert caught.value.valid[0] == "wide"


def test_a_variant_of_a_variant_is_refused(tmp_path: Path) -> None:
    arm(tmp_path, "a", 'extends = "b"\n')
    arm(tmp_path, "b", 'extends = "a"\n')
    with pytest.raises(ArmError, match="extends another arm"):
        load_arm("a", tmp_path)


def test_the_dofbot_se_is_a_dofbot_whose_jaws_open_37_to_40_mm() -> None:
    wide, narrow = load_arm("dofbot"), load_arm("dofbot-se")
    assert 0.037 <= narrow.gripper.opening_m(narrow.gripper.open_rad) <= 0.040
    assert narrow.urdf_path == wide.urdf_path
    angles = np.linspace(-0.5, 0.0, 6)
    assert narrow.base_from_tool(angles).is_close(wide.base_from_tool(angles))
    for rig in narrow.rigs.values():
        for pose in (rig.home_rad, rig.rest_rad):
            assert (pose >= narrow.lower_rad).all()
            assert (pose <= narrow.upper_rad).all()


def test_a_calibration_of_either_dofbot_is_refused_for_the_other(tmp_path: Path) -> None:
    wide, narrow = load_arm("dofbot"), load_arm("dofbot-se")
    ServoCalibration.nominal(wide, "unit1").save(tmp_path)
    with pytest.raises(ForeignCalibration, match=r"dofbot'.*dofbot-se"):
        ServoCalibration.load("unit1", narrow, tmp_path)
    ServoCalibration.nominal(narrow, "unit1").save(tmp_path)
    assert ServoCalibration.load("unit1", narrow, tmp_path).arm == "dofbot-se"
    with pytest.raises(ForeignCalibration):
        ServoCalibration.load("unit1", wide, tmp_path)
