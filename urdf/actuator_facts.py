"""ActuatorFacts: the `[actuator]` table of arm.toml, how an arm's servos follow.

    [actuator]              # every key; lists have one entry per joint, the gripper's own angle last
    dead_time_s = 0.080     # from the host's write to the first motion
    skew_s = 0.012          # from the first joint's start to the last one's
    min_move_s = 0.020      # the shortest move time that is kept
    backlash_deg = [...]    # the whole gap, from one flank to the other
    dead_band_deg = [...]   # a standing servo starts no correction smaller than this
    readback_deg = [...]    # one step of what the joint reads
    unit_spread = 1.0       # may be left out: how far one unit differs from the next, a hobby servo is 1

Speed limits are the URDF's. Each arm.toml says which numbers are the maker's and which are our estimate.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

_TIMES = ("dead_time_s", "skew_s", "min_move_s")
_ANGLES = ("backlash_deg", "dead_band_deg", "readback_deg")
_SPREAD = "unit_spread"
#: Of an arm whose table says nothing: its motors are ideal, a command takes one control cycle of 100 Hz to arrive.
IDEAL_DEAD_TIME_S = 0.010


@dataclass(frozen=True, slots=True)
class ActuatorFacts:
    """Times in seconds, angles in radians, one per joint, the gripper last. Zero means: there is no such effect."""

    dead_time_s: float
    skew_s: float
    min_move_s: float
    backlash_rad: tuple[float, ...]
    dead_band_rad: tuple[float, ...]
    readback_rad: tuple[float, ...]
    unit_spread: float = 1.0
    """How far one unit differs from the next, 0 to 1: factor on what randomisation gives a hobby servo."""

    @staticmethod
    def ideal(joint_count: int) -> ActuatorFacts:
        """Return motors that follow exactly, 10 ms late."""
        none = (0.0,) * joint_count
        return ActuatorFacts(IDEAL_DEAD_TIME_S, 0.0, 0.0, none, none, none)


def actuator_facts(table: object, joint_count: int) -> ActuatorFacts:
    """Return what an `[actuator]` table says, ideal motors where there is none (None).

    Raises ValueError on a missing or unknown key, or on a number that is negative, not finite or beyond its range.
    """
    if table is None:
        return ActuatorFacts.ideal(joint_count)
    values = cast(Mapping[str, object], table)
    expected = {*_TIMES, *_ANGLES}
    if set(values) - {_SPREAD} != expected:
        missing, unknown = sorted(expected - set(values)), sorted(set(values) - expected - {_SPREAD})
        raise ValueError(
            f"[actuator]: missing {missing}, unknown {unknown}; expected {sorted(expected)}, and {_SPREAD} if need be"
        )
    dead_time_s, skew_s, min_move_s = (_at_least_zero(key, values[key]) for key in _TIMES)
    backlash, dead_band, readback = (_angles(key, values[key], joint_count) for key in _ANGLES)
    spread = _at_least_zero(_SPREAD, values.get(_SPREAD, 1.0))
    if spread > 1.0:
        raise ValueError(f"[actuator] {_SPREAD}: expected 0 to 1, got {spread:g}")
    return ActuatorFacts(dead_time_s, skew_s, min_move_s, backlash, dead_band, readback, spread)


def _angles(key: str, value: object, count: int) -> tuple[float, ...]:
    if not isinstance(value, list) or len(cast(list[object], value)) != count:
        raise ValueError(f"[actuator] {key}: expected {count} numbers, one per joint and the gripper's, got {value!r}")
    return tuple(math.radians(_at_least_zero(key, v)) for v in cast(list[object], value))


def _at_least_zero(key: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise ValueError(f"[actuator] {key}: expected a finite number of at least 0, got {value!r}")
    return float(value)
