from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

pytest.importorskip("cv2", reason="OpenCV is not part of the base install")

from calibration.errors import BadArtifact, ForeignCalibration, NotCalibrated, SampleRefused
from calibration.hand_eye import HandEyeResult, calibrate_hand_eye
from calibration.hand_eye_file import HandEyeCalibration
from calibration.hand_eye_model import HandEyeGuess, HandEyeNoise
from calibration.hand_eye_poses import HandEyePlanner
from calibration.hand_eye_routine import HandEyeRoutine, HandEyeSetup
from calibration.hand_eye_sample import Mount
from scripts.programs.hand_eye_trials import BOARD_M, INTRINSICS, Trial, TrialMaker, read_counts
from urdf.description import load_arm

ARM = load_arm("dofbot")
STEP_RAD = np.full(5, math.radians(180 / 2200))
NOISE = HandEyeNoise.of_read_back(0.3, STEP_RAD)
SETUP = HandEyeSetup(ARM, "unit-1", "wrist", INTRINSICS, Mount.EYE_IN_HAND, "dots", NOISE)
TRIAL = TrialMaker(ARM, read_counts).draw(8, np.random.default_rng(11))


def take(routine: HandEyeRoutine, trial: Trial, index: int) -> None:
    sample = trial.samples[index]
    routine.add([sample.joints_rad] * 3, STEP_RAD, sample.object_m, [sample.image_px] * 2)


@pytest.fixture(scope="module")
def found() -> HandEyeResult:
    return calibrate_hand_eye(ARM, Mount.EYE_IN_HAND, TRIAL.samples, INTRINSICS, NOISE)


def test_a_stopped_routine_goes_on_and_ends_where_one_that_was_not_ends(tmp_path: Path) -> None:
    first = HandEyeRoutine(SETUP, tmp_path)
    for k in range(3):
        take(first, TRIAL, k)
    again = HandEyeRoutine(SETUP, tmp_path)
    assert [s.name for s in again.samples] == ["01", "02", "03"]
    assert again.solution() is None
    for k in range(3, 8):
        take(again, TRIAL, k)
    whole = HandEyeRoutine(SETUP, tmp_path / "other")
    for k in range(8):
        take(whole, TRIAL, k)
    assert np.array_equal(again.solve().pose.as_matrix(), whole.solve().pose.as_matrix())
    kept = again.finish()
    assert kept.exists()
    assert not HandEyeRoutine(SETUP, tmp_path).samples


def test_a_moving_arm_a_blurred_picture_and_a_repeated_pose_are_refused_and_nothing_is_kept(tmp_path: Path) -> None:
    routine = HandEyeRoutine(SETUP, tmp_path)
    sample = TRIAL.samples[0]
    moving = [sample.joints_rad, sample.joints_rad + np.radians([0.0, 0.5, 0.0, 0.0, 0.0])]
    with pytest.raises(SampleRefused, match=r"arm moved: joint 2 by 0\.50 deg"):
        routine.add(moving, STEP_RAD, sample.object_m, [sample.image_px])
    shift = np.array([3.0, 0.0])
    with pytest.raises(SampleRefused, match=r"picture moved by 3\.0 px"):
        routine.add([sample.joints_rad], STEP_RAD, sample.object_m, [sample.image_px, sample.image_px + shift])
    with pytest.raises(SampleRefused, match=r"blurred: edges are 4\.0 px"):
        routine.add([sample.joints_rad], STEP_RAD, sample.object_m, [sample.image_px], blur_px=4.0)
    assert not routine.path.exists()
    take(routine, TRIAL, 0)
    with pytest.raises(SampleRefused, match="same pose"):
        take(routine, TRIAL, 0)
    with pytest.raises(SampleRefused, match="camera is stuck"):
        routine.add([TRIAL.samples[1].joints_rad], STEP_RAD, sample.object_m, [sample.image_px])
    assert len(HandEyeRoutine(SETUP, tmp_path).samples) == 1


def test_samples_of_another_camera_board_or_mount_are_refused(tmp_path: Path) -> None:
    take(HandEyeRoutine(SETUP, tmp_path), TRIAL, 0)
    others = (
        (replace(SETUP, board="charuco"), "another board"),
        (replace(SETUP, mount=Mount.EYE_TO_HAND), "another mount"),
        (replace(SETUP, intrinsics=replace(INTRINSICS, fx_px=351.0)), "another intrinsics"),
    )
    for setup, words in others:
        with pytest.raises(BadArtifact, match=f"{words} .*--fresh"):
            HandEyeRoutine(setup, tmp_path)
        assert not HandEyeRoutine(setup, tmp_path, fresh=True).samples
    path = HandEyeRoutine(SETUP, tmp_path).path
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(BadArtifact, match="--fresh"):
        HandEyeRoutine(SETUP, tmp_path)


