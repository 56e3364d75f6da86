"""Least squares for one camera and many views of a board: parameters, poses, standard deviations.

Gauss-Newton with Levenberg-Marquardt damping over the camera's parameters and a pose per view. A view's pose touches
only its own points, so it is eliminated by its Schur complement: what remains is the camera's own information, whose
inverse is its covariance with every pose left free. Ref: Triggs et al., Bundle Adjustment (2000), section 6.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bridge.ports import Intrinsics
from calibration.lens import bend
from urdf.pose import Array, Pose

_STEPS = 40
_NUDGE = 1e-6
#: How large coefficients may be, one standard deviation: keeps those at rest that the views say nothing about. The
#: eight of the rational lens are found only up to near-degenerate exchanges, which this settles.
PRIOR_SIGMA = {
    "pinhole": (1.0, 1.0, 0.02, 0.02, 1.0),
    "rational": (1.0, 1.0, 0.02, 0.02, 1.0, 1.0, 1.0, 1.0),
    "fisheye": (0.5, 0.5, 0.5, 0.5),
}
#: Noise of a corner [px] against which the prior is weighed.
_NOISE_PX = 0.3
#: Corners count as no better than this: the best fit to 0.02 px, by what is the same in every picture (rendered grids
#: of markers, whose focal lengths then err by twice what 0.02 px would say).
_LEAST_NOISE_PX = 0.05
#: Errors beyond this many robust standard deviations count less than squared. Ref: Huber (1964).
_HUBER = 3.0
_FURTHEST = 1e6
#: A step that mends less than this share of the cost is the last.
_ENOUGH = 1e-8
#: Information below this share of a number's own is none.
_UNKNOWN = 1e-13


@dataclass(frozen=True, slots=True)
class View:
    """One picture of a board: where points lie on it (n, 3) and in the picture (n, 2)."""

    name: str
    object_m: Array
    image_px: Array


@dataclass(frozen=True, slots=True)
class LensFit:
    """A camera and the pose of the board in each view; `error_px` (n, 2) per view, seen minus expected.

    `covariance` is that of fx fy cx cy and the coefficients, in their order.
    """

    intrinsics: Intrinsics
    camera_from_board: tuple[Pose, ...]
    error_px: tuple[Array, ...]
    covariance: Array

    @property
    def rms_px(self) -> float:
        """Root mean square error of a coordinate."""
        return rms(self.error_px)

    def view_rms_px(self) -> Array:
        """Return the same per view (n,)."""
        return np.array([rms([e]) for e in self.error_px])


def rms(errors: Sequence[Array]) -> float:
    """Return the root mean square over all coordinates."""
    return float(np.sqrt(np.mean(np.concatenate([e.ravel() for e in errors]) ** 2)))


@dataclass(slots=True)
class LensPoses:
    """The board in every view: rotations (v, 3, 3) and places (v, 3) in the camera."""

    rotation: Array
    place_m: Array

    @staticmethod
    def of(poses: Sequence[Pose]) -> LensPoses:
        """Return those of some poses."""
        return LensPoses(np.array([p.rotation for p in poses]), np.array([p.position_m for p in poses]))

    def moved(self, steps: Array) -> LensPoses:
        """Return them moved in the camera's frame by (v, 6): a rotation vector, then a translation."""
        turn = _rotations(steps[:, :3])
        return LensPoses(turn @ self.rotation, np.einsum("vij,vj->vi", turn, self.place_m) + steps[:, 3:])

    def poses(self) -> tuple[Pose, ...]:
        """Return them as poses `camera_from_board`."""
        matrices = np.tile(np.eye(4), (len(self.place_m), 1, 1))
        matrices[:, :3, :3], matrices[:, :3, 3] = self.rotation, self.place_m
        return tuple(Pose.from_matrix(m) for m in matrices)


def _inverse(information: Array) -> Array:
    """Return a covariance in which what the views say nothing about is very uncertain, not certain."""
    scale = np.sqrt(np.maximum(np.diag(information), 1e-300))
    values, vectors = np.linalg.eigh(information / np.outer(scale, scale))
    return (vectors / np.maximum(values, _UNKNOWN)) @ vectors.T / np.outer(scale, scale)


def _rotations(vectors: Array) -> Array:
    """Return the rotation matrices (v, 3, 3) of rotation vectors (v, 3). Ref: Rodrigues (1840)."""
    angle = np.linalg.norm(vectors, axis=1)[:, None, None]
    x, y, z = vectors.T
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=1).reshape(-1, 3, 3)
    safe = np.maximum(angle, 1e-9)
    return np.eye(3) + np.sin(safe) / safe * cross + (1 - np.cos(safe)) / safe**2 * (cross @ cross)


