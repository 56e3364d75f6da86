"""Progress of a job that is counted in pieces: a bar with an ETA on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_LINE_EVERY_S = 10.0


def minutes(seconds: float) -> str:
    """Return seconds as `m:ss`."""
    whole = max(0, round(seconds))
    return f"{whole // 60}:{whole % 60:02d}"


class CountedProgress:
    """A context; `advance` counts one more piece and says in words how it goes."""

    def __init__(self, console: Console, label: str, total: int) -> None:
        self._console, self._label, self._total, self._done = console, label, total, 0
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task(label, total=total)
        self._first_s = self._line_s = time.monotonic()

    def __enter__(self) -> CountedProgress:
        """Show the bar."""
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Take the bar away."""
        self._bar.stop()

    def advance(self, words: str = "") -> None:
        """Count one more piece."""
        self._done += 1
        text = f"{self._label}, {words}" if words else self._label
        self._bar.update(self._task, advance=1, description=text)
        now_s = time.monotonic()
        if self._done == 1:
            self._first_s = now_s  # starting up says nothing about the pieces that follow
        if not self._console.is_terminal and self._done < self._total and now_s - self._line_s >= _LINE_EVERY_S:
            self._line_s = now_s
            line = f"{self._label}: {self._done} of {self._total}" + (f", {words}" if words else "")
            if self._done > 1:
                left_s = (now_s - self._first_s) / (self._done - 1) * (self._total - self._done)
                line += f", {minutes(left_s)} more"
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)
