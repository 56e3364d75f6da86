"""Depth pictures to points: every pixel along its own ray, through any of the lens models."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from bridge.ports import Frame, Intrinsics
from calibration.lens import undistort
from perception.errors import NoDepth
from urdf.pose import Array, Pose


@dataclass(frozen=True, slots=True)
class Cloud:
    """Points (n, 3) [m] in the frame that was asked for, the pixels (n, 2) (column, row) that showed them, colours.

    `rgb` (n, 3) uint8 is None where the picture had none.
    """

    points_m: Array
    pixels: NDArray[np.int64]
    rgb: NDArray[np.uint8] | None = None

    def __len__(self) -> int:
        return len(self.points_m)


@lru_cache(maxsize=8)
def rays(intrinsics: Intrinsics) -> Array:
    """Return where the ray of every pixel meets the plane z = 1 of the camera (H, W, 3), read-only.

    NaN where no ray reaches the pixel through this lens.
    """
    rows, columns = np.indices((intrinsics.height_px, intrinsics.width_px))
    pixels = np.stack([columns.ravel(), rows.ravel()], axis=1).astype(np.float64)
    straight = undistort(pixels, intrinsics).reshape(intrinsics.height_px, intrinsics.width_px, 2)
    result = np.concatenate([straight, np.ones((*straight.shape[:2], 1))], axis=2)
    result.setflags(write=False)
    return result


def depth_of(frame: Frame) -> NDArray[np.float32]:
    """Return a frame's depth (H, W) [m], 0 where there is none; raises NoDepth where the camera gives none."""
    if frame.depth_m is None:
        raise NoDepth(f"the pictures of camera {frame.name!r} have no depth: a depth camera is needed here")
    return check_depth(frame.depth_m, frame.intrinsics)


def check_depth(depth_m: NDArray[np.floating], intrinsics: Intrinsics) -> NDArray[np.float32]:
    """Return depth (H, W) as float32, what is not finite as holes (0); raises NoDepth where its size is another."""
    size = (intrinsics.height_px, intrinsics.width_px)
    if depth_m.shape != size:
        raise NoDepth(f"a depth picture of {size[1]}x{size[0]} px was expected of this lens, got {depth_m.shape}")
    depth = np.asarray(depth_m, dtype=np.float32)
    return np.where(np.isfinite(depth) & (depth > 0), depth, np.float32(0.0))


def point_cloud(frame: Frame, frame_from_camera: Pose | None = None, far_m: float = 3.0) -> Cloud:
    """Return the points of a depth picture nearer than `far_m`, with their colours, in the camera's frame or another.

    Raises NoDepth where the camera gives no depth.
    """
    depth = depth_of(frame)
    lines = rays(frame.intrinsics)
    seen = (depth > 0) & (depth < far_m) & np.isfinite(lines[..., 0])
    rows, columns = np.nonzero(seen)
    points = lines[rows, columns] * depth[rows, columns, None]
    points = points if frame_from_camera is None else frame_from_camera.apply(points)
    rgb = frame.rgb[rows, columns] if frame.rgb.shape[:2] == depth.shape else None
    return Cloud(points, np.stack([columns, rows], axis=1), rgb)
