"""StartBudget: servos never start all at once, so that their supply does not break down.

Five servos that start together draw more than the Dofbot's supply of 5 A, and its board resets (Ref: notes of
nahyud546/dofbot-se; vendor sheet, 12 V 5 A). One that starts draws its stall current until it turns, 2.4 A
(Ref: DS-SY15A sheet), so two starts at full speed are what the supply can stand. A start at a part of the full speed
counts as that part; braking costs nothing. In any 0.1 s the starts sum up to no more than two:

    a bucket of one start, filled again with ten starts a second

Five joints that all want their full speed have it after 0.4 s, one at once. A policy's 20 commands a second, some
0.2 m/s at the tool, are less than one start even from rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from urdf.pose import Array

BUCKET_STARTS = 1.0
STARTS_PER_S = 10.0
#: A command that comes so late after the end of the one before still continues its motion: no servo has stopped yet.
CONTINUES_S = 0.03


@dataclass(frozen=True, slots=True)
class StartState:
    """The speed of each joint (n,) as commanded, until when it lasts, and the starts left at a time."""

    velocity_rad_s: tuple[float, ...]
    until_ns: int
    starts_left: float
    stamp_ns: int


class StartBudget:
    """Pure: what it remembers is a value that the caller keeps. Times are monotonic ns of one clock.

    Plain floats, since for six joints they are several times quicker than arrays, and every command passes here.
    """

    def __init__(self, full_speed_rad_s: Array) -> None:
        """Count starts in units of `full_speed_rad_s` (n,)."""
        self._full: list[float] = full_speed_rad_s.tolist()

    def at_rest(self, now_ns: int, before: StartState | None = None) -> StartState:
        """Return the state of an arm that stands still; what was spent `before` stays spent."""
        left = BUCKET_STARTS if before is None else self._left(before, now_ns)
        return StartState((0.0,) * len(self._full), now_ns, left, now_ns)

    def scale(self, state: StartState, velocity_rad_s: Sequence[float], now_ns: int) -> float:
        """Return the largest part (0 to 1) of the wanted velocities (n,) whose starts can be afforded now.

        Solves sum(max(0, s * wanted - had)) = left for s, exactly: the sum is straight between the speeds at which one
        joint after the other begins to be faster than it was.
        """
        shares = self._shares(state, velocity_rad_s, now_ns)
        left = self._left(state, now_ns)
        if sum(max(wanted - had, 0.0) for wanted, had in shares) <= left:
            return 1.0
        begins = sorted((had / wanted, wanted, had) for wanted, had in shares if wanted > 0.0)
        wanted_sum = had_sum = part = 0.0
        for k, (_, wanted, had) in enumerate(begins):
            wanted_sum += wanted
            had_sum += had
            part = (left + had_sum) / wanted_sum
            if k + 1 == len(begins) or part <= begins[k + 1][0]:
                break
        return min(part, 1.0)

    def spend(self, state: StartState, velocity_rad_s: Sequence[float], now_ns: int, lasts_s: float) -> StartState:
        """Return the state after velocities (n,) have been commanded for `lasts_s`."""
        left = self._left(state, now_ns) - self.starts(state, velocity_rad_s, now_ns)
        return StartState(tuple(velocity_rad_s), now_ns + round(lasts_s * 1e9), left, now_ns)

    def starts(self, state: StartState, velocity_rad_s: Sequence[float], now_ns: int) -> float:
        """Return how many starts at full speed the change to these velocities (n,) is worth."""
        return sum(max(wanted - had, 0.0) for wanted, had in self._shares(state, velocity_rad_s, now_ns))

    def _shares(self, state: StartState, velocity_rad_s: Sequence[float], now_ns: int) -> list[tuple[float, float]]:
        """Return the wanted speed of each joint, and the one that it has the same way round, in full speeds."""
        stopped = now_ns > state.until_ns + round(CONTINUES_S * 1e9)
        rows = zip(velocity_rad_s, state.velocity_rad_s, self._full, strict=True)
        return [(abs(v) / full, 0.0 if stopped or v * had <= 0.0 else abs(had) / full) for v, had, full in rows]

    def _left(self, state: StartState, now_ns: int) -> float:
        filled = state.starts_left + STARTS_PER_S * max(now_ns - state.stamp_ns, 0) * 1e-9
        return min(filled, BUCKET_STARTS)
