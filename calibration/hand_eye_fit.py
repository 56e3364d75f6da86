"""Least squares over the hand-eye model: robust at first, then weighted by what the noise turns out to be.

A sample's whitened residuals are condensed to the few numbers that camera, board and joints can move (six, seven where
the print's scale is one of them). What is left of them is the picture's noise alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from calibration.errors import BadSamples
from calibration.hand_eye_model import (
    METRES_PER_RAD,
    HandEyeGuess,
    HandEyeModel,
    HandEyeNoise,
    whitened,
    with_joint_noise,
)
from urdf.pose import Array

_MAX_STEPS, _ROBUST_ROUNDS, _ROBUST_STEPS, _NOISE_ROUNDS = 30, 6, 3, 6
#: Steps shorter than this, in standard deviations, change nothing.
_DONE = 1e-3
#: The median of chi squared with six degrees of freedom.
_MEDIAN_6 = 5.348
#: A sample this many times its expected square counts half in the robust rounds.
_HALF = 4.0
#: The claimed noise counts as much as this many residuals against what the residuals say it is.
_CLAIM_WORTH = 12.0
_MOST_FACTOR = 200.0


@dataclass(frozen=True, slots=True, eq=False)
class Condensed:
    """One sample: residuals (r,) and rows (r, p) in standard deviations, r being 6 or 7."""

    residual: Array
    rows: Array

    @property
    def square(self) -> float:
        """The sum of the squared residuals."""
        return float(self.residual @ self.residual)


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """A solution: its samples as they are seen from there, and the information (p, p) in steps of `step_scale` (p,)."""

    guess: HandEyeGuess
    noise: HandEyeNoise
    parts: tuple[Condensed, ...]
    information: Array
    step_scale: Array

    def covariance(self) -> Array:
        """Return the covariance (p, p) of `HandEyeGuess.moved`'s steps; raises BadSamples where some are unknown."""
        return self.step_scale[:, None] * _inverse(self.information) * self.step_scale

    def freedom(self) -> float:
        """Return how many residuals are left over for checking."""
        counts = sum(len(p.residual) for p in self.parts)
        inverse = _inverse(self.information)
        return counts - sum(float(np.trace(p.rows @ inverse @ p.rows.T)) for p in self.parts)

    def chi_squared(self) -> float:
        """Return the sum of all squared residuals."""
        return sum(p.square for p in self.parts)


def fit(
    model: HandEyeModel,
    guess: HandEyeGuess,
    noise: HandEyeNoise,
    weights: Array | None = None,
    max_steps: int = _MAX_STEPS,
) -> Fit:
    """Return the weighted least-squares solution near a guess; `weights` (samples,) default to one each."""
    shares = np.ones(len(model.samples)) if weights is None else weights
    scale = _step_scale(noise)
    here = _condensed(model, guess, noise, scale)
    if here is None:
        raise BadSamples("the start puts the board behind the camera: pictures and poses do not belong together")
    damping, cost = 1e-6, _cost(here, guess, shares, scale)
    for _ in range(max_steps):
        information, gradient = _normal(here, guess, shares, scale)
        step = np.linalg.solve(information + damping * np.diag(np.diag(information)), gradient)
        tried = guess.moved(step * scale)
        there = _condensed(model, tried, noise, scale)
        new_cost = math.inf if there is None else _cost(there, tried, shares, scale)
        # The whitening changes with the guess, so that the last small steps may not lower the cost.
        arrived = float(step @ information @ step) < _DONE**2
        if there is not None and (new_cost <= cost or arrived):
            cost, guess, here, damping = new_cost, tried, there, damping / 10
        else:
            damping *= 10
        if arrived or damping > 1e6:
            break
    information, _ = _normal(here, guess, shares, scale)
    return Fit(guess, noise, tuple(here), information, scale)


def robust_fit(model: HandEyeModel, guess: HandEyeGuess, noise: HandEyeNoise) -> Fit:
    """Return a solution on which samples that disagree with most others hardly count."""
    weights = np.ones(len(model.samples))
    found = fit(model, guess, noise, weights)
    for _ in range(_ROBUST_ROUNDS):
        squares = np.array([p.square for p in found.parts])
        typical = max(1.0, float(np.median(squares)) / _MEDIAN_6)
        weights = 1.0 / (1.0 + squares / (6.0 * _HALF * typical))
        factor = math.sqrt(float(np.median(squares)) / _MEDIAN_6)
        noise = with_joint_noise(noise, min(max(factor, 0.5), 4.0))
        found = fit(model, found.guess, noise, weights, _ROBUST_STEPS)
    return found


def noise_fit(model: HandEyeModel, guess: HandEyeGuess, noise: HandEyeNoise) -> tuple[Fit, float]:
    """Return the solution whose joint noise explains its residuals, and how many times what was claimed that is.

    Never less than was claimed: a few samples that happen to agree make no joint better than its reading.
    """
    factor = 1.0
    found = fit(model, guess, noise)
    for _ in range(_NOISE_ROUNDS):
        excess = (found.chi_squared() + _CLAIM_WORTH / factor**2) / (found.freedom() + _CLAIM_WORTH)
        factor = min(max(factor * math.sqrt(excess), 1.0), _MOST_FACTOR)
        found = fit(model, found.guess, with_joint_noise(noise, factor))
        if abs(excess - 1.0) < 0.01 or factor == 1.0:
            break
    return found, factor


