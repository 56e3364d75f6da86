"""The compiled part of depth noise: every pixel in one pass. `sim.sensors` says what it models."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from urdf.compiled import compiled

Floats = NDArray[np.float32]

#: Steele, Lea, Flood: Fast splittable pseudorandom number generators (2014), the finaliser of SplitMix64.
_STEP, _FIRST, _SECOND = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_27, _30, _31 = np.uint64(27), np.uint64(30), np.uint64(31)
_16, _32, _48, _LOW = np.uint64(16), np.uint64(32), np.uint64(48), np.uint64(0xFFFF)
_SHARE = np.float32(1 / 65536)
_ZERO = np.float32(0.0)


@compiled
def random_bits(seed: np.uint64, number: np.uint64) -> np.uint64:
    """Return the 64 random bits of one number of the stream that `seed` starts."""
    mixed = seed + (number + np.uint64(1)) * _STEP
    mixed = (mixed ^ (mixed >> _30)) * _FIRST
    mixed = (mixed ^ (mixed >> _27)) * _SECOND
    return mixed ^ (mixed >> _31)


@compiled
def spoil(
    depth: Floats,
    seen: Floats,
    normals: Floats,
    seed: np.uint64,
    edge_share: np.float32,
    noise_per_m: np.float32,
    quantum_m: np.float32,
    edge_hole: np.float32,
    flying: np.float32,
    min_m: np.float32,
) -> None:
    """Write into `seen` what a camera reports of `depth` (H, W). `normals` (65536,) are the quantiles of its noise.

    Each pixel has 64 random bits of its own, by its place alone: 16 each for its noise, for whether it is lost, for
    whether it flies and for how far.
    """
    height, width = depth.shape
    for row in range(height):
        for column in range(width):
            here = depth[row, column]
            step = _ZERO
            if column + 1 < width:
                step = _larger(step, depth[row, column + 1] - here)
            if column > 0:
                step = _larger(step, depth[row, column - 1] - here)
            if row + 1 < height:
                step = _larger(step, depth[row + 1, column] - here)
            if row > 0:
                step = _larger(step, depth[row - 1, column] - here)
            bits = random_bits(seed, np.uint64(row * width + column))
            report = here
            lost = here < min_m or here <= _ZERO
            if abs(step) > edge_share * here:
                lost = lost or np.float32((bits >> _16) & _LOW) * _SHARE < edge_hole
                if np.float32((bits >> _32) & _LOW) * _SHARE < flying:
                    report += np.float32(bits >> _48) * _SHARE * step
            report += noise_per_m * report * report * normals[bits & _LOW]
            if quantum_m > _ZERO:
                report = np.float32(np.rint(report / quantum_m)) * quantum_m
            if lost or report < min_m or report < _ZERO:
                report = _ZERO
            seen[row, column] = report


@compiled
def _larger(one: np.float32, other: np.float32) -> np.float32:
    return other if abs(other) > abs(one) else one
