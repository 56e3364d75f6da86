"""The picture of a reach map: slices at several heights and a section, in colours that say how, or why not."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from scripts.programs.lettering import BAD, INK, SOFT
from scripts.programs.picture_file import check_picture, write_picture
from scripts.programs.reach_map import ONLY_TILTED, SERVED, TOO_FAR, ReachMap, Verdicts
from urdf.pose import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

_GREY, _EDGE = "#52606d", "#0b3d3a"
#: Pale and warm, so that what is served, deep and cold, stands out.
_JOINT_COLORS = ("#f5c698", "#eda09a", "#cfb6dc", "#f1e18f", "#c9b49a", "#f3b4cd", "#cbd98f", "#dfae77")
_TOO_FAR_COLOR, _ONLY_TILTED_COLOR = "#eef1f4", "#d3d9e0"
_ROWS, _COLUMNS = 2, 3
_LEFT, _RIGHT, _RIGHT_WIDTH = 0.06, 0.72, 0.265


def write_reach_map(reach: ReachMap, path: Path) -> None:
    """Write the picture as what its name ends in; raises ArmError where that cannot be."""
    check_picture(path, "a reach map")
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"font.family": "DejaVu Sans", "font.size": 8.5, "axes.linewidth": 0.6, "text.color": INK}):
        figure = Figure(figsize=(13.0, 6.6), dpi=130, facecolor="white")
        _fill(figure, reach)
        write_picture(figure, path)


def _fill(figure: Figure, reach: ReachMap) -> None:
    grid = figure.add_gridspec(
        _ROWS, _COLUMNS, left=0.06, right=0.665, top=0.865, bottom=0.07, wspace=0.24, hspace=0.2
    )  # fmt: skip
    name, rig = reach.description.name, reach.rig.name
    figure.text(_LEFT, 0.95, f"What {name} can serve, rig {rig}", size=16, weight="bold")
    figure.text(_LEFT, 0.913, _subtitle(reach), size=9.3, color=_GREY)
    for k, height_m in enumerate(reach.heights_m):
        _draw_slice(figure.add_subplot(grid[k // _COLUMNS, k % _COLUMNS]), reach, k, float(height_m))
    width, height = figure.get_size_inches()
    rise = float((reach.section_heights_m[-1] + reach.side_m[1] - reach.side_m[0]) / np.ptp(reach.side_m))
    tall = _RIGHT_WIDTH * width * rise / height
    _draw_section(figure.add_axes((_RIGHT, 0.865 - tall, _RIGHT_WIDTH, tall)), reach)
    below = 0.865 - tall - 0.145
    _draw_scale(figure, reach, below)
    _draw_legend(figure, reach, below - 0.075)


def _subtitle(reach: ReachMap) -> str:
    rig = reach.rig
    return (
        f"Jaws along the tangent around the base axis, tool leaning by {np.degrees(rig.max_tilt_rad):.0f}° at most, "
        f"every joint {np.degrees(reach.description.margin_rad):.0f}° from its limits.   "
        f"Served: {100 * reach.area.served_share:.0f} % of the block area, {100 * reach.box.served_share:.0f} % of the "
        "reach box."
    )


def _draw_slice(panel: Axes, reach: ReachMap, place: int, height_m: float) -> None:
    rig, side_mm = reach.rig, 1000 * reach.side_m
    _paint(panel, reach, Verdicts(reach.slices.tilt_rad[place], reach.slices.reason[place]), side_mm, side_mm)
    role = {rig.grasp_m: ", grasp", rig.hover_m: ", hover"}.get(height_m, "")
    panel.set_title(f"z = {1000 * height_m:.0f} mm{role}", size=10, weight="bold", loc="left", pad=4, color=INK)
    _draw_boxes(panel, reach, height_m)
    panel.plot(0, 0, marker="o", ms=4.5, mfc="white", mec=INK, mew=1.0, zorder=6)
    if abs(height_m - reach.home_m[2]) <= 0.5 * np.abs(np.diff(reach.heights_m)).min():
        panel.plot(*(1000 * reach.home_m[:2]), marker="D", ms=5, mfc="white", mec=BAD, mew=1.3, zorder=7)
    if place % _COLUMNS == 0:
        panel.set_ylabel("y [mm], away from the base", color=_GREY)
    if place // _COLUMNS == _ROWS - 1:
        panel.set_xlabel("x [mm]", color=_GREY)


def _draw_boxes(panel: Axes, reach: ReachMap, height_m: float) -> None:
    from matplotlib.patches import Rectangle

    rig = reach.rig
    corner = 1000 * (rig.area_center_m - rig.area_size_m / 2)
    size = 1000 * rig.area_size_m
    # Above the hover nothing of the area is served or not: there the outline only tells where one is.
    strength = 1.0 if height_m <= rig.hover_m else 0.35
    for color, width in (("white", 2.6), (BAD, 1.3)):
        panel.add_patch(Rectangle(tuple(corner), *size, fill=False, ec=color, lw=width, alpha=strength, zorder=5))
    if rig.reach_lower_m[2] - 1e-9 <= height_m <= rig.reach_upper_m[2] + 1e-9:
        size = 1000 * (rig.reach_upper_m - rig.reach_lower_m)[:2]
        panel.add_patch(
            Rectangle(
                tuple(1000 * rig.reach_lower_m[:2]), *size, fill=False, ec=INK, lw=1.1, ls=(0, (4, 2.5)), zorder=5
            )
        )


def _draw_section(panel: Axes, reach: ReachMap) -> None:
    from matplotlib.patches import Rectangle

    rig = reach.rig
    _paint(panel, reach, reach.section, 1000 * reach.section_side_m, 1000 * reach.section_heights_m)
    panel.set_title("section x = 0", size=10, weight="bold", loc="left", pad=4, color=INK)
    panel.set_xlabel("y [mm]", color=_GREY)
    panel.set_ylabel("z [mm]", color=_GREY)
    for height_m in reach.heights_m:
        panel.axhline(1000 * height_m, color=INK, lw=0.5, ls=":", alpha=0.55, zorder=3)
    half, middle = 500 * rig.area_size_m[1], 1000 * rig.area_center_m[1]
    z, rise = 1000 * rig.grasp_m, 1000 * (rig.hover_m - rig.grasp_m)
    for color, width in (("white", 2.6), (BAD, 1.3)):
        panel.add_patch(Rectangle((middle - half, z), 2 * half, rise, fill=False, ec=color, lw=width, zorder=5))
    lower, size = 1000 * rig.reach_lower_m[1:], 1000 * (rig.reach_upper_m - rig.reach_lower_m)[1:]
    panel.add_patch(Rectangle(tuple(lower), *size, fill=False, ec=INK, lw=1.1, ls=(0, (4, 2.5)), zorder=5))
    base_mm = 1000 * rig.desk_from_base.position_m[2]
    if base_mm <= 1000 * reach.section_heights_m[-1]:
        panel.plot(0, base_mm, marker="o", ms=6, mfc="white", mec=INK, mew=1.1, zorder=6, clip_on=False)
    panel.set_xlim(-1000 * reach.side_m[-1], 1000 * reach.side_m[-1])


def _paint(panel: Axes, reach: ReachMap, verdicts: Verdicts, x_mm: Array, y_mm: Array) -> None:
    """Colour one panel, and draw the edge of what is served as a line."""
    half = (x_mm[1] - x_mm[0]) / 2
    extent = (x_mm[0] - half, x_mm[-1] + half, y_mm[0] - half, y_mm[-1] + half)
    panel.imshow(_colors(reach, verdicts), origin="lower", extent=extent, interpolation="nearest", zorder=1)
    served = (verdicts.reason == SERVED).astype(np.float64)
    if 0.0 < served.mean() < 1.0:
        panel.contour(x_mm, y_mm, served, levels=[0.5], colors=[_EDGE], linewidths=0.9, zorder=2)
    panel.set_aspect("equal")
    panel.tick_params(length=2.5, color=SOFT, labelcolor=_GREY)
    for spine in panel.spines.values():
        spine.set_color(SOFT)


def _colors(reach: ReachMap, verdicts: Verdicts) -> NDArray[np.float64]:
    """Return the colours (rows, columns, 3) of verdicts."""
    from matplotlib.colors import to_rgb

    share = np.nan_to_num(verdicts.tilt_rad / reach.rig.max_tilt_rad)
    colors = np.asarray(_tilt_map()(share))[..., :3].copy()
    for reason in np.unique(verdicts.reason):
        if reason != SERVED:
            colors[verdicts.reason == reason] = to_rgb(_reason_color(int(reason)))
    return colors


def _reason_color(reason: int) -> str:
    if reason == TOO_FAR:
        return _TOO_FAR_COLOR
    return _ONLY_TILTED_COLOR if reason == ONLY_TILTED else _JOINT_COLORS[reason % len(_JOINT_COLORS)]


def _tilt_map() -> Colormap:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("tilt", ["#c9efe3", "#5fc6b5", "#2391a6", "#1c5a8f", "#2b2f6b"])


def _draw_scale(figure: Figure, reach: ReachMap, y: float) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    place = figure.add_axes((_RIGHT, y, _RIGHT_WIDTH, 0.02))
    scale = ScalarMappable(Normalize(0.0, float(np.degrees(reach.rig.max_tilt_rad))), _tilt_map())
    bar = figure.colorbar(scale, cax=place, orientation="horizontal")
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    bar.ax.tick_params(length=2, color=SOFT, labelcolor=_GREY)
    figure.text(_RIGHT, y + 0.03, "served, the tool leaning by [°]", size=9)


def _draw_legend(figure: Figure, reach: ReachMap, y: float) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    reasons = [*np.unique(reach.slices.reason), *np.unique(reach.section.reason)]
    shown = sorted({int(r) for r in reasons} - {SERVED}, key=lambda r: (r < 0, abs(r)))
    entries: list[Patch | Line2D] = [
        Patch(fc=_reason_color(r), ec=SOFT, lw=0.6, label=reach.reason_name(r)) for r in shown
    ]
    entries += [
        Line2D([], [], color=BAD, lw=1.5, label="block area"),
        Line2D([], [], color=INK, lw=1.1, ls=(0, (4, 2.5)), label="reach box"),
        Line2D([], [], ls="", marker="D", ms=5, mfc="white", mec=BAD, mew=1.3, label="home"),
        Line2D([], [], ls="", marker="o", ms=5, mfc="white", mec=INK, label="base"),
    ]
    figure.text(_RIGHT, y, "not served because of", size=9)
    figure.legend(
        handles=entries, loc="upper left", bbox_to_anchor=(_RIGHT - 0.006, y - 0.012), ncols=1, frameon=False,
        fontsize=8.8, handlelength=1.6, labelspacing=0.6, borderpad=0.0,
    )  # fmt: skip
