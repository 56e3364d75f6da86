"""The picture at the end of a teleoperation: where tool and person went, what the clutch allowed, how late it was."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Patch

from perception.clutch import ClutchPhase
from scripts.programs.lettering import ACCENT, BAD, INK, LINE
from scripts.programs.picture_file import write_picture
from scripts.programs.teleop_session import TeleopNotes
from urdf.pose import Array

_PHASES = {
    ClutchPhase.WAITING: ("#d3dae1", "waiting for the person"),
    ClutchPhase.READY: ("#a9cdf5", "ready"),
    ClutchPhase.ENGAGED: ("#8fd6a8", "engaged: the arm follows"),
    ClutchPhase.HOLDING: ("#f7cf7d", "holding"),
    ClutchPhase.RETURNING: ("#f0a878", "going home"),
    ClutchPhase.STOPPED: ("#e58a83", "stopped"),
}
_AXES = ("across\nx [mm]", "ahead\ny [mm]", "up\nz [mm]")
_BAR_P50_MS, _BAR_P95_MS = 45.0, 90.0
#: An axis shows so much at least: a hand that is held still must not look as if it shook.
_LEAST_SPAN_MM = 80.0
_MUTED, _PERSON = "#616e7c", "#e08e45"


def draw_teleoperation(notes: TeleopNotes, title: str, remark: str, path: Path) -> None:
    """Write the picture; there must be one control period at least."""
    figure = Figure(figsize=(11, 8.6), layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.06))
    figure.suptitle(title, fontsize=16, weight="bold", color=INK, x=0.012, ha="left")
    grid = figure.add_gridspec(5, 2, height_ratios=[0.22, 1, 1, 1, 1.9], width_ratios=[3, 2])
    strip = figure.add_subplot(grid[0, :])
    panels = [figure.add_subplot(grid[row, :], sharex=strip) for row in (1, 2, 3)]
    times_s = np.array(notes.times_s) - notes.times_s[0]
    tools_mm, goals_mm = 1e3 * np.array(notes.tools_m), 1e3 * np.array(notes.goals_m)
    _phases(strip, notes, times_s, remark)
    for axis, panel in enumerate(panels):
        _path(panel, axis, times_s, tools_mm, goals_mm)
    panels[0].legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), fontsize=9, ncols=2, frameon=False, borderpad=0)
    panels[2].set_xlabel("time [s]")
    _latency(figure.add_subplot(grid[4, 0]), notes.latency_ms)
    _plan(figure.add_subplot(grid[4, 1]), tools_mm, goals_mm)
    write_picture(figure, path)


def _plain(panel: Axes) -> None:
    for side in ("top", "right"):
        panel.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        panel.spines[side].set_color(_MUTED)
    panel.tick_params(colors=_MUTED, labelsize=9)
    panel.grid(color=LINE, linewidth=0.6)
    panel.set_axisbelow(True)


def _phases(strip: Axes, notes: TeleopNotes, times_s: Array, remark: str) -> None:
    """Draw what the clutch did as a band, with the names of what it did."""
    ends_s = np.append(times_s[1:], times_s[-1])
    for phase, group in groupby(range(len(times_s)), lambda k: notes.phases[k]):
        members = list(group)
        strip.axvspan(times_s[members[0]], ends_s[members[-1]], color=_PHASES[phase][0], linewidth=0)
    strip.set_title(remark, loc="left", fontsize=10, color=_MUTED, pad=24)
    known = [Patch(color=color, label=label) for phase, (color, label) in _PHASES.items() if phase in notes.phases]
    strip.legend(
        handles=known, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=len(known), fontsize=9, frameon=False,
        borderpad=0, borderaxespad=0.3, handlelength=1.2,
    )  # fmt: skip
    strip.set_yticks([])
    strip.set_ylabel("clutch", rotation=0, ha="right", va="center", color=INK)
    strip.tick_params(labelbottom=False, bottom=False)
    strip.spines[:].set_visible(False)
    strip.margins(x=0.0)


def _path(panel: Axes, axis: int, times_s: Array, tools_mm: Array, goals_mm: Array) -> None:
    _plain(panel)
    panel.plot(times_s, goals_mm[:, axis], color=_PERSON, linewidth=1.0, label="wanted by the person")
    panel.plot(times_s, tools_mm[:, axis], color=ACCENT, linewidth=1.8, label="sent to the arm")
    panel.set_ylabel(_AXES[axis], color=INK)
    low, high = panel.get_ylim()
    missing = max(0.0, _LEAST_SPAN_MM - (high - low)) / 2
    panel.set_ylim(low - missing, high + missing)
    panel.tick_params(labelbottom=axis == 2)
    panel.margins(x=0.0)


def _latency(panel: Axes, latency_ms: list[float]) -> None:
    _plain(panel)
    panel.set_title("From a picture to the servo command that it led to", loc="left", fontsize=11, color=INK)
    panel.set_xlabel("[ms]")
    panel.set_ylabel("pictures", color=INK)
    if not latency_ms:
        panel.text(0.5, 0.5, "the arm never followed", transform=panel.transAxes, ha="center", va="center")
        return
    p50_ms, p95_ms = np.percentile(latency_ms, [50, 95])
    most_ms = max(120.0, 1.05 * max(latency_ms))
    panel.hist(latency_ms, bins=np.linspace(0, most_ms, 61).tolist(), color=ACCENT, alpha=0.55)
    for value_ms, bar_ms, style, name in ((p50_ms, _BAR_P50_MS, "-", "half"), (p95_ms, _BAR_P95_MS, "--", "95 %")):
        words = f"{name} within {value_ms:.0f} ms"
        panel.axvline(float(value_ms), color=INK, linewidth=1.4, linestyle=style, label=words)
        panel.axvline(bar_ms, color=BAD, linewidth=1.2, linestyle=style, label=f"{name}: {bar_ms:.0f} ms at most asked")
    panel.set_xlim(0, most_ms)
    panel.legend(loc="upper right", fontsize=9, framealpha=0.9, edgecolor=LINE)


def _plan(panel: Axes, tools_mm: Array, goals_mm: Array) -> None:
    _plain(panel)
    panel.set_title("The tool's path from above", loc="left", fontsize=11, color=INK)
    panel.plot(goals_mm[:, 0], goals_mm[:, 1], color=_PERSON, linewidth=0.8)
    panel.plot(tools_mm[:, 0], tools_mm[:, 1], color=ACCENT, linewidth=1.6)
    panel.plot(*tools_mm[0, :2], "o", color="white", markeredgecolor=ACCENT, markeredgewidth=1.8, label="start")
    panel.plot(*tools_mm[-1, :2], "o", color=ACCENT, label="end")
    both_mm = np.concatenate([tools_mm[:, :2], goals_mm[:, :2]])
    low_mm, high_mm = both_mm.min(axis=0), both_mm.max(axis=0)
    half_mm = max(_LEAST_SPAN_MM, 1.15 * float((high_mm - low_mm).max())) / 2
    x_mm, y_mm = ((low_mm + high_mm) / 2).tolist()
    panel.set_xlim(x_mm - half_mm, x_mm + half_mm)
    panel.set_ylim(y_mm - half_mm, y_mm + half_mm)
    panel.set_aspect("equal", adjustable="box")
    panel.set_xlabel("x [mm]")
    panel.set_ylabel("y [mm]", color=INK)
    panel.legend(loc="best", fontsize=9, framealpha=0.9, edgecolor=LINE)
