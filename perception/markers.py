"""Corners to poses: a rigid target seen by a pinhole camera. All poses are `camera_from_target`, in metres.

A single small square has two poses that explain its corners almost equally well (the planar ambiguity). `solve`
returns every candidate, best first; who knows more about the scene chooses, or refines with `refine` under a prior.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from bridge.ports import Intrinsics
from urdf.pose import Array, Pose

#: How far a detected corner lies from the truth, one standard deviation per axis (measured on rendered pictures).
CORNER_SIGMA_PX = 0.3
_STEPS = 15
_NUDGE = 1e-6
_FLAT_M = 1e-6


@dataclass(frozen=True, slots=True)
class Corners:
    """Corners of one target: where they are on it (n, 3) and in the picture (n, 2), four per marker."""

    ids: tuple[int, ...]
    object_m: Array
    image_px: Array


@dataclass(frozen=True, slots=True)
class Fit:
    """A pose and the root mean square distance [px] it leaves between the corners seen and those expected."""

    camera_from_target: Pose
    residual_px: float


def project(points_m: Array, camera_from_target: Pose, intrinsics: Intrinsics) -> Array:
    """Return the pixels (n, 2) of points (n, 3) of the target."""
    pixels, _ = cv2.projectPoints(
        points_m,
        camera_from_target.rotvec_rad(),
        camera_from_target.position_m,
        intrinsics.matrix(),
        np.array(intrinsics.distortion),
    )
    return np.asarray(pixels, dtype=np.float64).reshape(-1, 2)


def residual_px(corners: Corners, camera_from_target: Pose, intrinsics: Intrinsics) -> float:
    """Return the root mean square distance between the corners seen and those that the pose predicts."""
    offset = project(corners.object_m, camera_from_target, intrinsics) - corners.image_px
    return float(np.sqrt(np.mean(np.sum(offset * offset, axis=1))))


def solve(corners: Corners, intrinsics: Intrinsics) -> list[Fit]:
    """Return every pose that explains the corners, best first; both twins where one plane is all there is."""
    centred = corners.object_m - corners.object_m.mean(axis=0)
    if len(corners.ids) == 1:
        points, back = _in_marker_frame(corners)
        method = cv2.SOLVEPNP_IPPE_SQUARE
    else:
        points, back = corners.object_m, Pose.exp(np.zeros(6))
        flat = float(np.linalg.svd(centred, compute_uv=False)[-1]) < _FLAT_M
        method = cv2.SOLVEPNP_IPPE if flat else cv2.SOLVEPNP_SQPNP
    _, rotations, translations, _ = cv2.solvePnPGeneric(
        points, corners.image_px, intrinsics.matrix(), np.array(intrinsics.distortion), flags=method
    )
    fits: list[Fit] = []
    for rotation, translation in zip(rotations, translations, strict=True):
        pose = Pose.from_rotvec(translation.ravel(), rotation.ravel()) @ back
        if np.all(pose.apply(corners.object_m)[:, 2] > 0):
            fits.append(Fit(pose, residual_px(corners, pose, intrinsics)))
    return sorted(fits, key=lambda fit: fit.residual_px)


def _in_marker_frame(corners: Corners) -> tuple[Array, Pose]:
    """Return the corners in their own marker's frame, as IPPE_SQUARE wants them, and `marker_from_target`."""
    top_left, top_right, _, bottom_left = corners.object_m
    size = float(np.linalg.norm(top_right - top_left))
    matrix = np.eye(4)
    matrix[:3, 0], matrix[:3, 1] = (top_right - top_left) / size, (top_left - bottom_left) / size
    matrix[:3, 2] = np.cross(matrix[:3, 0], matrix[:3, 1])
    matrix[:3, 3] = corners.object_m.mean(axis=0)
    h = size / 2
    return np.array([[-h, h, 0.0], [h, h, 0.0], [h, -h, 0.0], [-h, -h, 0.0]]), Pose.from_matrix(matrix).inverse()


@dataclass(frozen=True, slots=True)
class Prior:
    """What is known of the parameters before looking; infinite `sigma` where nothing is."""

    mean: Array
    sigma: Array


def refine(
    corners: Corners,
    intrinsics: Intrinsics,
    pose_of: Callable[[Array], Pose],
    start: Array,
    prior: Prior | None = None,
) -> tuple[Array, float]:
    """Return (parameters, cost) that minimise the reprojection error of `camera_from_target = pose_of(parameters)`.

    `cost` is the sum of squares of the corner errors in units of `CORNER_SIGMA_PX` plus that of the departures from
    the prior in units of its sigma. Levenberg-Marquardt with a numeric Jacobian: at most six parameters, few corners.
    """

    def errors(values: Array) -> Array:
        seen = ((project(corners.object_m, pose_of(values), intrinsics) - corners.image_px) / CORNER_SIGMA_PX).ravel()
        return seen if prior is None else np.concatenate([seen, (values - prior.mean) / prior.sigma])

    parameters, current, damping = start.copy(), errors(start), 1e-6
    nudges = _NUDGE * np.eye(len(start))
    for _ in range(_STEPS):
        jacobian = np.stack([(errors(parameters + n) - current) / _NUDGE for n in nudges], axis=1)
        normal = jacobian.T @ jacobian
        step = np.linalg.solve(normal + damping * np.diag(np.diag(normal)), -jacobian.T @ current)
        trial = errors(parameters + step)
        if trial @ trial < current @ current:
            parameters, current, damping = parameters + step, trial, damping / 10
        else:
            damping = max(100 * damping, 1e-4)
        if float(np.abs(step).max()) < 1e-8:
            break
    return parameters, float(current @ current)
