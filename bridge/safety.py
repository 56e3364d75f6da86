"""SafetyFilter: the last word before any motor. Pure and total: every input has an output, and the worst is a hold.

Order of the rules: finite -> joint limits with braking distance, speed, lead -> one common scale -> floor and
self-collision of the output. Per-joint clipping would bend the path (and bend it into the table); one scale for all
arm joints keeps it straight in joint space.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bridge.guards import GuardModel
from urdf.description import ArmDescription, Rig
from urdf.pose import Array

LIMIT_TOLERANCE_RAD = 1.5e-3  # about one servo count (180 deg / 2200): nearer than this to a limit is the limit
RETURN_SPEED_RAD_S = 0.3  # a joint found outside its limits comes back this slowly
LAG_S = 0.2  # no arm joint's output runs further ahead of its measurement than a servo's dead time explains
MIN_DURATION_S, MAX_DURATION_S = 1e-3, 5.0  # the servo board counts the time of a move in milliseconds
COARSE_STEP_RAD = 0.1  # longer steps are checked along the way too: 0.1 rad at full stretch is 3 cm
SPARE_M = 1e-9  # what rounding may take from a clearance that is counted down step by step
FINE_SAMPLES = 64  # into how many parts a step that hits is divided: the part before the hit is taken


@dataclass(frozen=True, slots=True)
class SafetyState:
    """What the filter remembers: the last output (n,) and the mean speed (n,) of the last step.

    No rule reads the speed: a step is bounded by the room that is left, whatever came before it, so that the next ones
    can always shrink in time; it is kept for who logs or draws what the filter did.
    `clearance_m`: at least so far is the arm there from the floor and from itself; -inf where nobody has looked.
    """

    position_rad: Array
    velocity_rad_s: Array
    clearance_m: float = -math.inf


@dataclass(frozen=True, slots=True)
class SafetyOutput:
    """What may be sent: `limited` when it is not what was asked, `held` when nothing moves; `reason` says why."""

    position_rad: Array
    duration_s: float
    limited: bool
    held: bool
    reason: str


class SafetyFilter:
    """Limits, speed, floor and self-collision for one arm on one rig."""

    def __init__(
        self,
        description: ArmDescription,
        rig: Rig,
        period_s: float,
        max_acceleration_rad_s2: float = 20.0,
    ) -> None:
        """Braking at `max_acceleration_rad_s2`: 20 stops an arm servo from full speed in 0.17 s."""
        self._count = len(description.joint_names)
        self._lower = description.lower_rad
        self._upper = description.upper_rad
        lags_s = [LAG_S] * description.arm_joint_count + [math.inf]
        rows = (self._lower, self._upper, description.max_speed_rad_s, lags_s)
        #: (lower [rad], upper [rad], speed [rad/s], lag [s]) of every joint.
        self._limits = tuple(zip(*(map(float, row) for row in rows), strict=True))
        self._acceleration = max_acceleration_rad_s2
        self._period_s = period_s
        self._guards = GuardModel(description, rig)
        self._names = self._guards.check_names(description)

    def initial(self, position_rad: Array) -> SafetyState:
        """Return the state of an arm that stands at `position_rad`; raises ValueError when that is no finite pose."""
        position = np.array(position_rad, dtype=np.float64)
        if position.shape != (self._count,) or not np.isfinite(position).all():
            raise ValueError(f"expected {self._count} finite joint angles, got {position_rad!r}")
        return _state(position, np.zeros(self._count))

    def step(
        self, state: SafetyState, target_rad: Array, measured_rad: Array, duration_s: float
    ) -> tuple[SafetyState, SafetyOutput]:
        """Return the next state and what may be sent towards `target_rad`, to be reached after `duration_s`."""
        target, measured = self._angles(target_rad), self._angles(measured_rad)
        if target is None:
            return self._hold(state, "the target is not finite or not one angle per joint")
        if measured is None:
            return self._hold(state, "the measured position is not finite or not one angle per joint")
        if not 0.0 < duration_s < math.inf:
            return self._hold(state, f"the duration {duration_s} s is not positive and finite")
        duration_s = float(min(max(duration_s, MIN_DURATION_S), MAX_DURATION_S))
        start = state.position_rad
        scaled, reason = self._scaled(start.tolist(), target, measured, duration_s)
        step, blocked, clearance_m = self._clear(state, np.array(scaled))
        # The sums round: a hair over the limit would be outside it. Joints that started outside keep coming back.
        position = np.minimum(np.maximum(start + step, np.minimum(start, self._lower)), np.maximum(start, self._upper))
        sent = position.tolist()
        limited = any(abs(p - t) > 1e-9 for p, t in zip(sent, target, strict=True))
        held = limited and float(np.abs(step).max()) < 1e-9
        why = blocked or reason or "the target is outside the limits"
        output = SafetyOutput(position, duration_s, limited, held, why if limited else "")
        return _state(position, (position - start) / duration_s, clearance_m), output

    def _angles(self, values: Array) -> list[float] | None:
        """Return one finite angle per joint as plain floats: a few numbers are quicker without array expressions."""
        try:
            angles = np.asarray(values, dtype=np.float64)
        except (ValueError, TypeError, OverflowError):
            return None
        if angles.shape != (self._count,):
            return None
        plain = angles.tolist()
        return plain if all(map(math.isfinite, plain)) else None

    def _hold(self, state: SafetyState, reason: str) -> tuple[SafetyState, SafetyOutput]:
        output = SafetyOutput(state.position_rad, self._period_s, limited=True, held=True, reason=reason)
        return _state(state.position_rad, np.zeros(self._count), state.clearance_m), output

    def _scaled(
        self, start: list[float], target: list[float], measured: list[float], duration_s: float
    ) -> tuple[list[float], str]:
        """Return the step under limits, braking, speed and lead, scaled as one, and what bound it.

        The gripper has its own scale: it bends no path, and a jaw that squeezes a block must not
        stop the arm. Its lead is free, because squeezing is leading.
        """
        steps: list[float] = []
        scales: list[float] = []
        bounds: list[_Bound] = []
        joints = zip(start, target, measured, self._limits, strict=True)
        for at, wanted, seen, (lower, upper, speed, lag_s) in joints:
            outside = at < lower or at > upper
            nearest = min(max(wanted, lower), upper)
            # Moved into the limits where it misses them by a rounding, or the joint is outside.
            step = (nearest if outside or abs(wanted - nearest) < LIMIT_TOLERANCE_RAD else wanted) - at
            room, ahead = (upper - at, seen - at) if step > 0 else (at - lower, at - seen)
            lead = ahead + speed * (duration_s + lag_s)
            allowed = min((RETURN_SPEED_RAD_S if outside else speed) * duration_s, max(lead, 0.0))
            allowed = min(allowed, self._braked(max(room, 0.0), duration_s))
            steps.append(step)
            scales.append(min(allowed / abs(step), 1.0) if step else 1.0)
            bounds.append(_Bound(allowed, lead, room))
        arm = min(scales[:-1])
        reason = ""
        if arm < 1.0 or scales[-1] < 1.0:
            joint = scales.index(arm) if arm < 1.0 else self._count - 1
            reason = f"joint {joint + 1}: {bounds[joint].name}"
        return [*(arm * step for step in steps[:-1]), scales[-1] * steps[-1]], reason

    def _braked(self, room: float, duration_s: float) -> float:
        """Return the longest step after which steps shrinking by `a T^2` still end within `room`.

        In units of a T^2, a step v followed by v - 1, v - 2, ... down to its fraction covers (k + 1) v - k (k + 1) / 2
        with k = floor(v); solved for v. Nearer than one unit this is the room itself.
        """
        unit = self._acceleration * duration_s * duration_s
        distance = room / unit
        whole = (math.sqrt(1.0 + 8.0 * distance) - 1.0) // 2.0  # no math.floor: it raises on infinity
        return unit * (distance / (whole + 1.0) + whole / 2.0)

    def _clear(self, state: SafetyState, step: Array) -> tuple[Array, str, float]:
        """Return the part of the step that hits neither floor nor arm, what stopped it, and the clearance it leaves.

        A check may be negative as long as it does not get worse: motion that leads out of a hit is allowed. Where the
        known clearance is more than the step can use up, nothing can be hit and nothing is computed.
        """
        start = state.position_rad
        left_m = state.clearance_m - self._guards.most_change_m(step) - SPARE_M
        if left_m > 0.0:
            return step, "", left_m
        samples = max(math.ceil(float(np.abs(step).max()) / COARSE_STEP_RAD), 1)
        checks = self._checks_m(start, step, samples)
        if not _worse(checks).any():
            return step, "", float(checks[-1].min())
        samples *= math.ceil(FINE_SAMPLES / samples)  # a multiple, so what hit is among them again
        checks = self._checks_m(start, step, samples)
        worse = _worse(checks)
        first = int(np.argmax(worse.any(axis=1)))
        shrunk = step * (first / samples)
        if not self._guards.moved_by_gripper:
            shrunk[-1] = step[-1]
        return shrunk, "guard: " + self._names[int(np.argmax(worse[first]))], float(checks[first].min())

    def _checks_m(self, start: Array, step: Array, samples: int) -> Array:
        """Return (samples + 1, checks) clearances along the step, the start first."""
        fractions = np.arange(samples + 1)[:, None] / samples
        return self._guards.clearances_m(start + fractions * step)


class _Bound(NamedTuple):
    """How far one joint may go [rad], and what limits it."""

    allowed: float
    lead: float
    room: float

    @property
    def name(self) -> str:
        """The limit in words."""
        if self.lead <= self.allowed:
            return "does not follow its commands"
        return "limit" if self.room <= self.allowed else "speed or braking distance"


def _worse(checks_m: Array) -> NDArray[np.bool_]:
    """Return (samples, checks): which checks hit, and deeper than at the start."""
    return (checks_m[1:] < 0.0) & (checks_m[1:] < checks_m[0])


def _state(position_rad: Array, velocity_rad_s: Array, clearance_m: float = -math.inf) -> SafetyState:
    position_rad.setflags(write=False)
    velocity_rad_s.setflags(write=False)
    return SafetyState(position_rad, velocity_rad_s, clearance_m)
