"""Triangles of mesh files: OBJ, STL and Collada, as PyBullet draws them.

Our own few lines, because Assimp's reader inside coal (3.0.3) puts the second part of a file on the first one's
vertices, and PyBullet hands out no triangles.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from sim.errors import SimError
from urdf.pose import Array

Corners = NDArray[np.int32]
_STL_HEADER = 84
_STL_FACET = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])


@dataclass(frozen=True, slots=True)
class Mesh:
    """Triangles (m, 3) of vertices (n, 3) [m], counter-clockwise seen from outside."""

    vertices: NDArray[np.float32]
    triangles: Corners


@lru_cache(maxsize=256)
def load_mesh(path: Path, scale: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> Mesh:
    """Return the mesh in a file, scaled; raises SimError where it cannot be read or holds no triangle."""
    readers: dict[str, Callable[[Path], tuple[Array, Corners]]] = {".obj": _obj, ".stl": _stl, ".dae": _collada}
    if path.suffix.lower() not in readers:
        raise SimError(f"{path}: a mesh must be one of {', '.join(readers)}")
    try:
        vertices, triangles = readers[path.suffix.lower()](path)
    except (OSError, ValueError, IndexError, KeyError, ElementTree.ParseError) as error:
        raise SimError(f"{path} cannot be read as a mesh: {type(error).__name__}: {error}") from error
    if not len(triangles) or triangles.min() < 0 or triangles.max() >= len(vertices):
        raise SimError(f"{path}: {len(triangles)} triangles on {len(vertices)} vertices are no mesh")
    if math.prod(scale) < 0:  # mirrored: what was counter-clockwise no longer is
        triangles = triangles[:, ::-1]
    return Mesh(np.ascontiguousarray(vertices * np.array(scale), np.float32), np.ascontiguousarray(triangles, np.int32))


def _fans(polygons: Iterable[list[int]]) -> Corners:
    """Return the triangles (m, 3) of convex polygons."""
    corners = [(p[0], p[k], p[k + 1]) for p in polygons for k in range(1, len(p) - 1)]
    return np.array(corners, dtype=np.int32).reshape(-1, 3)


def _obj(path: Path) -> tuple[Array, Corners]:
    vertices: list[list[float]] = []
    polygons: list[list[int]] = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith("v "):
            vertices.append([float(v) for v in line.split()[1:4]])
        elif line.startswith("f "):
            # Counted from 1, or backwards from the newest vertex.
            numbers = [int(corner.split("/", 1)[0]) for corner in line.split()[1:]]
            polygons.append([n - 1 if n > 0 else len(vertices) + n for n in numbers])
    return np.array(vertices).reshape(-1, 3), _fans(polygons)


def _stl(path: Path) -> tuple[Array, Corners]:
    data = path.read_bytes()
    count = int.from_bytes(data[80:_STL_HEADER], "little")
    if (
        len(data) == _STL_HEADER + count * _STL_FACET.itemsize
    ):  # an ASCII file may begin like a binary one: sizes decide
        soup = np.frombuffer(data, _STL_FACET, count, _STL_HEADER)["corners"].reshape(-1, 3)
    else:
        lines = (line.split() for line in data.decode("ascii", errors="replace").splitlines())
        soup = np.array([[float(v) for v in words[1:4]] for words in lines if words[:1] == ["vertex"]]).reshape(-1, 3)
    vertices, corner = np.unique(soup, axis=0, return_inverse=True)
    return vertices.astype(np.float64), corner.astype(np.int32).reshape(-1, 3)


def _collada(path: Path) -> tuple[Array, Corners]:
    root = ElementTree.parse(path).getroot()
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]  # without the schema's name
    unit = root.find("asset/unit")
    unit_m = float(unit.get("meter", "1")) if unit is not None else 1.0
    geometries = {g.get("id", ""): g for g in root.iter("geometry")}
    all_vertices: list[Array] = [np.zeros((0, 3))]
    all_triangles: list[Corners] = [np.zeros((0, 3), np.int32)]
    count = 0
    for geometry, matrix in _instances(root.find("library_visual_scenes"), np.eye(4)):
        for vertices, triangles in _collada_parts(geometries[geometry]):
            placed = vertices @ matrix[:3, :3].T + matrix[:3, 3]
            all_vertices.append(placed * unit_m)
            all_triangles.append(triangles + count)
            count += len(placed)
    return np.concatenate(all_vertices), np.concatenate(all_triangles)


def _numbers(element: ElementTree.Element | None) -> Array:
    return np.array((element.text or "").split() if element is not None else [], dtype=np.float64)


def _instances(node: ElementTree.Element | None, parent: Array) -> Iterable[tuple[str, Array]]:
    """Yield the geometries that a scene shows, each with its matrix (4, 4)."""
    matrix = parent
    for child in node if node is not None else ():
        values = _numbers(child) if child.tag in ("matrix", "translate", "rotate", "scale") else np.zeros(0)
        step = np.eye(4)
        if child.tag == "matrix":
            step = values.reshape(4, 4)
        elif child.tag == "translate":
            step[:3, 3] = values
        elif child.tag == "scale":
            step[:3, :3] = np.diag(values)
        elif child.tag == "rotate":
            step[:3, :3] = _turn(values[:3], math.radians(values[3]))
        elif child.tag in ("node", "visual_scene"):
            yield from _instances(child, matrix)
        elif child.tag == "instance_geometry":
            yield child.get("url", "")[1:], matrix
        matrix = matrix @ step


def _turn(axis: Array, angle_rad: float) -> Array:
    x, y, z = axis / np.linalg.norm(axis)
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.eye(3) + math.sin(angle_rad) * cross + (1 - math.cos(angle_rad)) * (cross @ cross)


def _collada_parts(geometry: ElementTree.Element) -> Iterable[tuple[Array, Corners]]:
    """Yield vertices and triangles of every triangle list and polygon list of a geometry."""
    sources = {f"#{s.get('id')}": _numbers(s.find("float_array")) for s in geometry.iter("source")}
    positions = {
        f"#{v.get('id')}": sources[i.get("source", "")].reshape(-1, 3)
        for v in geometry.iter("vertices")
        for i in v.iter("input")
        if i.get("semantic") == "POSITION"
    }
    for part in [*geometry.iter("triangles"), *geometry.iter("polylist")]:
        inputs = list(part.iter("input"))
        stride = 1 + max(int(i.get("offset", "0")) for i in inputs)
        vertex = next(i for i in inputs if i.get("semantic") == "VERTEX")
        corners = _numbers(part.find("p")).astype(np.int32)[int(vertex.get("offset", "0")) :: stride]
        vertices = positions[vertex.get("source", "")]
        if part.tag == "triangles":
            yield vertices, corners.reshape(-1, 3)
        else:
            ends = np.cumsum(_numbers(part.find("vcount")).astype(int))
            yield vertices, _fans(piece.tolist() for piece in np.split(corners, ends[:-1]))
