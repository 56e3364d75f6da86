"""Eye-in-hand in the lab: its own wrist camera sees the desk's board, and the arm finds out where that camera is."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from calibration.board_spec import find_board
from calibration.hand_eye_model import HandEyeNoise
from calibration.hand_eye_poses import HandEyePlanner
from calibration.hand_eye_routine import HandEyeRoutine, HandEyeSetup
from calibration.hand_eye_sample import Mount
from calibration.servo import ServoCalibration
from scripts.programs.hand_eye_run import BoardPattern, HandEyeRun
from scripts.programs.lab_unit import LabUnit
from scripts.programs.posing import PosedArm
from scripts.programs.quick_lab import QuickLab
from sim.lab_truth import LabTruth
from urdf.pose import Pose

#: From here the wrist camera sees eight markers of the desk's board.
START_RAD = np.radians([15.0, 20.0, -60.0, -80.0, 20.0])


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[QuickLab]:
    lab = QuickLab(LabUnit("dofbot", "table", 3, "0"), tmp_path / "data", tmp_path / "out", wrist=True)
    yield lab
    lab.close()


@pytest.mark.deep
def test_the_wrist_camera_of_the_lab_is_found_by_the_desk_board(lab: QuickLab, tmp_path: Path) -> None:
    assert lab.wrist is not None
    arm, board = lab.description, find_board("desk")
    step_rad = np.array([1 / abs(j.ticks_per_rad) for j in ServoCalibration.load("lab", arm, tmp_path / "data").joints])
    posed, pattern = PosedArm(lab.connect(), step_rad, clock=lab.clock), BoardPattern(board)
    intrinsics = lab.wrist.read(5.0).intrinsics
    noise = HandEyeNoise.of_read_back(0.3, step_rad[:5])
    routine = HandEyeRoutine(
        HandEyeSetup(arm, "lab", "wrist", intrinsics, Mount.EYE_IN_HAND, "desk", noise), tmp_path / "data"
    )
    planner = HandEyePlanner(arm, lab.rig, Mount.EYE_IN_HAND, pattern.object_m, intrinsics, noise)
    run = HandEyeRun(routine, posed, step_rad, lab.wrist, pattern, planner)
    run.go_to(START_RAD)
    found = run.run(7, np.random.default_rng(0), lambda _: None)

    mount, truth = arm.camera("wrist", lab.rig), LabTruth.draw(3, 6, "0")
    askew = Pose.from_rotvec(truth.wrist_shift_m, truth.wrist_turn_rad)
    assert mount.link == arm.tool_link
    off = (arm.link_from_tool.inverse() @ mount.link_from_camera @ askew).inverse() @ found.pose
    assert len(found.good) >= 6
    assert float(np.linalg.norm(off.position_m)) < 0.0015
    assert math.degrees(float(np.linalg.norm(off.rotvec_rad()))) < 0.6
