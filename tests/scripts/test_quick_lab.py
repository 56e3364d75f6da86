"""The lab in one process: the same bytes and code as the real one, on a clock that never waits."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from calibration.errors import BadArtifact
from calibration.servo import ServoCalibration
from scripts.evaluate import choose_policy
from scripts.programs.lab_unit import LabUnit, take_up
from scripts.programs.posing import PosedArm
from scripts.programs.quick_lab import QuickLab
from scripts.programs.quick_run import QuickRun
from urdf.description import load_arm
from urdf.pose import Array

ARM = load_arm("dofbot")
UNIT = LabUnit("dofbot", "table", 3, "mild")
GOAL = ARM.rig("table").home_rad + np.array([0.2, 0.1, 0.0, 0.1, 0.0, 0.0])


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[QuickLab]:
    lab = QuickLab(UNIT, tmp_path / "data", tmp_path / "out")
    yield lab
    lab.close()


def moved(lab: QuickLab) -> tuple[Array, list[bytes], int]:
    """Return what the servos read after a move, the bytes on the wire, and how long it took by the lab's clock."""
    began_ns = lab.clock.now_ns()
    arm = PosedArm(lab.connect(), np.full(6, 0.0015), clock=lab.clock)
    arm.move_to(GOAL)
    reading = arm.stand().reading_rad
    return reading, [frame.data for frame in lab.board.heard], lab.clock.now_ns() - began_ns


def test_the_same_seed_moves_the_same_way_byte_by_byte_and_faster_than_time(lab: QuickLab, tmp_path: Path) -> None:
    began_s = time.process_time()
    reading, heard, took_ns = moved(lab)
    assert time.process_time() - began_s < took_ns * 1e-9
    assert len(heard) > 40
    assert reading[:5] == pytest.approx(GOAL[:5], abs=0.004)
    angles, _ = lab.world.scene()
    really = np.array([angles[name] for name in ARM.joint_names[:-1]])
    assert np.abs(really - reading[:5]).max() > np.radians(0.3)

    other = QuickLab(UNIT, tmp_path / "again", tmp_path / "again")
    try:
        again, heard_again, _ = moved(other)
    finally:
        other.close()
    assert np.array_equal(reading, again)
    assert heard == heard_again


def test_a_policy_grasps_the_block_there(lab: QuickLab) -> None:
    run = QuickRun(lab, choose_policy("dofbot-grasp-state", None))
    (attempt,) = run.attempts(1)
    run.close()
    assert attempt.really
    assert attempt.seen.success
    assert attempt.seen.rise_m > 0.025


def test_jaws_that_met_are_told_as_what_went_wrong_whatever_the_camera_saw(lab: QuickLab) -> None:
    run = QuickRun(lab, choose_policy("blind", None))
    (attempt,) = run.attempts(1)
    run.close()
    assert not attempt.really
    assert not attempt.seen.success
    assert attempt.seen.why == "the jaws closed on nothing"


def test_another_seed_is_another_unit_whose_calibration_is_put_away(tmp_path: Path) -> None:
    assert take_up(UNIT, "lab", ARM, tmp_path) == []
    nominal = ServoCalibration.load("lab", ARM, tmp_path)
    turned = msgspec.structs.replace(nominal.joints[0], zero_ticks=nominal.joints[0].zero_ticks + 40)
    msgspec.structs.replace(nominal, joints=(turned, *nominal.joints[1:]), method="by test").save(tmp_path)
    assert take_up(UNIT, "lab", ARM, tmp_path) == []
    assert ServoCalibration.load("lab", ARM, tmp_path).method == "by test"
    told = take_up(LabUnit("dofbot", "table", 4, "mild"), "lab", ARM, tmp_path)
    assert "another unit" in told[0]
    assert ServoCalibration.load("lab", ARM, tmp_path).joints == nominal.joints
    assert any((tmp_path / "robots" / "lab" / "calibration" / "history").glob("servo_*.json"))


def test_a_servo_file_of_another_robot_is_put_away_and_a_damaged_one_refused_untouched(tmp_path: Path) -> None:
    take_up(UNIT, "lab", ARM, tmp_path)
    path = tmp_path / "robots" / "lab" / "calibration" / "servo.json"
    foreign = path.read_text().replace('"lab"', '"arm9"')
    path.write_text(foreign)
    told = take_up(UNIT, "lab", ARM, tmp_path)
    assert "of robot 'arm9', not of 'lab'" in told[0]
    assert [kept.read_text() for kept in path.parent.glob("history/servo_foreign_*")] == [foreign]
    path.write_text("{")
    with pytest.raises(BadArtifact, match="servo"):
        take_up(UNIT, "lab", ARM, tmp_path)
    assert path.read_text() == "{"
