"""JointFit: one joint's delay, speed, backlash, dead band and reading scale from what it was told and what it read.

Least squares over the very model that simulates the joint. The dead band, over which the error is a staircase, is found
by trying every size of step that the log holds. What the log does not determine is refused.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol, cast

import numpy as np

from calibration.actuator import ActuatorModel, ActuatorState
from calibration.actuator_log import ActuatorLog
from calibration.errors import NotIdentifiable
from urdf.pose import Array

#: How well the instant of a reading is known, and how finely an angle is read besides its steps.
TIMING_S = 0.003
NOISE_RAD = math.radians(0.02)
#: Where in its gap a joint stands is unknown until it has moved this far.
FIRST_TRAVEL_RAD = 0.05
#: Every joint needs at least this many readings.
MIN_READINGS = 20
_MAX_DELAY_S, _MAX_GAP_RAD = 0.5, 0.2
_DELAY_GRID_S = np.arange(0.0, 0.41, 0.02)
#: Steps larger than this are moves: no dead band is as wide.
_MAX_BAND_RAD = math.radians(3.0)
#: A step counts as one from a standstill where no other target was given for so long.
_STANDSTILL_S = 0.12
#: Two dead bands whose errors differ by less than this (chi squared) cannot be told apart.
_INDISTINCT = 9.0
#: Errors beyond this many standard deviations count less than squared.
_OUTLIER = 3.0

# What is fitted, in this order; the steps by which its effect is tried; the largest standard error that is accepted.
_NAMES = ("dead_time_s", "max_speed_rad_s", "backlash_rad", "scale", "zero_rad")
_TRIAL = (2e-3, 0.02, 1e-3)
_ACCEPTED = (5e-3, 0.05, math.radians(0.15), 0.01, math.radians(0.5))
_ACCEPTED_BAND_RAD = math.radians(0.2)
MOTION = {
    "dead_time_s": "moves that last 0.5 s and longer, so that readings fall into the motion",
    "max_speed_rad_s": "moves of 30 degrees and more in the shortest time, so that the servo runs at its limit",
    "backlash_rad": "moves that turn back, each with half a second of rest behind it",
    "scale": "rests in poses at least 30 degrees apart",
    "zero_rad": "rests in poses on both sides of zero, or nearer to it",
    "dead_band_rad": "single steps of 0.1 to 1 degree from a standstill, each after a move in the same direction",
    "skew_s": "moves of the first and the last joint that last 0.5 s and longer",
}


class _Solution(Protocol):
    x: Array


class _LeastSquares(Protocol):
    def __call__(
        self,
        fun: Callable[[Array], Array],
        x0: Array,
        jac: Callable[[Array], Array],
        bounds: tuple[Array, Array],
        x_scale: Array,
        loss: str,
        f_scale: float,
        max_nfev: int,
    ) -> _Solution: ...


@dataclass(frozen=True, slots=True)
class JointNumbers:
    """One joint's numbers: of the motion (delay, speed, backlash, dead band) and of the reading (scale, zero)."""

    delay_s: float
    speed_rad_s: float
    backlash_rad: float
    dead_band_rad: float
    scale: float = 1.0
    zero_rad: float = 0.0

    def vector(self) -> Array:
        """Return what least squares may change (5,)."""
        return np.array([self.delay_s, self.speed_rad_s, self.backlash_rad, self.scale, self.zero_rad])

    def moved_to(self, vector: Array) -> JointNumbers:
        """Return these numbers with those of `vector` (5,)."""
        delay, speed, backlash, scale, zero = (float(v) for v in vector)
        return JointNumbers(delay, speed, backlash, self.dead_band_rad, scale, zero)