def test_the_file_comes_back_as_it_was_and_keeps_what_it_replaces(tmp_path: Path, found: HandEyeResult) -> None:
    made = HandEyeCalibration.of(found, "wrist", INTRINSICS, "dots", "unit-1", ARM)
    with pytest.raises(NotCalibrated, match="hand-eye"):
        HandEyeCalibration.load("wrist", "unit-1", ARM, tmp_path)
    made.save(tmp_path)
    path = made.save(tmp_path)
    assert path == tmp_path / "robots" / "unit-1" / "calibration" / "hand_eye_wrist.json"
    assert len(list((path.parent / "history").glob("hand_eye_wrist_*.json"))) == 2
    loaded = HandEyeCalibration.load("wrist", "unit-1", ARM, tmp_path)
    assert loaded == made
    loaded.check_camera("wrist", INTRINSICS, Mount.EYE_IN_HAND)
    assert np.allclose(loaded.pose.as_matrix(), found.pose.as_matrix())
    assert np.allclose(loaded.covariance_matrix, found.covariance)
    tool = ARM.base_from_tool(TRIAL.samples[0].joints_rad)
    assert np.allclose(loaded.base_from_camera(tool).as_matrix(), (tool @ found.pose).as_matrix())


def test_another_robot_arm_camera_or_lens_is_refused(tmp_path: Path, found: HandEyeResult) -> None:
    made = HandEyeCalibration.of(found, "wrist", INTRINSICS, "dots", "unit-1", ARM)
    path = made.save(tmp_path)
    with pytest.raises(ForeignCalibration, match="other intrinsics"):
        made.check_camera("wrist", replace(INTRINSICS, cx_px=320.0), Mount.EYE_IN_HAND)
    with pytest.raises(ForeignCalibration, match="not 'desk'"):
        made.check_camera("desk", INTRINSICS, Mount.EYE_IN_HAND)
    with pytest.raises(ForeignCalibration, match=r"in the hand.*--mount eye-to-hand"):
        made.check_camera("wrist", INTRINSICS, Mount.EYE_TO_HAND)
    with pytest.raises(ForeignCalibration, match="was made for arm"):
        HandEyeCalibration.load("wrist", "unit-1", load_arm("dofbot-se"), tmp_path)
    elsewhere = tmp_path / "robots" / "unit-2" / "calibration"
    elsewhere.mkdir(parents=True)
    (elsewhere / path.name).write_bytes(path.read_bytes())
    with pytest.raises(ForeignCalibration, match="of robot 'unit-1'"):
        HandEyeCalibration.load("wrist", "unit-2", ARM, tmp_path)
    edited = path.read_text().replace(ARM.sha256, "0" * 64)
    path.write_text(edited)
    with pytest.raises(ForeignCalibration):
        HandEyeCalibration.load("wrist", "unit-1", ARM, tmp_path)


def test_damaged_numbers_are_refused(tmp_path: Path, found: HandEyeResult) -> None:
    made = HandEyeCalibration.of(found, "wrist", INTRINSICS, "dots", "unit-1", ARM)
    for field, value in (
        ("quat_xyzw", (0.0, 0.0, 0.0, 2.0)),
        ("covariance", made.covariance[:5]),
        ("covariance", tuple(tuple(-v for v in row) for row in made.covariance)),
    ):
        with pytest.raises(BadArtifact):
            msgspec.structs.replace(made, **{field: value})
    path = made.save(tmp_path)
    path.write_text(path.read_text().replace('"mount"', '"mounted"'))
    with pytest.raises(BadArtifact, match="hand_eye"):
        HandEyeCalibration.load("wrist", "unit-1", ARM, tmp_path)


def test_the_next_pose_is_safe_shows_the_board_and_tells_more_than_a_random_one(found: HandEyeResult) -> None:
    rig = ARM.rig("table")
    planner = HandEyePlanner(ARM, rig, Mount.EYE_IN_HAND, BOARD_M, INTRINSICS, NOISE)
    guess = HandEyeGuess(found.pose, found.board, np.zeros(5))
    home = np.append(TrialMaker(ARM).home_rad, -0.5)
    samples = list(TRIAL.samples)
    goal = planner.next_pose(samples, guess, home, np.random.default_rng(0))
    assert goal is not None
    assert planner.is_safe_way(home, goal.joints_rad)
    assert goal.joints_rad[-1] == home[-1]
    assert goal.position_sigma_m < 0.9 * found.position_sigma_m
    # What was foretold comes true, within what one sample's noise does to the estimate of a sigma.
    maker = TrialMaker(ARM, read_counts)
    more = maker.seen_from(np.array([goal.joints_rad[:5]]), TRIAL.camera, TRIAL.board, np.random.default_rng(3))
    after = calibrate_hand_eye(
        ARM, Mount.EYE_IN_HAND, [*samples, replace(more.samples[0], name="new")], INTRINSICS, NOISE
    )
    assert after.position_sigma_m == pytest.approx(goal.position_sigma_m, rel=0.3)
    near = planner.next_pose(samples, guess, home, np.random.default_rng(0), reach_rad=0.1)
    assert near is not None
    steps = np.abs(np.array([s.joints_rad for s in samples]) - near.joints_rad[:5]).max(axis=1)
    assert steps.min() < 0.1


def test_the_first_turns_are_enough_for_a_first_solution() -> None:
    rig = ARM.rig("table")
    planner = HandEyePlanner(ARM, rig, Mount.EYE_IN_HAND, BOARD_M, INTRINSICS, NOISE)
    maker = TrialMaker(ARM, read_counts)
    start = np.append(maker.home_rad, -0.5)
    poses = np.array([start, *planner.first_poses(start)])[:, :5]
    assert len(poses) >= 6
    trial = maker.seen_from(poses[:6], TRIAL.camera, TRIAL.board, np.random.default_rng(1))
    found = calibrate_hand_eye(ARM, Mount.EYE_IN_HAND, trial.samples, INTRINSICS, NOISE)
    assert trial.errors(found.pose)[0] < 5.0
