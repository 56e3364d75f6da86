"""The picture of the gap: every unit before and after its calibration, beside the training world, and why."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from policies.evaluation import wilson_interval
from scripts.programs.gap_record import GapTable, Stage
from scripts.programs.lettering import ACCENT, BAD, GOOD, INK, LINE, SOFT
from scripts.programs.picture_file import check_picture, write_picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_GREY = "#52606d"
_COLORS: dict[Stage, str] = {"before": BAD, "after": GOOD}


def draw_gap(table: GapTable, path: Path) -> None:
    """Write the picture as what its name ends in; raises ArmError where that cannot be."""
    check_picture(path, "a gap")
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"font.family": "DejaVu Sans", "font.size": 9, "axes.linewidth": 0.6, "text.color": INK}):
        figure = Figure(figsize=(12.4, 6.4), dpi=140, facecolor="white")
        _fill(figure, table)
        write_picture(figure, path)


def _fill(figure: Figure, table: GapTable) -> None:
    figure.text(0.045, 0.935, "The gap between the training world and the arm", size=17, weight="bold")
    figure.text(
        0.045, 0.892,
        gap_subtitle(table),
        size=9.5, color=_GREY,
    )  # fmt: skip
    _figures(figure, table)
    _units(figure.add_axes((0.075, 0.09, 0.455, 0.55)), table)
    _joints(figure.add_axes((0.625, 0.09, 0.345, 0.55)), table)


def gap_subtitle(table: GapTable) -> str:
    """Return what was measured."""
    plan = table.plan
    labs, attempts = _counted(len(plan.seeds), "lab"), _counted(plan.episodes, "attempt")
    return (
        f"{plan.policy}, level {plan.level}: {labs} of hidden truth, {attempts} each before and after calibration; "
        "calibration never saw the truth"
    )


def _counted(number: int, what: str) -> str:
    """Return so many of something in words."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def gap_title(table: GapTable) -> str:
    """Return what the attempts afterwards came after: a calibration that failed is none."""
    failed = len(table.not_calibrated)
    if not failed:
        return "after tandem calibrate all"
    return f"after, but {failed} of {_counted(len(table.units), 'lab')} not calibrated"


def _figures(figure: Figure, table: GapTable) -> None:
    """Three large numbers: before, after, training world."""
    training = table.training.successes, table.training.episodes
    columns = (
        ("before calibration", table.counted("before"), BAD),
        (gap_title(table), table.counted("after"), GOOD),
        ("training world", training, ACCENT),
    )
    for k, (what, (successes, trials), color) in enumerate(columns):
        x = 0.045 + 0.215 * k
        low, high = wilson_interval(successes, trials)
        figure.text(x, 0.775, f"{100 * successes / max(trials, 1):.1f} %", size=26, weight="bold", color=color)
        figure.text(x, 0.742, what, size=9.5, color=INK)
        figure.text(
            x,
            0.715,
            f"{successes} of {trials}, 95 % sure of {100 * low:.0f} to {100 * high:.0f} %",
            size=8,
            color=SOFT,
        )
    figure.text(0.735, 0.775, f"{table.kept_share:.3f}", size=26, weight="bold")
    figure.text(0.735, 0.742, "of the training world's success is kept", size=9.5)


def _units(panel: Axes, table: GapTable) -> None:
    """One row a unit: from where it was to where calibration took it."""
    rate = 100 * table.training.successes / table.training.episodes
    panel.axvline(rate, color=ACCENT, lw=1.2, ls=(0, (4, 3)), zorder=1)
    for row, seed in enumerate(table.plan.seeds):
        places: dict[Stage, float] = {}
        for stage in ("before", "after"):
            cell = table.cell(seed, stage)
            if cell is not None and cell.attempts:
                places[stage] = 100 * cell.successes / len(cell.attempts)
        if len(places) == 2:
            panel.plot(
                [places["before"], places["after"]], [row, row], color=LINE, lw=5, zorder=2, solid_capstyle="round"
            )
        for stage, place in places.items():
            face = "white" if stage == "before" else _COLORS[stage]
            size = 12.5 if stage == "before" else 8
            panel.plot(place, row, "o", ms=size, mfc=face, mec=_COLORS[stage], mew=1.8, zorder=3, clip_on=False)
    panel.set_title("Each lab: before (open) and after (full)", loc="left", size=10.5, weight="bold", pad=8)
    panel.set_yticks(range(len(table.plan.seeds)), [f"seed {seed}" for seed in table.plan.seeds], color=_GREY, size=8.5)
    panel.set_ylim(len(table.plan.seeds) - 0.4, -0.6)
    panel.set_xlim(-2, 102)
    panel.set_xlabel("attempts that succeeded [%]", color=_GREY)
    _ground(panel, "x")


def _joints(panel: Axes, table: GapTable) -> None:
    """How far joints stand from where their calibration has them at home."""
    # The jaws were fitted open, as they are at home: there they are right.
    names = [j.joint for j in table.units[0].before[:-1]] if table.units else []
    for column, name in enumerate(names):
        for side, stage in ((-0.17, "before"), (0.17, "after")):
            found = [
                j.home_deg for u in table.units for j in (u.before if stage == "before" else u.after) if j.joint == name
            ]
            spread = np.linspace(-0.07, 0.07, len(found)) if len(found) > 1 else np.zeros(len(found))
            color = _COLORS["before" if stage == "before" else "after"]
            face = "white" if stage == "before" else color
            panel.plot(column + side + spread, found, "o", ms=4.5, mfc=face, mec=color, mew=1.1, zorder=3)
    panel.axhline(0, color=SOFT, lw=0.8, zorder=1)
    panel.set_title("How far joints stand from where they are believed", loc="left", size=10.5, weight="bold", pad=8)
    panel.set_xticks(range(len(names)), [_short(name) for name in names], color=_GREY, size=8.5)
    panel.set_ylabel("in the home pose [deg]", color=_GREY)
    _ground(panel, "y")


def _short(name: str) -> str:
    return name.replace("joint", "J")


def _ground(panel: Axes, along: str) -> None:
    panel.set_facecolor("#fafbfc")
    panel.grid(axis="x" if along == "x" else "y", color=LINE, lw=0.6)
    panel.set_axisbelow(True)
    panel.tick_params(length=0, colors=_GREY)
    for side in ("top", "right", "left", "bottom"):
        panel.spines[side].set_visible(False)
