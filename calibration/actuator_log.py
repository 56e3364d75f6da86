"""ActuatorLog: what was commanded and what was read while an arm moved, and the motion that tells the most."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calibration.errors import CalibrationError
from urdf.pose import Array


@dataclass(frozen=True, slots=True)
class Move:
    """Be at `target_rad` (n,) after `duration_s`; written at `time_s`."""

    time_s: float
    target_rad: Array
    duration_s: float


@dataclass(frozen=True, slots=True)
class ActuatorLog:
    """Moves in the order in which they were written, and readings of single joints. One clock for both, in seconds.

    The first move must be to where the arm stands. `reading_s` (r,) is when the value was taken, as well as the host
    knows; `reading_joint` (r,) whose it is; `reading_rad` (r,) the angle.
    """

    moves: tuple[Move, ...]
    reading_s: Array
    reading_joint: NDArray[np.int64]
    reading_rad: Array

    @staticmethod
    def of(
        moves: Sequence[Move], reading_s: ArrayLike, reading_joint: ArrayLike, reading_rad: ArrayLike
    ) -> ActuatorLog:
        """Return a log with its readings sorted by time; raises CalibrationError on what is no log."""
        times, angles = np.asarray(reading_s, dtype=np.float64), np.asarray(reading_rad, dtype=np.float64)
        joints = np.asarray(reading_joint, dtype=np.int64)
        if not times.shape == joints.shape == angles.shape == (len(times),):
            raise CalibrationError(f"readings: shapes {times.shape}, {joints.shape} and {angles.shape} differ")
        if not (np.isfinite(times).all() and np.isfinite(angles).all()):
            raise CalibrationError("readings: every time and angle must be finite")
        if not moves:
            raise CalibrationError("a log begins with the move to where the arm stands, but it holds no move")
        _check_moves(moves)
        count = len(moves[0].target_rad)
        if ((joints < 0) | (joints >= count)).any():
            raise CalibrationError(f"readings: joint {joints.min()} to {joints.max()}, expected 0 to {count - 1}")
        order = np.argsort(times, kind="stable")
        return ActuatorLog(tuple(moves), times[order], joints[order], angles[order])

    @property
    def joint_count(self) -> int:
        """The number of joints."""
        return len(self.moves[0].target_rad)


def _check_moves(moves: Sequence[Move]) -> None:
    before_s = -math.inf
    for index, move in enumerate(moves):
        target = np.asarray(move.target_rad)
        if target.shape != np.shape(moves[0].target_rad) or not np.isfinite(target).all():
            raise CalibrationError(f"move {index}: expected one finite angle per joint, got {move.target_rad}")
        if not before_s <= move.time_s < math.inf:
            raise CalibrationError(f"move {index} at {move.time_s} s comes before the one in front of it")
        if not 0 < move.duration_s < math.inf:
            raise CalibrationError(f"move {index}: duration_s {move.duration_s} must be positive and finite")
        before_s = move.time_s


#: Seconds per cycle of the three parts of the motion, varied by a sixth lest the readings keep step with it; and how
#: long the fast part's moves are asked to take.
_SLOW_S, _FAST_S, _STEP_CYCLE_S, _AT_ONCE_S = 1.2, 0.6, 1.5, 0.02
#: Steps from a standstill, a count of 0.08 degrees apart.
_STEPS_RAD = np.radians(0.08 * np.arange(1, 13))


def identification_motion(
    center_rad: ArrayLike, reach_rad: ArrayLike, duration_s: float, rng: np.random.Generator
) -> tuple[Move, ...]:
    """Return moves around `center_rad` (n,), no further than `reach_rad` (n,), that determine every number of a servo.

    A third of the time each: slow moves (dead time, scale, backlash), swings as fast as the servo goes (speed, dead
    time), and small steps after an approach from the same side (dead band).
    """
    center, reach = np.asarray(center_rad, dtype=np.float64), np.asarray(reach_rad, dtype=np.float64)
    moves = [Move(0.0, center, 0.5)]
    time_s = 0.2
    while time_s < duration_s / 3:
        target = center + reach * rng.uniform(-1.0, 1.0, len(center))
        moves.append(Move(time_s, target, float(rng.uniform(0.4, 0.8))))
        time_s += _SLOW_S * _varied(rng)
    side = 1.0
    while time_s < 2 * duration_s / 3:
        side = -side
        moves.append(Move(time_s, center + side * reach * rng.uniform(0.7, 1.0, len(center)), _AT_ONCE_S))
        time_s += _FAST_S * _varied(rng)
    steps = rng.permutation(_STEPS_RAD)
    index = 0
    while time_s < duration_s - 1.2 * _STEP_CYCLE_S:
        side = -side
        low = center - side * reach * rng.uniform(0.1, 0.6, len(center))
        moves.append(Move(time_s, low, 0.25))
        moves.append(Move(time_s + _STEP_CYCLE_S / 2, low - side * steps[index % len(steps)], 0.1))
        time_s, index = time_s + _STEP_CYCLE_S * _varied(rng), index + 1
    return tuple(moves)


def _varied(rng: np.random.Generator) -> float:
    return float(rng.uniform(5 / 6, 7 / 6))
