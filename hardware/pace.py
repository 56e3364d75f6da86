"""Pace: how often commands come, and how long the servos are given for each; two numbers, and independent.

A command restarts a servo's trapezoid. Given exactly the time until the next command, a servo brakes at the end of each
one, or not, as the host's jitter has it; given longer, it is still under way when the next one comes, and its path is
smooth and later (Ref: Practitioner108/dofbot_sci_ws found both ends of this and judder at the short one).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

#: No bus of ours refuses this move time: an LX-16A's longest, and the shortest of theirs.
LONGEST_MOVE_S = 30.0


@dataclass(frozen=True, slots=True)
class Pace:
    """`move_time_s` is what the servos are given for a command of one period; None is the period itself."""

    period_s: float
    move_time_s: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("period_s", self.period_s), ("move_time_s", self.move_time_s)):
            if value is not None and not (math.isfinite(value) and value > 0.0):
                raise ValueError(f"{name} must be positive and finite, got {value}")

    def counted_s(self, duration_s: float) -> float:
        """Return the time in which a command's step is made: no speed limit is exceeded by a short move time."""
        written_s = self.written_s(duration_s)
        return min(duration_s, written_s)

    def written_s(self, duration_s: float) -> float:
        """Return the time to write for a command; one that lasts longer than a period keeps its own."""
        if self.move_time_s is None or duration_s > 1.5 * self.period_s:
            return min(duration_s, LONGEST_MOVE_S)
        return self.move_time_s


#: Twenty commands a second, each given its period: of the map in docs/bus.md the quickest at this rate that is smooth.
DEFAULT_PACE = Pace(0.05)
