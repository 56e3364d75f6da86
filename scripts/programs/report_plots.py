"""The report's drawings, as SVG."""

from __future__ import annotations

import io
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from policies.evaluation import wilson_interval
from urdf.description import Rig

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, SOFT, GOOD, BAD, BLUE = "#1f2933", "#d9dee4", "#2f855a", "#c8553d", "#1d5fa8"
_GREY = "#7b8794"
_BLOCK_MM = 30.0


@dataclass(frozen=True, slots=True)
class Spot:
    """One attempt seen from above: where the camera saw the block and where it was, and both verdicts.

    Without a truth (a real arm) `true_xy_m` is None.
    """

    number: int
    seen_xy_m: tuple[float, float] | None
    seen_success: bool
    true_xy_m: tuple[float, float] | None
    true_success: bool
    true_yaw_rad: float = 0.0


def draw_top_view(spots: Sequence[Spot], rig: Rig) -> bytes:
    """Return the block area from above: where the block lay, and what came of it."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Rectangle

    with _figure(7.6, 4.5) as (figure, panel):
        size, center = 1000 * rig.area_size_m, 1000 * rig.area_center_m
        panel.add_patch(Rectangle(tuple(center - size / 2), *size, facecolor="#f5f7fa", edgecolor=_GREY, linewidth=1.0))
        for spot in spots:
            _draw_spot(panel, spot)
        panel.set_aspect("equal")
        panel.set_xlim(center[0] - size[0] / 2 - 22, center[0] + size[0] / 2 + 22)
        panel.set_ylim(
            center[1] + size[1] / 2 + 22, center[1] - size[1] / 2 - 22
        )  # the arm stands above, as the camera sees it
        panel.invert_xaxis()
        panel.set_xlabel("desk x [mm]")
        panel.set_ylabel("desk y [mm], away from the arm")
        handles = [
            Line2D([], [], marker="o", linestyle="", color=GOOD, label="camera: lifted"),
            Line2D([], [], marker="X", linestyle="", color=BAD, label="camera: failed"),
            Line2D(
                [],
                [],
                marker="s",
                linestyle="",
                markerfacecolor="none",
                color=GOOD,
                markersize=10,
                label="truth: lifted",
            ),
            Line2D(
                [],
                [],
                marker="s",
                linestyle="",
                markerfacecolor="none",
                color=BAD,
                markersize=10,
                label="truth: failed",
            ),
        ]
        figure.legend(handles=handles, loc="outside upper center", ncols=4, frameon=False)
        return _svg(figure)


def _draw_spot(panel: Axes, spot: Spot) -> None:
    from matplotlib.patches import Rectangle

    if spot.true_xy_m is not None:
        x, y = (1000 * v for v in spot.true_xy_m)
        half = _BLOCK_MM / 2
        colour = GOOD if spot.true_success else BAD
        square = Rectangle(
            (x - half, y - half), _BLOCK_MM, _BLOCK_MM, angle=np.degrees(spot.true_yaw_rad), rotation_point="center",
            facecolor=colour, edgecolor=colour, alpha=0.06,
        )  # fmt: skip
        panel.add_patch(square)
        outline = Rectangle(
            (x - half, y - half), _BLOCK_MM, _BLOCK_MM, angle=np.degrees(spot.true_yaw_rad), rotation_point="center",
            fill=False, edgecolor=colour, linewidth=0.8, alpha=0.75,
        )  # fmt: skip
        panel.add_patch(outline)
    if spot.seen_xy_m is not None:
        x, y = (1000 * v for v in spot.seen_xy_m)
        colour, marker = (GOOD, "o") if spot.seen_success else (BAD, "X")
        panel.plot([x], [y], marker=marker, color=colour, markersize=7, markeredgecolor="white", zorder=3)
        panel.annotate(str(spot.number), (x, y), (4, 4), textcoords="offset points", fontsize=7.5, color=INK, zorder=4)


def draw_work_times(work_ms: Sequence[float], period_ms: float) -> bytes:
    """Return the histogram of the loop's work in a period, with the time there is for it."""
    values = np.asarray(work_ms)
    with _figure(7.6, 2.9) as (figure, panel):
        right = max(period_ms * 1.08, float(values.max()) * 1.05)
        panel.hist(values, bins=np.linspace(0.0, right, 70).tolist(), color=BLUE, alpha=0.85)
        panel.set_yscale("log")
        panel.set_ylim(bottom=0.7)
        panel.yaxis.set_major_formatter("{x:.0f}")
        panel.set_xlim(0.0, right)
        p99 = float(np.percentile(values, 99))
        top = panel.get_ylim()[1]
        for place, colour, words in ((p99, INK, f"p99 {p99:.1f} ms"), (period_ms, BAD, f"deadline {period_ms:.0f} ms")):
            panel.axvline(place, color=colour, linewidth=1.2, linestyle=(0, (4, 3)))
            side = "right" if place > 0.8 * right else "left"
            panel.text(place + (-0.5 if side == "right" else 0.5), top * 0.6, words, color=colour, ha=side, va="top")
        panel.set_xlabel("work in a control period [ms]; the rest is slept")
        panel.set_ylabel("periods")
        return _svg(figure)


@dataclass(frozen=True, slots=True)
class Rate:
    """A success rate with the interval that its count supports, and what was promised."""

    name: str
    successes: int
    trials: int
    promised: float | None


def draw_rates(rates: Sequence[Rate]) -> bytes:
    """Return the success rates below each other, with 95 % Wilson intervals."""
    from matplotlib.ticker import MultipleLocator

    with _figure(7.6, 0.75 + 0.42 * len(rates)) as (figure, panel):
        left = min(80.0, *(100 * wilson_interval(r.successes, r.trials)[0] - 4 for r in rates))
        for row, rate in enumerate(rates):
            low, high = (100 * v for v in wilson_interval(rate.successes, rate.trials))
            value = 100 * rate.successes / rate.trials
            panel.plot([low, high], [row, row], color=BLUE, linewidth=6, alpha=0.25, solid_capstyle="round")
            panel.plot([value], [row], "o", color=BLUE, markersize=8)
            if rate.promised is not None:
                panel.plot([100 * rate.promised] * 2, [row - 0.32, row + 0.32], color=BAD, linewidth=1.6)
        panel.set_yticks(range(len(rates)), [r.name for r in rates], color=INK)
        panel.set_ylim(len(rates) - 0.5, -0.5)
        panel.spines["left"].set_visible(False)
        panel.tick_params(axis="y", length=0)
        panel.xaxis.set_major_locator(MultipleLocator(5.0 if left > 60.0 else 20.0))
        panel.xaxis.set_major_formatter("{x:.0f} %")
        panel.set_xlim(max(0.0, left), 100.7)
        panel.grid(axis="x", color=SOFT, linewidth=0.6)
        return _svg(figure)


@contextmanager
def _figure(width_in: float, height_in: float) -> Generator[tuple[Figure, Axes]]:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    with mpl.rc_context({"font.size": 9.5, "axes.labelcolor": INK, "text.color": INK, "axes.edgecolor": _GREY}):
        figure, panel = plt.subplots(figsize=(width_in, height_in), layout="constrained")
        panel.spines[["top", "right"]].set_visible(False)
        panel.tick_params(colors=_GREY)
        try:
            yield figure, panel
        finally:
            plt.close(figure)


def _svg(figure: Figure) -> bytes:
    sink = io.BytesIO()
    figure.savefig(sink, format="svg", transparent=True)
    return sink.getvalue()
