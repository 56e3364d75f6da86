"""The compiled part of the depth caster: shapes into a buffer of inverse depths. Camera frame: z ahead, y down.

Flat things (faces of boxes, triangles of meshes) are filled row by row between their edges: along a row of the picture
the inverse depth of a plane is a straight line, so the innermost loop has no division and the compiler can vectorise
it. Round things (spheres, cylinders, capsules) are met with the ray of every pixel of the rectangle around them.
Everything is one-sided: a face that looks away from the camera is not seen, nor is anything nearer than `near_m`.
All of it is one file, because Numba's cache notices changes in the file of a function alone.
"""

from __future__ import annotations

import math

import numpy as np

from sim.shapes import BOX, CYLINDER, MESH, PLANE, SPHERE, Canvas, Floats, Integers, Lens, Shapes, Singles
from urdf.compiled import compiled

# Flat things ------------------------------------------------------------------------------------------


@compiled
def _span(canvas: Canvas, k: int, row: int, left: float, right: float, a: float, start: float) -> None:
    """Draw the columns from `left` to `right` of a row with the inverse depth start + a * column."""
    inverse, owner = canvas.inverse[row], canvas.owner[row]
    step, first = np.float32(a), np.float32(start)
    for column in range(math.ceil(max(left, 0.0)), math.floor(min(right, len(inverse) - 1.0)) + 1):
        value = first + step * np.float32(column)
        nearer = value > inverse[column]
        inverse[column] = value if nearer else inverse[column]
        owner[column] = k if nearer else owner[column]


@compiled
def _fill(canvas: Canvas, k: int, x: Floats, y: Floats, count: int, plane: Floats) -> None:
    """Fill a convex polygon (x, y) [px]; its inverse depth is plane . (column, row, 1)."""
    top, bottom = y[0], y[0]
    for i in range(1, count):
        top, bottom = min(top, y[i]), max(bottom, y[i])
    for row in range(max(0, math.ceil(top)), min(len(canvas.inverse) - 1, math.floor(bottom)) + 1):
        left, right = 1e30, -1e30
        for i in range(count):
            j = i + 1 if i + 1 < count else 0
            # Upper end first, so that two polygons that share an edge find the same crossing and leave no gap.
            x0, y0, x1, y1 = x[i], y[i], x[j], y[j]
            if y1 < y0:
                x0, y0, x1, y1 = x1, y1, x0, y0
            if y0 == row == y1:
                left, right = min(left, x0, x1), max(right, x0, x1)
            elif y0 <= row <= y1:
                crossing = x0 + (row - y0) * (x1 - x0) / (y1 - y0)
                left, right = min(left, crossing), max(right, crossing)
        _span(canvas, k, row, left, right, plane[0], plane[1] * row + plane[2])


@compiled
def _fill_cut(canvas: Canvas, k: int, points: Floats, plane: Floats, lens: Lens) -> None:
    """Fill a convex polygon of points (n, 3), cut off at the near end of the range."""
    count = len(points)
    x, y, kept = np.empty(count + 1), np.empty(count + 1), 0
    for i in range(count):
        j = i + 1 if i + 1 < count else 0
        zi, zj = points[i, 2], points[j, 2]
        if zi >= lens.near_m:
            x[kept] = lens.focal_px * points[i, 0] / zi + lens.column_px
            y[kept] = lens.focal_px * points[i, 1] / zi + lens.row_px
            kept += 1
        if (zi >= lens.near_m) != (zj >= lens.near_m):
            share = (lens.near_m - zi) / (zj - zi)
            px = points[i, 0] + share * (points[j, 0] - points[i, 0])
            py = points[i, 1] + share * (points[j, 1] - points[i, 1])
            x[kept] = lens.focal_px * px / lens.near_m + lens.column_px
            y[kept] = lens.focal_px * py / lens.near_m + lens.row_px
            kept += 1
    if kept >= 3:
        _fill(canvas, k, x, y, kept, plane)


@compiled
def _set_plane(plane: Floats, x: float, y: float, z: float, distance: float, lens: Lens) -> None:
    """Write what gives a pixel's inverse depth on the plane (x, y, z) . point = distance: see `_fill`."""
    plane[0] = x / (lens.focal_px * distance)
    plane[1] = y / (lens.focal_px * distance)
    plane[2] = z / distance - plane[0] * lens.column_px - plane[1] * lens.row_px


