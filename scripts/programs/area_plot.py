"""The picture of success by place: cells with their counts, and every episode as a mark."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from policies.evaluation import wilson_interval
from scripts.programs.area_map import Area, PlacedEpisode, Region
from scripts.programs.lettering import INK, LINE
from scripts.programs.picture_file import write_picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

#: From never to always. Orange and blue differ for people with any colour vision.
_SCALE = ("#b5482f", "#e39a6f", "#f7ede2", "#8fb8d0", "#1f5f8f")
_SUCCESS, _FAILURE, _GREY, _NOTHING = "#1f5f8f", "#b5482f", "#52606d", "#eef1f4"
_PANEL_IN, _LEFT_IN, _GAP_IN, _RIGHT_IN, _HEAD_IN, _FOOT_IN = 5.3, 0.72, 0.45, 1.0, 0.95, 0.62
#: A row of cells holds three lines of text.
_LEAST_ROW_IN = 0.78


def draw_area_map(
    episodes: Sequence[PlacedEpisode], regions: Sequence[Region], area: Area, title: str, path: Path
) -> None:
    """Write the picture as what its name ends in; `title` says whose success it is."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"font.family": "DejaVu Sans", "font.size": 9.5, "text.color": INK, "axes.labelcolor": INK}):
        size = [b - a for a, b in zip(area.lower_m, area.upper_m, strict=True)]
        height_in = max(_PANEL_IN * size[1] / size[0], _LEAST_ROW_IN * area.cells[1])
        figure = Figure(dpi=140, facecolor="white")
        whole = (_LEFT_IN + 2 * _PANEL_IN + _GAP_IN + _RIGHT_IN, _HEAD_IN + height_in + _FOOT_IN)
        figure.set_size_inches(*whole)
        _head(figure, episodes, area, title, whole)
        lefts = (_LEFT_IN, _LEFT_IN + _PANEL_IN + _GAP_IN)
        place = [(left / whole[0], _FOOT_IN / whole[1], _PANEL_IN / whole[0], height_in / whole[1]) for left in lefts]
        cells, marks = figure.add_axes(place[0]), figure.add_axes(place[1])
        _draw_cells(cells, regions)
        _draw_marks(marks, episodes, regions)
        for panel in (cells, marks):
            _frame(panel, area)
        marks.tick_params(labelleft=False)
        cells.set_ylabel("y [mm], away from the base")
        right = (lefts[1] + _PANEL_IN + 0.22) / whole[0]
        _draw_scale(figure, (right, _FOOT_IN / whole[1], 0.16 / whole[0], height_in / whole[1]))
        write_picture(figure, path)


def _head(
    figure: Figure, episodes: Sequence[PlacedEpisode], area: Area, title: str, size_in: tuple[float, float]
) -> None:
    successes = sum(episode.success for episode in episodes)
    low, high = wilson_interval(successes, len(episodes))
    at = 0.16 / size_in[0]
    figure.text(at, 1 - 0.34 / size_in[1], f"{title}: {successes} of {len(episodes)} succeeded", size=13, weight="bold")
    figure.text(
        at,
        1 - 0.6 / size_in[1],
        f"{100 * successes / len(episodes):.1f} %, between {100 * low:.1f} and {100 * high:.1f} % with 95 % confidence "
        f"(Wilson), also below each count.  By the place of the {area.what}, seen from above.",
        color=_GREY,
    )


def _draw_cells(panel: Axes, regions: Sequence[Region]) -> None:
    from matplotlib.patches import Rectangle

    scale = _scale()
    for region in regions:
        (left, right), (low, high) = _mm(region.x_m), _mm(region.y_m)
        rate = region.success_rate
        color = _NOTHING if rate is None else scale(rate)
        panel.add_patch(Rectangle((left, low), right - left, high - low, fc=color, ec="white", lw=1.5))
        if rate is None:
            panel.text(
                (left + right) / 2, (low + high) / 2, "no episode", color=_GREY, ha="center", va="center", size=8
            )
            continue
        ink = "white" if rate < 0.13 or rate > 0.78 else INK
        count = f"{region.successes}/{region.episodes}"
        interval = f"{100 * region.wilson_low:.0f}-{100 * region.wilson_high:.0f} %"
        middle = ((left + right) / 2, (low + high) / 2)
        for text, points, size, weight in (
            (f"{100 * rate:.0f} %", 10, 12.5, "bold"),
            (f"{count}\n{interval}", -13, 8.2, "normal"),
        ):
            panel.annotate(
                text, middle, xytext=(0, points), textcoords="offset points", color=ink, ha="center", va="center",
                size=size, weight=weight, linespacing=1.3,
            )  # fmt: skip


def _draw_marks(panel: Axes, episodes: Sequence[PlacedEpisode], regions: Sequence[Region]) -> None:
    for left_m in {region.x_m[0] for region in regions}:
        panel.axvline(1000 * left_m, color=LINE, lw=0.8, zorder=1)
    for low_m in {region.y_m[0] for region in regions}:
        panel.axhline(1000 * low_m, color=LINE, lw=0.8, zorder=1)
    for success in (True, False):
        places = [e.place_m for e in episodes if e.place_m is not None and e.success is success]
        panel.scatter(
            [1000 * x for x, _ in places], [1000 * y for _, y in places], zorder=3,
            s=16 if success else 26, marker="o" if success else "x", clip_on=False,
            color=_SUCCESS if success else _FAILURE, alpha=0.75 if success else 1.0,
            linewidths=0 if success else 1.6, label=f"{len(places)} {'succeeded' if success else 'failed'}",
        )  # fmt: skip
    panel.legend(
        loc="lower right", bbox_to_anchor=(1.015, 1.0), ncols=2, frameon=False, handletextpad=0.1, columnspacing=1.2,
        borderaxespad=0.1,
    )  # fmt: skip


def _frame(panel: Axes, area: Area) -> None:
    panel.set_xlim(1000 * area.lower_m[0], 1000 * area.upper_m[0])
    panel.set_ylim(1000 * area.lower_m[1], 1000 * area.upper_m[1])
    panel.set_xticks([round(1000 * v, 1) for v in area.edges_m(0)])
    panel.set_yticks([round(1000 * v, 1) for v in area.edges_m(1)])
    for axis in (panel.xaxis, panel.yaxis):
        axis.set_major_formatter(lambda v, _: f"{v:.0f}")
    panel.set_xlabel("x [mm]", labelpad=2)
    panel.tick_params(length=2.5, color=_GREY, labelcolor=_GREY)
    for spine in panel.spines.values():
        spine.set_color(LINE)


def _draw_scale(figure: Figure, place: tuple[float, float, float, float]) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    bar = figure.colorbar(ScalarMappable(Normalize(0.0, 1.0), _scale()), cax=figure.add_axes(place))
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    bar.set_ticks([0.0, 0.5, 1.0], labels=["0 %", "50 %", "100 %"])
    bar.ax.tick_params(length=0, labelcolor=_GREY)


def _scale() -> Colormap:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("success", _SCALE)


def _mm(bounds_m: tuple[float, float]) -> tuple[float, float]:
    return 1000 * bounds_m[0], 1000 * bounds_m[1]
