"""The panel that a training run shows on a terminal: how far, how good, how fast, and where it lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from policies.evaluation import wilson_interval
from policies.ledger import Phase, Progress
from policies.metrics import EvaluationRow
from scripts.counted_progress import minutes

PHASES: dict[Phase, str] = {
    "train": "learning", "evaluate": "evaluating", "film": "filming", "export": "exporting"
}  # fmt: skip
_NOTHING = "-"
#: From this width on, numbers stand in two columns; wider than the other, lines are hard to follow.
_TWO_COLUMNS, _WIDEST = 72, 100
#: How many evaluations, in two columns and in one: the panel must fit into 24 lines.
_MANY, _FEW = 4, 2
_LABEL_COLUMNS, _PERCENT_COLUMNS, _GAP = 11, 5, 2
_LABEL, _SOFT, _ACCENT, _GOOD = "dim", "bright_black", "cyan", "green"


@dataclass(frozen=True, slots=True)
class About:
    """What a run is, and when it is good enough. `stages` are the names of its curriculum's, none without one."""

    title: str
    folder: Path
    goal_rate: float
    stages: tuple[str, ...] = ()


def per_second(rate: float | None) -> str:
    """Return the number of a rate, with one decimal where it is slow."""
    if rate is None:
        return _NOTHING
    return f"{rate:.1f}" if rate < 10 else f"{rate:,.0f}"


def training_panel(about: About, state: Progress | None, elapsed_s: float, columns: int) -> RenderableType:
    """Return the panel; None: nothing is known yet. Its height depends on nothing but `columns` and the stages."""
    width = min(columns, _WIDEST)
    inner, wide = width - 6, width >= _TWO_COLUMNS
    content = Group(
        _progress_line(state),
        Text(),
        _numbers(_facts(about, state, elapsed_s), 2 if wide else 1),
        Text(),
        _evaluations(about.goal_rate, state.evaluations if state else (), inner, _MANY if wide else _FEW),
        Text(),
        _where(about.folder, inner),
    )
    return Panel(
        content, title=Text(about.title, "bold"), title_align="left", box=box.ROUNDED, border_style=_SOFT,
        padding=(0, 2), width=width,
    )  # fmt: skip


def _progress_line(state: Progress | None) -> Table:
    """Return the phase, the share of the budget as a bar, and the time that remains."""
    line = Table.grid(padding=(0, _GAP, 0, 0), expand=True)
    line.add_column(width=_LABEL_COLUMNS)
    line.add_column(ratio=1)
    line.add_column(justify="right", no_wrap=True)
    if state is None:
        line.add_row(
            Text("starting", _ACCENT),
            ProgressBar(total=1.0, completed=0.0, style=_SOFT),
            Text("building the worlds", _LABEL),
        )
        return line
    share = min(1.0, state.decisions / state.max_decisions)
    left = f"at most {minutes(state.eta_s)} more" if state.eta_s is not None and state.phase != "export" else ""
    bar = ProgressBar(total=1.0, completed=share, style=_SOFT, complete_style=_ACCENT, finished_style=_ACCENT)
    words = Text.assemble(f"{100 * share:.0f} %", (f"  {left}" if left else "", _LABEL))
    line.add_row(Text(PHASES[state.phase], _ACCENT), bar, words)
    return line


def _facts(about: About, state: Progress | None, elapsed_s: float) -> list[tuple[str, str]]:
    """Return labels and values, those on the left of two columns first."""
    if state is None:
        names = ("exploring", "return", "temperature", "elapsed", "decisions", "updates", "episodes")
        facts = [(name, minutes(elapsed_s) if name == "elapsed" else _NOTHING) for name in names]
    else:
        temperature = state.scalars.get("temperature")
        facts = [
            ("exploring", _NOTHING if state.success_rate is None else f"{100 * state.success_rate:.0f} % succeed"),
            ("return", _NOTHING if state.mean_return is None else f"{state.mean_return:.2f}"),
            ("temperature", _NOTHING if temperature is None else f"{temperature:.3g}"),
            ("elapsed", minutes(elapsed_s)),
            ("decisions", f"{state.decisions:,}  {per_second(state.decisions_per_s)}/s"),
            ("updates", f"{state.updates:,}  {per_second(state.updates_per_s)}/s"),
            ("episodes", f"{state.episodes:,}"),
        ]
    if about.stages:
        facts.append(("stage", _stage(about.stages, state.stage if state else None)))
    return facts


