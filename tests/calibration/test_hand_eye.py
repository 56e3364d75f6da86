from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("cv2", reason="OpenCV is not part of the base install")
pytest.importorskip("scipy", reason="SciPy is not part of the base install")

from scipy.stats import chi2, kstest

from calibration.errors import BadSamples, SampleRefused
from calibration.hand_eye import calibrate_hand_eye
from calibration.hand_eye_model import (
    HandEyeGuess,
    HandEyeModel,
    HandEyeNoise,
    difference,
    nudged,
    whitened,
)
from calibration.hand_eye_sample import HandEyeSample, Mount
from calibration.hand_eye_start import best_start, check_mix_up, closed_form, see_board
from scripts.programs.hand_eye_trials import INTRINSICS, Trial, TrialMaker, read_counts, read_degrees
from urdf.description import load_arm
from urdf.pose import Array, Pose

ARM = load_arm("dofbot")
COUNT_RAD = math.radians(180 / 2200)
NOISE = HandEyeNoise.of_read_back(0.3, [COUNT_RAD] * 5)


def trial_of(count: int = 10, seed: int = 0, mount: Mount = Mount.EYE_IN_HAND, range_deg: float = 20.0) -> Trial:
    maker = TrialMaker(ARM, read_counts, mount=mount, range_rad=math.radians(range_deg))
    return maker.draw(count, np.random.default_rng(seed))


def changed(trial: Trial, index: int, **fields: object) -> list[HandEyeSample]:
    samples = list(trial.samples)
    samples[index] = replace(samples[index], **fields)  # pyright: ignore[reportArgumentType]
    return samples


def poses_of(trial: Trial) -> tuple[list[Pose], list[Pose]]:
    tools = [ARM.base_from_tool(s.joints_rad) for s in trial.samples]
    return tools, [see_board(s, INTRINSICS).camera_from_board for s in trial.samples]


@pytest.mark.parametrize("mount", list(Mount))
def test_camera_and_board_are_found_to_half_a_millimetre(mount: Mount) -> None:
    trial = trial_of(15, 2, mount)
    found = calibrate_hand_eye(ARM, mount, trial.samples, INTRINSICS, NOISE)
    way_mm, turn_deg = trial.errors(found.pose)
    assert way_mm < 1.0
    assert turn_deg < 0.2
    assert float(np.linalg.norm(found.board.position_m - trial.board.position_m)) < 2e-3
    assert not any(s.is_bad for s in found.samples)


def test_without_noise_the_answer_is_exact() -> None:
    maker = TrialMaker(ARM, lambda q: q, pixel_px=0.0)
    trial = maker.draw(8, np.random.default_rng(3))
    found = calibrate_hand_eye(ARM, trial.mount, trial.samples, INTRINSICS, NOISE)
    way_mm, turn_deg = trial.errors(found.pose)
    assert way_mm < 1e-3
    assert turn_deg < 1e-3


def test_derivatives_are_those_of_finite_differences() -> None:
    for mount in Mount:
        trial = trial_of(5, 1, mount)
        model = HandEyeModel(ARM, mount, trial.samples, INTRINSICS)
        guess = HandEyeGuess(trial.camera, trial.board, np.radians([0.0, 0.5, -0.4, 0.3, 0.0]), 0.01)
        seen = model.look(guess)
        assert seen is not None
        for column in range(10):
            step = np.zeros(18)
            step[column] = 1e-6
            before, after = model.look(guess.moved(-step)), model.look(guess.moved(step))
            assert before is not None
            assert after is not None
            numeric = (before[2].residual_px - after[2].residual_px) / 2e-6
            # The joints' own derivative is taken where they were read, not where their zeros would put them.
            tolerance = 0.03 if 12 <= column < 17 else 1e-4
            assert np.abs(seen[2].by_guess[:, column] - numeric).max() < tolerance * max(np.abs(numeric).max(), 1.0)


def test_whitening_is_the_inverse_root_of_the_covariance_of_picture_and_joints() -> None:
    trial = trial_of(5, 1)
    seen = HandEyeModel(ARM, trial.mount, trial.samples, INTRINSICS).look(
        HandEyeGuess(trial.camera, trial.board, np.zeros(5))
    )
    assert seen is not None
    noise = HandEyeNoise(0.4, np.radians([0.3, 0.2, 0.1, 0.4, 0.5]), np.zeros(5))
    residual, rows = whitened(seen[0], noise)
    by_joint = seen[0].by_joint * noise.joint_rad
    covariance = 0.16 * np.eye(len(residual)) + by_joint @ by_joint.T
    assert residual @ residual == pytest.approx(seen[0].residual_px @ np.linalg.solve(covariance, seen[0].residual_px))
    assert rows.T @ rows == pytest.approx(seen[0].by_guess.T @ np.linalg.solve(covariance, seen[0].by_guess), rel=1e-6)


