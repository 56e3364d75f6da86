"""LabDepthEye: the lab's depth camera at the wrist: colours, and metres as a stereo camera sees them.

Its colours show the desk with its printed board, which the training world does not have.
"""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
import pybullet as bullet
from numpy.typing import NDArray

from bridge.observation import CameraView, ImageKind
from bridge.ports import Frame, Intrinsics
from sim.lab_camera import zoomed
from sim.lab_levels import gap_level
from sim.lab_scene import DeskTop
from sim.lab_truth import LabTruth
from sim.sensors import DepthNoise, corrupt_depth
from sim.sim_camera import Rgb, SimCamera
from sim.world import ArmWorld
from urdf.description import ArmDescription, Rig
from urdf.pose import Pose

WRIST_CAMERA = "wrist"
WIDTH_PX, HEIGHT_PX = 320, 240
#: The desk is drawn finer and averaged, its board as fine as a pixel at 10 cm.
_FINER, _BOARD_PX_PER_MM = 2, 4
#: What is this near to the desk's plane is its top: shadows of things lie on it, and nothing else does.
_ON_DESK_M = 0.0008


class LabDepthEye:
    """Draws what the wrist camera of this unit sees: put on a little askew, its depths a little off, with noise."""

    def __init__(self, description: ArmDescription, rig: Rig, truth: LabTruth) -> None:
        self._world = ArmWorld(description, rig)
        self._noise, self._scale = DepthNoise(*gap_level(truth.level).depth_noise), truth.depth_scale
        self._camera = SimCamera(self._world, CameraView(WRIST_CAMERA, ImageKind.DEPTH, WIDTH_PX, HEIGHT_PX))
        self._camera.displace(truth.wrist_shift_m, truth.wrist_turn_rad)
        self._rng = np.random.default_rng([truth.seed, 3])
        self._grain, self._grain_rgb = np.random.default_rng([truth.seed, 4]), truth.camera.noise_rgb
        self._desk = DeskTop(rig, np.random.default_rng(truth.seed), _BOARD_PX_PER_MM)
        pinhole = self._camera.camera
        focal_px, middle = pinhole.focal_px, ((WIDTH_PX - 1) / 2, (HEIGHT_PX - 1) / 2)
        self.intrinsics = Intrinsics(WIDTH_PX, HEIGHT_PX, focal_px, focal_px, *middle)
        columns, rows = np.meshgrid(np.arange(WIDTH_PX) - middle[0], np.arange(HEIGHT_PX) - middle[1])
        self._columns, self._rows = columns / focal_px, rows / focal_px

    def draw(self, joint_angles_rad: Mapping[str, float], desk_from_block: Pose, seq: int, stamp_ns: int) -> Frame:
        """Return the frame of a scene: `depth_m` along the optical axis, 0 where the camera does not know."""
        world = self._world
        world.pose(joint_angles_rad)
        bullet.resetBasePositionAndOrientation(
            world.block, desk_from_block.position_m.tolist(), desk_from_block.quat_xyzw.tolist(), world.client
        )
        depth = self._camera.depth_m()
        far = depth >= self._camera.camera.far_m
        seen = corrupt_depth((depth * self._scale).astype(np.float32), self._noise, self._rng)
        return Frame(
            WRIST_CAMERA, seq, stamp_ns, self._colours(depth), self.intrinsics, np.where(far, np.float32(0), seen)
        )

    def _colours(self, depth_m: NDArray[np.float32]) -> Rgb:
        """Return the picture (H, W, 3): the desk and its board, and what the renderer draws before them."""
        pose, rgb = self._camera.pose(), self._camera.rgb()
        rays = np.stack([self._columns, self._rows, np.ones_like(self._rows)], axis=-1)
        height_m = depth_m * (rays @ pose.rotation[2]) + pose.position_m[2]
        finer = self._desk.picture(zoomed(self.intrinsics, _FINER), pose)
        desk = cv2.resize(finer, (WIDTH_PX, HEIGHT_PX), interpolation=cv2.INTER_AREA)
        seen = np.where((height_m < _ON_DESK_M)[:, :, None], desk, rgb)
        grain = self._grain.standard_normal(seen.shape, dtype=np.float32) * self._grain_rgb
        return np.clip(seen + grain, 0, 255).astype(np.uint8)

    def close(self) -> None:
        """Give the PyBullet client back."""
        self._world.close()