def _stage(stages: Sequence[str], index: int | None) -> str:
    return _NOTHING if index is None else f"{index + 1} of {len(stages)}: {stages[index]}"


def _numbers(facts: Sequence[tuple[str, str]], columns: int) -> Table:
    grid = Table.grid(padding=(0, _GAP, 0, 0), expand=True)
    for _ in range(columns):
        grid.add_column(width=_LABEL_COLUMNS, style=_LABEL)
        grid.add_column(ratio=1, no_wrap=True)
    half = -(-len(facts) // columns)
    for row in range(half):
        cells: list[str] = []
        for label, value in facts[row::half]:
            cells += [label, value]
        grid.add_row(*cells)
    return grid


# Evaluations ---------------------------------------------------------------------------------------------------------
def _evaluations(goal_rate: float, rows: Sequence[EvaluationRow], width: int, shown: int) -> Table:
    """Return the last evaluations, the newest last, each with its 95 % interval on a scale up to 100 %."""
    scale = _Scale(max(2, width - _LABEL_COLUMNS - _PERCENT_COLUMNS - 2 * _GAP), goal_rate)
    grid = Table.grid(padding=(0, _GAP, 0, 0))
    grid.add_column(width=_LABEL_COLUMNS, justify="right", no_wrap=True)
    grid.add_column(width=_PERCENT_COLUMNS, justify="right", no_wrap=True)
    grid.add_column(no_wrap=True)
    grid.add_row(Text("evaluations", _LABEL), "", scale.heading())
    last = rows[-shown:]
    for row in last:
        style = _GOOD if row.success_rate >= goal_rate else ""
        percent = Text(f"{100 * row.success_rate:.0f} %", style)
        grid.add_row(Text(f"{row.decisions:,}", _LABEL), percent, scale.interval(row))
    for _ in range(shown - len(last)):
        grid.add_row("", "", scale.empty())
    return grid


@dataclass(frozen=True, slots=True)
class _Scale:
    """A line of `columns` characters that stands for 0 to 100 %, with a mark at the goal."""

    columns: int
    goal_rate: float

    def heading(self) -> Text:
        """Return the goal in words that end above its mark."""
        words = f"goal {100 * self.goal_rate:.0f} %"
        return Text(words.rjust(self._place(self.goal_rate) + 1), _LABEL)

    def empty(self) -> Text:
        """Return the line without an evaluation."""
        return Text(self._dots(), _SOFT)

    def interval(self, row: EvaluationRow) -> Text:
        """Return the line with a bar over the Wilson interval and a dot at the rate itself."""
        low, high = (self._place(share) for share in wilson_interval(row.successes, row.episodes))
        rate_at, dots = self._place(row.success_rate), self._dots()
        bar = "━" * (rate_at - low) + "●" + "━" * (high - rate_at)
        style = _GOOD if row.success_rate >= self.goal_rate else _ACCENT
        return Text.assemble((dots[:low], _SOFT), (bar, style), (dots[high + 1 :], _SOFT))

    def _dots(self) -> str:
        goal = self._place(self.goal_rate)
        return "·" * goal + "┊" + "·" * (self.columns - goal - 1)

    def _place(self, share: float) -> int:
        return round(share * (self.columns - 1))


def _where(folder: Path, width: int) -> Table:
    grid = Table.grid(padding=(0, _GAP, 0, 0), expand=True)
    grid.add_column(width=_LABEL_COLUMNS, style=_LABEL)
    grid.add_column(ratio=1, overflow="fold")
    grid.add_row("run", str(folder))
    resume = f"--resume {folder.name}"
    room = width - _LABEL_COLUMNS - _GAP - len("stops;  goes on")
    grid.add_row("Ctrl-C", f"stops; {resume if len(resume) <= room else '--resume with this name'} goes on")
    return grid
