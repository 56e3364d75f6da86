"""The picture of the block found in depth: scenes with what was found in them, and how the errors are spread.

`python -m scripts.programs.depth_block_plot OUT.png [SCENES]`
"""

from __future__ import annotations

import math
import sys
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from bridge.observation import ImageKind
from calibration.lens import project
from perception.depth import DepthFix
from scripts.programs.arm_mask import RenderedArmMask
from scripts.programs.bench_depth_block import Errors, errors_of, shown_scenes, with_depth
from scripts.programs.depth_scenes import BlockScene, BlockScenes
from scripts.programs.lettering import INK, LINE
from scripts.programs.picture_file import write_picture
from urdf.pose import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BLUE, _ORANGE, _GREY, _HOLE = "#1f5f8f", "#ff8a3c", "#52606d", "#eef1f4"
_ROWS, _COLUMNS = 2, 4
_CUBE = np.array(list(product((-0.5, 0.5), repeat=3)))


def draw_depth_block(scenes: list[BlockScene], mask: RenderedArmMask, path: Path) -> None:
    """Write the picture as what its name ends in."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({
        "font.family": "DejaVu Sans", "font.size": 9.5, "text.color": INK, "axes.labelcolor": INK,
        "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": _GREY, "xtick.color": _GREY,
        "ytick.color": _GREY,
    }):  # fmt: skip
        figure = Figure(figsize=(12.6, 5.1), dpi=140, facecolor="white")
        figure.text(0.012, 0.965, "The block in 64 x 64 depth", fontsize=12.5, fontweight="bold", va="top")
        figure.text(
            0.012, 0.905, "randomisation mild; white: holes; orange: the cube that was found; cross: the true centre",
            color=_GREY, va="top",
        )  # fmt: skip
        grid = figure.add_gridspec(_ROWS, _COLUMNS + 1, left=0.012, right=0.985, bottom=0.10, top=0.80, wspace=0.06,
                                   hspace=0.20, width_ratios=(1,) * _COLUMNS + (1.75,))  # fmt: skip
        for index, scene in enumerate(scenes[: _ROWS * _COLUMNS]):
            axes = figure.add_subplot(grid[divmod(index, _COLUMNS)])
            _scene(axes, scene, with_depth(scene, mask, True))
        inner = grid[:, _COLUMNS].subgridspec(1, 2, width_ratios=(0.16, 1))
        _spread(
            figure.add_subplot(inner[0, 1]),
            errors_of(lambda scene: with_depth(scene, mask, False), scenes),
            errors_of(lambda scene: with_depth(scene, mask, True), scenes),
        )
        write_picture(figure, path)


def _scene(axes: Axes, scene: BlockScene, fix: DepthFix) -> None:
    depth = 1000 * scene.pictures[ImageKind.DEPTH][0].astype(np.float64)
    axes.set_facecolor("white")
    axes.imshow(np.where(depth > 0, depth, np.nan), cmap="cividis_r", vmin=70, vmax=260)
    for pose, size, kind in ((fix.desk_from_block, 0.03, "outline"), (scene.desk_from_block, 0.0, "centre")):
        camera = fix.desk.desk_from_camera if kind == "outline" else scene.true
        points = project(pose.apply(_CUBE * size), camera.inverse(), scene.true_lens)
        if kind == "centre":
            axes.plot(*points[0], "+", color="white", markersize=9, markeredgewidth=1.6)
            continue
        hull = points[np.asarray(cv2.convexHull(points.astype(np.float32), returnPoints=False), dtype=np.int64).ravel()]
        closed: Array = np.vstack([hull, hull[:1]])
        axes.plot(closed[:, 0], closed[:, 1], color=_ORANGE, linewidth=1.8)
    apart = 1000 * np.linalg.norm((fix.desk_from_block.position_m - scene.desk_from_block.position_m)[:2])
    turn = fix.desk_from_block.yaw_rad - scene.desk_from_block.yaw_rad
    turn = (turn + math.pi / 4) % (math.pi / 2) - math.pi / 4
    axes.set_title(f"{apart:.2f} mm, {abs(math.degrees(turn)):.1f}°", fontsize=8.5, color=_GREY, pad=3)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_xlim(-0.5, 63.5)
    axes.set_ylim(63.5, -0.5)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _spread(axes: Axes, blind: Errors, known: Errors) -> None:
    for errors, color, label in (
        (known, _BLUE, "camera's place known"),
        (blind, "#c8553d", "camera, lens and servos\noff as drawn, not known"),
    ):
        ordered = np.sort(1000 * errors.along_m)
        axes.plot(ordered, np.arange(1, len(ordered) + 1) / len(ordered), color=color, linewidth=2.0)
        middle = float(np.median(ordered))
        axes.annotate(
            f"{label}\nmedian {middle:.2f} mm", (middle, 0.5), (2.15, 0.30) if errors is blind else (1.2, 0.04),
            color=color, fontsize=9,
        )  # fmt: skip
    axes.axvline(2.0, color=LINE, linewidth=1.2, zorder=0)
    axes.set_xlim(0, 6)
    axes.set_ylim(0, 1)
    axes.set_title(f"share of {len(known.along_m)} scenes within", loc="left", fontsize=9.5)
    axes.set_xlabel("error along the desk [mm]")


def main() -> None:
    """Draw the picture."""
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 200
    worlds = BlockScenes("dofbot", randomization="mild", seed=20)
    mask = RenderedArmMask(worlds.description, worlds.rig)
    draw_depth_block(shown_scenes(worlds, count, lambda share: None), mask, Path(sys.argv[1]))
    mask.close()
    worlds.close()


if __name__ == "__main__":
    main()
