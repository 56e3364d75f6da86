"""The picture of `tandem check-obs`: what the camera saw of the small motions, and the channels beside each other."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from scripts.programs.lettering import ACCENT, BAD, GOOD, INK, LINE, SOFT
from scripts.programs.obs_channels import Channel, DepthPictures
from scripts.programs.obs_motion import MotionCheck
from scripts.programs.picture_file import check_picture, write_picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_GREY = "#52606d"
_OFF_BY = (
    "Off by, in the row's unit: the tool's place as read, against the camera; the block's as seen, against where the "
    "user\nsays it lies (--block-at-mm). The simulator is posed as the arm reads. -: not measured; "
    "✓: nothing found wrong."
)
_COLUMNS = ((0.0, "channel", "left"), (0.45, "on the arm", "right"), (0.60, "simulator", "right"),
            (0.72, "off by", "right"), (0.83, "noise", "right"), (0.96, "age [ms]", "right"))  # fmt: skip


def draw_check(
    robot: str, motion: MotionCheck, channels: list[Channel], depth: DepthPictures | None, verdict: str, path: Path
) -> None:
    """Write the picture as what its name ends in; raises ArmError where that cannot be."""
    check_picture(path, "a check of the observation")
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"font.family": "DejaVu Sans", "font.size": 8.5, "axes.linewidth": 0.6, "text.color": INK}):
        figure = Figure(figsize=(13.2, 7.4), dpi=130, facecolor="white")
        figure.text(0.035, 0.945, f"What a policy sees on {robot}, beside the training world", size=16, weight="bold")
        words = verdict or "The observation is the same in both worlds."
        figure.text(0.035, 0.905, words, size=9.5, color=BAD if verdict else GOOD)
        _sight(figure.add_axes((0.035, 0.40, 0.44, 0.46)), motion)
        _motions(figure.add_axes((0.035, 0.05, 0.44 if depth is None else 0.25, 0.27)), motion)
        if depth is not None:
            _depths(figure, depth)
        _table(figure.add_axes((0.515, 0.05, 0.455, 0.81)), channels)
        write_picture(figure, path)


def _sight(panel: Axes, motion: MotionCheck) -> None:
    """The camera's picture with where the marker was expected to go, and where it went."""
    panel.imshow(motion.home.picture)
    start = motion.home.corners_px.mean(axis=0)
    across, down = 110, 82
    for _, expected, seen in motion.arrows_px:
        for goal, color, width in ((expected, "white", 4.0), (seen, ACCENT, 1.8)):
            panel.annotate(
                "",
                tuple(goal),
                tuple(start),
                arrowprops={"arrowstyle": "-|>", "color": color, "lw": width, "shrinkA": 0, "shrinkB": 0},
            )
    panel.set_xlim(max(0, start[0] - across), start[0] + across)
    panel.set_ylim(start[1] + down, max(0, start[1] - down))
    panel.set_title(
        "Small motions, joint by joint: expected (white), seen (blue)", loc="left", size=10, weight="bold", pad=6
    )
    panel.set_axis_off()


def _motions(panel: Axes, motion: MotionCheck) -> None:
    """How far each joint went of what it was sent, as read and as seen."""
    panel.axhspan(0.88, 1.12, color=GOOD, alpha=0.08, lw=0)
    panel.axhline(1.0, color=SOFT, lw=0.8)
    for k, joint in enumerate(motion.motions):
        panel.plot(k - 0.1, joint.read_ratio, "s", ms=6.5, mfc="white", mec=ACCENT, mew=1.5)
        if joint.seen_ratio is not None:
            panel.plot(k + 0.1, joint.seen_ratio, "o", ms=6.5, color=BAD if joint.trouble else GOOD)
    ratios = [r for j in motion.motions for r in (j.read_ratio, j.seen_ratio) if r is not None]
    panel.set_ylim(min(0.7, *ratios) - 0.05, max(1.3, *ratios) + 0.05)
    panel.set_xlim(-0.6, len(motion.motions) - 0.4)
    names = [m.joint.replace("joint", "J").replace("gripper", "jaws") for m in motion.motions]
    panel.set_xticks(range(len(names)), names, color=_GREY)
    panel.set_title("Moved, of what was sent: read (square), seen (dot)", loc="left", size=9.5, weight="bold", pad=6)
    panel.grid(axis="y", color=LINE, lw=0.6)
    panel.tick_params(length=0, colors=_GREY)
    for side in ("top", "right", "left", "bottom"):
        panel.spines[side].set_visible(False)


def _depths(figure: Figure, depth: DepthPictures) -> None:
    near, far = np.percentile(depth.simulator_m[depth.simulator_m < 1.0], [1, 99])
    for k, (what, picture) in enumerate((("wrist depth, arm", depth.arm_m), ("simulator", depth.simulator_m))):
        panel = figure.add_axes((0.305 + 0.092 * k, 0.05, 0.085, 0.24))
        panel.imshow(np.where(picture > 0, picture, np.nan), cmap="viridis_r", vmin=near, vmax=far)
        panel.set_facecolor("black")
        panel.set_title(what, size=8.5, loc="left", pad=4)
        panel.set_xticks([])
        panel.set_yticks([])


def _names(trouble: str) -> float:
    """Return the column that a channel's trouble is about."""
    if "noise" in trouble:
        return 0.83
    return 0.96 if trouble.endswith(" old") else 0.72


def _table(panel: Axes, channels: list[Channel]) -> None:
    panel.set_xlim(0, 1)
    panel.set_ylim(len(channels) + 0.2, -1.2)
    panel.set_axis_off()
    panel.set_title("The observation, channel by channel", loc="left", size=10, weight="bold", pad=6)
    panel.text(0, len(channels), _OFF_BY, color=SOFT, size=7.5, va="top")
    for x, text, side in _COLUMNS:
        panel.text(x, -0.7, text, ha=side, va="center", color=SOFT, size=8)
    for row, channel in enumerate(channels):
        if row % 2 == 0:
            panel.axhspan(row - 0.5, row + 0.5, color="#f5f7f9", lw=0)
        digits = 1 if channel.unit == "mm" else 3
        unit = f" {channel.unit}" if channel.unit else ""
        bias = "-" if channel.bias is None else f"{channel.bias:+.{digits}f}"
        cells = [
            channel.name, f"{channel.arm:.{digits}f}{unit}", f"{channel.simulator:.{digits}f}", bias,
            f"{channel.noise:.{max(digits, 2)}f}", f"{channel.delay_ms:.0f}",
        ]  # fmt: skip
        for (x, _, side), cell in zip(_COLUMNS, cells, strict=True):
            color = BAD if channel.trouble and _names(channel.trouble) == x else INK
            panel.text(x, row, cell, ha=side, va="center", color=color, size=8.5)
        mark = (BAD, "✕") if channel.trouble else (GOOD, "✓")
        panel.text(0.995, row, mark[1], ha="right", va="center", color=mark[0], size=9, weight="bold")
