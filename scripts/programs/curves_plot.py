"""The picture of several training runs: success against decisions and time, and below it what stands behind it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from scripts.programs.lettering import INK, LINE
from scripts.programs.picture_file import write_picture
from scripts.programs.run_curves import (
    GOAL_RATE,
    Band,
    Line,
    RunCurves,
    RunGroup,
    Unit,
    across,
    line,
    wilson_band,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Told apart by people with any colour vision. Ref: Okabe and Ito, Color Universal Design (2008); darkened for lines.
_COLORS = ("#c8553d", "#0072b2", "#00855f", "#b0679a", "#c98a00", "#3d9bd1", "#5f6b78")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_DASHES = ("-", (0, (5, 2)), (0, (2, 1.5)))
_GREY = "#52606d"
_WIDTH_IN, _BODY_IN, _LEGEND_ROW_IN, _CAPTION_ROW_IN = 11.0, 4.75, 0.23, 0.165


def draw_curves(groups: Sequence[RunGroup], path: Path) -> None:
    """Write the picture as what its name ends in."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({
        "font.family": "DejaVu Sans", "font.size": 10, "text.color": INK, "axes.spines.top": False,
        "axes.spines.right": False, "axes.edgecolor": _GREY, "axes.labelcolor": INK, "xtick.color": _GREY,
        "ytick.color": _GREY,
    }):  # fmt: skip
        figure = Figure(dpi=140, facecolor="white")
        _fill(figure, groups)
        write_picture(figure, path)


def _fill(figure: Figure, groups: Sequence[RunGroup]) -> None:
    """Lay everything out in inches, so that a long legend or caption makes the picture higher, not the panels lower."""
    caption = _caption(groups)
    head_in = 0.58 + _LEGEND_ROW_IN * len(groups)
    foot_in = 0.72 + _CAPTION_ROW_IN * len(caption)
    height_in = head_in + _BODY_IN + foot_in
    figure.set_size_inches(_WIDTH_IN, height_in)
    presets = list(dict.fromkeys(run.identity.preset for group in groups for run in group.runs))
    figure.text(0.012, 1 - 0.3 / height_in, f"Learning curves: {', '.join(presets)}", size=13, weight="bold")
    _legend(figure, groups, 1 - 0.34 / height_in)
    figure.text(0.012, 0.1 / height_in, "\n".join(caption), size=8.3, color=_GREY, va="bottom", linespacing=1.4)
    rows = figure.add_gridspec(
        2, 1, left=0.07, right=0.985, top=1 - head_in / height_in, bottom=foot_in / height_in, height_ratios=(1.55, 1),
        hspace=0.36,
    )  # fmt: skip
    above = rows[0].subgridspec(1, 2, wspace=0.06)
    for column, unit in enumerate(("decisions", "minutes")):
        panel = figure.add_subplot(above[column])
        _success_panel(panel, groups, unit)
        if column:
            panel.tick_params(labelleft=False)
        else:
            panel.set_ylabel("success when evaluated")
    drawn = [_return_panel]
    if any(run.training for group in groups for run in group.runs):
        drawn.append(_exploring_panel)
    if any(_temperatures(run, "decisions").x.size for group in groups for run in group.runs):
        drawn.append(_temperature_panel)
    behind = rows[1].subgridspec(1, len(drawn), wspace=0.27)
    longest = max(row.decisions for group in groups for run in group.runs for row in (*run.evaluations, *run.training))
    for column, draw in enumerate(drawn):
        panel = figure.add_subplot(behind[column])
        draw(panel, groups)
        panel.set_xlim(0, 1.03 * longest)


def _legend(figure: Figure, groups: Sequence[RunGroup], y: float) -> None:
    from matplotlib.lines import Line2D

    entries = [
        Line2D([], [], color=_color(k), ls=_dash(k), marker=_marker(k), ms=6, lw=2.2, label=group.label)
        for k, group in enumerate(groups)
    ]
    figure.legend(
        handles=entries, loc="upper left", bbox_to_anchor=(0.005, y), frameon=False, handlelength=2.6,
        labelspacing=0.45, borderpad=0.3,
    )  # fmt: skip


def _caption(groups: Sequence[RunGroup]) -> list[str]:
    lines: list[str] = []
    if any(len(group.runs) > 1 for group in groups):
        lines += [
            "Several seeds: thin lines are the runs, the thick one is their mean, its band the 95 % confidence "
            "interval (Student's t; none of two). The mean is",
            "taken at every evaluation of any run, the others linear between their own, and only where all of them "
            "have been evaluated.",
        ]
    if any(len(group.runs) == 1 for group in groups):
        lines.append("One run: the band is the 95 % Wilson interval of each evaluation, linear between them.")
    if any(run.exported for group in groups for run in group.runs):
        lines.append("Hollow: the exported policy on new episodes, when the run ended.")
    lines[-1] += f" Dashed: {100 * GOAL_RATE:.0f} %."
    return lines