class JointFit:
    """One joint of a log. `fit` does the work; after it `errors` are the numbers' standard errors.

    In the order of `JointNumbers.vector`; `band_error_rad` is half the width that the dead band may have.
    `speed_held`: it was told to go at the start's speed and could, so it may be faster; the start's is kept.
    """

    def __init__(self, log: ActuatorLog, joint: int, start: ActuatorModel, name: str) -> None:
        self.errors: Array = np.full(len(_NAMES), math.inf)
        self.band_error_rad = math.inf
        self.speed_held = False
        self._name = name
        self._moves = [(m.time_s, float(m.target_rad[joint]), m.duration_s) for m in log.moves]
        self._min_move_s = start.min_move_s
        self._start = JointNumbers(
            start.start_delay_s(joint), start.max_speed_rad_s[joint], 0.005, start.dead_band_rad[joint]
        )
        travelled_s = self._first_travel_s()
        mine = (log.reading_joint == joint) & (log.reading_s > travelled_s)
        self._reading_s, self._reading_rad = log.reading_s[mine], log.reading_rad[mine]
        if len(self._reading_s) < MIN_READINGS:
            self._refuse(
                "dead_time_s", f"{len(self._reading_s)} readings after its first travel, {MIN_READINGS} are needed"
            )
        self._standing_rad = math.hypot(start.readback_rad[joint] / math.sqrt(12), NOISE_RAD)
        self._sigma: Array = np.full(len(self._reading_s), self._standing_rad)

    def fit(self) -> JointNumbers:
        """Return the joint's numbers; raises NotIdentifiable."""
        numbers = self._coarse()
        for _ in range(2):
            numbers = self._refined(numbers)
            self._weigh(numbers)
            numbers = self._banded(numbers)[0]
        numbers = self._refined(numbers)
        self._check(numbers)
        if self.speed_held:
            numbers = replace(numbers, speed_rad_s=self._start.speed_rad_s)
        numbers, half_width = self._banded(numbers)
        self.band_error_rad = half_width
        if half_width > _ACCEPTED_BAND_RAD:
            self._refuse("dead_band_rad", f"it is known to {math.degrees(half_width):.2g} deg")
        return numbers

    def difference_rad(self, numbers: JointNumbers) -> Array:
        """Return reading - model (r,)."""
        return self._reading_rad - numbers.scale * self._predict(numbers)[0] - numbers.zero_rad

    # The model -----------------------------------------------------------------------------------
    def _predict(self, numbers: JointNumbers) -> tuple[Array, Array]:
        """Return where the joint stands at each reading and how fast it goes (r,), in commanded angles."""
        model = ActuatorModel(
            max_speed_rad_s=(numbers.speed_rad_s,),
            dead_time_s=numbers.delay_s,
            skew_s=0.0,
            min_move_s=self._min_move_s,
            backlash_rad=(numbers.backlash_rad,),
            dead_band_rad=(numbers.dead_band_rad,),
        )
        first_s, stands_rad, _ = self._moves[0]
        state = ActuatorState(model, [stands_rad], first_s)
        for time_s, target_rad, duration_s in self._moves:
            state.submit([target_rad], duration_s, time_s)
        position, velocity = np.empty_like(self._reading_s), np.empty_like(self._reading_s)
        for index, time_s in enumerate(self._reading_s.tolist()):
            state.advance_to(time_s)
            position[index], velocity[index] = state.joint_rad[0], state.velocity_rad_s[0]
        return position, velocity

    def _weigh(self, numbers: JointNumbers) -> None:
        """Trust a reading less the faster the joint moves: the instant of a reading is not known exactly."""
        self._sigma = np.hypot(self._standing_rad, TIMING_S * self._predict(numbers)[1])

    def _first_travel_s(self) -> float:
        """Return when the first real move of the joint is over at the latest; readings count from there."""
        stands_rad = self._moves[0][1]
        for time_s, target_rad, duration_s in self._moves:
            if abs(target_rad - stands_rad) > FIRST_TRAVEL_RAD:
                return time_s + duration_s
        self._refuse("dead_time_s", "it never moves")
        return math.inf

    # The steps of the fit ------------------------------------------------------------------------
    def _coarse(self) -> JointNumbers:
        """Return the start's numbers with the best delay of a grid, and the scale and zero that go with it."""
        best, least = self._start, math.inf
        for delay_s in _DELAY_GRID_S.tolist():
            numbers = replace(self._start, delay_s=delay_s)
            position = self._predict(numbers)[0]
            design = np.stack([position, np.ones_like(position)], axis=1)
            (scale, zero), *_ = np.linalg.lstsq(design, self._reading_rad)
            numbers = replace(numbers, scale=float(scale), zero_rad=float(zero))
            cost = float(np.abs(self.difference_rad(numbers)).sum())
            if cost < least:
                best, least = numbers, cost
        if not 0.5 < best.scale < 2.0:
            self._refuse("scale", f"readings go {best.scale:.2g} times as far as the commands")
        return best

    def _refined(self, numbers: JointNumbers) -> JointNumbers:
        """Return the numbers of least squares, the dead band unchanged."""
        import scipy.optimize  # pyright: ignore[reportMissingTypeStubs]

        least_squares = cast(_LeastSquares, scipy.optimize.least_squares)  # pyright: ignore[reportUnknownMemberType]
        speed = self._start.speed_rad_s
        solution = least_squares(
            lambda v: self.difference_rad(numbers.moved_to(v)) / self._sigma,
            numbers.vector(),
            jac=lambda v: self._slopes(numbers.moved_to(v)),
            bounds=(
                np.array([0.0, 0.1 * speed, 0.0, 0.4, -1.0]),
                np.array([_MAX_DELAY_S, 10.0 * speed, _MAX_GAP_RAD, 2.5, 1.0]),
            ),
            x_scale=np.array([0.01, 0.1 * speed, 0.005, 0.01, 0.005]),
            loss="soft_l1",
            f_scale=_OUTLIER,
            max_nfev=30,
        )
        return numbers.moved_to(solution.x)

    def _slopes(self, numbers: JointNumbers) -> Array:
        """Return by how much each weighted difference changes with each number (r, 5)."""
        position = self._predict(numbers)[0]
        columns = [-position, -np.ones_like(position)]
        vector = numbers.vector()
        for index in reversed(range(3)):
            step = _TRIAL[index] * (self._start.speed_rad_s if index == 1 else 1.0)
            above, below = vector.copy(), vector.copy()
            above[index] += step
            below[index] = max(below[index] - step, 0.0 if index != 1 else 0.5 * vector[1])
            rise = self._predict(numbers.moved_to(above))[0] - self._predict(numbers.moved_to(below))[0]
            columns.insert(0, -numbers.scale * rise / (above[index] - below[index]))
        return np.stack(columns, axis=1) / self._sigma[:, None]

    def _check(self, numbers: JointNumbers) -> None:
        """Refuse what the slopes do not determine: each number's own effect, less what the others can imitate."""
        slopes = self._slopes(numbers)
        # Of what nine in ten readings differ: one that a hand or a cable spoilt says nothing about the others.
        spread = max(1.0, float(np.quantile(np.abs(self.difference_rad(numbers) / self._sigma), 0.9)) / 1.645)
        accepted = np.array(_ACCEPTED)
        accepted[1] *= numbers.speed_rad_s
        # Unimportant ones last: a joint that hardly moves leaves everything open, and says so of its dead time.
        for index in range(len(_NAMES)):
            others = np.delete(slopes, index, axis=1)
            own = slopes[:, index] - others @ np.linalg.lstsq(others, slopes[:, index])[0]
            error = spread / max(float(np.linalg.norm(own)), 1e-12)
            start = self._start.speed_rad_s
            if index == 1 and self._kept_up(numbers, error, float(accepted[1])):
                self.speed_held, error = True, _ACCEPTED[1] * start
                accepted[1] = error
            if error > accepted[index]:
                self._refuse(_NAMES[index], f"its standard error is {error:.2g}, at most {accepted[index]:.2g} will do")
            self.errors[index] = error

    def _kept_up(self, numbers: JointNumbers, error_rad_s: float, accepted_rad_s: float) -> bool:
        """Return whether the joint was told to go at the start's speed, and went, as far as the log tells.

        So it is where the speed is open, or larger than any that was asked for.
        """
        pairs = itertools.pairwise(self._moves)
        asked = max(abs(then[1] - before[1]) / then[2] for before, then in pairs)
        start = self._start.speed_rad_s
        if error_rad_s <= accepted_rad_s and numbers.speed_rad_s <= asked:
            return False
        spare = min(2.0 * error_rad_s, 0.15 * start)
        return asked >= 0.97 * start and numbers.speed_rad_s + spare >= start

    def _banded(self, numbers: JointNumbers) -> tuple[JointNumbers, float]:
        """Return the numbers with the dead band that explains the log best, and half the width it may have."""
        edges = self._step_sizes()
        if not edges:
            return numbers, math.inf
        tried = [0.0, *(0.5 * (a + b) for a, b in itertools.pairwise(edges)), 1.01 * edges[-1]]
        costs = np.array([self._cost(replace(numbers, dead_band_rad=band)) for band in tried])
        alike = np.flatnonzero(costs < costs.min() + _INDISTINCT)
        if alike[-1] == len(tried) - 1:  # not one of its steps was large enough
            return numbers, math.inf
        first, last = int(alike[0]), int(alike[-1])
        low, high = (edges[first - 1] if first else 0.0), edges[last]
        band = 0.5 * (low + high) if first else 0.0
        return replace(numbers, dead_band_rad=band), 0.5 * (high - low)

    def _step_sizes(self) -> list[float]:
        """Return the sizes of the small steps from a standstill in the log, ascending."""
        sizes: set[float] = set()
        changed_s, before = -math.inf, self._moves[0][1]
        for time_s, target_rad, duration_s in self._moves:
            size = abs(target_rad - before)
            if 1e-6 < size < _MAX_BAND_RAD and time_s > changed_s + _STANDSTILL_S:
                sizes.add(round(size, 6))
            if size > 1e-6:
                changed_s, before = time_s + duration_s, target_rad
        return sorted(sizes)

    def _cost(self, numbers: JointNumbers) -> float:
        """Return the robust sum of squares."""
        ratio = self.difference_rad(numbers) / self._sigma / _OUTLIER
        return float(2 * _OUTLIER**2 * (np.sqrt(1 + ratio**2) - 1).sum())

    def _refuse(self, parameter: str, why: str) -> None:
        raise NotIdentifiable(parameter, self._name, why, MOTION[parameter])


def rms(values: Array) -> float:
    """Return the root mean square of `values`."""
    return math.sqrt(float(np.mean(values**2)))
