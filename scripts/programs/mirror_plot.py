"""The picture of a mirrored run: joint by joint the arm beside its twin, their difference, the tool, and the lag."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from scripts.programs.lettering import ACCENT, BAD, GOOD, INK, LINE
from scripts.programs.mirror_numbers import JointMirror, JointTrace
from scripts.programs.picture_file import write_picture
from urdf.pose import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_GREY = "#52606d"
#: Told apart by people with any colour vision. Ref: Okabe and Ito, Color Universal Design (2008); darkened for lines.
_COLORS = ("#c8553d", "#0072b2", "#00855f", "#b0679a", "#c98a00", "#3d9bd1", "#5f6b78")
_LINK_DASH = (0, (5, 2))
_STILL_RAD = 0.02
_WIDTH_IN, _HEAD_IN, _ROW_IN, _FOOT_IN = 13.0, 0.95, 1.12, 0.55


@dataclass(frozen=True, slots=True)
class MirrorPicture:
    """Everything that is drawn. `twin_s` (k,) and `twin_rad` (k, n): the twin's whole motion."""

    title: str
    verdict: str
    fine: bool
    traces: Sequence[JointTrace]
    joints: Sequence[JointMirror]
    twin_s: Array
    twin_rad: Array
    tool_s: Array
    tool_mm: Array
    behind_ms: float | None