# Panels -------------------------------------------------------------------------------------------
def _success_panel(panel: Axes, groups: Sequence[RunGroup], unit: Unit) -> None:
    panel.axhline(GOAL_RATE, color=_GREY, lw=1.0, ls=(0, (4, 3)), alpha=0.6, zorder=1)
    for k, group in enumerate(groups):
        lines = [line(run.evaluations, unit, [row.success_rate for row in run.evaluations]) for run in group.runs]
        band = across(lines) if len(lines) > 1 else wilson_band(group.runs[0].evaluations, unit)
        _draw(panel, lines, band, k)
        _draw_exported(panel, group.runs, unit, k)
    _percent(panel)
    panel.set_xlabel("decisions" if unit == "decisions" else "wall-clock time [min]", labelpad=2)
    _ground(panel)


def _return_panel(panel: Axes, groups: Sequence[RunGroup]) -> None:
    for k, group in enumerate(groups):
        lines = [line(run.evaluations, "decisions", [r.mean_return for r in run.evaluations]) for run in group.runs]
        _draw(panel, lines, across(lines), k)
    panel.set_title("return when evaluated", size=10, loc="left")
    panel.set_xlabel("decisions", labelpad=2)
    _ground(panel)


def _exploring_panel(panel: Axes, groups: Sequence[RunGroup]) -> None:
    for k, group in enumerate(groups):
        _draw_smooth(
            panel, [line(run.training, "decisions", [r.success_rate for r in run.training]) for run in group.runs], k
        )
    panel.set_title("success while exploring", size=10, loc="left")
    _percent(panel)
    panel.set_xlabel("decisions", labelpad=2)
    _ground(panel)


def _temperature_panel(panel: Axes, groups: Sequence[RunGroup]) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter, NullLocator

    for k, group in enumerate(groups):
        _draw_smooth(panel, [_temperatures(run, "decisions") for run in group.runs], k)
    panel.set_title("temperature (entropy coefficient)", size=10, loc="left")
    panel.set_yscale("log")
    panel.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    panel.yaxis.set_major_formatter(lambda y, _: f"{y:g}")
    panel.yaxis.set_minor_locator(NullLocator())
    panel.yaxis.set_minor_formatter(NullFormatter())
    panel.set_xlabel("decisions", labelpad=2)
    _ground(panel)


def _temperatures(run: RunCurves, unit: Unit) -> Line:
    """Return a run's temperature, where its algorithm has one."""
    rows = [row for row in run.training if row.learner.get("temperature", 0.0) > 0.0]
    return line(rows, unit, [row.learner["temperature"] for row in rows])


# Marks --------------------------------------------------------------------------------------------
def _draw(panel: Axes, lines: Sequence[Line], band: Band, number: int) -> None:
    """Draw what was evaluated: the band, each run's own points, and the middle."""
    color, many = _color(number), len(lines) > 1
    panel.fill_between(band.x, band.low, band.high, color=color, alpha=0.16, lw=0, zorder=2)
    if not many:  # a band of one evaluation has no width
        panel.vlines(band.x, band.low, band.high, color=color, lw=1.0, alpha=0.45, zorder=2)
    for one in lines:
        panel.plot(
            one.x, one.y, color=color, marker=_marker(number), ms=3.2 if many else 5.0, lw=0.8 if many else 0.0,
            alpha=0.55 if many else 1.0, mew=0, zorder=3,
        )  # fmt: skip
    panel.plot(band.x, band.middle, color=color, ls=_dash(number), lw=2.2, solid_capstyle="round", zorder=4)


def _draw_smooth(panel: Axes, lines: Sequence[Line], number: int) -> None:
    """Draw what training tells as it goes: it has many points and no marks."""
    lines = [one for one in lines if one.x.size]
    if not lines:
        return
    color, band = _color(number), across(lines)
    panel.fill_between(band.x, band.low, band.high, color=color, alpha=0.16, lw=0, zorder=2)
    for one in lines if len(lines) > 1 else ():
        panel.plot(one.x, one.y, color=color, lw=0.8, alpha=0.4, zorder=3)
    panel.plot(band.x, band.middle, color=color, ls=_dash(number), lw=1.8, solid_capstyle="round", zorder=4)


def _draw_exported(panel: Axes, runs: Sequence[RunCurves], unit: Unit, number: int) -> None:
    for run in runs:
        if run.exported is None or run.ending is None:
            continue
        successes, episodes = run.exported
        x = run.ending.decisions if unit == "decisions" else run.ending.wall_s / 60
        panel.plot(
            x, successes / episodes, marker=_marker(number), ms=7.5, mfc="white", mec=_color(number), mew=1.5, ls="",
            clip_on=False, zorder=6,
        )  # fmt: skip


def _percent(panel: Axes) -> None:
    panel.set_ylim(-0.03, 1.05)
    panel.set_yticks(np.linspace(0, 1, 6), [f"{p} %" for p in range(0, 101, 20)])


def _ground(panel: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    panel.grid(axis="y", color=LINE, lw=0.6, zorder=0)
    panel.set_axisbelow(True)
    panel.set_xlim(left=0)
    panel.tick_params(length=3)
    panel.xaxis.set_major_locator(MaxNLocator(5))
    if panel.get_xlabel() == "decisions":
        panel.xaxis.set_major_formatter(lambda x, _: f"{x:,.0f}")


def _color(number: int) -> str:
    return _COLORS[number % len(_COLORS)]


def _marker(number: int) -> str:
    return _MARKERS[number % len(_MARKERS)]


def _dash(number: int) -> str | tuple[int, tuple[float, ...]]:
    return _DASHES[number // len(_COLORS) % len(_DASHES)]
