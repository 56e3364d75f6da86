"""How well the block is found by its colour: rendered pictures of labs with hidden lenses, light and noise."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from bridge.ports import Frame
from calibration.boards import BLOCK_SIZE_M
from perception.colour import ColourLocator
from perception.errors import PerceptionError
from scripts.programs.figures import Row, at_most
from sim.lab_camera import LabRenderer
from sim.lab_scene import LAB_INTRINSICS, nominal_camera
from sim.lab_truth import LabTruth
from urdf.description import load_arm
from urdf.pose import Pose

FIGURE = "colour, block in a lab of level hard"
_LABS, _STANDING, _LIFTED = 5, 40, 12
_TOLD = "5 labs, desk camera at 0.4 m (f = 510 px), each lens as it is, place by the desk board, markers not read"


def measure(on_progress: Callable[[str, float], None], only: str = "") -> list[Row]:
    """Return the rows; `on_progress` hears what is done."""
    standing: list[tuple[float, float]] = []
    lifted: list[tuple[float, float]] = []
    for lab in range(_LABS):
        for is_lifted, error in _errors(lab):
            (lifted if is_lifted else standing).append(error)
        on_progress(FIGURE, (lab + 1) / _LABS)
    along, yaw = np.array(standing).T
    found = np.isfinite(along)
    up = np.array(lifted)[:, 0]
    seen = np.isfinite(up)
    return [
        at_most(f"{FIGURE}: median", 1000 * float(np.median(along[found])), "mm", 0.3, _TOLD),
        at_most(f"{FIGURE}: 95th percentile", 1000 * float(np.percentile(along[found], 95)), "mm", 1.0, _TOLD),
        at_most(f"{FIGURE}: yaw, 95th percentile", float(np.percentile(yaw[found], 95)), "deg", 1.0, _TOLD),
        at_most(f"{FIGURE}: not found", float((~found).mean()), "", 0.01, _TOLD),
        at_most(f"{FIGURE}, held 30 to 90 mm high: 95th percentile in 3-D",
                1000 * float(np.percentile(up[seen], 95)), "mm", 10.0, "its size says how near; no arm before it"),
        at_most(f"{FIGURE}, held 30 to 90 mm high: not found", float((~seen).mean()), "", 0.05, "no arm in the way"),
    ]  # fmt: skip


def _errors(seed: int) -> Iterator[tuple[bool, tuple[float, float]]]:
    """Yield (lifted, (error [m], yaw error [deg])) of every picture of one lab; not-a-number where nothing was found.

    The error is along the desk where the block stands, and in space where it is held.
    """
    arm = load_arm("dofbot")
    rig, truth, rng = arm.rig("table"), LabTruth.draw(seed, len(arm.joint_names), "hard"), np.random.default_rng(seed)
    camera, lens = truth.desk_from_camera(nominal_camera(rig)), truth.camera.intrinsics(LAB_INTRINSICS)
    locator, angles = ColourLocator(rig), arm.joint_angles(rig.home_rad)
    with tempfile.TemporaryDirectory() as cache:
        renderer = LabRenderer(arm, rig, LAB_INTRINSICS, camera, Path(cache), rng, truth.camera)
        for number in range(_STANDING + _LIFTED):
            is_lifted = number >= _STANDING
            height = BLOCK_SIZE_M / 2 + (rng.uniform(0.03, 0.09) if is_lifted else 0.0)
            x, y = rig.area_center_m + rng.uniform(-0.5, 0.5, 2) * rig.area_size_m
            block = Pose.from_rpy([x, y, height], [0.0, 0.0, rng.uniform(-math.pi / 4, math.pi / 4)])
            clean = renderer.draw(angles, block)
            rgb = np.clip(clean + rng.normal(0.0, truth.camera.noise_rgb, clean.shape), 0, 255).astype(np.uint8)
            try:
                seen = locator.locate(Frame("lab", number, number * 100_000_000, rgb, lens))
            except PerceptionError:
                yield is_lifted, (math.nan, math.nan)
                continue
            found = rig.desk_from_base @ seen.base_from_block
            off = found.position_m - block.position_m
            turn = (found.yaw_rad - block.yaw_rad + math.pi / 4) % (math.pi / 2) - math.pi / 4
            yield is_lifted, (float(np.linalg.norm(off if is_lifted else off[:2])), abs(math.degrees(turn)))
        renderer.close()


def main() -> None:
    """Print the rows."""
    for row in measure(lambda what, share: None):
        print(f"{row.figure}: {row.value:.3g} {row.unit} ({row.direction} {row.bar:g}, {row.holds}; {row.baseline})")


if __name__ == "__main__":
    main()
