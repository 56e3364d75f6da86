"""Corners to poses: a rigid target seen by a camera. All poses are `camera_from_target`, in metres.

A single small square has two poses that explain its corners almost equally well (the planar ambiguity). `solve`
returns every candidate, best first; `estimate` weighs them by how surely each corner was seen, and says what the odds
are. Who knows more about the scene chooses, or refines with `refine` under a prior.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from bridge.ports import Intrinsics
from calibration.lens import project, project_camera, undistort
from urdf.pose import Array, Pose

#: How far a detected corner lies from the truth, one standard deviation per axis (measured on rendered pictures), where
#: nothing better is known.
CORNER_SIGMA_PX = 0.3
#: A target is expected where it was a moment ago, turned by no more than about this.
EXPECTED_SIGMA_RAD = math.radians(15.0)
_STEPS = 15
_NUDGE = 1e-6
_FLAT_M = 1e-6
#: Two poses closer than this, in standard deviations of the better one, are one.
_SAME_SIGMAS = 1.0


@dataclass(frozen=True, slots=True)
class Corners:
    """Corners of one target: where they are on it (n, 3) and in the picture (n, 2), four per marker.

    `covariance_px2` (markers, 8, 8) tells how surely each marker's were seen; None: `CORNER_SIGMA_PX` each.
    """

    ids: tuple[int, ...]
    object_m: Array
    image_px: Array
    covariance_px2: Array | None = None

    def covariances(self) -> Array:
        """Return (markers, 8, 8) in any case."""
        if self.covariance_px2 is not None:
            return self.covariance_px2
        return np.tile(CORNER_SIGMA_PX**2 * np.eye(8), (len(self.ids), 1, 1))

    def whole_covariance(self) -> Array:
        """Return that of all corners together (2 n, 2 n)."""
        whole = np.zeros((2 * len(self.image_px),) * 2)
        for k, block in enumerate(self.covariances()):
            whole[8 * k : 8 * k + 8, 8 * k : 8 * k + 8] = block
        return whole


@dataclass(frozen=True, slots=True)
class Fit:
    """A pose and the root mean square distance [px] it leaves between the corners seen and those expected."""

    camera_from_target: Pose
    residual_px: float


@dataclass(frozen=True, slots=True)
class PoseEstimate:
    """The likeliest pose, how sure it is, and what else it could be.

    `covariance` (6, 6) is of the errors x y z [m] of the target's origin and of a small rotation about the camera's
    x y z [rad].

    `twin` is the other pose that explains the corners, None where there is none apart from the first; `twin_chance`
    the probability that it is the true one. The covariance spans both by their chances.
    """

    camera_from_target: Pose
    covariance: Array
    residual_px: float
    twin: Pose | None
    twin_chance: float


def residual_px(corners: Corners, camera_from_target: Pose, intrinsics: Intrinsics) -> float:
    """Return the root mean square distance between the corners seen and those that the pose predicts."""
    offset = project(corners.object_m, camera_from_target, intrinsics) - corners.image_px
    return float(np.sqrt(np.mean(np.sum(offset * offset, axis=1))))


def solve(corners: Corners, intrinsics: Intrinsics) -> list[Fit]:
    """Return every pose that explains the corners, best first; both twins where one plane is all there is."""
    poses = _candidates(corners, undistort(corners.image_px, intrinsics))
    fits = [Fit(pose, residual_px(corners, pose, intrinsics)) for pose in poses]
    return sorted(fits, key=lambda fit: fit.residual_px)


def _candidates(corners: Corners, straight: Array) -> list[Pose]:
    """Return the poses in front of the camera that OpenCV finds for straight corners (n, 2), unrefined."""
    if not np.isfinite(straight).all():
        return []
    if len(corners.ids) == 1:
        points, back = _in_marker_frame(corners)
        method = cv2.SOLVEPNP_IPPE_SQUARE
    else:
        points, back = corners.object_m, Pose.identity()
        centred = corners.object_m - corners.object_m.mean(axis=0)
        flat = float(np.linalg.svd(centred, compute_uv=False)[-1]) < _FLAT_M
        method = cv2.SOLVEPNP_IPPE if flat else cv2.SOLVEPNP_SQPNP
    _, rotations, translations, _ = cv2.solvePnPGeneric(
        points, np.ascontiguousarray(straight), np.eye(3), np.zeros(5), flags=method
    )
    poses = [
        Pose.from_rotvec(translation.ravel(), rotation.ravel()) @ back
        for rotation, translation in zip(rotations, translations, strict=True)
    ]
    return [pose for pose in poses if np.all(pose.apply(corners.object_m)[:, 2] > 0)]


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


def estimate(corners: Corners, intrinsics: Intrinsics, expected: Pose | None = None) -> PoseEstimate | None:
    """Return the likeliest pose with its covariance and the odds of its twin; None where none is before the camera.

    Each corner counts as much as it is sure. `expected`, where the target was a moment ago, weighs in on which twin it
    is (`EXPECTED_SIGMA_RAD`), and on nothing else.
    """
    straight, information = _straightened(corners, intrinsics)
    refined = [_descend(corners, straight, information, pose) for pose in _candidates(corners, straight)]
    if not refined:
        return None
    costs: list[float] = []
    for pose, cost, _ in refined:
        turned = 0.0 if expected is None else expected.distance_to(pose)[1]
        costs.append(cost + (turned / EXPECTED_SIGMA_RAD) ** 2)
    order = sorted(range(len(costs)), key=costs.__getitem__)
    pose, cost, covariance = refined[order[0]]
    # What the corners' covariance does not explain makes everything less sure, the odds too.
    surplus = max(1.0, cost / (len(corners.image_px) * 2 - 6))
    covariance = covariance * surplus
    residual = residual_px(corners, pose, intrinsics)
    if len(refined) == 1:
        return PoseEstimate(pose, covariance, residual, None, 0.0)
    twin = refined[order[1]][0]
    apart = np.concatenate([twin.position_m - pose.position_m, turn_between(pose, twin)])
    if apart @ np.linalg.solve(covariance, apart) < _SAME_SIGMAS**2:
        return PoseEstimate(pose, covariance, residual, None, 0.0)
    chance = 1 / (1 + math.exp(min((costs[order[1]] - costs[order[0]]) / (2 * surplus), 700.0)))
    covariance = covariance + chance * (1 - chance) * np.outer(apart, apart)
    return PoseEstimate(pose, covariance, residual, twin, chance)


def polish(corners: Corners, intrinsics: Intrinsics, start: Pose) -> Pose:
    """Return the pose near `start` that explains the corners best, each counting as much as it is sure."""
    return _descend(corners, *_straightened(corners, intrinsics), start)[0]


def turn_between(pose: Pose, other: Pose) -> Array:
    """Return the rotation vector about the parent's axes that turns `pose` into `other`."""
    return pose.rotation @ (pose.inverse() @ other).rotvec_rad()


