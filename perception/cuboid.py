"""A cube of known size, fitted to the pixels that show it and to those beside it that do not.

Two things tell where it is: points on its faces, which lie on its surface, and its outline, inside which every pixel
shows it and outside which none does. An outline takes what is cut off by the picture's edge, hidden or a hole as it
comes: pixels that tell nothing are left out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import cv2
import numpy as np
from numpy.typing import NDArray

from urdf.pose import Array, Pose

#: A pixel nearer to the outline than this may show either side: half a pixel, and a third for what the noise does.
_EDGE_PX = 0.35
_STEPS = 12
_NUDGES = np.array([1e-5, 1e-5, 1e-5, 1e-4, 1e-4, 1e-4])
#: Beyond so many standard deviations a point of the surface is an outlier (Huber).
_HUBER = 2.0
#: The outline cannot be pulled harder by one pixel than by one that is so many pixels on the wrong side.
_FAR_PX = 3.0
#: A pixel that is farther on the wrong side is not there by noise.
_CLEARLY_PX = 1.5
_CORNERS = np.array(list(product((-1.0, 1.0), repeat=3)))
_NEAREST_M = 0.01
#: How far a block leans that an arm holds: the Dofbot's tool turns by 10 to 18 degrees on its way from desk to hover.
LEAN_RAD = math.radians(12.0)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a part of a picture says about one block. Everything in the desk frame, the desk at z = 0.

    rays (n, 2): x/z and y/z of the pixels; shows (n,): whether each shows something higher than `threshold_m`.
    surface_m (k, 3): points of what shows, sigma_m (k,) how far off they may be.
    """

    desk_from_camera: Pose
    focal_px: float
    rays: Array
    shows: NDArray[np.bool_]
    surface_m: Array
    sigma_m: Array
    threshold_m: float


@dataclass(frozen=True, slots=True)
class CuboidFit:
    """Centre x y z [m] and yaw [rad], and how far it leans about x and y [rad] where it may; the cost per pixel left.

    values (4,) or (6,), covariance (4, 4) or (6, 6).
    """

    values: Array
    covariance: Array
    cost: float


def fit_cuboid(evidence: Evidence, size_m: float, start: Array, standing: bool) -> CuboidFit:
    """Fit from `start`: x y z yaw (4,), or (6,) for a block that may lean; a standing one keeps its height.

    Damped Gauss-Newton; the covariance is the inverse of the Fisher information at the end.
    """
    free = np.array([0, 1, 3]) if standing else np.arange(len(start))
    values, damping = start.copy(), 1e-3
    terms = _terms(evidence, size_m, values)
    for _ in range(_STEPS):
        information, gradient = _normal(evidence, size_m, values, terms, free)
        step = np.linalg.solve(information + damping * np.diag(np.diag(information) + 1e-9), -gradient)
        trial = values.copy()
        trial[free] += np.clip(step, -_LONGEST[free], _LONGEST[free])
        tried = _terms(evidence, size_m, trial)
        if tried.cost < terms.cost:
            values, terms, damping = trial, tried, damping / 5
            if np.all(np.abs(step) < _DONE[free]):
                break
        else:
            damping = damping * 8
            if damping > 1e6:
                break
    information, _ = _normal(evidence, size_m, values, terms, free)
    covariance = np.zeros((len(start),) * 2)
    # A direction that nothing was seen of has the variance of the prior: a block somewhere in a 0.1 m area.
    covariance[np.ix_(free, free)] = np.linalg.inv(information + np.diag(_PRIOR[free]))
    return CuboidFit(values, covariance, terms.cost / len(evidence.shows))


_LONGEST = np.array([0.01, 0.01, 0.01, 0.3, 0.1, 0.1])
_DONE = np.array([1e-5, 1e-5, 1e-5, 1e-4, 1e-4, 1e-4])
#: The lean's is in the cost already.
_PRIOR = np.append(1.0 / np.array([0.05, 0.05, 0.05, 0.5]) ** 2, [0.0, 0.0])


@dataclass(frozen=True, slots=True)
class _Terms:
    """Distances to the outline (n,) [px, outside positive], to the surface (k,) [sigmas], and the cost of both."""

    outline_px: Array
    surface: Array
    cost: float


def pose_of(values: Array) -> Pose:
    """Return `desk_from_block` of the values of a fit."""
    upright = Pose.from_rpy([0.0, 0.0, 0.0], [0.0, 0.0, float(values[3])])
    lean = values[4:] if len(values) > 4 else np.zeros(2)
    return Pose.from_rotvec(values[:3], [*lean, 0.0]) @ upright


