"""The One-Euro filter: slow motion is smoothed, quick motion is followed.

Ref: Casiez, Roussel, Vogel, "1 euro filter", CHI 2012, algorithm 1. Written from the paper.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perception.errors import StampNotRising
from urdf.pose import Array


@dataclass(frozen=True, slots=True)
class OneEuroSettings:
    """`min_cutoff_hz`: of a point at rest. `beta`: by how much the cutoff [Hz] rises for each unit of speed.

    `speed_cutoff_hz`: of the speed that decides it.
    """

    min_cutoff_hz: float = 1.0
    beta: float = 0.0
    speed_cutoff_hz: float = 1.0

    def __post_init__(self) -> None:
        cutoffs = (self.min_cutoff_hz, self.speed_cutoff_hz)
        if not (all(0.0 < value < math.inf for value in cutoffs) and 0.0 <= self.beta < math.inf):
            raise ValueError(f"expected cutoffs above 0 Hz and beta of 0 or more, got {self}")


#: Of the velocity: a third of the way in every picture of a camera.
_VELOCITY_CUTOFF_HZ = 2.0


class OneEuroFilter:
    """One-Euro on points (rows, dimensions), each row in its own time: rows may be missing from an update.

    The cutoff follows the length of a point's speed, so that directions are filtered alike; in one dimension this is
    the published filter. Its speed is no velocity to predict with: it is taken against the filtered point, which lags
    behind, and is several times too high. `velocity` is that of the filtered point.
    """

    def __init__(self, settings: OneEuroSettings, rows: int, dimensions: int) -> None:
        self.settings = settings
        self._shape = (rows, dimensions)
        self.reset()

    def reset(self, rows: NDArray[np.bool_] | None = None) -> None:
        """Forget the past, speeds included, of all points or of the chosen ones (rows,)."""
        if rows is None:
            self.position: Array = np.zeros(self._shape)
            self.velocity: Array = np.zeros(self._shape)
            self._speed: Array = np.zeros(self._shape)
            self.stamp_ns = np.zeros(self._shape[0], dtype=np.int64)
            #: Whether a point has a past. No stamp says so: 0 is a time like any other.
            self.started = np.zeros(self._shape[0], dtype=np.bool_)
        else:
            self.velocity[rows] = 0.0
            self._speed[rows] = 0.0
            self.started[rows] = False

    def update(self, stamp_ns: int, points: Array, rows: NDArray[np.bool_] | None = None) -> Array:
        """Return the filtered points after `points` of `stamp_ns`; of the chosen rows, the others stay.

        The stamp that a point already has is the same picture again: nothing changes. Raises StampNotRising for an
        earlier one, ValueError for a point that is no number.
        """
        chosen = np.ones(self._shape[0], dtype=np.bool_) if rows is None else rows
        if not np.isfinite(points[chosen]).all():
            raise ValueError("a filter takes finite points: leave rows without a measurement out")
        past = chosen & self.started
        if past.any() and stamp_ns < int(self.stamp_ns[past].max()):
            raise StampNotRising(stamp_ns, int(self.stamp_ns[past].max()))
        fresh = chosen & ~self.started
        self.position[fresh] = points[fresh]
        self._advance(stamp_ns, points, past & (self.stamp_ns < stamp_ns))
        self.stamp_ns[chosen] = stamp_ns
        self.started |= chosen
        return self.position.copy()

    def _advance(self, stamp_ns: int, points: Array, rows: NDArray[np.bool_]) -> None:
        elapsed_s: Array = 1e-9 * (stamp_ns - self.stamp_ns[rows].astype(np.float64))[:, None]
        ahead = points[rows] - self.position[rows]
        slow = _share(self.settings.speed_cutoff_hz, elapsed_s)
        self._speed[rows] += slow * (ahead / elapsed_s - self._speed[rows])
        length: Array = np.sqrt((self._speed[rows] ** 2).sum(axis=1, keepdims=True))
        step = _share(self.settings.min_cutoff_hz + self.settings.beta * length, elapsed_s) * ahead
        self.position[rows] += step
        self.velocity[rows] += _share(_VELOCITY_CUTOFF_HZ, elapsed_s) * (step / elapsed_s - self.velocity[rows])


def _share(cutoff_hz: Array | float, elapsed_s: Array) -> Array:
    """Return the weight of a new value in a low-pass of first order."""
    turns = 2.0 * math.pi * cutoff_hz * elapsed_s
    return turns / (turns + 1.0)
