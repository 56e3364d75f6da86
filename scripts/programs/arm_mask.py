"""Which pixels of a depth picture show the arm: its own model, posed as the real one is, seen by the same camera."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from bridge.ports import Intrinsics
from perception.cloud import rays
from sim.pinhole import PinholeCamera
from sim.raycast import DepthCaster
from sim.world import ArmWorld
from urdf.description import ArmDescription, Rig
from urdf.pose import Array, Pose

#: A link may be seen so far from where kinematics and mounting put it: 2 degrees.
_MARGIN_RAD = math.radians(2.0)
#: What is nearer to the camera than the arm by more is in front of it: a block before the jaws.
_IN_FRONT_M = 0.012
_NEAR_M, _FAR_M = 0.01, 3.0
#: The model is drawn with so many rows, whatever the camera has: a mask needs no more.
_ROWS = 120


class RenderedArmMask:
    """A `perception.rgbd.ArmMask`: draws the arm of `description` with the simulator's depth caster."""

    def __init__(self, description: ArmDescription, rig: Rig) -> None:
        self._description = description
        self._world = ArmWorld(description, rig)
        self._caster = DepthCaster(self._world.client, [self._world.arm])

    def __call__(
        self, depth_m: NDArray[np.float32], intrinsics: Intrinsics, desk_from_camera: Pose, position_rad: Array
    ) -> NDArray[np.bool_]:
        """Return which pixels (H, W) show the arm at joints (n,), holes beside it included."""
        arm_m = self.arm_depth_m(intrinsics, desk_from_camera, position_rad)
        return (arm_m < _FAR_M) & ((depth_m <= 0) | (depth_m > arm_m - _IN_FRONT_M))

    def arm_depth_m(self, intrinsics: Intrinsics, desk_from_camera: Pose, position_rad: Array) -> NDArray[np.float32]:
        """Return how near the arm may be in every pixel (H, W) [m], a margin around it included; else 3 m."""
        world = self._world
        world.pose(self._description.joint_angles(position_rad))
        lines = rays(intrinsics)
        reach = np.nanmax(np.abs(lines[..., :2]), axis=(0, 1)) * 1.05
        columns = round(_ROWS * reach[0] / reach[1])
        fov_y = 2 * math.atan(reach[1])
        camera = PinholeCamera(min(fov_y, math.radians(165.0)), _NEAR_M, _FAR_M, columns, _ROWS)
        drawn = self._caster.cast(desk_from_camera, camera).depth_m
        around = 2 * math.ceil(camera.focal_px * _MARGIN_RAD) + 1
        nearest = cv2.erode(drawn, np.ones((around, around), np.uint8))
        flat = np.nan_to_num(lines[..., :2], nan=1e3)
        column = np.rint(flat[..., 0] * camera.focal_px + camera.lens.column_px).astype(np.int64)
        row = np.rint(flat[..., 1] * camera.focal_px + camera.lens.row_px).astype(np.int64)
        inside = (column >= 0) & (row >= 0) & (column < columns) & (row < _ROWS)
        picked = nearest[np.where(inside, row, 0), np.where(inside, column, 0)]
        return np.where(inside, picked, np.float32(_FAR_M))

    def close(self) -> None:
        """Free the model's world; calling it twice is harmless."""
        self._world.close()
