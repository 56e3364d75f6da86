"""A block that stands on the desk is where its ray meets the height of its centre: how a camera's error moves it."""

from __future__ import annotations

import numpy as np

from urdf.pose import Array, Pose


def on_desk(desk_from_camera: Pose, ray: Array, height_m: float) -> Array | None:
    """Return where a ray (3,) of the camera's frame meets a height above the desk (3,), None where it looks up."""
    direction = desk_from_camera.rotation @ ray
    if direction[2] > -1e-3 * float(np.linalg.norm(direction)):
        return None
    return desk_from_camera.position_m + direction * (height_m - desk_from_camera.position_m[2]) / direction[2]


def by_camera(desk_from_camera: Pose, block_m: Array) -> Array:
    """Return how a standing block at `block_m` (3,) moves (6, 6) with its camera.

    Both are errors x y z [m] of the origin and of a small rotation [rad], along and about the desk's axes.
    """
    ray = block_m - desk_from_camera.position_m
    # The camera turned by w looks along ray + w x ray.
    turned = -np.array([[0.0, -ray[2], ray[1]], [ray[2], 0.0, -ray[0]], [-ray[1], ray[0], 0.0]])
    moved = np.hstack([np.eye(3), turned])
    whole = np.zeros((6, 6))
    whole[:3] = moved - np.outer(ray, moved[2]) / ray[2]
    whole[5, 5] = 1.0
    return whole
