"""The picture of a measured camera: where the board was seen, what the lens leaves over, how sure each number is."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from calibration.intrinsics import CameraResult
from calibration.view_guide import CELLS
from scripts.programs.lettering import ACCENT, BAD, GOOD, INK, LINE, SOFT
from scripts.programs.picture_file import write_picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_GREY = "#52606d"
_SHADES = ("#f4f8fb", "#d6e6f2", "#a9cce3", "#6fa8d0", "#3b7fb6", "#1d5fa8")
_WIDTH_IN, _HEIGHT_IN = 13.6, 8.6
#: An arrow that is this share of the picture's width stands for the largest usual error.
_ARROW_SHARE = 0.035


def draw_camera(result: CameraResult, name: str, path: Path) -> None:
    """Write the picture as what its name ends in."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({
        "font.family": "DejaVu Sans", "font.size": 8.8, "text.color": INK, "axes.edgecolor": SOFT,
        "axes.labelcolor": _GREY, "xtick.color": _GREY, "ytick.color": _GREY, "axes.linewidth": 0.7,
        "xtick.labelsize": 8, "ytick.labelsize": 8,
    }):  # fmt: skip
        figure = Figure(figsize=(_WIDTH_IN, _HEIGHT_IN), dpi=120, facecolor="white")
        _fill(figure, result, name)
        write_picture(figure, path)


def _fill(figure: Figure, result: CameraResult, name: str) -> None:
    figure.text(0.035, 0.955, f"Camera {name}", size=17, weight="bold")
    figure.text(0.035, 0.922, _subtitle(result), size=9.6, color=_GREY)
    figure.text(0.035, 0.896, _numbers(result), size=9.6, color=INK)
    grid = figure.add_gridspec(
        2, 3, left=0.045, right=0.985, top=0.845, bottom=0.085, hspace=0.32, wspace=0.2, width_ratios=(1.25, 1.25, 1)
    )
    _coverage(figure.add_subplot(grid[0, 0]), result)
    _arrows(figure.add_subplot(grid[0, 1]), result)
    _tilts(figure, grid[0, 2], result)
    _views(figure.add_subplot(grid[1, 0]), result)
    _radial(figure.add_subplot(grid[1, 1]), result)
    lower = grid[1, 2].subgridspec(2, 1, height_ratios=(1.9, 1), hspace=0.55)
    _cloud(figure.add_subplot(lower[0]), result)
    _models(figure.add_subplot(lower[1]), result)


def _subtitle(result: CameraResult) -> str:
    i = result.intrinsics
    refused = f", {len(result.refused)} refused" if result.refused else ""
    return (
        f"{i.width_px} x {i.height_px} px, {i.model} lens, {len(result.views)} views used{refused}.   "
        f"Error per axis on views held out: {result.held_out_rms_px:.3f} px (on those fitted: "
        f"{result.fit.rms_px:.3f} px)."
    )


def _numbers(result: CameraResult) -> str:
    i, s = result.intrinsics, result.sigma
    across = 2 * math.degrees(math.atan(i.width_px / 2 / i.fx_px))
    seen = f"{across:.0f}° across without distortion"
    return (
        f"fx {i.fx_px:.2f} ± {s[0]:.2f}   fy {i.fy_px:.2f} ± {s[1]:.2f}   cx {i.cx_px:.2f} ± {s[2]:.2f}   "
        f"cy {i.cy_px:.2f} ± {s[3]:.2f} px   (focal length known to {100 * result.focal_sigma:.2f} %; {seen})"
    )


def _frame(panel: Axes, result: CameraResult, title: str) -> None:
    i = result.intrinsics
    panel.set_title(title, loc="left", size=10.5, weight="bold", color=INK, pad=6)
    panel.set_xlim(0, i.width_px)
    panel.set_ylim(i.height_px, 0)
    panel.set_aspect("equal")
    panel.tick_params(length=2.5)


