"""How well the block is found in a 64x64 depth picture: scenes of the simulator, randomised, truth known."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bridge.observation import ImageKind
from perception.depth import DepthFix, locate_in_depth
from perception.errors import PerceptionError
from scripts.programs.arm_mask import RenderedArmMask
from scripts.programs.depth_scenes import BlockScene, BlockScenes
from scripts.programs.figures import Row, at_most
from urdf.pose import Pose

SCENES = 600
FIGURE = "block from 64x64 wrist depth, mild"
_ALL = "camera up to 2 mm and 2 degrees, lens 1 degree, servos 0.5 degree off as `mild` draws them, none of it known"
_KNOWN = "the same pictures, the camera's pose and lens known: what the picture itself leaves open"


@dataclass(frozen=True, slots=True)
class Errors:
    """Errors of every scene that was located: along the desk [m], of the yaw [rad], in standard deviations (n, 3)."""

    along_m: NDArray[np.float64]
    yaw_rad: NDArray[np.float64]
    scaled: NDArray[np.float64]
    missed: int
    scene_s: float

    @property
    def missed_share(self) -> float:
        """The share of scenes in which nothing was located."""
        return self.missed / (self.missed + len(self.along_m))


def errors_of(fix_of: Callable[[BlockScene], DepthFix], scenes: list[BlockScene]) -> Errors:
    """Return the errors of a way to locate, over scenes that show the block."""
    rows: list[list[float]] = []
    missed, began = 0, time.process_time()
    for scene in scenes:
        try:
            fix = fix_of(scene)
        except PerceptionError:
            missed += 1
            continue
        rows.append(_row(fix.desk_from_block, fix.covariance, scene.desk_from_block))
    table = np.array(rows).reshape(-1, 5)
    each_s = (time.process_time() - began) / max(len(scenes), 1)
    return Errors(table[:, 0], table[:, 1], table[:, 2:], missed, each_s)


def _row(found: Pose, covariance: NDArray[np.float64], truth: Pose) -> list[float]:
    dx, dy, _ = found.position_m - truth.position_m
    turn = (found.yaw_rad - truth.yaw_rad + math.pi / 4) % (math.pi / 2) - math.pi / 4
    scaled = [v / math.sqrt(covariance[k, k]) for v, k in ((dx, 0), (dy, 1), (turn, 5))]
    return [math.hypot(dx, dy), abs(turn), *scaled]


def with_depth(scene: BlockScene, mask: RenderedArmMask, known: bool) -> DepthFix:
    """Locate by the picture, from where the arm believes its camera to be, or from where it is."""
    pose, lens = (scene.true, scene.true_lens) if known else (scene.believed, scene.lens)
    depth = scene.pictures[ImageKind.DEPTH][0].astype(np.float32)
    return locate_in_depth(depth, lens, pose, mask(depth, lens, pose, scene.joints_rad))


def shown_scenes(scenes: BlockScenes, count: int, on_progress: Callable[[float], None]) -> list[BlockScene]:
    """Return so many scenes that show the block."""
    found: list[BlockScene] = []
    number = 0
    while len(found) < count:
        scene = scenes.scene(number)
        number += 1
        if scene.shown:
            found.append(scene)
            on_progress(len(found) / count)
    return found


def measure(on_progress: Callable[[str, float], None], only: str = "", count: int = SCENES) -> list[Row]:
    """Return the rows of the depth locator; `on_progress` hears what is done."""
    worlds = BlockScenes("dofbot", randomization="mild", seed=20)
    mask = RenderedArmMask(worlds.description, worlds.rig)
    scenes = shown_scenes(worlds, count, lambda share: on_progress(FIGURE, 0.3 * share))
    blind = errors_of(lambda scene: with_depth(scene, mask, False), scenes)
    on_progress(FIGURE, 0.65)
    known = errors_of(lambda scene: with_depth(scene, mask, True), scenes)
    on_progress(FIGURE, 1.0)
    mask.close()
    worlds.close()
    told = f"{count} scenes at home, the block anywhere in its area and in view"
    return [
        at_most(f"{FIGURE}: median", 1000 * float(np.median(blind.along_m)), "mm", 2.0, f"{told}; {_ALL}"),
        at_most(f"{FIGURE}: 95th percentile", 1000 * _p95(blind.along_m), "mm", 6.0, _ALL),
        at_most(f"{FIGURE}: not found", blind.missed_share, "", 0.02, told),
        at_most(f"{FIGURE}: yaw, median", _median_deg(blind.yaw_rad), "deg", 2.0, _ALL),
        at_most(f"{FIGURE}, camera known: median", 1000 * float(np.median(known.along_m)), "mm", 0.5, _KNOWN),
        at_most(f"{FIGURE}, camera known: 95th percentile", 1000 * _p95(known.along_m), "mm", 1.5, _KNOWN),
        at_most(
            f"{FIGURE}, camera known: errors within 2 standard deviations, missing share",
            float((np.abs(known.scaled[:, :2]) > 2.0).mean()), "", 0.10, "5 % of normal errors are not",
        ),
        at_most(f"{FIGURE}: processor time", 1000 * blind.scene_s, "ms", 60.0, "one core, the arm's mask included"),
    ]  # fmt: skip


def _p95(values: NDArray[np.float64]) -> float:
    return float(np.percentile(values, 95))


def _median_deg(values: NDArray[np.float64]) -> float:
    return math.degrees(float(np.median(values)))


def main() -> None:
    """Print the rows."""
    for row in measure(lambda what, share: None):
        print(f"{row.figure}: {row.value:.3g} {row.unit} ({row.direction} {row.bar:g}, {row.holds}; {row.baseline})")


if __name__ == "__main__":
    main()
