"""Engines that could have made the depth pictures, to choose by measurement. None of them is used by the simulator."""

from __future__ import annotations

import math

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene
from numba import njit
from numpy.typing import NDArray

from scripts.programs.bench_depth import OURS_PER_PICTURE, DepthScene, Engine
from sim.raycast import DepthCaster
from sim.shapes import BOX, CYLINDER, MESH, Floats, Integers, Shapes, Singles
from urdf.pose import Pose

_SIDES = 48


def _triangles(shapes: Shapes, k: int) -> Singles:
    """Return the triangles (m, 3, 3) of a shape in its own frame; a cylinder becomes a prism of 48 sides."""
    if shapes.kind[k] == MESH:
        v0, v1, t0, t1 = shapes.part[k].tolist()
        return shapes.vertices[v0:v1][shapes.triangles[t0:t1]]
    if shapes.kind[k] == BOX:
        signs = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
        quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
        corners = signs * shapes.size[k]
        return np.array([corners[list(t)] for a, b, c, d in quads for t in ((a, b, c), (a, c, d))], dtype=np.float32)
    if shapes.kind[k] != CYLINDER:
        raise ValueError("these engines know boxes, cylinders and meshes")
    radius, half = shapes.size[k, 0], shapes.size[k, 1]
    angles = np.linspace(0.0, 2 * math.pi, _SIDES + 1)
    rim = np.stack([radius * np.cos(angles), radius * np.sin(angles), np.full_like(angles, half)], axis=1)
    base, top, bottom = rim * [1, 1, -1], np.array([0, 0, half]), np.array([0, 0, -half])
    out: list[NDArray[np.float64]] = []
    for i in range(_SIDES):
        out += [np.stack([base[i], base[i + 1], rim[i + 1]]), np.stack([base[i], rim[i + 1], rim[i]])]
        out += [np.stack([top, rim[i], rim[i + 1]]), np.stack([bottom, base[i + 1], base[i]])]
    return np.array(out, dtype=np.float32)


def _placed(caster: DepthCaster, desk_from_camera: Pose) -> tuple[Floats, Floats]:
    """Return camera_from_shape of every shape: rotations (n, 3, 3), positions (n, 3)."""
    shapes, links = caster.geometry.shapes, caster.poses()[caster.geometry.shapes.slot]
    x, y, z, w = links[:, 3:].T
    turn = np.empty((len(links), 3, 3))
    turn[:, 0] = np.stack([1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)], axis=1)
    turn[:, 1] = np.stack([2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)], axis=1)
    turn[:, 2] = np.stack([2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)], axis=1)
    camera_from_desk = desk_from_camera.rotation.T
    in_desk = links[:, :3] + (turn @ shapes.position[:, :, None])[:, :, 0]
    positions = (in_desk - desk_from_camera.position_m) @ camera_from_desk.T
    return camera_from_desk @ turn @ shapes.rotation, positions


def embree_rebuilt(scene: DepthScene) -> Engine:
    """Embree on one scene that is built from all triangles for every picture."""
    caster = DepthCaster(scene.client, scene.bodies, exact=True)
    parts = [_triangles(caster.geometry.shapes, k) for k in range(len(caster.geometry.shapes.kind))]
    rays = scene.camera.rays().reshape(-1, 3)

    def see(desk_from_camera: Pose) -> NDArray[np.floating]:
        everything = EmbreeScene()
        for triangles, r, t in zip(parts, *_placed(caster, desk_from_camera), strict=True):
            TriangleMesh(everything, (triangles @ r.T + t).astype(np.float32))
        return _cast(everything, np.eye(3), np.zeros(3), rays, scene)

    return Engine(see)