def _straightened(corners: Corners, intrinsics: Intrinsics) -> tuple[Array, Array]:
    """Return the corners through a straight lens of focal length one (n, 2), and their information (markers, 8, 8)."""
    nudges = np.array([[0.0, 0.0], [0.5, 0.0], [-0.5, 0.0], [0.0, 0.5], [0.0, -0.5]])
    tried = (corners.image_px + nudges[:, None]).reshape(-1, 2)
    here, right, left, down, up = undistort(tried, intrinsics).reshape(5, -1, 2)
    slopes = np.stack([right - left, down - up], axis=2)  # (n, xy, per px)
    spread = np.zeros((len(corners.ids), 4, 2, 4, 2))
    for k in range(4):
        spread[:, k, :, k, :] = slopes.reshape(-1, 4, 2, 2)[:, k]
    spread = spread.reshape(-1, 8, 8)
    if not np.isfinite(spread).all():
        return here, np.tile(np.eye(8), (len(corners.ids), 1, 1))
    covariance: Array = spread @ corners.covariances() @ spread.transpose(0, 2, 1)
    return here, np.linalg.inv(covariance).astype(np.float64)


def _descend(corners: Corners, straight: Array, information: Array, start: Pose) -> tuple[Pose, float, Array]:
    """Return (pose, chi squared, covariance (6, 6)) by Gauss-Newton from `start`."""
    rotation, position = start.rotation, start.position_m.copy()
    normal, cost = np.eye(6), math.inf
    for _ in range(_STEPS):
        arms = corners.object_m @ rotation.T
        x, y, z = (arms + position).T
        left = (straight - np.stack([x / z, y / z], axis=1)).reshape(-1, 8, 1)
        cost = float((left.transpose(0, 2, 1) @ information @ left).sum())
        a, b, c = arms.T
        u, v, one, nought = -x / z, -y / z, np.ones_like(x), np.zeros_like(x)
        # By the position, then by a turn about the camera's axes: each corner moves by turn x arm.
        jacobian = np.stack([one, nought, u, u * b, c - u * a, -b, nought, one, v, v * b - c, -v * a, a], axis=1)
        jacobian = (jacobian / z[:, None]).reshape(-1, 8, 6)
        weighted = jacobian.transpose(0, 2, 1) @ information
        normal = (weighted @ jacobian).sum(axis=0)
        damped = normal + 1e-9 * np.diag(np.diag(normal))
        step = np.linalg.solve(damped, (weighted @ left).sum(axis=0)[:, 0])
        position = position + step[:3]
        rotation = Pose.from_rotvec(np.zeros(3), step[3:]).rotation @ rotation
        if float(np.abs(step).max()) < 1e-7:
            break
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation, position
    covariance = np.linalg.inv(normal + 1e-9 * np.diag(np.diag(normal))).astype(np.float64)
    return Pose.from_motion(matrix), cost, covariance


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

    def errors(several: Sequence[Array]) -> Array:
        seen = _offsets(corners, intrinsics, [pose_of(values) for values in several]) / CORNER_SIGMA_PX
        if prior is None:
            return seen
        return np.concatenate([seen, [(values - prior.mean) / prior.sigma for values in several]], axis=1)

    parameters, damping = start.copy(), 1e-6
    nudges = _NUDGE * np.eye(len(start))
    current, *nudged = errors([parameters, *(parameters + nudges)])
    for _ in range(_STEPS):
        jacobian = np.stack([(error - current) / _NUDGE for error in nudged], axis=1)
        normal = jacobian.T @ jacobian
        step = np.linalg.solve(normal + damping * np.diag(np.diag(normal)), -jacobian.T @ current)
        trial, *beyond = errors([parameters + step, *(parameters + step + nudges)])
        if trial @ trial < current @ current:
            parameters, current, nudged, damping = parameters + step, trial, beyond, damping / 10
        else:
            damping = max(100 * damping, 1e-4)
        if float(np.abs(step).max()) < 1e-8:
            break
    return parameters, float(current @ current)


def _offsets(corners: Corners, intrinsics: Intrinsics, poses: Sequence[Pose]) -> Array:
    """Return by how much each pose misses the corners (poses, 2 n), in pixels."""
    points = np.stack([pose.apply(corners.object_m) for pose in poses])
    return (project_camera(points, intrinsics) - corners.image_px).reshape(len(poses), -1)


def slopes(corners: Corners, intrinsics: Intrinsics, pose_of: Callable[[Array], Pose], values: Array) -> Array:
    """Return how the corners' pixels (2 n, k) move with the parameters of `camera_from_target = pose_of(values)`."""
    nudges = 100 * _NUDGE * np.eye(len(values))
    there = _offsets(corners, intrinsics, [pose_of(values + n) for n in (*nudges, *-nudges)])
    return (there[: len(values)] - there[len(values) :]).T / (200 * _NUDGE)
