"""Rigid transforms in three dimensions. One pose type for the whole project.

Names cancel: `base_from_block = base_from_camera @ camera_from_block`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
#: Three rows of three: for a few numbers plain floats are several times faster than array expressions.
Rows = tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]]

#: Below this rotation angle the closed forms lose digits and the series is used.
_SMALL_RAD = 1e-6


def _read_only(values: ArrayLike, shape: tuple[int, ...]) -> Array:
    array = np.array(values, dtype=np.float64)
    if array.shape != shape or not all(map(math.isfinite, array.tolist())):
        raise ValueError(f"expected {shape} finite numbers, got {values!r}")
    array.setflags(write=False)
    return array


def _rotation_rows(x: float, y: float, z: float, w: float) -> Rows:
    return (
        (1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)),
        (2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)),
        (2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)),
    )


def _turned(rows: Rows, x: float, y: float, z: float) -> tuple[float, float, float]:
    (a, b, c), (d, e, f), (g, h, i) = rows
    return a * x + b * y + c * z, d * x + e * y + f * z, g * x + h * y + i * z


def _quat_from_matrix(rotation: Array) -> tuple[float, float, float, float]:
    """Return xyzw of any length, from the largest of the four squared components (always well conditioned)."""
    (a, b, c), (d, e, f), (g, h, i) = rotation.tolist()
    squares = (1 + a - e - i, 1 - a + e - i, 1 - a - e + i, 1 + a + e + i)
    largest = max(squares)
    if largest == squares[3]:
        return h - f, c - g, d - b, largest
    if largest == squares[0]:
        return largest, b + d, c + g, h - f
    if largest == squares[1]:
        return b + d, largest, f + h, c - g
    return c + g, f + h, largest, d - b


def skew(v: ArrayLike) -> Array:
    """Return the (3, 3) matrix whose product with a vector is the cross product."""
    x, y, z = np.asarray(v, dtype=np.float64)
    return np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])


@dataclass(frozen=True, slots=True, eq=False)
class Pose:
    """A rigid transform: `position_m` (3,), `quat_xyzw` (4,) of unit length with w >= 0, both read-only."""

    position_m: Array
    quat_xyzw: Array

    def __post_init__(self) -> None:
        object.__setattr__(self, "position_m", _read_only(self.position_m, (3,)))
        x, y, z, w = quat = _read_only(self.quat_xyzw, (4,)).tolist()
        norm = math.sqrt(x * x + y * y + z * z + w * w)
        if norm < 1e-9:
            raise ValueError("a quaternion of length zero is no rotation")
        scale = 1.0 / norm if w >= 0 else -1.0 / norm
        object.__setattr__(self, "quat_xyzw", _read_only([scale * v for v in quat], (4,)))

    # Factories -----------------------------------------------------------------------------------
    @staticmethod
    def _of(position_m: Sequence[float], quat_xyzw: tuple[float, float, float, float]) -> Pose:
        """Return a pose of numbers that are known to be good: nothing is checked, the quaternion gets its length."""
        x, y, z, w = quat_xyzw
        norm = math.sqrt(x * x + y * y + z * z + w * w)
        scale = 1.0 / norm if w >= 0 else -1.0 / norm
        position, quat = np.array(position_m), np.array((x * scale, y * scale, z * scale, w * scale))
        position.setflags(write=False)
        quat.setflags(write=False)
        pose = object.__new__(Pose)
        object.__setattr__(pose, "position_m", position)
        object.__setattr__(pose, "quat_xyzw", quat)
        return pose

    @staticmethod
    def identity() -> Pose:
        """Return the transform that changes nothing."""
        return Pose(np.zeros(3), np.array([0.0, 0.0, 0.0, 1.0]))

    @staticmethod
    def from_matrix(matrix: ArrayLike) -> Pose:
        """Return the pose of a (4, 4) homogeneous matrix; raises ValueError where its rotation is none."""
        m = np.asarray(matrix, dtype=np.float64)
        if m.shape != (4, 4) or not np.isfinite(m).all():
            raise ValueError(f"expected a finite (4, 4) matrix, got {matrix!r}")
        r = m[:3, :3]
        if abs(r @ r.T - np.eye(3)).max() > 1e-5 or np.linalg.det(r) < 0:
            raise ValueError("expected a (4, 4) matrix with a right-handed rotation")
        return Pose(m[:3, 3], np.array(_quat_from_matrix(r)))

    @staticmethod
    def from_motion(matrix: Array) -> Pose:
        """Return the pose of a (4, 4) matrix that is a product of rigid motions: `from_matrix` without its checks."""
        return Pose._of(matrix[:3, 3].tolist(), _quat_from_matrix(matrix[:3, :3]))

    @staticmethod
    def from_rpy(position_m: ArrayLike, rpy_rad: ArrayLike) -> Pose:
        """Return the pose of a URDF origin: fixed-axis roll, pitch, yaw in radians."""
        (cr, cp, cy), (sr, sp, sy) = np.cos(np.asarray(rpy_rad) / 2), np.sin(np.asarray(rpy_rad) / 2)
        quat = [
            sr * cp * cy - cr * sp * sy,
            cr * sp * cy + sr * cp * sy,
            cr * cp * sy - sr * sp * cy,
            cr * cp * cy + sr * sp * sy,
        ]
        return Pose(np.asarray(position_m, dtype=np.float64), np.array(quat))

    @staticmethod
    def from_rotvec(position_m: ArrayLike, rotvec_rad: ArrayLike) -> Pose:
        """Return the pose with rotation `rotvec_rad` (3,): axis times angle."""
        v = _read_only(rotvec_rad, (3,))
        angle = float(np.linalg.norm(v))
        scale = 0.5 - angle * angle / 48 if angle < _SMALL_RAD else math.sin(angle / 2) / angle
        x, y, z = (scale * v).tolist()
        return Pose._of(_read_only(position_m, (3,)).tolist(), (x, y, z, math.cos(angle / 2)))

    # Accessors -----------------------------------------------------------------------------------
    def as_matrix(self) -> Array:
        """Return the (4, 4) homogeneous matrix."""
        m = np.eye(4)
        m[:3, :3] = self.rotation
        m[:3, 3] = self.position_m
        return m

    @property
    def rotation(self) -> Array:
        """The (3, 3) rotation matrix."""
        return np.array(_rotation_rows(*self.quat_xyzw.tolist()))

    @property
    def yaw_rad(self) -> float:
        """The heading of the pose's x axis, projected on the parent's xy plane."""
        x, y, z, w = self.quat_xyzw.tolist()
        return math.atan2(2 * (x * y + z * w), 1 - 2 * (y * y + z * z))

    def rotvec_rad(self) -> Array:
        """Return the rotation (3,) as axis times angle, angle in [0, pi]."""
        v, w = self.quat_xyzw[:3], float(self.quat_xyzw[3])
        n = float(np.linalg.norm(v))
        return 2 * v / w if n < _SMALL_RAD else v * (2 * math.atan2(n, w) / n)

    def log(self) -> Array:
        """Return the twist (6,), translation then rotation, whose exponential is this pose."""
        w = self.rotvec_rad()
        angle = float(np.linalg.norm(w))
        k = skew(w)
        if angle < 1e-4:  # series: the closed form divides two vanishing numbers
            factor = 1 / 12 + angle * angle / 720
        else:
            half = angle / 2
            factor = (1 - half * math.cos(half) / math.sin(half)) / (angle * angle)
        inverse_v = np.eye(3) - 0.5 * k + factor * (k @ k)
        return np.concatenate([inverse_v @ self.position_m, w])

    @staticmethod
    def exp(twist: ArrayLike) -> Pose:
        """Return the pose of a twist (6,), translation then rotation; the inverse of `log`."""
        t = _read_only(twist, (6,))
        w = t[3:]
        angle = float(np.linalg.norm(w))
        k = skew(w)
        if angle < 1e-4:
            b, c = 0.5 - angle * angle / 24, 1 / 6 - angle * angle / 120
        else:
            b = (1 - math.cos(angle)) / (angle * angle)
            c = (angle - math.sin(angle)) / (angle * angle * angle)
        return Pose.from_rotvec((np.eye(3) + b * k + c * (k @ k)) @ t[:3], w)

    # Algebra -------------------------------------------------------------------------------------
    def __matmul__(self, other: Pose) -> Pose:
        ax, ay, az, aw = self.quat_xyzw.tolist()
        bx, by, bz, bw = other.quat_xyzw.tolist()
        px, py, pz = self.position_m.tolist()
        x, y, z = _turned(_rotation_rows(ax, ay, az, aw), *other.position_m.tolist())
        return Pose._of(
            (px + x, py + y, pz + z),
            (
                aw * bx + ax * bw + ay * bz - az * by,
                aw * by - ax * bz + ay * bw + az * bx,
                aw * bz + ax * by - ay * bx + az * bw,
                aw * bw - ax * bx - ay * by - az * bz,
            ),
        )

    def inverse(self) -> Pose:
        """Return `b_from_a` of an `a_from_b`."""
        x, y, z, w = self.quat_xyzw.tolist()
        px, py, pz = self.position_m.tolist()
        return Pose._of(_turned(_rotation_rows(-x, -y, -z, w), -px, -py, -pz), (-x, -y, -z, w))

    def apply(self, points_m: ArrayLike) -> Array:
        """Return points (..., 3) of the child frame in the parent frame."""
        return np.asarray(points_m, dtype=np.float64) @ self.rotation.T + self.position_m

    def distance_to(self, other: Pose) -> tuple[float, float]:
        """Return (metres, radians) between two poses in the same parent frame."""
        between = self.inverse() @ other
        return float(np.linalg.norm(between.position_m)), float(np.linalg.norm(between.rotvec_rad()))

    def is_close(self, other: Pose, position_m: float = 1e-9, rotation_rad: float = 1e-9) -> bool:
        """Return whether the two poses differ by no more than the given distances."""
        d, a = self.distance_to(other)
        return d <= position_m and a <= rotation_rad
