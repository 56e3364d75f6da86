"""The progress of a training run on a terminal, or as a line now and then where there is none."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from policies.ledger import Progress as TrainingState

_LINE_EVERY_S = 10.0
_PHASES = {"train": "learning", "evaluate": "evaluating", "export": "exporting"}


def minutes(seconds: float) -> str:
    """Return seconds as `m:ss`."""
    whole = max(0, round(seconds))
    return f"{whole // 60}:{whole % 60:02d}"


def describe(state: TrainingState) -> str:
    """Return the state in words."""
    words = [
        f"{state.decisions:,} decisions",
        f"{state.episodes:,} episodes",
        f"exploring {100 * state.success_rate:.0f} %",
        f"evaluated {100 * state.evaluated:.0f} %" if state.evaluated is not None else "not evaluated yet",
        minutes(state.wall_s),
    ]
    if state.eta_s is not None and state.phase != "export":
        words.append(f"at most {minutes(state.eta_s)} more")
    return " · ".join(words)


class TrainingProgress:
    """A context that shows training states; on a terminal a bar, elsewhere a line every ten seconds."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Progress(
            TextColumn("{task.fields[phase]:>10}"),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TextColumn("{task.fields[state]}", markup=False),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("train", total=None, phase="starting", state="starting the simulations")
        self._line_s = -_LINE_EVERY_S

    def __enter__(self) -> TrainingProgress:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.stop()

    def show(self, state: TrainingState) -> None:
        """Show one state."""
        phase, text = _PHASES[state.phase], describe(state)
        if self._console.is_terminal:
            self._bar.update(self._task, total=state.max_decisions, completed=state.decisions, phase=phase, state=text)
        elif time.monotonic() - self._line_s >= _LINE_EVERY_S:
            self._line_s = time.monotonic()
            self._console.print(f"{phase}: {text}", highlight=False, markup=False, soft_wrap=True)