@compiled
def _box(canvas: Canvas, k: int, r: Floats, t: Floats, half: Floats, lens: Lens) -> None:
    corners, plane = np.empty((4, 3)), np.empty(3)
    for axis in range(3):
        # Of two opposite faces one at most looks at the camera.
        along = r[0, axis] * t[0] + r[1, axis] * t[1] + r[2, axis] * t[2]
        if abs(along) <= half[axis]:
            continue
        out = -1.0 if along > 0 else 1.0
        distance = out * along + half[axis]
        _set_plane(plane, out * r[0, axis], out * r[1, axis], out * r[2, axis], distance, lens)
        u, v = (axis + 1) % 3, (axis + 2) % 3
        for corner in range(4):
            du = half[u] if corner == 0 or corner == 3 else -half[u]
            dv = half[v] if corner < 2 else -half[v]
            for i in range(3):
                corners[corner, i] = t[i] + out * half[axis] * r[i, axis] + du * r[i, u] + dv * r[i, v]
        _fill_cut(canvas, k, corners, plane, lens)


@compiled
def _ground(canvas: Canvas, k: int, r: Floats, t: Floats, lens: Lens) -> None:
    """Draw an endless plane, seen from the side that its z axis points to."""
    distance = r[0, 2] * t[0] + r[1, 2] * t[1] + r[2, 2] * t[2]
    if distance < 0:
        plane = np.empty(3)
        _set_plane(plane, r[0, 2], r[1, 2], r[2, 2], distance, lens)
        for row in range(len(canvas.inverse)):
            _span(canvas, k, row, 0.0, canvas.inverse.shape[1] - 1.0, plane[0], plane[1] * row + plane[2])


@compiled
def _mesh(
    canvas: Canvas, k: int, r: Floats, t: Floats, vertices: Singles, triangles: Integers, lens: Lens, seen: Floats
) -> None:
    """Draw triangles (m, 3) of `vertices` (n, 3); `seen` (>= n, 6) takes each vertex: column, row, 1 / z, x, y, z."""
    height, width = canvas.inverse.shape
    for i in range(len(vertices)):
        px, py, pz = vertices[i, 0], vertices[i, 1], vertices[i, 2]
        x = r[0, 0] * px + r[0, 1] * py + r[0, 2] * pz + t[0]
        y = r[1, 0] * px + r[1, 1] * py + r[1, 2] * pz + t[1]
        z = r[2, 0] * px + r[2, 1] * py + r[2, 2] * pz + t[2]
        w = 1.0 / z if z >= lens.near_m else 0.0
        seen[i, 0] = lens.focal_px * x * w + lens.column_px
        seen[i, 1] = lens.focal_px * y * w + lens.row_px
        seen[i, 2], seen[i, 3], seen[i, 4], seen[i, 5] = w, x, y, z
    px3, py3, plane = np.empty(3), np.empty(3), np.empty(3)
    for m in range(len(triangles)):
        i0, i1, i2 = triangles[m, 0], triangles[m, 1], triangles[m, 2]
        w0, w1, w2 = seen[i0, 2], seen[i1, 2], seen[i2, 2]
        if w0 == 0 or w1 == 0 or w2 == 0:
            if w0 != 0 or w1 != 0 or w2 != 0:
                _cut_triangle(canvas, k, seen, i0, i1, i2, lens)
            continue
        x0, y0, x1, y1, x2, y2 = seen[i0, 0], seen[i0, 1], seen[i1, 0], seen[i1, 1], seen[i2, 0], seen[i2, 1]
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if area >= 0:  # looks away
            continue
        # Most triangles of a fine mesh lie between the samples of a coarse picture.
        if math.ceil(max(0.0, min(x0, x1, x2))) > math.floor(min(width - 1.0, max(x0, x1, x2))):
            continue
        if math.ceil(max(0.0, min(y0, y1, y2))) > math.floor(min(height - 1.0, max(y0, y1, y2))):
            continue
        plane[0] = ((w1 - w0) * (y2 - y0) - (w2 - w0) * (y1 - y0)) / area
        plane[1] = ((w2 - w0) * (x1 - x0) - (w1 - w0) * (x2 - x0)) / area
        plane[2] = w0 - plane[0] * x0 - plane[1] * y0
        px3[0], px3[1], px3[2], py3[0], py3[1], py3[2] = x0, x1, x2, y0, y1, y2
        _fill(canvas, k, px3, py3, 3, plane)