def draw_mirror(picture: MirrorPicture, path: Path) -> None:
    """Write the picture as what its name ends in."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({
        "font.family": "DejaVu Sans", "font.size": 9, "text.color": INK, "axes.spines.top": False,
        "axes.spines.right": False, "axes.edgecolor": _GREY, "axes.labelcolor": INK, "xtick.color": _GREY,
        "ytick.color": _GREY,
    }):  # fmt: skip
        figure = Figure(dpi=140, facecolor="white")
        _fill(figure, picture)
        write_picture(figure, path)


def _fill(figure: Figure, picture: MirrorPicture) -> None:
    from matplotlib.lines import Line2D

    count = len(picture.joints)
    height_in = _HEAD_IN + _ROW_IN * max(count, 4) + _FOOT_IN
    figure.set_size_inches(_WIDTH_IN, height_in)
    figure.text(0.012, 1 - 0.3 / height_in, picture.title, size=13, weight="bold")
    figure.text(0.012, 1 - 0.55 / height_in, picture.verdict, size=9.5, color=GOOD if picture.fine else BAD)
    handles = [
        Line2D([], [], color=_GREY, lw=1.2, label="twin"),
        Line2D([], [], color=ACCENT, marker="o", ms=3.5, ls="", label="arm, each reading"),
    ]
    if any(joint.link is not None for joint in picture.joints):
        handles.append(Line2D([], [], color=INK, ls=_LINK_DASH, label="link, by the camera"))
    figure.legend(
        handles=handles, loc="upper right", bbox_to_anchor=(0.99, 1 - 0.08 / height_in), ncols=3, frameon=False,
    )  # fmt: skip
    sides = figure.add_gridspec(
        1, 3, left=0.062, right=0.985, top=1 - _HEAD_IN / height_in, bottom=_FOOT_IN / height_in,
        width_ratios=(1.15, 1.0, 0.9), wspace=0.2,
    )  # fmt: skip
    motion, off = (sides[k].subgridspec(count, 1, hspace=0.3) for k in (0, 1))
    read = [float(np.abs(t.difference_rad).max()) for t in picture.traces if len(t.time_s)]
    links = [abs(joint.link.offset_rad) for joint in picture.joints if joint.link is not None]
    reach_rad = max(1.1 * max([*read, *links], default=0.0), 0.01)
    for k in range(count):
        last = k == count - 1
        _motion_panel(figure.add_subplot(motion[k]), picture, k, last)
        _difference_panel(figure.add_subplot(off[k]), picture, k, reach_rad, last)
    right = sides[2].subgridspec(2, 1, hspace=0.32)
    _tool_panel(figure.add_subplot(right[0]), picture)
    _lag_panel(figure.add_subplot(right[1]), picture)


def _motion_panel(panel: Axes, picture: MirrorPicture, joint: int, last: bool) -> None:
    trace = picture.traces[joint]
    panel.plot(picture.twin_s, picture.twin_rad[:, joint], color=_GREY, lw=1.2)
    panel.plot(trace.time_s, trace.read_rad, "o", color=ACCENT, ms=2.6)
    panel.set_ylabel(f"{picture.joints[joint].joint} [rad]")
    middle = float(np.median(picture.twin_rad[:, joint]))
    low, high = panel.get_ylim()
    if high - low < 2 * _STILL_RAD:  # a still joint must not look like a wild one
        panel.set_ylim(middle - _STILL_RAD, middle + _STILL_RAD)
    _ground(panel, "time since the first command [s]" if last else "")


def _difference_panel(panel: Axes, picture: MirrorPicture, joint: int, reach_rad: float, last: bool) -> None:
    trace, figures = picture.traces[joint], picture.joints[joint]
    panel.axhline(0.0, color=_GREY, lw=0.8)
    panel.plot(trace.time_s, trace.difference_rad, "o-", color=_COLORS[joint % 7], ms=2.2, lw=0.7)
    panel.set_ylim(-reach_rad, reach_rad)
    words = [] if figures.offset_rad is None else [f"reading {figures.offset_rad:+.4f}"]
    if (link := figures.link) is not None:
        panel.axhline(link.offset_rad, color=INK, lw=1.1, ls=_LINK_DASH)
        words.append(f"link {link.offset_rad:+.4f} ± {link.offset_error_rad:.4f} rad")
    words += [] if figures.behind_ms is None else [f"{figures.behind_ms:.0f} ms behind"]
    panel.set_title(", ".join(words), loc="right", size=8, color=_GREY, pad=2)
    panel.set_ylabel("off [rad]" if joint == 0 else "")
    _ground(panel, "time since the first command [s]" if last else "")


def _tool_panel(panel: Axes, picture: MirrorPicture) -> None:
    panel.plot(picture.tool_s, picture.tool_mm, color=INK, lw=1.0)
    panel.set_ylim(bottom=0.0)
    panel.set_title("tool: distance of arm and twin [mm]", size=10, loc="left")
    _ground(panel, "time since the first command [s]")


def _lag_panel(panel: Axes, picture: MirrorPicture) -> None:
    for k, trace in enumerate(picture.traces):
        if trace.lag is not None:
            label = picture.joints[k].joint
            panel.plot(1e3 * trace.lag.shifts_s, trace.lag.correlation, color=_COLORS[k % 7], lw=1.3, label=label)
            panel.axvline(1e3 * trace.lag.lag_s, color=_COLORS[k % 7], lw=0.7, ls=(0, (3, 3)))
    if picture.behind_ms is not None:
        panel.axvline(picture.behind_ms, color=INK, lw=1.4)
        panel.legend(frameon=False, fontsize=8, loc="lower left")
        panel.set_xlim(picture.behind_ms - 150, picture.behind_ms + 150)
        lags = [t.lag for t in picture.traces if t.lag is not None]
        near = [g.correlation[np.abs(1e3 * g.shifts_s - picture.behind_ms) <= 150] for g in lags]
        panel.set_ylim(min(0.99, *(float(n.min()) for n in near)) - 0.005, 1.003)
    panel.set_title("cross-correlation, play of the gears taken out", size=10, loc="left")
    _ground(panel, "arm behind twin [ms]")


def _ground(panel: Axes, below: str) -> None:
    panel.margins(x=0.01)
    panel.grid(axis="y", color=LINE, lw=0.5)
    panel.set_axisbelow(True)
    panel.set_xlabel(below, labelpad=2)
    panel.tick_params(length=3, labelbottom=bool(below))
