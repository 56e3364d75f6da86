"""Readings in steps: a joint lies within its step. Held against SciPy and against drawing at random."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("scipy", reason="SciPy is not part of the base install")
pytest.importorskip("cv2", reason="OpenCV is not part of the base install")
from scipy.stats import chi2, truncnorm

from calibration.hand_eye import calibrate_hand_eye
from calibration.hand_eye_model import HandEyeNoise, difference
from calibration.hand_eye_steps import Walls, between_walls, cut_normal
from scripts.programs.hand_eye_trials import INTRINSICS, TrialMaker, read_degrees
from urdf.description import load_arm

ARM = load_arm("dofbot")


def test_a_cut_normal_has_the_mean_and_variance_that_scipy_says_far_beyond_its_walls_too() -> None:
    mean = np.array([0.0, 0.3, -0.3, 2.0, -2.0, 30.0, 0.0, 1.0])
    variance = np.array([1.0, 1.0, 0.04, 0.25, 0.25, 1.0, 100.0, 1e-4])
    half = np.array([1.0, 0.5, 0.5, 1.0, 1.0, 1.0, 1.0, 1.0])
    sigma = np.sqrt(variance)
    by_scipy = truncnorm((-half - mean) / sigma, (half - mean) / sigma, loc=mean, scale=sigma)
    found, spread = cut_normal(mean, variance, half)
    np.testing.assert_allclose(found, by_scipy.mean(), rtol=1e-7)
    np.testing.assert_allclose(spread, by_scipy.var(), rtol=1e-4)


def test_unknowns_between_walls_are_where_draws_at_random_put_them() -> None:
    rng = np.random.default_rng(3)
    # One unknown without walls, seen three times through readings that lie anywhere within one.
    rows = np.array([[1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 1.0, 0.0], [1.0, 0.0, 0.0, 1.0]])
    seen, sigma = np.array([0.55, 0.1, -0.2]), 0.05
    information = rows.T @ rows / sigma**2
    mean, covariance = between_walls(information, rows.T @ seen / sigma**2, Walls(np.arange(1, 4), np.full(3, 0.5)))
    draws = np.column_stack([rng.uniform(-1.2, 1.2, 2_000_000), rng.uniform(-0.5, 0.5, (2_000_000, 3))])
    weight = np.exp(-0.5 * (((draws @ rows.T - seen) / sigma) ** 2).sum(axis=1))
    expected = np.average(draws, axis=0, weights=weight)
    assert mean == pytest.approx(expected, abs=0.01)
    # Of so few and so sharp walls the variance comes out too large, never too small.
    variance = float(np.average((draws[:, 0] - expected[0]) ** 2, weights=weight))
    assert variance < covariance[0, 0] < 1.5 * variance
    assert covariance[0, 0] < 0.5 * (1 / 12 + sigma**2) / 3, "normal noise of the same variance would say this"


@pytest.mark.parametrize("trials", [4, pytest.param(60, marks=pytest.mark.deep)])
def test_whole_degrees_are_used_as_walls_and_the_claimed_sigma_covers_the_error(trials: int) -> None:
    maker, steps = TrialMaker(ARM, read_degrees), HandEyeNoise.of_read_back(0.3, [math.radians(1.0)] * 5)
    normal = HandEyeNoise(0.3, steps.joint_rad, steps.offset_rad)
    squares: list[float] = []
    errors_mm: list[tuple[float, float]] = []
    for number in range(trials):
        trial = maker.draw(15, np.random.default_rng(number))
        by_walls, by_sigma = (
            calibrate_hand_eye(ARM, trial.mount, trial.samples, INTRINSICS, noise) for noise in (steps, normal)
        )
        error = difference(by_walls.pose, trial.camera)
        squares.append(float(error @ np.linalg.solve(by_walls.covariance, error)))
        errors_mm.append((trial.errors(by_walls.pose)[0], trial.errors(by_sigma.pose)[0]))
    ours, others = np.sqrt(np.mean(np.square(errors_mm), axis=0))
    if trials > 10:  # of fewer, chance decides
        assert ours < 0.95 * others
    low, high = chi2.ppf([0.0005, 0.9995], 6 * len(squares))
    assert low < sum(squares) < high
