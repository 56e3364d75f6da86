"""Teller: says lines to people from a thread of its own, so that nobody who owns an arm waits for a terminal.

A terminal that was halted (Ctrl-S), or whose connection is gone without a word, takes nothing and ends nothing: whoever
prints there stands still, and with it the loop that would have held the arm.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
from contextlib import suppress
from io import UnsupportedOperation
from types import TracebackType

#: What waits for a terminal that takes nothing; what comes beyond it is not said.
_MOST_LINES = 1000
#: A terminal that takes nothing when everything has been said is not waited for.
_CLOSE_S = 1.0


class Teller:
    """Call it with a line, from any thread: it returns at once and never fails. On stderr where stdout is for JSON."""

    def __init__(self, json: bool) -> None:
        self._stream = sys.stderr if json else sys.stdout
        self._lines: queue.Queue[str | None] = queue.Queue(_MOST_LINES)
        self._thread = threading.Thread(target=self._run, name="teller", daemon=True)
        self._thread.start()

    def __enter__(self) -> Teller:
        """Return the teller, which listens already."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def __call__(self, text: str) -> None:
        """Say a line, sooner or later."""
        with suppress(queue.Full):
            self._lines.put_nowait(text)

    def close(self) -> None:
        """Say what is left, for a second at most."""
        with suppress(queue.Full):
            self._lines.put_nowait(None)
        self._thread.join(_CLOSE_S)

    def _run(self) -> None:
        while (text := self._lines.get()) is not None:
            with suppress(OSError, ValueError):  # whoever read it may be dead, and the arm must still be set down
                self._say(text)

    def _say(self, text: str) -> None:
        try:
            handle = self._stream.fileno()
        except UnsupportedOperation:  # no file, but what a test listens to
            print(text, file=self._stream, flush=True)
            return
        # Beneath the stream, whose lock would be held for as long as the terminal takes nothing, by the exit as well.
        data = f"{text}\n".encode(self._stream.encoding or "utf-8", errors="replace")
        while data:
            data = data[os.write(handle, data) :]