def embree_moved(scene: DepthScene) -> Engine:
    """Embree on a scene for each shape that never changes: the rays go into its frame, where it is in view."""
    caster = DepthCaster(scene.client, scene.bodies, exact=True)
    shapes = caster.geometry.shapes
    scenes = [EmbreeScene() for _ in shapes.kind]
    for k, single in enumerate(scenes):
        TriangleMesh(single, _triangles(shapes, k))
    rays = scene.camera.rays().reshape(-1, 3)
    half = math.atan(math.hypot(*rays[0, :2]))  # the corner of the picture is the farthest from its middle

    def see(desk_from_camera: Pose) -> NDArray[np.floating]:
        rotations, positions = _placed(caster, desk_from_camera)
        centers = positions + (rotations @ shapes.center[:, :, None])[:, :, 0]
        distances = np.linalg.norm(centers, axis=1)
        angles = np.arccos(np.clip(centers[:, 2] / distances, -1.0, 1.0))
        in_view = angles <= half + np.arcsin(np.minimum(shapes.radius / distances, 1.0))
        nearest = np.full((scene.camera.height_px, scene.camera.width_px), scene.camera.far_m)
        for k in np.nonzero(in_view | (distances <= shapes.radius))[0]:
            nearest = np.minimum(nearest, _cast(scenes[k], rotations[k], positions[k], rays, scene))
        return nearest

    return Engine(see)


def _cast(single: EmbreeScene, r: Floats, t: Floats, rays: Floats, scene: DepthScene) -> NDArray[np.floating]:
    """Return the depth (H, W) of a scene that sits at (r, t) of the camera's frame."""
    directions = (rays @ r).astype(np.float32)
    start = ((rays * scene.camera.near_m - t) @ r).astype(np.float32)
    reach = single.run(start, directions, query="DISTANCE").reshape(scene.camera.height_px, scene.camera.width_px)
    return np.minimum(reach + scene.camera.near_m, scene.camera.far_m)


def every_ray(scene: DepthScene) -> Engine:
    """A compiled loop of every pixel over every primitive, nothing left out."""
    caster = DepthCaster(scene.client, scene.bodies, exact=True)
    shapes = caster.geometry.shapes
    rays = scene.camera.rays()

    def see(desk_from_camera: Pose) -> NDArray[np.floating]:
        rotations, positions = _placed(caster, desk_from_camera)
        depth = np.full(rays.shape[:2], scene.camera.far_m)
        _every_ray(rays, shapes.kind, shapes.size, rotations, positions, scene.camera.near_m, depth)
        return depth

    return Engine(see, OURS_PER_PICTURE)


@njit(cache=True)
def _every_ray(
    rays: Floats, kind: Integers, size: Floats, rotations: Floats, positions: Floats, near_m: float, depth: Floats
) -> None:
    for k in range(len(kind)):
        r, p = rotations[k], positions[k]
        o = -(r.T @ p)
        flat = 3 if kind[k] == BOX else 1
        half = size[k] if kind[k] == BOX else np.array([size[k, 1], 0.0, 0.0])
        for row in range(rays.shape[0]):
            for column in range(rays.shape[1]):
                x, y = rays[row, column, 0], rays[row, column, 1]
                enter, leave = -1e30, 1e30
                for i in range(flat):
                    axis = i if flat == 3 else 2
                    d = r[0, axis] * x + r[1, axis] * y + r[2, axis] + 1e-30
                    a, b = (-half[i] - o[axis]) / d, (half[i] - o[axis]) / d
                    enter, leave = max(enter, min(a, b)), min(leave, max(a, b))
                if flat == 1:
                    dx, dy = r[0, 0] * x + r[1, 0] * y + r[2, 0], r[0, 1] * x + r[1, 1] * y + r[2, 1]
                    q, s = dx * dx + dy * dy, o[0] * dx + o[1] * dy
                    root = s * s - q * (o[0] * o[0] + o[1] * o[1] - size[k, 0] * size[k, 0])
                    if root < 0:
                        continue
                    enter, leave = max(enter, (-s - math.sqrt(root)) / q), min(leave, (-s + math.sqrt(root)) / q)
                if near_m <= enter <= leave and enter < depth[row, column]:
                    depth[row, column] = enter