@dataclass(frozen=True, slots=True)
class _Reduced:
    """The camera's normal equations with every pose left free, view by view.

    information (v, k, k) and gradient (v, k) of each view; `added` (k, k) is that of prior and damping, `pull` (k,) the
    prior's; the poses' own steps are `alone` (v, 6) minus `tied` (v, 6, k) times the camera's.
    """

    information: Array
    gradient: Array
    added: Array
    pull: Array
    alone: Array
    tied: Array

    @property
    def whole(self) -> Array:
        """The information (k, k) of all views and the prior."""
        return self.information.sum(axis=0) + self.added

    def covariance(self, noise: float, counted: float) -> Array:
        """Return the camera's, errors of variance `noise` counting as `counted`, and as more where a view's agree.

        Corners of one picture err alike (of one marker, under one light), so they say less than as many independent
        ones. How much less: each view's pull on the camera over the one that independent errors would have.
        Ref: Liang and Zeger, Longitudinal data analysis using generalized linear models (1986).
        """
        spread = _inverse(self.whole)
        shares = spread @ self.information
        expected = noise * float(np.trace(shares - shares @ shares, axis1=1, axis2=2).sum())
        pulls = float(np.einsum("vk,kl,vl->", self.gradient, spread, self.gradient))
        return counted * max(1.0, pulls / expected if expected > 0 else 1.0) * spread