def without(found: Fit, index: int) -> tuple[HandEyeGuess, float]:
    """Return the solution without one sample, and how far that sample is from it: chi squared over its residuals.

    One Gauss-Newton step, which is exact where the model is straight: a single sample moves the rest by millimetres.
    """
    part = found.parts[index]
    rest = _inverse(found.information - part.rows.T @ part.rows)
    step = -rest @ (part.rows.T @ part.residual)
    surprise = part.residual - part.rows @ step
    spread = np.eye(len(surprise)) + part.rows @ rest @ part.rows.T
    return found.guess.moved(step * found.step_scale), float(surprise @ np.linalg.solve(spread, surprise))


def condition(found: Fit) -> float:
    """Return the ratio of the worst to the best known direction of the camera's pose, 0.15 m counting as a radian."""
    scale = np.repeat([1.0, METRES_PER_RAD], 3)
    sizes = np.linalg.eigvalsh(scale[:, None] * found.covariance()[:6, :6] * scale)
    return math.sqrt(float(sizes[-1] / max(sizes[0], 1e-30)))


def _condensed(model: HandEyeModel, guess: HandEyeGuess, noise: HandEyeNoise, scale: Array) -> list[Condensed] | None:
    """Return every sample as it is seen from a guess, None where that cannot be."""
    views = model.look(guess)
    if views is None:
        return None
    parts: list[Condensed] = []
    for seen in views:
        residual, rows = whitened(seen, noise)
        rows = rows * scale
        # Whatever moves camera, board or joints moves the board in the picture, as the camera's six numbers do.
        moving = rows[:, [*range(6), -1]] if scale[-1] > 0 else rows[:, :6]
        towards = np.linalg.qr(moving)[0]
        parts.append(Condensed(towards.T @ residual, towards.T @ rows))
    return parts


def _normal(parts: Sequence[Condensed], guess: HandEyeGuess, shares: Array, scale: Array) -> tuple[Array, Array]:
    prior, at = _prior(guess, scale)
    information, gradient = np.diag(prior), -prior * at
    for part, share in zip(parts, shares, strict=True):
        information = information + share * part.rows.T @ part.rows
        gradient = gradient + share * part.rows.T @ part.residual
    return information, gradient


def _cost(parts: Sequence[Condensed], guess: HandEyeGuess, shares: Array, scale: Array) -> float:
    prior, at = _prior(guess, scale)
    return float(prior @ (at * at)) + sum(float(w) * p.square for w, p in zip(shares, parts, strict=True))


def _prior(guess: HandEyeGuess, scale: Array) -> tuple[Array, Array]:
    """Return the prior's information (p,), one for what has a prior, and where the guess is in its units (p,)."""
    at = np.concatenate([np.zeros(12), guess.offset_rad, [guess.scale]])
    known = np.concatenate([np.zeros(12), np.ones(len(scale) - 12)])
    return known, np.where(scale > 0, at / np.where(scale > 0, scale, 1.0), 0.0)


def _step_scale(noise: HandEyeNoise) -> Array:
    return np.concatenate([np.ones(12), noise.offset_rad, [noise.board_scale]])


def _inverse(information: Array) -> Array:
    size = np.sqrt(np.diag(information))
    scaled = information / np.outer(size, size)
    if not np.isfinite(scaled).all() or np.linalg.cond(scaled) > 1e13:
        raise BadSamples("these samples leave the camera's place open in some direction: turn the tool about two axes")
    return np.linalg.inv(scaled) / np.outer(size, size)


def surprise(model: HandEyeModel, found: Fit) -> float:
    """Return how far the first sample of a model is from a solution that has not seen it: chi squared."""
    parts = _condensed(model.only([0]), found.guess, found.noise, found.step_scale)
    if parts is None:
        return math.inf
    (part,) = parts
    spread = np.eye(len(part.residual)) + part.rows @ _inverse(found.information) @ part.rows.T
    return float(part.residual @ np.linalg.solve(spread, part.residual))


def information(model: HandEyeModel, guess: HandEyeGuess, noise: HandEyeNoise) -> Array:
    """Return what the samples of a model would tell (p, p) if they agreed with a guess; nothing where they cannot."""
    scale = _step_scale(noise)
    parts = _condensed(model, guess, noise, scale)
    empty = np.zeros((len(scale), len(scale)))
    return empty if parts is None else sum((p.rows.T @ p.rows for p in parts), empty)


def camera_sigmas(told: Array, noise: HandEyeNoise) -> tuple[float, float]:
    """Return to what the camera's position [m] and rotation [rad] are known by what was told (p, p)."""
    # A metre and a radian are known beforehand, so that too little is a large number and no error.
    covariance = np.linalg.inv(told + np.eye(len(told)))
    variances = np.diag(covariance) * _step_scale(noise) ** 2
    return math.sqrt(float(variances[:3].sum())), math.sqrt(float(variances[3:6].sum()))
