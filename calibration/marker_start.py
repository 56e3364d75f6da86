"""Where a camera stands and a marker sits, to begin with: closed forms on poses, no reference, no OpenCV.

Ref: M. Shah, Solving the Robot-World/Hand-Eye Calibration Problem Using the Kronecker Product, 2013.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from calibration.marker_chain import Placing
from urdf.pose import Array, Pose


def plane_pose(image: Array, corners_m: Array) -> Pose:
    """Return `camera_from_plane` from points (c, 2) in normalised coordinates of flat points (c, 3), z = 0.

    From the homography, so a small marker seen straight on has its tilt badly: good to begin with, no more.
    """
    rows: list[list[float]] = []
    for (u, v), (x, y, _) in zip(image.tolist(), corners_m.tolist(), strict=True):
        rows.append([x, y, 1.0, 0.0, 0.0, 0.0, -u * x, -u * y, -u])
        rows.append([0.0, 0.0, 0.0, x, y, 1.0, -v * x, -v * y, -v])
    homography = np.linalg.svd(np.array(rows))[2][-1].reshape(3, 3)
    homography *= np.sign(homography[2, 2]) / np.linalg.norm(homography[:, :2], axis=0).mean()
    first, second, position = homography.T
    u, _, vt = np.linalg.svd(np.stack([first, second, np.cross(first, second)], axis=1))
    matrix = np.eye(4)
    matrix[:3, :3] = u @ np.diag([1.0, 1.0, np.linalg.det(u @ vt)]) @ vt
    matrix[:3, 3] = position
    return Pose.from_matrix(matrix)


def solve_placing(base_from_tool: Sequence[Pose], camera_from_marker: Sequence[Pose]) -> Placing:
    """Return the camera's and the marker's place that explain pairs of poses best; needs three in different turns."""
    kron = np.zeros((9, 9))
    for tool, marker in zip(base_from_tool, camera_from_marker, strict=True):
        kron += np.kron(marker.rotation, tool.rotation)
    u, _, vt = np.linalg.svd(kron)
    camera, mount = (side.reshape(3, 3).T for side in (u[:, 0], vt[0]))
    sign = np.sign(np.linalg.det(camera))  # a pair of singular vectors has none of its own
    camera, mount = _nearest(sign * camera), _nearest(sign * mount)
    rows, right = list[Array](), list[Array]()
    for tool, marker in zip(base_from_tool, camera_from_marker, strict=True):
        rows.append(np.concatenate([np.eye(3), -tool.rotation], axis=1))
        right.append(tool.position_m - camera @ marker.position_m)
    places: Array = np.asarray(np.linalg.lstsq(np.concatenate(rows), np.concatenate(right))[0], dtype=np.float64)
    return Placing(_pose(camera, places[:3]), _pose(mount, places[3:]))


def mean_pose(poses: Sequence[Pose]) -> Pose:
    """Return the middle of poses: the median place, and the rotation nearest to all."""
    rotation = _nearest(np.sum([pose.rotation for pose in poses], axis=0))
    return _pose(rotation, np.median([pose.position_m for pose in poses], axis=0))


def _nearest(matrix: Array) -> Array:
    """Return the rotation nearest to a (3, 3) matrix."""
    u, _, vt = np.linalg.svd(matrix)
    return np.asarray(u @ np.diag([1.0, 1.0, np.linalg.det(u @ vt)]) @ vt, dtype=np.float64)


def _pose(rotation: Array, position_m: Array) -> Pose:
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation, position_m
    return Pose.from_matrix(matrix)
