"""What bodies look like, read once from PyBullet's visual shapes: primitives as such, meshes as triangles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pybullet as bullet

from sim.errors import SimError
from sim.hulls import drawn_hull
from sim.meshes import Mesh, load_mesh
from sim.shapes import BOX, CAPSULE, CYLINDER, MESH, PLANE, SPHERE, Floats, Integers, Shapes, Singles
from urdf.pose import Pose

_BASE = -1
_ROUND = {bullet.GEOM_SPHERE: SPHERE, bullet.GEOM_CYLINDER: CYLINDER, bullet.GEOM_CAPSULE: CAPSULE}


@dataclass(frozen=True, slots=True)
class Geometry:
    """Every visual shape of some bodies, as the kernel takes them, and whose poses it takes for them.

    `slots` are (body, link) pairs: `Shapes.slot` counts in their order. A base's pose is that of its centre of mass, a
    link's that of its URDF frame, as PyBullet reports them.
    """

    slots: tuple[tuple[int, int], ...]
    shapes: Shapes
    most_vertices: int


@dataclass(slots=True)
class _Shape:
    kind: int
    place: tuple[int, int]
    link_from_shape: Pose
    size: tuple[float, float, float]
    mesh: Mesh | None = None

    def bounds(self) -> tuple[Floats, float]:
        """Return centre and radius of a sphere that holds the shape, in its own frame."""
        if self.mesh is not None and len(self.mesh.vertices):
            corners = self.mesh.vertices.astype(np.float64)
            center = (corners.min(axis=0) + corners.max(axis=0)) / 2
            return center, float(np.linalg.norm(corners - center, axis=1).max())
        a, b, c = self.size
        reach = {BOX: np.sqrt(a * a + b * b + c * c), SPHERE: a, CYLINDER: np.hypot(a, b), CAPSULE: a + b}
        return np.zeros(3), float(reach.get(self.kind, 0.0))


def read_geometry(client: int, bodies: Sequence[int], exact: bool = False) -> Geometry:
    """Return the visual shapes of `bodies`: round ones as they are drawn (see `sim/hulls.py`), or `exact`.

    Raises SimError for a body that is not there and for a mesh that is none.
    """
    found: list[_Shape] = []
    for body in bodies:
        try:
            bullet.getBodyInfo(body, physicsClientId=client)
            data = bullet.getVisualShapeData(body, physicsClientId=client)
        except bullet.error as error:
            raise SimError(f"body {body}: no visual shapes: {error}; it must be one of this client's bodies") from error
        found += [_shape(client, entry, exact) for entry in data]
    places = {shape.place for shape in found}
    bases = [(body, _BASE) for body in bodies if (body, _BASE) in places]
    slots = (*bases, *sorted(places - set(bases), key=lambda place: (bodies.index(place[0]), place[1])))
    vertices, triangles, part = _join([shape.mesh for shape in found])
    bounds = [shape.bounds() for shape in found]
    shapes = Shapes(
        kind=np.array([s.kind for s in found], dtype=np.int32),
        slot=np.array([slots.index(s.place) for s in found], dtype=np.int32),
        rotation=np.array([s.link_from_shape.rotation for s in found], dtype=np.float64).reshape(-1, 3, 3),
        position=np.array([s.link_from_shape.position_m for s in found], dtype=np.float64).reshape(-1, 3),
        size=np.array([s.size for s in found], dtype=np.float64).reshape(-1, 3),
        center=np.array([center for center, _ in bounds], dtype=np.float64).reshape(-1, 3),
        radius=np.array([radius for _, radius in bounds], dtype=np.float64),
        part=part,
        label=np.array([s.place for s in found], dtype=np.int32).reshape(-1, 2),
        vertices=vertices,
        triangles=triangles,
    )
    most = max([len(shape.mesh.vertices) for shape in found if shape.mesh is not None], default=0)
    return Geometry(slots, shapes, most)


#: (body, link, geometry, dimensions, file, position, quaternion xyzw, ...): a row of getVisualShapeData.
_Row = tuple[int, int, int, tuple[float, ...], bytes, tuple[float, ...], tuple[float, ...]]


def _shape(client: int, row: _Row, exact: bool) -> _Shape:
    body, link, geometry, size, file, position, quat = row[:7]
    pose = Pose(np.array(position), np.array(quat))
    if link == _BASE:
        # PyBullet reports where a base's centre of mass is; its shapes are given in the frame of the URDF.
        inertial = bullet.getDynamicsInfo(body, _BASE, physicsClientId=client)
        pose = Pose(np.array(inertial[3]), np.array(inertial[4])).inverse() @ pose
    place = (body, link)
    a, b, c = size[0], size[1], size[2]
    if geometry == bullet.GEOM_BOX:
        return _Shape(BOX, place, pose, (a / 2, b / 2, c / 2))
    if geometry in _ROUND:
        kind, radius, half = _ROUND[geometry], a if geometry == bullet.GEOM_SPHERE else b, a / 2
        if not exact:
            return _Shape(MESH, place, pose, (0.0, 0.0, 0.0), drawn_hull(kind, radius, half))
        return _Shape(kind, place, pose, (radius, 0.0 if kind == SPHERE else half, 0.0))
    if geometry == bullet.GEOM_PLANE:
        return _Shape(PLANE, place, pose, (0.0, 0.0, 0.0))
    if geometry == bullet.GEOM_MESH:
        return _Shape(MESH, place, pose, (0.0, 0.0, 0.0), load_mesh(Path(file.decode()), (a, b, c)))
    raise SimError(f"body {body}, link {link}: visual shape of PyBullet's kind {geometry} is unknown here")


def _join(meshes: Sequence[Mesh | None]) -> tuple[Singles, Integers, Integers]:
    """Return all vertices, all triangles, and each mesh's first and last vertex and triangle (k, 4)."""
    vertices: list[Singles] = [np.zeros((0, 3), np.float32)]
    triangles: list[Integers] = [np.zeros((0, 3), np.int32)]
    place: dict[int, tuple[int, int, int, int]] = {}
    vertex_count = triangle_count = 0
    for mesh in meshes:
        if mesh is None or id(mesh) in place:
            continue
        vertices.append(mesh.vertices)
        triangles.append(mesh.triangles)
        place[id(mesh)] = (
            vertex_count,
            vertex_count + len(mesh.vertices),
            triangle_count,
            triangle_count + len(mesh.triangles),
        )
        vertex_count, triangle_count = place[id(mesh)][1], place[id(mesh)][3]
    part = [(0, 0, 0, 0) if mesh is None else place[id(mesh)] for mesh in meshes]
    return np.concatenate(vertices), np.concatenate(triangles), np.array(part, dtype=np.int32).reshape(-1, 4)
