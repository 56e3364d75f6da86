"""The picture of a trained locator: found against true, the error over the area, and whether its sigmas are true."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from scripts.programs.lettering import INK, LINE
from scripts.programs.picture_file import write_picture
from urdf.pose import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BLUE, _ORANGE, _GREY = "#1f5f8f", "#c8553d", "#52606d"
_SCALE = ("#f7ede2", "#e9c9ad", "#e39a6f", "#c8553d", "#7d2617")
_CELLS = (10, 6)


@dataclass(frozen=True, slots=True)
class Judged:
    """What a locator said of scenes that it had never met: truth (n, 2), found (n, 2) [m], yaw error (n,) [rad].

    `z2` (n,): squares of the errors in standard deviations (of two numbers: chi squared with 2 degrees of freedom).
    """

    truth_m: Array
    found_m: Array
    yaw_error_rad: Array
    z2: Array

    @property
    def error_m(self) -> Array:
        """Distances (n,) between found and true."""
        return np.linalg.norm(self.found_m - self.truth_m, axis=1)


def draw_locator(judged: Judged, title: str, path: Path) -> None:
    """Write the picture as what its name ends in."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({
        "font.family": "DejaVu Sans", "font.size": 9.5, "text.color": INK, "axes.labelcolor": INK,
        "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": _GREY, "xtick.color": _GREY,
        "ytick.color": _GREY,
    }):  # fmt: skip
        figure = Figure(figsize=(12.6, 3.9), dpi=140, facecolor="white")
        figure.text(0.012, 0.96, title, fontsize=12.5, fontweight="bold", va="top")
        figure.text(0.012, 0.88, _summary(judged), fontsize=9.5, color=_GREY, va="top")
        grid = figure.add_gridspec(1, 4, left=0.05, right=0.985, bottom=0.14, top=0.76, wspace=0.36,
                                   width_ratios=(1, 1, 1.45, 1))  # fmt: skip
        for column, axis in enumerate("xy"):
            _against(figure.add_subplot(grid[0, column]), judged, column, axis)
        _map(figure.add_subplot(grid[0, 2]), judged)
        _sureness(figure.add_subplot(grid[0, 3]), judged)
        write_picture(figure, path)


def _summary(judged: Judged) -> str:
    error = 1000 * judged.error_m
    yaw = math.degrees(float(np.median(judged.yaw_error_rad)))
    return (
        f"{len(error)} scenes never met: median {np.median(error):.1f} mm, 95 % within {np.percentile(error, 95):.1f} "
        f"mm, yaw {yaw:.1f}° at the median"
    )


def _against(axes: Axes, judged: Judged, column: int, axis: str) -> None:
    truth, found = 1000 * judged.truth_m[:, column], 1000 * judged.found_m[:, column]
    ends = np.array([min(truth.min(), found.min()), max(truth.max(), found.max())])
    axes.plot(ends, ends, color=LINE, linewidth=1.2, zorder=1)
    axes.scatter(truth, found, s=5, color=_BLUE, alpha=0.45, linewidths=0, zorder=2)
    axes.set_title(f"{axis}: found against true [mm]", loc="left", fontsize=9.5)
    axes.set_xlabel(f"true {axis}")
    axes.set_aspect("equal", adjustable="box")
    axes.set_box_aspect(1)


def _map(axes: Axes, judged: Judged) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    x, y = (1000 * judged.truth_m[:, k] for k in (0, 1))
    columns, rows = np.linspace(x.min(), x.max(), _CELLS[0] + 1), np.linspace(y.min(), y.max(), _CELLS[1] + 1)
    which = (
        np.clip(np.digitize(x, columns) - 1, 0, _CELLS[0] - 1),
        np.clip(np.digitize(y, rows) - 1, 0, _CELLS[1] - 1),
    )
    cells = np.full(_CELLS, np.nan)
    for index in np.ndindex(*_CELLS):
        here = (which[0] == index[0]) & (which[1] == index[1])
        if here.any():
            cells[index] = np.median(1000 * judged.error_m[here])
    scale = LinearSegmentedColormap.from_list("error", _SCALE)
    mesh = axes.pcolormesh(columns, rows, cells.T, cmap=scale, vmin=0.0, edgecolors="white", linewidth=1.2)
    bar = axes.figure.colorbar(mesh, ax=axes, fraction=0.03, pad=0.03, shrink=0.62)
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    axes.set_title("median error by place [mm]", loc="left", fontsize=9.5)
    axes.set_xlabel("x [mm]")
    axes.set_ylabel("y [mm]")
    axes.set_aspect("equal", adjustable="box")


def _sureness(axes: Axes, judged: Judged) -> None:
    """Draw which share of errors lies within how much of the ellipse that was told: the diagonal is honest."""
    told = np.linspace(0.01, 0.99, 60)
    within = np.array([(judged.z2 <= -2.0 * math.log(1.0 - share)).mean() for share in told])
    axes.plot([0, 1], [0, 1], color=LINE, linewidth=1.2)
    axes.plot(told, within, color=_ORANGE, linewidth=2.0)
    axes.set_title("how sure it is: share within", loc="left", fontsize=9.5)
    axes.set_xlabel("share told by its ellipse")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_box_aspect(1)