@compiled
def _cut_triangle(canvas: Canvas, k: int, seen: Floats, i0: int, i1: int, i2: int, lens: Lens) -> None:
    points, n, plane = np.empty((3, 3)), np.empty(3), np.empty(3)
    for i in range(3):
        points[0, i], points[1, i], points[2, i] = seen[i0, 3 + i], seen[i1, 3 + i], seen[i2, 3 + i]
    for i in range(3):
        u, v = (i + 1) % 3, (i + 2) % 3
        n[i] = (points[1, u] - points[0, u]) * (points[2, v] - points[0, v])
        n[i] -= (points[1, v] - points[0, v]) * (points[2, u] - points[0, u])
    distance = n[0] * points[0, 0] + n[1] * points[0, 1] + n[2] * points[0, 2]
    if distance < 0:
        _set_plane(plane, n[0], n[1], n[2], distance, lens)
        _fill_cut(canvas, k, points, plane, lens)


# Round things -----------------------------------------------------------------------------------------


@compiled
def _reach(x: float, z: float, radius: float, focal_px: float, offset_px: float, count: int) -> tuple[int, int]:
    """Return the first and last of `count` columns (or rows) that a disc of the xz plane covers."""
    if z <= radius:
        return 0, count - 1
    below = z * z - radius * radius
    root = radius * math.sqrt(x * x + below)
    first, last = focal_px * (x * z - root) / below + offset_px, focal_px * (x * z + root) / below + offset_px
    return math.ceil(min(max(first, 0.0), float(count))), math.floor(max(min(last, count - 1.0), -1.0))


@compiled
def _enter_sphere(a: float, b: float, c: float) -> float:
    """Return where a t^2 + 2 b t + c first becomes 0, or -1."""
    root = b * b - a * c
    return (-b - math.sqrt(root)) / a if root >= 0 else -1.0


@compiled
def _enter_tube(o: Floats, x: float, y: float, z: float, radius: float, half: float, flat: bool) -> float:
    """Return where the ray o + t (x, y, z) enters a cylinder (flat ends) or capsule (round ends) along z, or -1."""
    a, b, c = x * x + y * y, o[0] * x + o[1] * y, o[0] * o[0] + o[1] * o[1] - radius * radius
    top = o[2] > 0
    if c > 0:  # outside the endless tube: in through its wall or not at all
        t = _enter_sphere(a, b, c) if b < 0 else -1.0
        if t < 0 or abs(o[2] + t * z) <= half:
            return t
        top = o[2] + t * z > 0
    end = half if top else -half
    rise = o[2] - end
    if flat:
        if rise * end <= 0 or z * end >= 0:
            return -1.0
        t = -rise / z
        px, py = o[0] + t * x, o[1] + t * y
        return t if px * px + py * py <= radius * radius else -1.0
    t = _enter_sphere(a + z * z, b + rise * z, c + rise * rise)
    return t if (rise + t * z) * end >= 0 else -1.0


@compiled
def _round(canvas: Canvas, k: int, shapes: Shapes, r: Floats, t: Floats, lens: Lens) -> None:
    kind, radius, half = shapes.kind[k], shapes.size[k, 0], shapes.size[k, 1]
    height, width = canvas.inverse.shape
    left, right = _reach(t[0], t[2], shapes.radius[k], lens.focal_px, lens.column_px, width)
    top, bottom = _reach(t[1], t[2], shapes.radius[k], lens.focal_px, lens.row_px, height)
    o = np.empty(3)
    for i in range(3):
        o[i] = -(r[0, i] * t[0] + r[1, i] * t[1] + r[2, i] * t[2])
    c = o[0] * o[0] + o[1] * o[1] + o[2] * o[2] - radius * radius
    for row in range(top, bottom + 1):
        v = (row - lens.row_px) / lens.focal_px
        for column in range(left, right + 1):
            u = (column - lens.column_px) / lens.focal_px
            x = r[0, 0] * u + r[1, 0] * v + r[2, 0]
            y = r[0, 1] * u + r[1, 1] * v + r[2, 1]
            z = r[0, 2] * u + r[1, 2] * v + r[2, 2]
            if kind == SPHERE:
                depth_m = _enter_sphere(x * x + y * y + z * z, o[0] * x + o[1] * y + o[2] * z, c)
            else:
                depth_m = _enter_tube(o, x, y, z, radius, half, kind == CYLINDER)
            if depth_m >= lens.near_m and np.float32(1.0 / depth_m) > canvas.inverse[row, column]:
                canvas.inverse[row, column] = 1.0 / depth_m
                canvas.owner[row, column] = k


