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


#: How fast two quartz clocks can drift apart: 100 ppm each is twice what the worst of them do.
MAX_DRIFT = 200e-6
#: Two measurements that contradict each other by more than this: a clock was stepped, as by a lid that was closed.
STEP_NS = 1_000_000


class ClockOffset:
    """How far another machine's monotonic clock is ahead of ours: they have nothing in common, so it is measured.

    A question sent at t0 and answered at t1 (ours) was received at s (theirs): s - (t0 + t1) / 2 is off by at most half
    the round trip, and by what the clocks drift apart afterwards. The sample that is off least now counts.
    A sample that contradicts it starts anew.
    """

    def __init__(self, window: int = 64) -> None:
        #: (half the round trip, theirs minus ours, when it was answered by our clock), all ns.
        self._samples: deque[tuple[int, int, int]] = deque(maxlen=window)
        self._best = (0, 0, 0)

    def add(self, asked_ns: int, received_ns: int, answered_ns: int) -> None:
        """Take a sample: asked and answered by our clock, received by theirs."""
        half_ns = (answered_ns - asked_ns) // 2
        offset_ns = received_ns - (asked_ns + answered_ns) // 2
        bound_ns = half_ns + _off_ns(self._best, answered_ns) + STEP_NS
        if self._samples and abs(offset_ns - self._best[1]) > bound_ns:
            self._samples.clear()
        self._samples.append((half_ns, offset_ns, answered_ns))
        self._best = min(self._samples, key=lambda sample: _off_ns(sample, answered_ns))

    @property
    def offset_ns(self) -> int:
        """Their clock minus ours; raises ValueError before the first sample."""
        if not self._samples:
            raise ValueError("no sample yet")
        return self._best[1]

    def error_ns(self, now_ns: int) -> int:
        """How far `offset_ns` can be off now, by our clock: half a round trip, and the drift since."""
        return _off_ns(self._best, now_ns)

    def to_theirs_ns(self, ours_ns: int) -> int:
        """Return our time by their clock."""
        return ours_ns + self.offset_ns

    def to_ours_ns(self, theirs_ns: int) -> int:
        """Return their time by our clock."""
        return theirs_ns - self.offset_ns


def _off_ns(sample: tuple[int, int, int], now_ns: int) -> int:
    return sample[0] + round(MAX_DRIFT * (now_ns - sample[2]))