def test_the_claimed_sigma_covers_the_error() -> None:
    squares: list[float] = []
    for number in range(18):
        trial = trial_of(9, 100 + number)
        found = calibrate_hand_eye(ARM, trial.mount, trial.samples, INTRINSICS, NOISE)
        error = difference(found.pose, trial.camera)
        squares.append(float(error @ np.linalg.solve(found.covariance, error)))
    # 18 draws of chi squared with 6 degrees of freedom: their sum lies in here 998 times in 1,000.
    low, high = chi2.ppf([0.001, 0.999], 6 * len(squares))
    assert low < sum(squares) < high
    # And all of them together look like draws of it: neither a few far out nor all the same.
    assert kstest(squares, chi2(6).cdf).pvalue > 0.001
    # At most 4 of 18 beyond the 95 %, by chance in all but 2 of 1,000 runs.
    assert sum(s < chi2.ppf(0.95, 6) for s in squares) >= 14


def test_joints_more_uncertain_than_claimed_widen_the_sigma() -> None:
    maker = TrialMaker(ARM, read_degrees)
    trial = maker.draw(15, np.random.default_rng(5))
    found = calibrate_hand_eye(ARM, trial.mount, trial.samples, INTRINSICS, NOISE)
    assert found.joint_factor > 6.0  # whole degrees, claimed to be counts of a twelfth
    way_mm, _ = trial.errors(found.pose)
    assert way_mm < 3 * 1000 * found.position_sigma_m


def test_order_does_not_matter() -> None:
    trial = trial_of(9, 4)
    results: list[Array] = []
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(trial.samples))
        found = calibrate_hand_eye(ARM, trial.mount, [trial.samples[k] for k in order], INTRINSICS, NOISE)
        results.append(np.concatenate([found.pose.as_matrix().ravel(), found.covariance.ravel()]))
        assert [s.name for s in found.samples] == sorted(s.name for s in trial.samples)
    assert np.array_equal(results[0], results[1])
    assert np.array_equal(results[0], results[2])


def test_a_sample_whose_arm_had_moved_is_named_and_left_out() -> None:
    trial = trial_of(12, 6)
    knocked = trial.samples[4].joints_rad + np.radians([0.0, 2.0, 0.0, -1.5, 0.0])
    samples = changed(trial, 4, joints_rad=knocked)
    found = calibrate_hand_eye(ARM, trial.mount, samples, INTRINSICS, NOISE)
    assert [s.name for s in found.samples if s.is_bad] == ["05"]
    verdict = next(s for s in found.samples if s.is_bad)
    assert "mm" in verdict.why
    assert verdict.left_out_m > 3e-3
    assert trial.errors(found.pose)[0] < 1.5


def test_pictures_swapped_between_two_poses_are_named() -> None:
    trial = trial_of(10, 7)
    samples = changed(trial, 2, image_px=trial.samples[8].image_px)
    samples[8] = replace(samples[8], image_px=trial.samples[2].image_px)
    found = calibrate_hand_eye(ARM, trial.mount, samples, INTRINSICS, NOISE)
    assert [s.name for s in found.samples if s.is_bad] == ["03", "09"]


def test_badly_found_corners_are_named() -> None:
    trial = trial_of(10, 8)
    noisy = trial.samples[1].image_px + np.random.default_rng(0).normal(0.0, 4.0, trial.samples[1].image_px.shape)
    found = calibrate_hand_eye(ARM, trial.mount, changed(trial, 1, image_px=noisy), INTRINSICS, NOISE)
    bad = [s for s in found.samples if s.is_bad]
    assert [s.name for s in bad] == ["02"]
    assert "corners" in bad[0].why


def test_joint_zeros_are_found_under_a_prior() -> None:
    offset = np.radians([0.0, 1.5, -1.2, 1.0, 0.0])
    maker = TrialMaker(ARM, lambda q: read_counts(q - offset), range_rad=math.radians(25.0))
    trial = maker.draw(14, np.random.default_rng(1))
    noise = replace(NOISE, offset_rad=np.full(5, math.radians(2.0)))
    found = calibrate_hand_eye(ARM, trial.mount, trial.samples, INTRINSICS, noise)
    blind = calibrate_hand_eye(ARM, trial.mount, trial.samples, INTRINSICS, NOISE)
    error = np.abs(found.offset_rad - offset)
    assert (error[1:4] < 4 * found.offset_sigma_rad[1:4]).all()
    assert found.offset_rad[0] == found.offset_rad[4] == 0.0
    assert trial.errors(found.pose)[1] < 0.5 * trial.errors(blind.pose)[1]


def test_closed_form_solves_both_mounts_from_exact_poses() -> None:
    for mount in Mount:
        trial = TrialMaker(ARM, lambda q: q, 0.0, mount).draw(6, np.random.default_rng(2))
        tools, boards = poses_of(trial)
        for method in ("PARK", "HORAUD", "DANIILIDIS"):
            assert trial.errors(closed_form(tools, boards, mount, method))[0] < 0.01


