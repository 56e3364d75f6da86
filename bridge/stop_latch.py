"""StopLatch: an emergency stop outlives the process that took it, a crash and a power cut included."""

from __future__ import annotations

import os
from pathlib import Path

#: So much of a reason is read: it goes out with every state, which has to fit into a message.
_LONGEST = 300


class StopLatch:
    """A file that is there as long as the stop is; it holds the reason in words."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> str:
        """Return why the stop is latched, empty where it is not; a file that cannot be read counts as a stop."""
        try:
            reason = self.path.read_text(encoding="utf-8", errors="replace").strip()[:_LONGEST]
            return reason or "emergency stop, reason lost"
        except FileNotFoundError:
            return ""
        except OSError as error:
            return f"emergency stop ({self.path} cannot be read: {error})"

    def write(self, reason: str) -> None:
        """Latch the stop on disk; raises OSError. An empty file, all that a full disk may leave, is a stop as well."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("w", encoding="utf-8") as file:
            file.write(reason)
            file.flush()
            os.fsync(file.fileno())

    def clear(self) -> None:
        """End the stop on disk; raises OSError."""
        self.path.unlink(missing_ok=True)