def _terms(evidence: Evidence, size_m: float, values: Array) -> _Terms:
    outline = _outline_px(evidence, size_m, values)
    sign = np.where(evidence.shows, 1.0, -1.0)
    wrong = np.clip(sign * outline, -_FAR_PX * 4, _FAR_PX) / _EDGE_PX
    surface = _surface(evidence, size_m, values)
    magnitude = np.abs(surface)
    huber = np.where(magnitude < _HUBER, 0.5 * surface**2, _HUBER * magnitude - 0.5 * _HUBER**2)
    leaning = 0.5 * float(np.square(values[4:] / LEAN_RAD).sum())
    cost = float(np.logaddexp(0.0, wrong).sum() + np.minimum(huber, 8.0).sum()) + leaning
    return _Terms(outline, surface, cost)


def misfit(evidence: Evidence, size_m: float, values: Array) -> float:
    """Return the mean cost per pixel of a block at these values, as of a fit."""
    return _terms(evidence, size_m, values).cost / len(evidence.shows)


def misplaced(evidence: Evidence, size_m: float, values: Array) -> float:
    """Return how many pixels lie far on the wrong side of the outline at these values, in shares of what shows."""
    outline = _outline_px(evidence, size_m, values)
    wrong = np.where(evidence.shows, outline, -outline) > _CLEARLY_PX
    return float(wrong.sum() / max(1, evidence.shows.sum()))


def _normal(
    evidence: Evidence, size_m: float, values: Array, terms: _Terms, free: NDArray[np.int64]
) -> tuple[Array, Array]:
    """Return Fisher information and gradient of the free parameters."""
    sign = np.where(evidence.shows, 1.0, -1.0)
    along_outline, along_surface = np.empty((len(free), len(sign))), np.empty((len(free), len(terms.surface)))
    for row, index in enumerate(free):
        moved = values.copy()
        moved[index] += _NUDGES[index]
        along_outline[row] = (_outline_px(evidence, size_m, moved) - terms.outline_px) / _NUDGES[index]
        along_surface[row] = (_surface(evidence, size_m, moved) - terms.surface) / _NUDGES[index]
    wrong = sign * terms.outline_px / _EDGE_PX
    share = 1.0 / (1.0 + np.exp(-np.clip(wrong, -40.0, 40.0)))
    pulled = np.where(wrong > _FAR_PX / _EDGE_PX, 0.0, share)
    gradient = along_outline @ (sign * pulled / _EDGE_PX)
    curvature = share * (1.0 - share) / _EDGE_PX**2
    information = (along_outline * curvature) @ along_outline.T
    weight = np.where(np.abs(terms.surface) < _HUBER, 1.0, _HUBER / np.maximum(np.abs(terms.surface), 1e-9))
    weight[np.abs(terms.surface) > 5.0] = 0.0
    gradient += along_surface @ (weight * terms.surface)
    information += (along_surface * weight) @ along_surface.T
    gradient[4:] += values[4:] / LEAN_RAD**2
    information[4:, 4:] += np.eye(len(values[4:])) / LEAN_RAD**2
    return information, gradient


def _outline_px(evidence: Evidence, size_m: float, values: Array) -> Array:
    """Return how far outside the block's outline each pixel lies [px], negative inside.

    Of the block only what is higher than the threshold counts: lower down it is taken for the desk.
    """
    corners = pose_of(values).apply(size_m / 2 * _CORNERS)
    corners[:, 2] = np.maximum(corners[:, 2], evidence.threshold_m + np.where(_CORNERS[:, 2] > 0, 1e-4, 0.0))
    seen = evidence.desk_from_camera.inverse().apply(corners)
    image = seen[:, :2] / np.maximum(seen[:, 2:], _NEAREST_M)
    hull = image[np.asarray(cv2.convexHull(image.astype(np.float32), returnPoints=False), dtype=np.int64).ravel()]
    ahead = np.roll(hull, -1, axis=0) - hull
    # OpenCV's hull may turn either way: what is outside is the side that the centre is not on.
    normals = np.column_stack([ahead[:, 1], -ahead[:, 0]]) / np.maximum(np.linalg.norm(ahead, axis=1), 1e-9)[:, None]
    inward = np.einsum("ij,ij->i", normals, hull.mean(axis=0) - hull)
    normals *= -np.sign(inward)[:, None]
    offsets = np.einsum("ij,ij->i", normals, hull)
    return evidence.focal_px * (evidence.rays @ normals.T - offsets).max(axis=1)


def _surface(evidence: Evidence, size_m: float, values: Array) -> Array:
    """Return the signed distance of each point of the surface from the block's, in standard deviations."""
    beyond = np.abs(pose_of(values).inverse().apply(evidence.surface_m)) - size_m / 2
    outside = np.linalg.norm(np.maximum(beyond, 0.0), axis=1)
    return (outside + np.minimum(beyond.max(axis=1), 0.0)) / evidence.sigma_m
