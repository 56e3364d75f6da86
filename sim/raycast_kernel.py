"""The compiled part of the depth caster: shapes into a buffer of inverse depths. Camera: x right, y down, z ahead.

Flat things (faces of boxes, triangles of meshes) are filled row by row between their edges, because along a picture's
row the inverse depth of a plane is a straight line: no division in the innermost loop, and the compiler can vectorise
it. Round things (spheres, cylinders, capsules) are intersected with the ray of every pixel of the rectangle that bounds
them. Everything is one-sided: a face that looks away from the camera is not seen, nor is anything nearer than `near_m`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

BOX, SPHERE, CYLINDER, CAPSULE, PLANE, MESH = range(6)

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Integers = NDArray[np.int32]

_Function = TypeVar("_Function", bound=Callable[..., object])


def _compiled(function: _Function) -> _Function:
    """Compile for one thread and keep the machine code for the next process.

    Numba keeps it beside this file, where that folder is read-only in the user's cache folder; where no folder can be
    written, every process compiles for itself. $NUMBA_CACHE_DIR names another.
    """
    try:
        return njit(cache=True)(function)
    except RuntimeError:  # what Numba raises where it finds no folder to write to
        return njit(function)


#: A near plane adds at most one corner to a quadrilateral.
_MOST_CORNERS = 5


@_compiled
def _fill(
    inverse: Singles, owner: Integers, shape: int, x: Floats, y: Floats, count: int, a: float, b: float, c: float
) -> None:
    """Fill the convex polygon (x, y) [px] with the inverse depth a * column + b * row + c where it is the nearest."""
    height, width = inverse.shape
    top, bottom = y[0], y[0]
    for i in range(1, count):
        top, bottom = min(top, y[i]), max(bottom, y[i])
    for row in range(max(0, math.ceil(top)), min(height - 1, math.floor(bottom)) + 1):
        left, right = 1e30, -1e30
        for i in range(count):
            j = i + 1 if i + 1 < count else 0
            # Upper end first, so that two polygons that share an edge find the same crossing.
            x0, y0, x1, y1 = x[i], y[i], x[j], y[j]
            if y1 < y0:
                x0, y0, x1, y1 = x1, y1, x0, y0
            if row < y0 or row > y1:
                continue
            if y1 == y0:
                left, right = min(left, x0, x1), max(right, x0, x1)
            else:
                crossing = x0 + (row - y0) * (x1 - x0) / (y1 - y0)
                left, right = min(left, crossing), max(right, crossing)
        _span(inverse[row], owner[row], shape, max(left, 0.0), min(right, width - 1.0), a, b * row + c)


@_compiled
def _span(inverse: Singles, owner: Integers, shape: int, left: float, right: float, a: float, start: float) -> None:
    step, first = np.float32(a), np.float32(start)
    for column in range(math.ceil(left), math.floor(right) + 1):
        value = first + step * np.float32(column)
        nearer = value > inverse[column]
        inverse[column] = value if nearer else inverse[column]
        owner[column] = shape if nearer else owner[column]


@_compiled
def _fill_clipped(
    inverse: Singles,
    owner: Integers,
    shape: int,
    points: Floats,
    count: int,
    plane: Floats,
    lens: Floats,
    near_m: float,
) -> None:
    """Fill a convex polygon of points (n, 3) of the camera frame, cut at `near_m`; `plane` is (a, b, c) of `_fill`."""
    focal, x_offset, y_offset = lens[0], lens[1], lens[2]
    x, y = np.empty(_MOST_CORNERS + 1), np.empty(_MOST_CORNERS + 1)
    kept = 0
    for i in range(count):
        j = i + 1 if i + 1 < count else 0
        zi, zj = points[i, 2], points[j, 2]
        if zi >= near_m:
            x[kept] = focal * points[i, 0] / zi + x_offset
            y[kept] = focal * points[i, 1] / zi + y_offset
            kept += 1
        if (zi >= near_m) != (zj >= near_m):
            share = (near_m - zi) / (zj - zi)
            x[kept] = focal * (points[i, 0] + share * (points[j, 0] - points[i, 0])) / near_m + x_offset
            y[kept] = focal * (points[i, 1] + share * (points[j, 1] - points[i, 1])) / near_m + y_offset
            kept += 1
    if kept >= 3:
        _fill(inverse, owner, shape, x, y, kept, plane[0], plane[1], plane[2])


@_compiled
def _plane_of(normal: Floats, distance: float, lens: Floats, plane: Floats) -> None:
    """Write (a, b, c) so that a * column + b * row + c is 1 / depth of the plane `normal . point = distance`."""
    plane[0] = normal[0] / (lens[0] * distance)
    plane[1] = normal[1] / (lens[0] * distance)
    plane[2] = normal[2] / distance - plane[0] * lens[1] - plane[1] * lens[2]


@_compiled
def _box(
    inverse: Singles, owner: Integers, shape: int, r: Floats, t: Floats, half: Floats, lens: Floats, near_m: float
) -> None:
    corners = np.empty((4, 3))
    plane = np.empty(3)
    for axis in range(3):
        # Of two opposite faces one at most looks at the camera.
        along = r[0, axis] * t[0] + r[1, axis] * t[1] + r[2, axis] * t[2]
        if abs(along) <= half[axis]:
            continue
        sign = -1.0 if along > 0 else 1.0
        _plane_of(sign * r[:, axis], sign * along + half[axis], lens, plane)
        u, v = (axis + 1) % 3, (axis + 2) % 3
        for corner in range(4):
            du = half[u] if corner == 0 or corner == 3 else -half[u]
            dv = half[v] if corner < 2 else -half[v]
            for i in range(3):
                corners[corner, i] = t[i] + sign * half[axis] * r[i, axis] + du * r[i, u] + dv * r[i, v]
        _fill_clipped(inverse, owner, shape, corners, 4, plane, lens, near_m)


@_compiled
def _ground(inverse: Singles, owner: Integers, shape: int, r: Floats, t: Floats, lens: Floats) -> None:
    """An endless plane, seen from the side that its z axis points to."""
    distance = r[0, 2] * t[0] + r[1, 2] * t[1] + r[2, 2] * t[2]
    if distance >= 0:
        return
    plane = np.empty(3)
    _plane_of(r[:, 2], distance, lens, plane)
    for row in range(inverse.shape[0]):
        _span(inverse[row], owner[row], shape, 0.0, inverse.shape[1] - 1.0, plane[0], plane[1] * row + plane[2])


@_compiled
def _reach(x: float, z: float, radius: float) -> tuple[float, float]:
    """Return the least and greatest x / z of a disc in the xz plane; everything where the disc crosses z = 0."""
    if z <= radius:
        return -1e9, 1e9
    root = radius * math.sqrt(x * x + z * z - radius * radius)
    below = z * z - radius * radius
    return (x * z - root) / below, (x * z + root) / below


@_compiled
def _enter_sphere(b: float, c: float, a: float) -> float:
    """Return where a t^2 + 2 b t + c first becomes 0, or -1."""
    root = b * b - a * c
    return (-b - math.sqrt(root)) / a if root >= 0 else -1.0


@_compiled
def _enter_tube(o: Floats, x: float, y: float, z: float, radius: float, half: float, capped: bool) -> float:
    """Return where the ray o + t (x, y, z) enters a cylinder (`capped`) or a capsule along z, or -1."""
    a = x * x + y * y
    b = o[0] * x + o[1] * y
    c = o[0] * o[0] + o[1] * o[1] - radius * radius
    if c > 0:  # outside the endless tube: through its wall or not at all
        root = b * b - a * c
        if root < 0 or b >= 0:
            return -1.0
        t = (-b - math.sqrt(root)) / a
        if abs(o[2] + t * z) <= half:
            return t
        above = o[2] + t * z > 0
    else:
        above = o[2] > 0
    end = half if above else -half
    if capped:
        if (o[2] - end) * end <= 0 or z * end >= 0:
            return -1.0
        t = (end - o[2]) / z
        px, py = o[0] + t * x, o[1] + t * y
        return t if px * px + py * py <= radius * radius else -1.0
    rise = o[2] - end
    t = _enter_sphere(b + rise * z, c + rise * rise, a + z * z)
    return t if (o[2] + t * z - end) * end >= 0 else -1.0


@_compiled
def _round(
    inverse: Singles,
    owner: Integers,
    shape: int,
    kind: int,
    r: Floats,
    t: Floats,
    size: Floats,
    radius: float,
    lens: Floats,
    near_m: float,
) -> None:
    """A sphere, cylinder or capsule: the ray of every pixel of the rectangle around its bounding sphere."""
    height, width = inverse.shape
    low, high = _reach(t[0], t[2], radius)
    first = max(0, math.ceil(max(lens[0] * low + lens[1], -1.0)))
    last = min(width - 1, math.floor(min(lens[0] * high + lens[1], float(width))))
    low, high = _reach(t[1], t[2], radius)
    top = max(0, math.ceil(max(lens[0] * low + lens[2], -1.0)))
    bottom = min(height - 1, math.floor(min(lens[0] * high + lens[2], float(height))))
    o = np.empty(3)
    for i in range(3):
        o[i] = -(r[0, i] * t[0] + r[1, i] * t[1] + r[2, i] * t[2])
    square = o[0] * o[0] + o[1] * o[1] + o[2] * o[2] - size[0] * size[0]
    for row in range(top, bottom + 1):
        v = (row - lens[2]) / lens[0]
        for column in range(first, last + 1):
            u = (column - lens[1]) / lens[0]
            x = r[0, 0] * u + r[1, 0] * v + r[2, 0]
            y = r[0, 1] * u + r[1, 1] * v + r[2, 1]
            z = r[0, 2] * u + r[1, 2] * v + r[2, 2]
            if kind == SPHERE:
                t_in = _enter_sphere(o[0] * x + o[1] * y + o[2] * z, square, x * x + y * y + z * z)
            else:
                t_in = _enter_tube(o, x, y, z, size[0], size[1], kind == CYLINDER)
            if t_in >= near_m:
                value = np.float32(1.0 / t_in)
                if value > inverse[row, column]:
                    inverse[row, column] = value
                    owner[row, column] = shape


@_compiled
def _mesh(
    inverse: Singles,
    owner: Integers,
    shape: int,
    r: Floats,
    t: Floats,
    vertices: Singles,
    triangles: Integers,
    lens: Floats,
    near_m: float,
    scratch: Floats,
) -> None:
    """The triangles (m, 3) of `vertices` (n, 3); `scratch` (>= n, 6) takes each vertex: column, row, 1 / z, x, y, z."""
    height, width = inverse.shape
    for i in range(len(vertices)):
        px, py, pz = vertices[i, 0], vertices[i, 1], vertices[i, 2]
        x = r[0, 0] * px + r[0, 1] * py + r[0, 2] * pz + t[0]
        y = r[1, 0] * px + r[1, 1] * py + r[1, 2] * pz + t[1]
        z = r[2, 0] * px + r[2, 1] * py + r[2, 2] * pz + t[2]
        w = 1.0 / z if z >= near_m else 0.0
        scratch[i, 0], scratch[i, 1], scratch[i, 2] = lens[0] * x * w + lens[1], lens[0] * y * w + lens[2], w
        scratch[i, 3], scratch[i, 4], scratch[i, 5] = x, y, z
    for k in range(len(triangles)):
        i0, i1, i2 = triangles[k, 0], triangles[k, 1], triangles[k, 2]
        w0, w1, w2 = scratch[i0, 2], scratch[i1, 2], scratch[i2, 2]
        if w0 == 0 or w1 == 0 or w2 == 0:
            if w0 != 0 or w1 != 0 or w2 != 0:
                _cut_triangle(inverse, owner, shape, scratch, i0, i1, i2, lens, near_m)
            continue
        x0, y0, x1, y1, x2, y2 = (
            scratch[i0, 0],
            scratch[i0, 1],
            scratch[i1, 0],
            scratch[i1, 1],
            scratch[i2, 0],
            scratch[i2, 1],
        )
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if area >= 0:  # looks away
            continue
        left, right = max(0.0, min(x0, x1, x2)), min(width - 1.0, max(x0, x1, x2))
        top, bottom = max(0.0, min(y0, y1, y2)), min(height - 1.0, max(y0, y1, y2))
        # Most triangles of a fine mesh lie between the samples of a coarse picture.
        if math.ceil(left) > math.floor(right) or math.ceil(top) > math.floor(bottom):
            continue
        _triangle(inverse, owner, shape, x0, y0, w0, x1, y1, w1, x2, y2, w2, area)


@_compiled
def _triangle(
    inverse: Singles,
    owner: Integers,
    shape: int,
    x0: float,
    y0: float,
    w0: float,
    x1: float,
    y1: float,
    w1: float,
    x2: float,
    y2: float,
    w2: float,
    area: float,
) -> None:
    x, y = np.empty(3), np.empty(3)
    x[0], x[1], x[2], y[0], y[1], y[2] = x0, x1, x2, y0, y1, y2
    a = ((w1 - w0) * (y2 - y0) - (w2 - w0) * (y1 - y0)) / area
    b = ((w2 - w0) * (x1 - x0) - (w1 - w0) * (x2 - x0)) / area
    _fill(inverse, owner, shape, x, y, 3, a, b, w0 - a * x0 - b * y0)


@_compiled
def _cut_triangle(
    inverse: Singles,
    owner: Integers,
    shape: int,
    scratch: Floats,
    i0: int,
    i1: int,
    i2: int,
    lens: Floats,
    near_m: float,
) -> None:
    points, normal = np.empty((3, 3)), np.empty(3)
    for i in range(3):
        points[0, i], points[1, i], points[2, i] = scratch[i0, 3 + i], scratch[i1, 3 + i], scratch[i2, 3 + i]
    for i in range(3):
        j, k = (i + 1) % 3, (i + 2) % 3
        normal[i] = (points[1, j] - points[0, j]) * (points[2, k] - points[0, k])
        normal[i] -= (points[1, k] - points[0, k]) * (points[2, j] - points[0, j])
    distance = normal[0] * points[0, 0] + normal[1] * points[0, 1] + normal[2] * points[0, 2]
    if distance < 0:
        plane = np.empty(3)
        _plane_of(normal, distance, lens, plane)
        _fill_clipped(inverse, owner, shape, points, 3, plane, lens, near_m)


@_compiled
def rotation_matrix(quat: Floats, out: Floats) -> None:
    """Write the (3, 3) rotation of a quaternion xyzw of unit length."""
    x, y, z, w = quat[0], quat[1], quat[2], quat[3]
    out[0, 0], out[0, 1], out[0, 2] = 1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)
    out[1, 0], out[1, 1], out[1, 2] = 2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)
    out[2, 0], out[2, 1], out[2, 2] = 2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)


@_compiled
def _relative(pose: Floats, camera: Floats, camera_r: Floats, rotation: Floats, position: Floats) -> None:
    """Write camera_from_link of `pose` (position, quat xyzw) and a camera at `camera[:3]` with rotation `camera_r`."""
    r = np.empty((3, 3))
    rotation_matrix(pose[3:7], r)
    for i in range(3):
        position[i] = 0.0
        for j in range(3):
            position[i] += camera_r[j, i] * (pose[j] - camera[j])
            rotation[i, j] = camera_r[0, i] * r[0, j] + camera_r[1, i] * r[1, j] + camera_r[2, i] * r[2, j]


@_compiled
def _outside(center: Floats, radius: float, lens: Floats, width: int, height: int, near_m: float, far_m: float) -> bool:
    """Return whether a sphere of the camera frame lies outside the view."""
    if center[2] + radius < near_m or center[2] - radius > far_m:
        return True
    for axis in range(2):
        low = -lens[1 + axis] / lens[0]
        high = ((width if axis == 0 else height) - 1 - lens[1 + axis]) / lens[0]
        if (low * center[2] - center[axis]) > radius * math.sqrt(1 + low * low):
            return True
        if (center[axis] - high * center[2]) > radius * math.sqrt(1 + high * high):
            return True
    return False


@_compiled
def cast(
    poses: Floats,
    camera: Floats,
    lens: Floats,
    near_m: float,
    far_m: float,
    kind: Integers,
    slot: Integers,
    rotation: Floats,
    position: Floats,
    size: Floats,
    center: Floats,
    radius: Floats,
    part: Integers,
    vertices: Singles,
    triangles: Integers,
    scratch: Floats,
    label: Integers,
    depth_m: Singles,
    body: Integers,
    link: Integers,
) -> None:
    """Write depth_m, body and link (H, W) of the scene.

    poses (s, 7) are the links' positions and quaternions xyzw, `camera` (7,) that of the camera in the same frame; lens
    is (focal length, column and row of the optical axis) [px]. A shape k sits on link slot[k] at (rotation[k],
    position[k]) and fits into a sphere around center[k] of its own frame; part[k] is the first and last (exclusive)
    vertex and triangle of a mesh; label[k] its body and link.
    """
    height, width = depth_m.shape
    inverse = np.full((height, width), np.float32(1.0 / far_m), np.float32)
    owner = np.full((height, width), -1, np.int32)
    camera_r = np.empty((3, 3))
    rotation_matrix(camera[3:7], camera_r)
    link_r, link_t = np.empty((len(poses), 3, 3)), np.empty((len(poses), 3))
    for s in range(len(poses)):
        _relative(poses[s], camera, camera_r, link_r[s], link_t[s])
    r, t, middle = np.empty((3, 3)), np.empty(3), np.empty(3)
    for k in range(len(kind)):
        lr, lt = link_r[slot[k]], link_t[slot[k]]
        for i in range(3):
            t[i] = lt[i] + lr[i, 0] * position[k, 0] + lr[i, 1] * position[k, 1] + lr[i, 2] * position[k, 2]
            for j in range(3):
                r[i, j] = lr[i, 0] * rotation[k, 0, j] + lr[i, 1] * rotation[k, 1, j] + lr[i, 2] * rotation[k, 2, j]
        for i in range(3):
            middle[i] = t[i] + r[i, 0] * center[k, 0] + r[i, 1] * center[k, 1] + r[i, 2] * center[k, 2]
        if kind[k] == PLANE:
            _ground(inverse, owner, k, r, t, lens)
        elif _outside(middle, radius[k], lens, width, height, near_m, far_m):
            continue
        elif kind[k] == BOX:
            _box(inverse, owner, k, r, t, size[k], lens, near_m)
        elif kind[k] == MESH:
            v0, v1, t0, t1 = part[k, 0], part[k, 1], part[k, 2], part[k, 3]
            _mesh(inverse, owner, k, r, t, vertices[v0:v1], triangles[t0:t1], lens, near_m, scratch)
        else:
            _round(inverse, owner, k, kind[k], r, t, size[k], radius[k], lens, near_m)
    for row in range(height):
        for column in range(width):
            k = owner[row, column]
            depth_m[row, column] = np.float32(1.0) / inverse[row, column] if k >= 0 else np.float32(far_m)
            body[row, column] = label[k, 0] if k >= 0 else -1
            link[row, column] = label[k, 1] if k >= 0 else -1
