"""A flat board seen by a camera: its homography, and the pose that a homography gives away."""

from __future__ import annotations

import math

import numpy as np

from urdf.pose import Array, Pose


def homography(flat: Array, seen: Array) -> Array:
    """Return the (3, 3) matrix that takes points (n, 2) of a plane to points (n, 2) of a picture; needs four or more.

    Least squares on the algebraic error of normalised points. Ref: Hartley and Zisserman, Multiple View Geometry, 4.4.
    """
    near, far = _normaliser(flat), _normaliser(seen)
    a, b = through(near, flat), through(far, seen)
    ones, zeros = np.ones((len(a), 1)), np.zeros((len(a), 3))
    points = np.hstack([a, ones])
    upper = np.hstack([points, zeros, -b[:, :1] * points])
    lower = np.hstack([zeros, points, -b[:, 1:] * points])
    rows = np.concatenate([upper, lower])
    matrix = np.linalg.eigh(rows.T @ rows)[1][:, 0].reshape(3, 3)
    found = np.linalg.inv(far) @ matrix @ near
    return found / found[2, 2]


def through(matrix: Array, points: Array) -> Array:
    """Return points (n, 2) mapped by a homography."""
    mapped = points @ matrix[:, :2].T + matrix[:, 2]
    return mapped[:, :2] / mapped[:, 2:]


def pose_of(matrix: Array) -> Pose:
    """Return `camera_from_board` from a homography to undistorted coordinates x/z, y/z, the board in front."""
    first, second, third = matrix.T
    size = (np.linalg.norm(first) + np.linalg.norm(second)) / 2
    sign = 1.0 if third[2] > 0 else -1.0
    x, y, place = sign * first / size, sign * second / size, sign * third / size
    left, _, right = np.linalg.svd(np.stack([x, y, np.cross(x, y)], axis=1))
    rotation = left @ np.diag([1.0, 1.0, float(np.linalg.det(left @ right))]) @ right
    whole = np.eye(4)
    whole[:3, :3], whole[:3, 3] = rotation, place
    return Pose.from_matrix(whole)


def facing_pose(flat: Array, rays: Array) -> Pose:
    """Return the pose of a board that faces the camera, by size and turn alone: points (n, 2) and their x/z, y/z."""
    a, b = flat - flat.mean(axis=0), rays - rays.mean(axis=0)
    a = a * (1, -1)  # y is up on the board and down in the camera
    left, stretch, right = np.linalg.svd(b.T @ a)
    turn = left @ np.diag([1.0, float(np.linalg.det(left @ right))]) @ right
    depth_m = float(np.sum(a * a) / np.sum(stretch))
    matrix = np.eye(4)
    matrix[:2, :2], matrix[2, 2] = turn @ np.diag([1.0, -1.0]), -1.0
    matrix[:2, 3] = depth_m * rays.mean(axis=0) - matrix[:2, :2] @ flat.mean(axis=0)
    matrix[2, 3] = depth_m
    return Pose.from_matrix(matrix)


def _normaliser(points: Array) -> Array:
    middle = points.mean(axis=0)
    spread = float(np.linalg.norm(points - middle)) / math.sqrt(len(points)) or 1.0
    scale = np.sqrt(2.0) / spread
    return np.array([[scale, 0.0, -scale * middle[0]], [0.0, scale, -scale * middle[1]], [0.0, 0.0, 1.0]])
