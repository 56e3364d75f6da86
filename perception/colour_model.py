"""What colour the block is, and what colours the desk has: learnt from one picture, whatever the light's strength."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from perception.errors import NothingStandsOut
from urdf.pose import Array

Image = NDArray[np.uint8]
Mask = NDArray[np.bool_]

#: Darker than this, a pixel has no colour worth the name: the ink of a marker, a shadow's depth, the arm's plastic.
_DARK = 45
#: Chromaticities of a printed or painted face spread at least so far: grain of five grey levels, light of two lamps.
_LEAST_SPREAD = 0.012
#: Squared distance to the block's colour within which a pixel is of it: 99.7 % of its own are.
_ITS_OWN = 12.0
#: A thing whose colour is nearer to the desk's than this cannot be told from it.
_STANDS_OUT = 0.06
_FEWEST_PIXELS = 80
_BINS = 64
#: A bin that fewer of the desk's pixels fall into is an accident.
_LEAST_SHARE = 5e-4


def chromaticity(rgb: Image) -> NDArray[np.float32]:
    """Return the shares of red and green (..., 2) in a picture's light; NaN where it is too dark to say."""
    light = rgb.astype(np.float32)
    total = light.sum(axis=-1, keepdims=True)
    shares = light[..., :2] / np.maximum(total, 1.0)
    shares[rgb.max(axis=-1) < _DARK] = np.nan
    return shares


@dataclass(frozen=True, slots=True)
class ColourModel:
    """The block's colour, `mean` (2,) and `spread` (2, 2) of its chromaticity, and which bins of it the desk has."""

    mean: Array
    spread: Array
    desk: Mask

    def shows_block(self, shares: NDArray[np.float32]) -> Mask:
        """Return which pixels, as `chromaticity` gives them, are of the block's colour."""
        red, green = (shares[..., k] - np.float32(self.mean[k]) for k in (0, 1))
        (a, b), (_, c) = np.linalg.inv(self.spread).astype(np.float32)
        return a * red * red + 2 * b * red * green + c * green * green < _ITS_OWN  # NaN is no less

    def shows_desk(self, shares: NDArray[np.float32]) -> Mask:
        """Return which pixels are of one of the desk's colours; what is neither may hide anything."""
        bins = np.nan_to_num(shares * _BINS, nan=0.0).astype(np.int64).clip(0, _BINS - 1)
        return self.desk[bins[..., 0], bins[..., 1]] & np.isfinite(shares[..., 0]) & ~self.shows_block(shares)


def learn(rgb: Image, around: Mask) -> tuple[ColourModel, Mask]:
    """Return the colour of the one thing that stands out among the pixels `around` (H, W), and which pixels showed it.

    The desk is what most of them show. Raises NothingStandsOut where nothing has a colour of its own.
    """
    shares = chromaticity(rgb)
    known = around & np.isfinite(shares[..., 0])
    if known.sum() < 4 * _FEWEST_PIXELS:
        raise NothingStandsOut("the desk around the block's area is dark or out of sight: more light, or another view")
    middle = np.median(shares[known], axis=0)
    odd = known & (np.linalg.norm(shares - middle, axis=-1) > _STANDS_OUT)
    count, labels, statistics, _ = cv2.connectedComponentsWithStats(odd.astype(np.uint8), connectivity=8)
    sizes = statistics[1:, cv2.CC_STAT_AREA]
    if count == 1 or sizes.max() < _FEWEST_PIXELS:
        raise NothingStandsOut(
            "nothing on the desk has a colour of its own: is the block in its area, and is it of another colour than "
            "what it stands on?"
        )
    shown = labels == 1 + int(sizes.argmax())
    mean = np.median(shares[shown], axis=0).astype(np.float64)
    off = shares[shown].astype(np.float64) - mean
    near = np.linalg.norm(off, axis=1) < 3 * max(float(np.median(np.linalg.norm(off, axis=1))), _LEAST_SPREAD)
    spread = np.cov(off[near].T) + _LEAST_SPREAD**2 * np.eye(2)
    beside = known & ~cv2.dilate(shown.astype(np.uint8), np.ones((7, 7), np.uint8)).astype(bool)
    return ColourModel(mean, spread, _bins(shares[beside])), shown


def _bins(shares: NDArray[np.float32]) -> Mask:
    """Return which bins (n, n) of chromaticity the desk's pixels fall into, their neighbours included."""
    edges = np.linspace(0.0, 1.0, _BINS + 1)
    counted, _, _ = np.histogram2d(shares[:, 0], shares[:, 1], bins=(edges, edges))
    there = (counted > _LEAST_SHARE * counted.sum()).astype(np.uint8)
    return cv2.dilate(there, np.ones((3, 3), np.uint8)).astype(bool)
