"""What `tandem check-obs` finds wrong about an arm that has been calibrated wrongly."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from calibration.servo import ServoCalibration
from scripts.check_obs import check_observation
from scripts.programs.lab_unit import LabUnit
from scripts.programs.obs_channels import Channel, Observed, state_channels
from scripts.programs.obs_motion import MotionChecker
from scripts.programs.obs_plot import draw_check
from scripts.programs.posing import PosedArm
from scripts.programs.quick_lab import QuickLab
from sim.errors import SimError
from sim.lab_truth import TruthFile
from sim.objects import BLOCK_SIZE_M
from urdf.pose import Pose

UNIT = LabUnit("dofbot", "table", 0, "0")


def test_a_reversed_joint_and_a_wrong_zero_are_found_and_drawn(tmp_path: Path) -> None:
    lab = QuickLab(UNIT, tmp_path, tmp_path / "out")
    try:
        right = ServoCalibration.load("lab", lab.description, tmp_path)
        joints = list(right.joints)
        wrist = joints[4]
        at_home = wrist.zero_ticks + wrist.ticks_per_rad * float(lab.rig.home_rad[4])
        # Reversed about the home pose: there it still stands where it is believed.
        joints[4] = msgspec.structs.replace(
            wrist,
            ticks_per_rad=-wrist.ticks_per_rad,
            zero_ticks=at_home + wrist.ticks_per_rad * float(lab.rig.home_rad[4]),
        )
        joints[0] = msgspec.structs.replace(joints[0], zero_ticks=joints[0].zero_ticks + 60.0)  # 4.9 degrees
        msgspec.structs.replace(right, joints=tuple(joints)).save(tmp_path)
        step_rad = np.full(6, 0.0015)
        with lab.workplace().take_hold() as bench:
            arm = PosedArm(bench.robot, step_rad, clock=lab.clock)
            check = MotionChecker(lab.description, lab.rig, arm, bench.camera).run(lambda words: None)
    finally:
        lab.close()
    troubles = {m.joint: m.trouble for m in check.motions}
    assert "backwards" in troubles.pop("joint5")
    assert not any(troubles.values())
    assert all(m.read_ratio == pytest.approx(1.0, abs=0.05) for m in check.motions)
    # 4.9 degrees at the 0.17 m that the gripper's face is from the base's axis.
    assert check.place.distance_mm == pytest.approx(1000 * 0.17 * np.radians(60 / (2200 / 180)), rel=0.25)
    assert "zeros are off" in check.place.trouble
    draw_check("lab", check, channels()[:6], None, "it is not", tmp_path / "check.png")
    assert (tmp_path / "check.png").stat().st_size > 50_000


def channels(arm_age_s: float = 0.4, shown: float = 0.0, shift_m: float = 0.0, told_off: float = 0.0) -> list[Channel]:
    """Return the channels of a made-up arm whose block is seen with a noise of 4 mm."""
    vectors = np.tile(np.linspace(-0.05, 0.05, 20), (30, 1))
    vectors[:, 8] += np.random.default_rng(0).normal(0.0, 0.01, 30)  # block_x, 0.4 m a unit
    everywhere = np.concatenate([vectors - 0.1, vectors + 0.1]) + shown
    seen = Observed(vectors, arm_age_s, 0.2, Pose.identity())
    where = vectors.mean(axis=0) - told_off
    return state_channels(seen, where, everywhere, np.array([0.0, shift_m, 0.0]), told_off != 0.0)


def test_channels_name_noise_bias_age_and_what_training_never_showed() -> None:
    by_name = {c.name: c for c in channels(shift_m=0.006)}
    assert "noise" in by_name["block_x"].trouble
    assert by_name["tool_y"].bias == pytest.approx(-6.0)
    assert "off by" in by_name["block_from_tool_y"].trouble
    assert by_name["tool_x"].trouble == ""
    assert "3.00 s old" in next(c.trouble for c in channels(arm_age_s=3.0) if c.name == "tool_x")
    assert "outside what the training world shows" in next(c.trouble for c in channels(shown=5.0) if c.name == "tool_z")


def test_the_blocks_place_is_measured_against_where_the_user_says_it_lies_and_never_against_itself() -> None:
    untold = {c.name: c.bias for c in channels()}
    assert {name.rstrip("xyz") for name, bias in untold.items() if bias is not None} == {"block_from_tool_", "tool_"}
    told = {c.name: c for c in channels(told_off=0.0125)}
    assert told["block_y"].bias == pytest.approx(5.0)  # 0.4 m a unit
    assert "off by +5.0 mm" in told["block_y"].trouble


def test_the_labs_block_is_put_where_it_is_told_and_measured_there(tmp_path: Path) -> None:
    lab = QuickLab(UNIT, tmp_path, tmp_path / "out")
    x, y = lab.rig.area_center_m
    told = Pose.from_rpy([x + 0.01, y + 0.005, BLOCK_SIZE_M / 2], [0.0, 0.0, 0.3])
    try:
        with lab.workplace().take_hold() as bench:
            check = check_observation(lab.workplace(), bench, lambda words: None, told)
        assert np.linalg.norm(lab.world.block_truth().position_m - told.position_m) < 1e-3
        with pytest.raises(SimError, match="at most 500 mm"):
            lab.place_block(Pose.from_rpy([0.6, 0.0, 0.0], [0.0, 0.0, 0.0]))
    finally:
        lab.close()
    places = {c.name: c for c in check.channels if c.name in ("block_x", "block_y")}
    assert [c.bias is not None and abs(c.bias) < 2.0 for c in places.values()] == [True, True]


def test_gears_with_play_pass_and_a_wrong_scale_does_not(tmp_path: Path) -> None:
    lab = QuickLab(LabUnit("dofbot", "table", 2, "hard"), tmp_path, tmp_path / "out")
    try:
        save_the_truth(lab, tmp_path, joint3_scale=1.25)
        with lab.workplace().take_hold() as bench:
            arm = PosedArm(bench.robot, np.full(6, 0.0015), clock=lab.clock)
            check = MotionChecker(lab.description, lab.rig, arm, bench.camera).run(lambda words: None)
    finally:
        lab.close()
    troubles = {m.joint: m.trouble for m in check.motions}
    assert "its scale is wrong" in troubles.pop("joint3")
    assert not any(troubles.values()), troubles
    assert "does not judge" in check.motions[4].not_judged


def save_the_truth(lab: QuickLab, data: Path, joint3_scale: float) -> None:
    """Save the servos as a perfect calibration has them, but for the scale of joint 3 about the home pose."""
    counts = ServoCalibration.load("lab", lab.description, data)
    servos = TruthFile.load(lab.truth_path).truth.servos(lab.description.gripper.open_rad)
    joints = [
        msgspec.structs.replace(
            j, ticks_per_rad=j.ticks_per_rad / float(s), zero_ticks=j.zero_ticks - j.ticks_per_rad * float(z) / float(s)
        )
        for j, s, z in zip(counts.joints, servos.scale, servos.zero_rad, strict=True)
    ]
    elbow = joints[2]
    wrong = elbow.ticks_per_rad * joint3_scale
    home_rad = float(lab.rig.home_rad[2])
    joints[2] = msgspec.structs.replace(
        elbow, ticks_per_rad=wrong, zero_ticks=elbow.zero_ticks + (elbow.ticks_per_rad - wrong) * home_rad
    )
    msgspec.structs.replace(counts, joints=tuple(joints)).save(data)
