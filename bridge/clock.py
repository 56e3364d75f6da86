"""Clocks. Deadlines are absolute; a simulated robot is its own clock."""

from __future__ import annotations

import time
from collections import deque


class MonotonicClock:
    """The machine's monotonic clock."""

    def now_ns(self) -> int:
        """Return monotonic nanoseconds."""
        return time.monotonic_ns()

    def sleep_until(self, deadline_ns: int) -> None:
        """Sleep until `deadline_ns`; return at once when it has passed."""
        remaining_ns = deadline_ns - time.monotonic_ns()
        if remaining_ns > 0:
            time.sleep(remaining_ns * 1e-9)


class ClockOffset:
    """How far another machine's monotonic clock is ahead of ours: they have nothing in common, so it is measured.

    A question sent at t0 and answered at t1 (ours) was received at s (theirs): s - (t0 + t1) / 2 is off by at most half
    the round trip, so the sample with the shortest one counts. Only recent samples do, since clocks drift.
    """

    def __init__(self, window: int = 64) -> None:
        self._samples: deque[tuple[int, int]] = deque(maxlen=window)

    def add(self, asked_ns: int, received_ns: int, answered_ns: int) -> None:
        """Take a sample: asked and answered by our clock, received by theirs."""
        self._samples.append((answered_ns - asked_ns, received_ns - (asked_ns + answered_ns) // 2))

    @property
    def offset_ns(self) -> int:
        """Their clock minus ours; raises ValueError before the first sample."""
        return min(self._samples)[1]

    @property
    def error_ns(self) -> int:
        """How far `offset_ns` can be off: half the shortest round trip."""
        return min(self._samples)[0] // 2

    def to_theirs_ns(self, ours_ns: int) -> int:
        """Return our time by their clock."""
        return ours_ns + self.offset_ns

    def to_ours_ns(self, theirs_ns: int) -> int:
        """Return their time by our clock."""
        return theirs_ns - self.offset_ns
