"""What `tandem check-obs` finds wrong about an arm that has been calibrated wrongly."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from calibration.servo import ServoCalibration
from scripts.programs.lab_unit import LabUnit
from scripts.programs.obs_channels import Channel, Observed, state_channels
from scripts.programs.obs_motion import MotionChecker
from scripts.programs.obs_plot import draw_check
from scripts.programs.posing import PosedArm
from scripts.programs.quick_lab import QuickLab
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


def channels(arm_age_s: float = 0.4, shown: float = 0.0, shift_m: float = 0.0) -> list[Channel]:
    """Return the channels of a made-up arm whose block is seen with a noise of 4 mm."""
    vectors = np.tile(np.linspace(-0.05, 0.05, 20), (30, 1))
    vectors[:, 8] += np.random.default_rng(0).normal(0.0, 0.01, 30)  # block_x, 0.4 m a unit
    everywhere = np.concatenate([vectors - 0.1, vectors + 0.1]) + shown
    seen = Observed(vectors, arm_age_s, 0.2, Pose.identity())
    return state_channels(seen, vectors.mean(axis=0), everywhere, np.array([0.0, shift_m, 0.0]))


def test_channels_name_noise_bias_age_and_what_training_never_showed() -> None:
    by_name = {c.name: c for c in channels(shift_m=0.006)}
    assert "noise" in by_name["block_x"].trouble
    assert by_name["tool_y"].bias == pytest.approx(-6.0)
    assert "off by" in by_name["block_from_tool_y"].trouble
    assert by_name["tool_x"].trouble == ""
    assert "3.00 s old" in next(c.trouble for c in channels(arm_age_s=3.0) if c.name == "tool_x")
    assert "outside what the training world shows" in next(c.trouble for c in channels(shown=5.0) if c.name == "tool_z")
