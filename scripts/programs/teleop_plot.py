"""The picture at the end of a teleoperation: where tool and person went, what the clutch allowed, how late it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from perception.clutch import ClutchPhase
from scripts.programs.picture_file import write_picture
from scripts.programs.teleop_session import TeleopNotes
from urdf.pose import Array

_COLOURS = {
    ClutchPhase.WAITING: "#c9d1d9",
    ClutchPhase.READY: "#9ecbff",
    ClutchPhase.ENGAGED: "#7ddc9a",
    ClutchPhase.HOLDING: "#ffd27a",
    ClutchPhase.RETURNING: "#ffb27a",
    ClutchPhase.STOPPED: "#ff8a8a",
}
_AXES = ("x", "y", "z")
_BAR_P50_MS, _BAR_P95_MS = 45.0, 90.0


def draw_teleoperation(notes: TeleopNotes, title: str, path: Path) -> None:
    """Write the picture."""
    figure = Figure(figsize=(10, 7.2), layout="constrained")
    figure.suptitle(title, fontsize=12, x=0.01, ha="left")
    panels = figure.subplots(4, 1, height_ratios=[2, 2, 2, 2], squeeze=False)[:, 0]
    times_s, tools_m, goals_m = np.array(notes.times_s), np.array(notes.tools_m), np.array(notes.goals_m)
    for axis, panel in enumerate(panels[:3]):
        _path(panel, axis, times_s, tools_m, goals_m)
        _shade(panel, notes)
    panels[0].legend(loc="upper right", fontsize=8, ncols=3)
    panels[2].set_xlabel("s; shaded as the clutch: grey waiting, blue ready, green engaged, yellow holding")
    _latency(panels[3], notes.latency_ms)
    write_picture(figure, path)


def _path(panel: Axes, axis: int, times_s: Array, tools_m: Array, goals_m: Array) -> None:
    panel.plot(times_s, 1e3 * goals_m[:, axis], color="#c8553d", linewidth=1.0, label="wanted by the person")
    panel.plot(times_s, 1e3 * tools_m[:, axis], color="#1d5fa8", linewidth=1.6, label="sent to the arm")
    panel.set_ylabel(f"tool {_AXES[axis]} [mm]")
    panel.margins(x=0.0)


def _shade(panel: Axes, notes: TeleopNotes) -> None:
    begin = 0
    for k in range(1, len(notes.phases) + 1):
        if k == len(notes.phases) or notes.phases[k] is not notes.phases[begin]:
            end_s = notes.times_s[min(k, len(notes.phases) - 1)]
            panel.axvspan(notes.times_s[begin], end_s, color=_COLOURS[notes.phases[begin]], alpha=0.35, linewidth=0)
            begin = k


def _latency(panel: Axes, latency_ms: list[float]) -> None:
    panel.set_xlabel("picture taken to servo command [ms]")
    panel.set_ylabel("pictures")
    if not latency_ms:
        panel.text(0.5, 0.5, "the arm never followed", transform=panel.transAxes, ha="center", va="center")
        return
    p50, p95 = np.percentile(latency_ms, [50, 95])
    panel.hist(latency_ms, bins=np.linspace(0, max(120.0, 1.05 * max(latency_ms)), 61).tolist(), color="#1d5fa8")
    for value, bar, name in ((p50, _BAR_P50_MS, "p50"), (p95, _BAR_P95_MS, "p95")):
        panel.axvline(value, color="#1d2733", linewidth=1.2)
        panel.axvline(bar, color="#c8553d", linewidth=1.0, linestyle="--")
        panel.annotate(f"{name} {value:.0f} ms", (value, 0.86), xycoords=("data", "axes fraction"), fontsize=8)
