from __future__ import annotations


class HandClock:
    """Time that passes only when somebody sleeps, or when it is turned on by hand."""

    def __init__(self) -> None:
        self.time_ns = 1_000_000_000

    def now_ns(self) -> int:
        return self.time_ns

    def sleep_until(self, deadline_ns: int) -> None:
        self.time_ns = max(self.time_ns, deadline_ns)

    def turn(self, duration_s: float) -> None:
        self.time_ns += round(duration_s * 1e9)