class LensSolver:
    """The normal equations of one set of views and one lens model. Views are padded to the same number of points."""

    def __init__(self, views: Sequence[View], size_px: tuple[int, int], model: str) -> None:
        self._size_px, self._model = size_px, model
        counts = [len(v.object_m) for v in views]
        shape = (len(views), max(counts))
        self._object_m, self._seen_px = np.zeros((*shape, 3)), np.zeros((*shape, 2))
        self._there = np.arange(shape[1]) < np.array(counts)[:, None]
        for k, view in enumerate(views):
            # What fills up is a point of the view itself: in front of the camera, and of no weight.
            self._object_m[k], self._seen_px[k] = view.object_m[0], view.image_px[0]
            self._object_m[k, : counts[k]], self._seen_px[k, : counts[k]] = view.object_m, view.image_px
        self._prior = np.concatenate([np.full(4, np.inf), PRIOR_SIGMA[model]]) / _NOISE_PX

    def solve(self, camera: Array, poses: LensPoses, free: NDArray[np.bool_]) -> tuple[Array, LensPoses]:
        """Return camera and poses that minimise the error, `free` (k,) saying which parameters may change."""
        damping = 1e-4
        error = self._error(camera, poses)
        if not np.all(np.isfinite(error)):
            raise ValueError("the start puts a point behind the camera")
        for _ in range(_STEPS):
            weight = self._weights(error)
            cost = self._cost(error, weight, camera)
            step, pose_steps = self._step(camera, poses, error, weight, free, damping)
            tried, moved = camera + step, poses.moved(pose_steps)
            new_error = self._error(tried, moved)
            new_cost = self._cost(new_error, weight, tried)
            if math.isfinite(new_cost) and tried[:2].min() > 0 and new_cost <= cost:
                camera, poses, error = tried, moved, new_error
                damping = max(damping / 10, 1e-12)
                if cost - new_cost < _ENOUGH * cost:
                    break
            else:
                damping = max(damping * 10, 1e-6)
                if damping > _FURTHEST:
                    break
        return camera, poses

    def result(self, camera: Array, poses: LensPoses) -> LensFit:
        """Return the fit with its covariance: the noise is what the errors say it is, and how alike they are."""
        error = self._error(camera, poses)
        weight = self._weights(error)
        reduced = self._reduced(camera, poses, error, weight, np.ones(len(camera), dtype=bool), 0.0)
        spare = max(1, 2 * int(self._there.sum()) - len(camera) - 6 * len(error))
        noise = float(np.sum(weight[..., None] * error**2)) / spare
        return LensFit(
            intrinsics_of(camera, self._size_px, self._model),
            poses.poses(),
            tuple(e[there] for e, there in zip(error, self._there, strict=True)),
            reduced.covariance(noise, max(noise, _LEAST_NOISE_PX**2)),
        )

    def _weights(self, error: Array) -> Array:
        size = np.hypot(error[..., 0], error[..., 1])
        # The median length of errors with standard deviation s in each of two directions is 1.177 s.
        sigma = max(float(np.median(size[self._there])) / 1.177, 1e-6)
        return np.minimum(1.0, _HUBER * sigma / np.maximum(size, 1e-12)) * self._there

    def _cost(self, error: Array, weight: Array, camera: Array) -> float:
        if not np.isfinite(error).all():
            return math.inf
        return float(np.sum(weight[..., None] * error**2) + np.sum((camera / self._prior) ** 2))

    def _in_camera(self, poses: LensPoses) -> Array:
        return self._object_m @ poses.rotation.transpose(0, 2, 1) + poses.place_m[:, None]

    def _error(self, camera: Array, poses: LensPoses) -> Array:
        points = self._in_camera(poses)
        if points[..., 2].min() <= 0:
            return np.full_like(self._seen_px, np.inf)
        bent = bend(points[..., :2] / points[..., 2:], camera[4:], self._model)
        return self._seen_px - (bent * camera[:2] + camera[2:4])

    def _jacobians(self, camera: Array, poses: LensPoses) -> tuple[Array, Array]:
        """Return how pixels change with the camera (v, m, 2, k) and with their pose (v, m, 2, 6), rotation first."""
        points = self._in_camera(poses)
        straight = points[..., :2] / points[..., 2:]
        bent = bend(straight, camera[4:], self._model)
        by_camera = np.zeros((*points.shape[:2], 2, len(camera)))
        by_camera[..., 0, 0], by_camera[..., 1, 1] = bent[..., 0], bent[..., 1]
        by_camera[..., 0, 2] = by_camera[..., 1, 3] = 1.0
        for k, nudge in enumerate(_NUDGE * np.eye(len(camera) - 4)):
            ahead, back = (bend(straight, camera[4:] + s * nudge, self._model) for s in (1, -1))
            by_camera[..., 4 + k] = (ahead - back) / (2 * _NUDGE) * camera[:2]
        by_ray = np.zeros((*points.shape[:2], 2, 2))
        for k, nudge in enumerate(_NUDGE * np.eye(2)):
            ahead, back = (bend(straight + s * nudge, camera[4:], self._model) for s in (1, -1))
            by_ray[..., k] = (ahead - back) / (2 * _NUDGE) * camera[:2]
        ray_by_point = np.zeros((*points.shape[:2], 2, 3))
        ray_by_point[..., 0, 0] = ray_by_point[..., 1, 1] = 1 / points[..., 2]
        ray_by_point[..., 2] = -straight / points[..., 2:]
        by_point = by_ray @ ray_by_point
        # Turning about the camera's origin by a small w moves a point p by w x p.
        turned = np.cross(np.eye(3), points[..., None, :]).swapaxes(-1, -2)
        return by_camera, np.concatenate([by_point @ turned, by_point], axis=-1)

    def _reduced(
        self, camera: Array, poses: LensPoses, error: Array, weight: Array, free: NDArray[np.bool_], damping: float
    ) -> _Reduced:
        """Return the camera's normal equations without the poses."""
        by_camera, by_pose = self._jacobians(camera, poses)
        views, rows, root = len(error), 2 * error.shape[1], np.sqrt(weight)[..., None]
        a = (by_camera[..., free] * root[..., None]).reshape(views, rows, int(free.sum()))
        b = (by_pose * root[..., None]).reshape(views, rows, 6)
        e = (error * root).reshape(views, rows, 1)
        b_t, a_t = b.swapaxes(1, 2), a.swapaxes(1, 2)
        own = b_t @ b
        own += damping * own * np.eye(6) + 1e-12 * np.eye(6)
        cross, prior = b_t @ a, self._prior[free]
        solved = np.linalg.solve(own, np.concatenate([cross, b_t @ e], axis=2))
        tied, alone = solved[..., :-1], solved[..., -1]
        whole, cross_t = a_t @ a, cross.swapaxes(1, 2)
        added = np.diag(1 / prior**2) * (1 + damping) + damping * np.diag(np.diag(whole.sum(axis=0)))
        by_view = (a_t @ e)[..., 0] - np.einsum("vpk,vp->vk", cross, alone)
        poses_own = (np.asarray(part, dtype=np.float64) for part in (alone, tied))
        return _Reduced(whole - cross_t @ tied, by_view, added, camera[free] / prior**2, *poses_own)

    def _step(
        self, camera: Array, poses: LensPoses, error: Array, weight: Array, free: NDArray[np.bool_], damping: float
    ) -> tuple[Array, Array]:
        reduced = self._reduced(camera, poses, error, weight, free, damping)
        step = np.zeros(len(camera))
        if free.any():
            right = reduced.gradient.sum(axis=0) - reduced.pull
            step[free] = np.linalg.lstsq(reduced.whole, right, rcond=1e-14)[0]
        return step, reduced.alone - reduced.tied @ step[free]


def values_of(intrinsics: Intrinsics) -> Array:
    """Return fx fy cx cy and the coefficients (k,)."""
    i = intrinsics
    return np.array([i.fx_px, i.fy_px, i.cx_px, i.cy_px, *i.distortion])


def intrinsics_of(camera: Array, size_px: tuple[int, int], model: str) -> Intrinsics:
    """Return the camera of such numbers (k,)."""
    fx, fy, cx, cy, *distortion = (float(v) for v in camera)
    return Intrinsics(*size_px, fx, fy, cx, cy, tuple(distortion), model)
