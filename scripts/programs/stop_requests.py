"""StopRequests: the signals that ask a program which owns something that moves to end, in order."""

from __future__ import annotations

import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager


class StopRequests:
    """Counts the signals that ask for an end: the first ends serving, another one ends the ramp to the rest pose."""

    def __init__(self) -> None:
        self.first: signal.Signals | None = None
        self._count = 0

    def note(self, number: int, _frame: object) -> None:
        """Take a signal."""
        self.first = self.first or signal.Signals(number)
        self._count += 1

    def requested(self) -> bool:
        """Return whether serving shall end."""
        return self._count > 0

    def later(self) -> Callable[[], bool]:
        """Return a check that answers only to signals that come after now."""
        before = self._count
        return lambda: self._count > before

    @contextmanager
    def listening(self) -> Generator[StopRequests]:
        """Catch SIGINT, SIGTERM and SIGHUP for as long as the context lasts."""
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = {number: signal.signal(number, self.note) for number in numbers}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
