"""Clocks. Deadlines are absolute; a simulated robot is its own clock."""

from __future__ import annotations

import time


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
