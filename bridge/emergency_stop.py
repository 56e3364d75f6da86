"""EmergencyStop: latched from the first cry until somebody clears it, in memory and, with a latch, on disk."""

from __future__ import annotations

from collections.abc import Callable

from bridge.errors import CommandRefused
from bridge.stop_latch import StopLatch


class EmergencyStop:
    """Whether nothing may move, and why. Moves nothing itself: who latches it has the arm hold."""

    def __init__(self, on_disk: StopLatch | None, tell: Callable[[str], None]) -> None:
        """Begin with what an earlier server wrote down; `tell` hears, in words, what happens."""
        self._on_disk, self._tell = on_disk, tell
        #: Why the stop is latched, in words; empty where it is not.
        self.reason = on_disk.read() if on_disk is not None else ""
        if self.reason:
            tell(f"still stopped: {self.reason}. Nothing moves the arm until it is cleared (`tandem stop --clear`)")

    def latch(self, who: str) -> bool:
        """Latch it, and waste no time on more; return whether it was not latched before, and has to be made known."""
        if self.reason:
            return False
        self.reason = f"emergency stop by {who}"
        return True

    def make_known(self) -> None:
        """Tell of it, and have the disk know it; one that takes nothing costs the memory of it, never the stop."""
        by = self.reason.removeprefix("emergency stop")
        self._tell(f"EMERGENCY STOP{by}: nothing moves the arm until it is cleared (`tandem stop --clear`)")
        if self._on_disk is not None:
            try:
                self._on_disk.write(self.reason)
            except OSError as error:
                self._tell(f"the stop holds, but could not be written down: {error}. A restart would forget it")

    def clear(self, who: str) -> None:
        """End it; raises CommandRefused where the disk would go on knowing it."""
        if self._on_disk is not None:
            try:
                self._on_disk.clear()
            except OSError as error:
                raise CommandRefused(f"the stop cannot be cleared on disk: {error}") from error
        self._tell(f"cleared by {who}: the arm stands and takes commands again")
        self.reason = ""
