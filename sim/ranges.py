"""Ranges, what bounds them, and the dice that draw from them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from urdf.pose import Pose

Vector3 = tuple[float, float, float]

_SEEDS = 1 << 31


@dataclass(frozen=True, slots=True)
class Range:
    """A uniform range [low, high]; checked by the Randomization that it is part of."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Limits:
    """The value that changes nothing, and the bounds that no range may leave."""

    nominal: float
    lowest: float
    highest: float


class Dice:
    """Turns uniform numbers into draws. Each kind takes a fixed count of numbers, used or not."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng

    def next(self) -> float:
        """Return a number in [0, 1)."""
        return self._rng.random()

    def uniform(self, within: Range) -> float:
        """Return a number in the range, both ends possible."""
        # The sum of two floats may round to beyond the end; adding zero makes minus zero plain zero.
        return min(within.low + self.next() * (within.high - within.low), within.high) + 0.0

    def triple(self, within: Range) -> Vector3:
        """Return three numbers in the range."""
        return self.uniform(within), self.uniform(within), self.uniform(within)

    def whole(self, within: Range) -> int:
        """Return a whole number in the range, its ends rounded, every one alike."""
        low, high = round(within.low), round(within.high)
        return low + int(self.next() * (high - low + 1))

    def seed(self) -> int:
        """Return a seed for another generator."""
        return int(self.next() * _SEEDS)

    def vector(self, length: Range) -> Vector3:
        """Return a vector of random length in a random direction (uniform on the sphere: its height is uniform)."""
        reach, height, around = self.uniform(length), 2 * self.next() - 1, 2 * math.pi * self.next()
        flat = math.sqrt(1 - height * height)
        return reach * flat * math.cos(around) + 0.0, reach * flat * math.sin(around) + 0.0, reach * height + 0.0

    def turned(self, direction: Vector3, angle: Range) -> Vector3:
        """Return `direction` turned by a random angle to a random side."""
        turn_rad, around = self.uniform(angle), 2 * math.pi * self.next()
        if turn_rad == 0.0:
            return direction
        forward = np.array(direction) / np.linalg.norm(direction)
        side = np.cross(forward, [1.0, 0.0, 0.0])
        side /= np.linalg.norm(side)
        axis = math.cos(around) * side + math.sin(around) * np.cross(forward, side)
        x, y, z = (Pose.from_rotvec([0.0, 0.0, 0.0], turn_rad * axis).apply(np.array(direction))).tolist()
        return x, y, z
