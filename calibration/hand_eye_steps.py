"""What readings in steps tell beyond their standard deviation: a joint lies within its step, and never outside.

Fifteen poses read in whole degrees are seventy-five walls between which the camera's place must fit. A fit that takes a
reading's error for normal, of the same variance, does not know them and is a tenth farther off. Here the walls are
kept, and the joints are unknowns beside the camera's place: expectation propagation gives mean and covariance of all of
them. Ref: T. Minka, Expectation Propagation for Approximate Bayesian Inference (2001).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from calibration.hand_eye_fit import Fit
from calibration.hand_eye_model import HandEyeGuess, HandEyeModel, whitened
from urdf.pose import Array

_MOST_ROUNDS, _AROUND = 60, 3
#: Each round goes half the way: whole ones may swing to and fro.
_SHARE = 0.5
_DONE = 1e-4
#: Joints whose variance was found to be larger than their steps' by less than this are explained by those: 15 poses
#: tell it to 20 %.
_MORE_THAN_STEPS = 1.5
#: Farther out, in standard deviations, the tail is its series.
_TAIL = -30.0
#: A wall takes away at least nothing, and never all.
_LEAST_SHARE = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Walls:
    """Which unknowns (m,) of a problem lie between walls, and half of the way between those (m,)."""

    index: NDArray[np.int64]
    half: Array


def within_steps(model: HandEyeModel, found: Fit, step_rad: Array) -> tuple[HandEyeGuess, Array]:
    """Return the solution and its covariance (p, p), in steps of `HandEyeGuess.moved`, joints read in `step_rad` (n,).

    What a fit found the joints to be more uncertain than their steps stays normal noise around them.
    """
    guess, scale = found.guess, found.step_scale
    steps, all_in_all = step_rad**2 / 12, found.noise.joint_rad**2
    rest = np.sqrt(np.where(all_in_all > _MORE_THAN_STEPS * steps, all_in_all - steps, 0.0))
    noise, sought = replace(found.noise, joint_rad=rest), np.flatnonzero(scale > 0)
    mean, covariance = np.zeros(len(sought)), found.covariance()[np.ix_(sought, sought)]
    for _ in range(_AROUND):
        views = model.look(guess)
        if views is None:
            break
        size, count = len(sought), len(step_rad)
        total = size + count * len(views)
        information, gradient = np.zeros((total, total)), np.zeros(total)
        for k, seen in enumerate(views):
            residual, by_guess = whitened(seen, noise)
            by_joint = whitened(replace(seen, by_guess=seen.by_joint), noise)[1]
            rows = np.hstack([by_guess[:, sought], by_joint])
            where = np.r_[:size, size + count * k : size + count * (k + 1)]
            information[np.ix_(where, where)] += rows.T @ rows
            gradient[where] += rows.T @ residual
        at = np.concatenate([np.zeros(12), guess.offset_rad, [guess.scale]])[sought]
        prior = np.where(sought >= 12, scale[sought] ** -2.0, 0.0)
        information[range(size), range(size)] += prior
        gradient[:size] -= prior * at
        walls = Walls(np.arange(size, total), np.tile(step_rad / 2, len(views)))
        mean, covariance = between_walls(information, gradient, walls)
        step = np.zeros(len(scale))
        step[sought] = mean[:size]
        guess, covariance = guess.moved(step), covariance[:size, :size]
    whole = np.zeros((len(scale),) * 2)
    whole[np.ix_(sought, sought)] = covariance
    return guess, whole


def between_walls(information: Array, gradient: Array, walls: Walls) -> tuple[Array, Array]:
    """Return mean (p,) and covariance (p, p) of exp(-x' A x / 2 + b' x), some x being between walls around zero."""
    index = walls.index
    precise, shift = 3.0 / walls.half**2, np.zeros(len(index))
    mean, covariance = np.zeros(len(gradient)), np.eye(len(gradient))
    for _ in range(_MOST_ROUNDS):
        whole, towards = information.copy(), gradient.copy()
        whole[index, index] += precise
        towards[index] += shift
        covariance = np.linalg.inv(whole).astype(np.float64)
        mean = np.asarray(covariance @ towards, dtype=np.float64)
        variance = np.diag(covariance)[index]
        # What everything but its own wall says of an unknown, then what the wall makes of that.
        other = 1.0 / np.maximum(1.0 / variance - precise, 1e-12)
        other_mean = other * (mean[index] / variance - shift)
        cut_mean, cut = cut_normal(other_mean, other, walls.half)
        new_precise = np.maximum(1.0 / cut - 1.0 / other, 1e-9)
        change = float(np.abs(new_precise - precise).max() / precise.max())
        precise = precise + _SHARE * (new_precise - precise)
        shift = shift + _SHARE * (cut_mean / cut - other_mean / other - shift)
        if change < _DONE:
            break
    return mean, covariance


def cut_normal(mean: Array, variance: Array, half: Array) -> tuple[Array, Array]:
    """Return mean and variance (m,) of normal distributions that are cut off at +-half (m,)."""
    sigma = np.sqrt(variance)
    low, high = (-half - mean) / sigma, (half - mean) / sigma
    # Turned round where the normal lies beyond the lower wall: on its left tail the logarithms are exact.
    turned = np.where(low + high > 0, -1.0, 1.0)
    low, high = np.where(turned < 0, -high, low), np.where(turned < 0, -low, high)
    log_low, log_high = _log_share_below(low), _log_share_below(high)
    log_share = log_high + np.log1p(-np.exp(np.minimum(log_low - log_high, -1e-12)))
    at_low, at_high = (np.exp(-0.5 * z * z - 0.5 * math.log(2 * math.pi) - log_share) for z in (low, high))
    moved = at_low - at_high
    left = 1.0 + low * at_low - high * at_high - moved * moved
    return mean + turned * sigma * moved, variance * np.clip(left, _LEAST_SHARE, 1.0)


def _log_share_below(z: Array) -> Array:
    """Return the logarithm of the share of a normal distribution below z (m,), far out in its tail too."""
    near = np.array([math.log(0.5 * math.erfc(-v / math.sqrt(2))) if v > _TAIL else 0.0 for v in z])
    far = np.minimum(z, _TAIL)
    square = far * far
    tail = -0.5 * square - np.log(-far * math.sqrt(2 * math.pi)) + np.log1p((-1 + (3 - 15 / square) / square) / square)
    return np.where(z > _TAIL, near, tail)