def _coverage(panel: Axes, result: CameraResult) -> None:
    from matplotlib.colors import BoundaryNorm, ListedColormap

    i = result.intrinsics
    points = np.concatenate([v.image_px for v in result.views])
    columns, rows = CELLS
    counts, _, _ = np.histogram2d(
        points[:, 1], points[:, 0], bins=(rows, columns), range=((0, i.height_px), (0, i.width_px))
    )
    shades = ListedColormap(_SHADES)
    norm = BoundaryNorm([0, 1, 5, 15, 30, 60, max(61, counts.max() + 1)], len(_SHADES))
    panel.imshow(counts, extent=(0, i.width_px, i.height_px, 0), cmap=shades, norm=norm, zorder=1)
    panel.scatter(*points.T, s=3.0, color=INK, alpha=0.8, linewidths=0, zorder=4)
    empty = int(np.sum(counts == 0))
    _frame(panel, result, "Where the board was seen" + (f": {empty} of {rows * columns} cells empty" if empty else ""))
    for row, column in np.argwhere(counts == 0):
        panel.text(
            (column + 0.5) * i.width_px / columns, (row + 0.5) * i.height_px / rows, "none", ha="center", va="center",
            size=7.5, color=BAD,
        )  # fmt: skip


def _arrows(panel: Axes, result: CameraResult) -> None:
    i = result.intrinsics
    points = np.concatenate([v.image_px for v in result.views])
    errors = np.concatenate(result.held_out_px)
    size = np.hypot(*errors.T)
    usual = float(np.quantile(size, 0.95))
    scale = _ARROW_SHARE * i.width_px / usual
    arrows = panel.quiver(
        points[:, 0], points[:, 1], errors[:, 0] * scale, errors[:, 1] * scale, np.minimum(size, usual), angles="xy",
        scale_units="xy", scale=1, width=0.0021, cmap="viridis_r", headwidth=3.4, headlength=4, zorder=3,
    )  # fmt: skip
    arrows.set_clim(0, usual)
    centre = (i.cx_px, i.cy_px)
    panel.plot(*centre, marker="+", ms=11, mew=1.4, color=BAD, zorder=4)
    panel.text(centre[0] + 0.012 * i.width_px, centre[1] - 0.012 * i.height_px, "centre", size=7.5, color=BAD)
    _frame(panel, result, f"Error held out, x {scale:.0f} (95 % below {usual:.2f} px)")


def _tilts(figure: Figure, place: object, result: CameraResult) -> None:
    panel = figure.add_subplot(place, projection="polar")  # pyright: ignore[reportArgumentType, reportCallIssue]
    normals = np.array([p.rotation[:, 2] for p in result.fit.camera_from_board])
    tilt = np.degrees(np.arccos(np.clip(-normals[:, 2], -1, 1)))
    far = np.array([p.position_m[2] for p in result.fit.camera_from_board])
    dots = panel.scatter(
        np.arctan2(-normals[:, 1], normals[:, 0]),
        tilt,
        c=1000 * far,
        cmap="cividis",
        s=46,
        ec="white",
        lw=0.7,
        zorder=3,
    )
    panel.set_title("Where its face was turned [°]", size=10.5, weight="bold", color=INK, pad=14)
    panel.set_xticks(np.radians([0, 90, 180, 270]), ["right", "up", "left", "down"])
    top = max(50.0, 10 * math.ceil(float(tilt.max()) / 10))
    panel.set_rlim(0, top)
    panel.set_rticks([15, 30, 45])
    panel.set_rlabel_position(60)
    panel.grid(color=LINE, lw=0.6)
    bar = figure.colorbar(dots, ax=panel, pad=0.13, shrink=0.72, aspect=18)
    bar.set_label("distance [mm]")
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]


def _views(panel: Axes, result: CameraResult) -> None:
    errors = np.array([math.sqrt(float(np.mean(e**2))) for e in result.held_out_px])
    fitted = result.fit.view_rms_px()
    at = np.arange(len(errors))
    panel.bar(at, errors, width=0.72, color="#a9cce3", zorder=2, label="held out")
    panel.scatter(at, fitted, s=14, color=ACCENT, zorder=3, label="fitted")
    panel.axhline(result.held_out_rms_px, color=BAD, lw=0.9, ls=(0, (4, 3)), zorder=4)
    names = [v.name for v in result.views]
    step = max(1, math.ceil(len(names) / 24))
    panel.set_xticks(at[::step], [_short(n) for n in names[::step]], rotation=60, ha="right", size=6.8)
    panel.set_title("Error per view [px per axis]", loc="left", size=10.5, weight="bold", color=INK, pad=6)
    panel.set_ylim(0, max(1.35 * float(np.max(errors)), 1e-6))
    panel.legend(loc="upper right", frameon=False, ncols=2, fontsize=8)
    _bare(panel)


