"""Pictures of the lab with a known truth: the camera anywhere that the lab's hidden truth allows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bridge.ports import Frame
from sim.lab_camera import LabRenderer
from sim.lab_scene import LAB_INTRINSICS, nominal_camera
from sim.lab_truth import LabTruth
from urdf.description import load_arm
from urdf.pose import Pose

ARM = load_arm("dofbot")
RIG = ARM.rig("table")
STRAIGHT_UP = np.array([0.0, 0.0, 0.0, 0.0, 0.0, -1.57])


class LabEye:
    """The lab's camera, hung where the truth of `seed` says."""

    def __init__(self, cache: Path, seed: int) -> None:
        self.desk_from_camera = LabTruth.draw(seed, 6).desk_from_camera(nominal_camera(RIG))
        self._rng = np.random.default_rng(seed)
        self._renderer = LabRenderer(ARM, RIG, LAB_INTRINSICS, self.desk_from_camera, cache, self._rng)

    def picture(self, desk_from_block: Pose, position_rad: NDArray[np.float64] = RIG.home_rad) -> NDArray[np.uint8]:
        """Return the picture with a cheap sensor's noise."""
        rgb = self._renderer.draw(ARM.joint_angles(position_rad), desk_from_block)
        return np.clip(rgb + self._rng.normal(0.0, 2.0, rgb.shape), 0, 255).astype(np.uint8)

    def close(self) -> None:
        """Give the renderer back."""
        self._renderer.close()


def frame_of(rgb: NDArray[np.uint8], seq: int, stamp_ns: int) -> Frame:
    """Return a frame of the lab's camera."""
    return Frame("lab", seq, stamp_ns, rgb, LAB_INTRINSICS)


def somewhere(rng: np.random.Generator, height_m: float = 0.015) -> Pose:
    """Return a place of the block in the rig's area, turned by up to 45 degrees."""
    x, y = RIG.area_center_m + rng.uniform(-0.5, 0.5, 2) * RIG.area_size_m
    return Pose.from_rpy([x, y, height_m], [0.0, 0.0, rng.uniform(-np.pi / 4, np.pi / 4)])