# The whole picture ------------------------------------------------------------------------------------


@compiled
def _set_rotation(out: Floats, x: float, y: float, z: float, w: float) -> None:
    """Write the (3, 3) rotation of a quaternion of unit length."""
    out[0, 0], out[0, 1], out[0, 2] = 1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)
    out[1, 0], out[1, 1], out[1, 2] = 2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)
    out[2, 0], out[2, 1], out[2, 2] = 2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)


@compiled
def _links_seen(poses: Floats, camera: Floats) -> tuple[Floats, Floats]:
    """Return camera_from_link, rotations (s, 3, 3) and positions (s, 3)."""
    c, r = np.empty((3, 3)), np.empty((3, 3))
    _set_rotation(c, camera[3], camera[4], camera[5], camera[6])
    rotations, positions = np.empty((len(poses), 3, 3)), np.zeros((len(poses), 3))
    for s in range(len(poses)):
        _set_rotation(r, poses[s, 3], poses[s, 4], poses[s, 5], poses[s, 6])
        for i in range(3):
            for j in range(3):
                positions[s, i] += c[j, i] * (poses[s, j] - camera[j])
                rotations[s, i, j] = c[0, i] * r[0, j] + c[1, i] * r[1, j] + c[2, i] * r[2, j]
    return rotations, positions


@compiled
def _outside(center: Floats, radius: float, lens: Lens, width: int, height: int) -> bool:
    """Return whether a sphere lies outside the view."""
    if center[2] + radius < lens.near_m or center[2] - radius > lens.far_m:
        return True
    for axis in range(2):
        offset, count = (lens.column_px, width) if axis == 0 else (lens.row_px, height)
        low, high = -offset / lens.focal_px, (count - 1 - offset) / lens.focal_px
        if low * center[2] - center[axis] > radius * math.sqrt(1 + low * low):
            return True
        if center[axis] - high * center[2] > radius * math.sqrt(1 + high * high):
            return True
    return False


@compiled
def draw(
    poses: Floats, camera: Floats, lens: Lens, shapes: Shapes, seen: Floats, depth_m: Singles, labels: Integers
) -> None:
    """Write depth_m (H, W), and body and link as labels (2, H, W), -1 where nothing is seen.

    `poses` (s, 7) are the links' positions and quaternions xyzw, `camera` (7,) that of the camera in the same frame;
    `seen` (n, 6) has room for the vertices of the largest mesh.
    """
    height, width = depth_m.shape
    inverse = np.full((height, width), np.float32(1.0 / lens.far_m), np.float32)
    canvas = Canvas(inverse, np.full((height, width), -1, np.int32))
    rotations, positions = _links_seen(poses, camera)
    r, t, middle = np.empty((3, 3)), np.empty(3), np.empty(3)
    for k in range(len(shapes.kind)):
        kind, link_r, link_t = shapes.kind[k], rotations[shapes.slot[k]], positions[shapes.slot[k]]
        q, p, c = shapes.rotation[k], shapes.position[k], shapes.center[k]
        for i in range(3):
            t[i] = link_t[i] + link_r[i, 0] * p[0] + link_r[i, 1] * p[1] + link_r[i, 2] * p[2]
            for j in range(3):
                r[i, j] = link_r[i, 0] * q[0, j] + link_r[i, 1] * q[1, j] + link_r[i, 2] * q[2, j]
            middle[i] = t[i] + r[i, 0] * c[0] + r[i, 1] * c[1] + r[i, 2] * c[2]
        if kind == PLANE:
            _ground(canvas, k, r, t, lens)
        elif _outside(middle, shapes.radius[k], lens, width, height):
            continue
        elif kind == BOX:
            _box(canvas, k, r, t, shapes.size[k], lens)
        elif kind == MESH:
            v0, v1, m0, m1 = shapes.part[k, 0], shapes.part[k, 1], shapes.part[k, 2], shapes.part[k, 3]
            _mesh(canvas, k, r, t, shapes.vertices[v0:v1], shapes.triangles[m0:m1], lens, seen)
        else:
            _round(canvas, k, shapes, r, t, lens)
    for row in range(height):
        for column in range(width):
            k = canvas.owner[row, column]
            depth_m[row, column] = np.float32(1.0) / inverse[row, column] if k >= 0 else np.float32(lens.far_m)
            labels[0, row, column] = shapes.label[k, 0] if k >= 0 else -1
            labels[1, row, column] = shapes.label[k, 1] if k >= 0 else -1