def _short(name: str) -> str:
    stem = Path(name).stem
    return stem if len(stem) <= 14 else f"…{stem[-13:]}"


def _radial(panel: Axes, result: CameraResult) -> None:
    """Draw the error along the radius: what a lens model that does not fit leaves there has a shape."""
    i = result.intrinsics
    points = np.concatenate([v.image_px for v in result.views]) - (i.cx_px, i.cy_px)
    errors = np.concatenate(result.held_out_px)
    radius = np.hypot(*points.T)
    outward = np.sum(points / np.maximum(radius, 1e-9)[:, None] * errors, axis=1)
    panel.axhline(0, color=SOFT, lw=0.8, zorder=1)
    panel.scatter(radius, outward, s=3.5, color=SOFT, alpha=0.5, linewidths=0, zorder=2)
    edges = np.quantile(radius, np.linspace(0, 1, 15))
    which = np.clip(np.searchsorted(edges, radius) - 1, 0, 13)
    groups = [outward[which == k] for k in range(14) if np.sum(which == k) > 2]
    middles = [float(np.mean(radius[which == k])) for k in range(14) if np.sum(which == k) > 2]
    spread = [float(np.std(g) / math.sqrt(len(g))) for g in groups]
    panel.errorbar(
        middles, [float(np.mean(g)) for g in groups], yerr=spread, fmt="o-", ms=4, lw=1.3, color=ACCENT, capsize=2,
        zorder=3, label="mean of a ring, ± one standard error",
    )  # fmt: skip
    reach = 3.2 * float(np.std(outward))
    panel.set_ylim(-reach, reach)
    panel.set_xlabel("distance from the centre [px]")
    panel.set_title("Error outwards [px]: flat when the lens model fits", loc="left", size=10.5, weight="bold", pad=6)
    panel.legend(loc="upper left", frameon=False, fontsize=8)
    _bare(panel)


def _cloud(panel: Axes, result: CameraResult) -> None:
    from matplotlib.patches import Circle

    errors = np.concatenate(result.held_out_px)
    sigma = result.held_out_rms_px
    panel.scatter(*errors.T, s=3, color=ACCENT, alpha=0.35, linewidths=0)
    for k in (1, 2, 3):
        panel.add_patch(Circle((0, 0), k * sigma, fill=False, ec=_GREY, lw=0.7, ls=(0, (3, 2))))
    reach = 4.5 * sigma
    panel.set_xlim(-reach, reach)
    panel.set_ylim(reach, -reach)
    panel.set_aspect("equal")
    panel.set_title("Errors [px], rings at 1, 2, 3 sigma", size=10.5, weight="bold", color=INK, pad=6)
    panel.tick_params(length=2.5)


def _models(panel: Axes, result: CameraResult) -> None:
    scores = result.scores[::-1]
    chosen = result.intrinsics.model
    values = [s.held_out_px for s in scores]
    panel.barh(
        range(len(scores)), values, height=0.62, color=[GOOD if s.model == chosen else LINE for s in scores], zorder=2
    )
    # A model far off must not hide how the others differ.
    reach = min(max(values), 2.5 * min(values))
    for k, score in enumerate(scores):
        panel.text(
            min(score.held_out_px, reach) + 0.02 * reach, k, f"{score.held_out_px:.3f}", va="center", size=8, zorder=3
        )
    panel.set_xlim(0, 1.22 * reach)
    panel.set_yticks(range(len(scores)), [s.model for s in scores])
    panel.set_title("Lens models, error held out [px]", loc="left", size=10.5, weight="bold", color=INK, pad=6)
    _bare(panel)


def _bare(panel: Axes) -> None:
    for side in ("top", "right"):
        panel.spines[side].set_visible(False)
    panel.tick_params(length=2.5)
