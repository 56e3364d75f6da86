"""The progress of a training run: a panel on a terminal, a line every ten seconds where there is none."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console, RenderableType
from rich.live import Live

from policies.ledger import Progress
from scripts.counted_progress import minutes
from scripts.training_panel import PHASES, About, per_second, training_panel

_LINE_EVERY_S = 10.0
#: A redraw takes about as long as a gradient step; the clock of an evaluation should go on all the same.
_REDRAWS_PER_S = 2


def describe(state: Progress) -> str:
    """Return the state in words."""
    exploring, evaluated = state.success_rate, state.evaluations[-1].success_rate if state.evaluations else None
    words = [
        f"{state.decisions:,} decisions",
        f"{state.episodes:,} episodes",
        f"exploring {100 * exploring:.0f} %" if exploring is not None else "no episode yet",
        f"evaluated {100 * evaluated:.0f} %" if evaluated is not None else "not evaluated yet",
    ]
    if state.decisions_per_s is not None:
        words += [f"{per_second(state.decisions_per_s)} decisions/s", f"{per_second(state.updates_per_s)} updates/s"]
    words.append(minutes(state.wall_s))
    if state.eta_s is not None and state.phase != "export":
        words.append(f"at most {minutes(state.eta_s)} more")
    return " · ".join(words)


class TrainingProgress:
    """A context that shows training states."""

    def __init__(self, console: Console, about: About) -> None:
        self._console, self._about = console, about
        self._state: Progress | None = None
        self._start_s = self._shown_s = time.monotonic()
        self._line_s = -_LINE_EVERY_S
        self._live = Live(
            console=console, get_renderable=self._panel, refresh_per_second=_REDRAWS_PER_S, transient=True
        )

    def __enter__(self) -> TrainingProgress:
        """Show that the run starts."""
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Leave the terminal as it was."""
        self._live.stop()

    def show(self, state: Progress) -> None:
        """Show one state: at the next redraw, or as a line when the last one is long ago."""
        self._shown_s = time.monotonic()
        self._state = state
        if not self._console.is_terminal and self._shown_s - self._line_s >= _LINE_EVERY_S:
            self._line_s = self._shown_s
            text = f"{PHASES[state.phase]}: {describe(state)}"
            self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def _panel(self) -> RenderableType:
        state, now_s = self._state, time.monotonic()
        elapsed_s = now_s - self._start_s if state is None else state.wall_s + now_s - self._shown_s
        return training_panel(self._about, state, elapsed_s, self._console.width)