@pytest.mark.parametrize("which", ["base_from_tool", "camera_from_board"])
def test_inverted_transforms_are_told(which: str) -> None:
    tools, boards = poses_of(trial_of(12, 3))
    tools = [t.inverse() for t in tools] if which == "base_from_tool" else tools
    boards = [b.inverse() for b in boards] if which == "camera_from_board" else boards
    found = best_start(tools, boards, Mount.EYE_IN_HAND)
    with pytest.raises(BadSamples, match=f"mixed up: .*{which} was.*: invert"):
        check_mix_up(tools, boards, Mount.EYE_IN_HAND, found)


def test_the_other_mount_is_told() -> None:
    trial = trial_of(12, 3)
    with pytest.raises(BadSamples, match="this is no eye_to_hand but an eye_in_hand camera"):
        calibrate_hand_eye(ARM, Mount.EYE_TO_HAND, trial.samples, INTRINSICS, NOISE)


def test_a_board_of_another_size_is_told() -> None:
    trial = trial_of(15, 4)
    samples = [replace(s, object_m=s.object_m * 1.05) for s in trial.samples]
    with pytest.raises(BadSamples, match=r"the board is [45]\.\d % .* smaller than .* tandem board measured"):
        calibrate_hand_eye(ARM, trial.mount, samples, INTRINSICS, NOISE)


def test_too_few_and_repeated_samples_are_refused() -> None:
    trial = trial_of(8, 5)
    with pytest.raises(BadSamples, match="4 samples: at least 5"):
        calibrate_hand_eye(ARM, trial.mount, trial.samples[:4], INTRINSICS, NOISE)
    twice = [*trial.samples, replace(trial.samples[0], name="again")]
    with pytest.raises(BadSamples, match="same pose"):
        calibrate_hand_eye(ARM, trial.mount, twice, INTRINSICS, NOISE)
    stuck = changed(trial, 3, image_px=trial.samples[2].image_px)
    with pytest.raises(BadSamples, match="same picture although the arm moved"):
        calibrate_hand_eye(ARM, trial.mount, stuck, INTRINSICS, NOISE)


def test_poses_that_hardly_turn_or_turn_about_one_axis_are_refused() -> None:
    trial = trial_of(8, 5, range_deg=20.0)
    maker = TrialMaker(ARM)
    home = maker.home_rad
    rng = np.random.default_rng(0)
    same = np.array([home + np.radians([0, 0.6 * k, -0.6 * k, 0, 0]) for k in range(8)])
    with pytest.raises(BadSamples, match="nearly the same rotation"):
        calibrate_hand_eye(
            ARM, trial.mount, maker.seen_from(same, trial.camera, trial.board, rng).samples, INTRINSICS, NOISE
        )
    one_axis = np.array([home + np.radians([0, 0, 0, 4.0 * k - 14.0, 0]) for k in range(8)])
    with pytest.raises(BadSamples, match="about one axis only"):
        calibrate_hand_eye(
            ARM, trial.mount, maker.seen_from(one_axis, trial.camera, trial.board, rng).samples, INTRINSICS, NOISE
        )


def test_intrinsics_of_another_camera_are_refused() -> None:
    trial = trial_of(8, 5)
    other = replace(INTRINSICS, fx_px=350.0, fy_px=500.0, cx_px=200.0)
    with pytest.raises(BadSamples, match="intrinsics are of another camera"):
        calibrate_hand_eye(ARM, trial.mount, trial.samples, other, NOISE)


def test_a_board_that_was_moved_half_way_is_refused() -> None:
    trial = trial_of(8, 9)
    moved = nudged(trial.board, np.array([0.03, 0.0, 0.0, 0.0, 0.0, 0.2]))
    after = TrialMaker(ARM).seen_from(trial.joints_rad, trial.camera, moved, np.random.default_rng(1)).samples
    with pytest.raises(BadSamples, match=r"[tT]he board or the camera was moved"):
        calibrate_hand_eye(ARM, trial.mount, [*trial.samples[:4], *after[4:]], INTRINSICS, NOISE)


def test_a_sample_that_cannot_be_one_is_refused() -> None:
    sample = trial_of(5, 0).samples[0]
    with pytest.raises(SampleRefused, match="not finite"):
        replace(sample, image_px=np.full_like(sample.image_px, np.nan))
    with pytest.raises(SampleRefused, match="24 corners of the board, 3 in the picture"):
        replace(sample, image_px=sample.image_px[:3])
    line = replace(sample, object_m=sample.object_m[:6], image_px=sample.image_px[:6])
    with pytest.raises(SampleRefused, match="on one line"):
        see_board(line, INTRINSICS)
