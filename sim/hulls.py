"""Round shapes as PyBullet's renderers draw them: hulls of 42 points, not spheres, cylinders and capsules.

Bullet asks a shape for its farthest points in the 42 directions of an icosahedron's corners and edges, adds its
collision margin of 1 mm (not to spheres), and draws the hull of those points. A capsule's ends are cones. On a third to
a half of a 38 mm cylinder's pixels that is more than 1 mm away from the cylinder. Found by comparing pictures: the
hulls made here are drawn to 0.02 mm where TinyRenderer's are.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from sim.meshes import Mesh
from sim.shapes import CAPSULE, SPHERE
from urdf.pose import Array

_MARGIN_M = 0.001
_RIM = 32


@lru_cache(maxsize=256)
def drawn_hull(kind: int, radius_m: float, half_length_m: float) -> Mesh:
    """Return the hull that is drawn for a sphere, cylinder or capsule along z."""
    from scipy.spatial import ConvexHull  # only where something is round

    directions = _directions()
    if kind == SPHERE:
        points = radius_m * directions
    else:
        angles = 2 * math.pi * np.arange(_RIM) / _RIM
        rim = np.stack([radius_m * np.sin(angles), radius_m * np.cos(angles), np.full(_RIM, half_length_m)], axis=1)
        corners = np.concatenate([rim, rim * [1.0, 1.0, -1.0]])
        if kind == CAPSULE:
            pole = np.array([[0.0, 0.0, half_length_m + radius_m]])
            corners = np.concatenate([corners, pole, -pole])
        points = corners[np.argmax(corners @ directions.T, axis=0)] + _MARGIN_M * directions
    hull = ConvexHull(points)
    triangles = hull.simplices.astype(np.int32)
    a, b, c = (points[triangles[:, i]] for i in range(3))
    inward = np.einsum("ij,ij->i", np.cross(b - a, c - a), hull.equations[:, :3]) < 0
    triangles[inward] = triangles[inward][:, ::-1]
    return Mesh(points.astype(np.float32), np.ascontiguousarray(triangles))


def _directions() -> Array:
    """Return the corners (12) and edges' middles (30) of an icosahedron that stands on a corner, of length 1."""
    height, radius = 1 / math.sqrt(5), 2 / math.sqrt(5)
    around = 2 * math.pi * np.arange(5) / 5
    rings = [
        np.stack([radius * np.cos(angles), radius * np.sin(angles), np.full(5, z)], axis=1)
        for angles, z in ((around - math.pi / 5, -height), (around, height))
    ]
    corners = np.concatenate([[[0.0, 0.0, -1.0], [0.0, 0.0, 1.0]], *rings])
    # Corners that share an edge are the nearest ones: their product is 1 / sqrt(5).
    first, second = np.nonzero(np.triu(np.abs(corners @ corners.T - height) < 1e-9))
    middles = corners[first] + corners[second]
    return np.concatenate([corners, middles / np.linalg.norm(middles, axis=1, keepdims=True)])
