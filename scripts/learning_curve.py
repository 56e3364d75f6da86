"""The picture of a training run: success and return against decisions and against time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from policies.evaluation import wilson_interval
from policies.metrics import EvaluationRow, Row, TrainRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INK, _SOFT, _TRAIN, _EVALUATION = "#1f2933", "#d9dee4", "#7aa6c2", "#c8553d"


def draw_learning_curve(rows: list[Row], path: Path, title: str, bar: float) -> None:
    """Write a PNG with four panels; `bar` is the success rate that ends the run."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    train = [row for row in rows if isinstance(row, TrainRow)]
    evaluations = [row for row in rows if isinstance(row, EvaluationRow)]
    with mpl.rc_context({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False}):
        figure, panels = plt.subplots(2, 2, figsize=(10.5, 6.2), sharex="col", sharey="row", layout="constrained")
        for column, unit in enumerate(("decisions", "seconds")):
            _success_panel(panels[0][column], train, evaluations, unit, bar)
            _return_panel(panels[1][column], train, evaluations, unit)
            panels[1][column].set_xlabel("decisions" if unit == "decisions" else "wall-clock time [s]")
        panels[0][0].set_ylabel("success")
        panels[1][0].set_ylabel("return of an episode")
        names = panels[0][0].get_legend_handles_labels()
        figure.legend(*names, loc="upper right", ncols=2, frameon=False)  # beside the title: no curve goes there
        figure.suptitle(title, x=0.01, ha="left", color=_INK, fontsize=12, fontweight="bold")
        figure.savefig(path, dpi=140)
        plt.close(figure)


def _where(rows: list[TrainRow] | list[EvaluationRow], unit: str) -> list[float]:
    return [float(row.decisions) if unit == "decisions" else row.wall_s for row in rows]


def _success_panel(panel: Axes, train: list[TrainRow], evaluations: list[EvaluationRow], unit: str, bar: float) -> None:
    panel.axhline(bar, color=_SOFT, linewidth=1.2, linestyle=(0, (4, 3)), zorder=0)
    panel.plot(
        _where(train, unit), [r.success_rate for r in train], color=_TRAIN, linewidth=1.8, label="while exploring"
    )
    if evaluations:
        rates = np.array([r.success_rate for r in evaluations])
        bounds = np.array([wilson_interval(r.successes, r.episodes) for r in evaluations])
        errors = np.maximum(np.abs(bounds.T - rates), 0.0)
        panel.errorbar(
            _where(evaluations, unit), rates, yerr=errors, color=_EVALUATION, fmt="o", markersize=5, capsize=3,
            linewidth=1.3, label="evaluation, 95 % interval",
        )  # fmt: skip
    panel.set_ylim(-0.03, 1.05)
    panel.set_yticks(np.linspace(0, 1, 6), [f"{p} %" for p in range(0, 101, 20)])
    panel.grid(axis="y", color=_SOFT, linewidth=0.6)


def _return_panel(panel: Axes, train: list[TrainRow], evaluations: list[EvaluationRow], unit: str) -> None:
    panel.plot(_where(train, unit), [r.mean_return for r in train], color=_TRAIN, linewidth=1.8)
    panel.plot(_where(evaluations, unit), [r.mean_return for r in evaluations], "o", color=_EVALUATION, markersize=5)
    panel.grid(axis="y", color=_SOFT, linewidth=0.6)
    panel.set_xlim(left=0)
