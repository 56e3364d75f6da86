"""The compiled part of inverse kinematics: what follows once the tool's pose and Jacobian are known.

A step is a few dozen small sums. As array expressions each of them costs a microsecond, ten times what it computes.
All of it is one file, because Numba's cache notices changes in the file of a function alone.
"""

from __future__ import annotations

import math

import numpy as np

from urdf.compiled import compiled
from urdf.pose import Array

#: What `advance` carries from step to step, in its array `progress` (4,): how far the tool may still be righted inside
#: the cone [rad], how far in one step [rad], the distance left [m] and the tilt of the best solution so far [rad], inf
#: where there is none.
BUDGET, REACH, RESIDUAL, BEST_TILT = 0, 1, 2, 3

#: The tool is righted only where position and heading are nearly met: far away it would run into limits needlessly.
_RIGHTING_RANGE_M = 0.01
_SMALL_RIGHTING_RAD = 1e-3
#: Less than this much less tilt in one step ends the righting.
_TILT_GAIN_RAD = 0.004
_RIGHTING_LOSS_M = 5e-4
_POSITION_TOLERANCE_M = 1e-4
_YAW_TOLERANCE_RAD = 2e-3
_DAMPING = 1e-8
_MAX_STEP_RAD = 0.6
_SMALL_STEP_RAD = 0.01
_STEEP_RAD = math.radians(60.0)


@compiled
def advance(
    world: Array,
    placement: Array,
    goal: Array,
    limits: Array,
    max_tilt_rad: float,
    greedy: bool,
    q: Array,
    best: Array,
    progress: Array,
) -> bool:
    """Take one Gauss-Newton step of joints `q` (n,) inside the limits (2, n), and return whether `q` is a solution now.

    `world` (6, n) is the tool's Jacobian at `q` along the axes of the desk and `placement` (4, 4) its pose, `goal` (4,)
    position and heading. `best` (n,) and `progress` belong to one descent: see BUDGET; `PinocchioKinematics` says what
    `greedy` is.
    """
    jacobian, lean_rows, error, lean = np.empty((4, len(q))), np.empty((2, len(q))), np.empty(4), np.empty(2)
    tilt = _linearise(world, placement, goal, jacobian, lean_rows, error, lean)
    residual = math.sqrt(error[0] ** 2 + error[1] ** 2 + error[2] ** 2)
    progress[RESIDUAL] = residual
    if residual < _POSITION_TOLERANCE_M and abs(error[3]) < _YAW_TOLERANCE_RAD and tilt <= max_tilt_rad:
        if tilt > progress[BEST_TILT] - _TILT_GAIN_RAD or progress[BUDGET] < _SMALL_RIGHTING_RAD:
            if tilt >= progress[BEST_TILT]:
                q[:] = best
            return True
        best[:] = q
        progress[BEST_TILT] = tilt
    elif progress[BEST_TILT] < math.inf and residual > _RIGHTING_LOSS_M:
        progress[REACH] *= 0.4  # righting bends the arm near a singularity: go on in smaller steps
    active, factor, step = jacobian.copy(), np.empty((4, 4)), np.empty(len(q))
    _primary_step(q, limits, active, error, factor, step)
    met = greedy or progress[BEST_TILT] < math.inf or residual < _POSITION_TOLERANCE_M
    if residual < _RIGHTING_RANGE_M and met:
        inside_cone = tilt <= max_tilt_rad
        allowed = min(progress[REACH], max(progress[BUDGET], 0.0)) if inside_cone else progress[REACH]
        _project(lean_rows, jacobian, active, factor)
        righted = _right(q, limits, lean_rows, lean, allowed, step)
        progress[BUDGET] -= righted
        # What a small step leaves is of second order, reach x step^2 / 2: no need to look again. Not so where the jaws'
        # axis may stand steep: there a small step turns its heading by much.
        small = max_tilt_rad < _STEEP_RAD and righted < _SMALL_STEP_RAD and _largest(step) < _SMALL_STEP_RAD
        if small and inside_cone and _arrives(q, limits, jacobian, error, step):
            q += step
            return True
    for j in range(len(q)):
        value, low, high = q[j] + step[j], limits[0, j], limits[1, j]
        q[j] = low if value < low else high if value > high else value
    return False


@compiled
def _linearise(
    world: Array, placement: Array, goal: Array, jacobian: Array, lean_rows: Array, error: Array, lean: Array
) -> float:
    """Write error (4,), its Jacobian (4, n), lean (2,) and its Jacobian (2, n), and return the tilt [rad]."""
    x, y, z = placement[0, 0], placement[1, 0], placement[2, 0]
    # (0, 0, 1) when the tool points straight down
    down_x, down_y, down_z = -placement[0, 2], -placement[1, 2], -placement[2, 2]
    # The heading turns by (x dy - y dx) / (x^2 + y^2), and an axis by omega x axis.
    square = x * x + y * y + 1e-12
    for j in range(world.shape[1]):
        wx, wy, wz = world[3, j], world[4, j], world[5, j]
        jacobian[0, j], jacobian[1, j], jacobian[2, j] = world[0, j], world[1, j], world[2, j]
        jacobian[3, j] = wz - (x * z / square) * wx - (y * z / square) * wy
        lean_rows[0, j] = wy * down_z - wz * down_y
        lean_rows[1, j] = wz * down_x - wx * down_z
    for i in range(3):
        error[i] = goal[i] - placement[i, 3]
    yaw_error = goal[3] - math.atan2(y, x)
    error[3] = yaw_error - math.pi * np.rint(yaw_error / math.pi)
    lean[0], lean[1] = down_x, down_y
    return math.acos(min(1.0, max(-1.0, down_z)))


@compiled
def _primary_step(q: Array, limits: Array, active: Array, error: Array, factor: Array, step: Array) -> None:
    """Write the least-norm step for position and heading, and the factors of the damped normal matrix behind it.

    Joints that stand at a limit and would leave it are taken out of `active`, the Jacobian (4, n), and the rest is
    solved again (active set).
    """
    weights = np.empty(4)
    leaving = True
    while leaving:
        _factorise(active, factor)
        weights[:] = error
        _substitute(factor, weights)
        leaving = False
        for j in range(len(q)):
            step[j] = 0.0
            for i in range(4):
                step[j] += active[i, j] * weights[i]
            down, up = q[j] <= limits[0, j] and step[j] < -1e-9, q[j] >= limits[1, j] and step[j] > 1e-9
            if down or up:
                leaving = True
                active[:, j] = 0.0
    largest = _largest(step)
    if largest > _MAX_STEP_RAD:
        step *= _MAX_STEP_RAD / largest


@compiled
def _factorise(rows: Array, factor: Array) -> None:
    """Write the factors L (below the diagonal) and D (on it) of rows rows^T + damping = L D L^T, for 4 rows.

    No row is exchanged: the one that may be a million times the others, the heading's where the jaws' axis stands
    upright, is the last, and its pivot grows with it. The others are a few at most, so their pivots keep the damping.
    """
    for i in range(4):
        for k in range(i + 1):
            total = _DAMPING if i == k else 0.0
            for j in range(rows.shape[1]):
                total += rows[i, j] * rows[k, j]
            for m in range(k):
                total -= factor[i, m] * factor[k, m] * factor[m, m]
            factor[i, k] = total if i == k else total / factor[k, k]


@compiled
def _substitute(factor: Array, values: Array) -> None:
    """Replace `values` (4,) by x of L D L^T x = values."""
    for i in range(4):
        for k in range(i):
            values[i] -= factor[i, k] * values[k]
    for i in range(3, -1, -1):
        values[i] /= factor[i, i]
        for k in range(i + 1, 4):
            values[i] -= factor[k, i] * values[k]


@compiled
def _project(lean_rows: Array, jacobian: Array, active: Array, factor: Array) -> None:
    """Take out of `lean_rows` (2, n) what would move position and heading: what stays is their null space."""
    weights = np.empty(4)
    for row in range(2):
        for i in range(4):
            weights[i] = 0.0
            for j in range(lean_rows.shape[1]):
                weights[i] += active[i, j] * lean_rows[row, j]
        _substitute(factor, weights)
        for j in range(lean_rows.shape[1]):
            for i in range(4):
                lean_rows[row, j] -= weights[i] * jacobian[i, j]


@compiled
def _right(q: Array, limits: Array, rows: Array, lean: Array, reach_rad: float, step: Array) -> float:
    """Add to `step` what rights the tool along `rows` (2, n), cut short at the limits, and return its largest part."""
    a, b, d = 1e-4, 0.0, 1e-4
    for j in range(len(q)):
        a += rows[0, j] * rows[0, j]
        b += rows[0, j] * rows[1, j]
        d += rows[1, j] * rows[1, j]
    determinant = a * d - b * b
    u, v = (b * lean[1] - d * lean[0]) / determinant, (b * lean[0] - a * lean[1]) / determinant
    sizes = np.empty(len(q))
    for j in range(len(q)):
        sizes[j] = u * rows[0, j] + v * rows[1, j]
    fraction = min(1.0, reach_rad / max(_largest(sizes), 1e-9))
    for j in range(len(q)):
        value = q[j] + step[j]
        room = limits[1, j] - value if sizes[j] > 0 else value - limits[0, j]
        fraction = min(fraction, max(room, 0.0) / max(abs(sizes[j]), 1e-9))
    for j in range(len(q)):
        step[j] += fraction * sizes[j]
    return fraction * _largest(sizes)


@compiled
def _arrives(q: Array, limits: Array, jacobian: Array, error: Array, step: Array) -> bool:
    """Return whether the whole step stays inside the limits and, by the Jacobian, meets position and heading."""
    for j in range(len(q)):
        if q[j] + step[j] < limits[0, j] or q[j] + step[j] > limits[1, j]:
            return False
    for i in range(4):
        remaining = error[i]
        for j in range(len(q)):
            remaining -= jacobian[i, j] * step[j]
        if abs(remaining) >= (_POSITION_TOLERANCE_M / 4 if i < 3 else 1e-3):
            return False
    return True


@compiled
def _largest(values: Array) -> float:
    largest = 0.0
    for value in values:
        largest = max(largest, abs(value))
    return largest


@compiled
def square_distances(rows: Array, key: Array) -> Array:
    """Return the squared distance (k,) of each of `rows` (k, m) from `key` (m,)."""
    distances = np.zeros(len(rows))
    for i in range(len(rows)):
        for j in range(len(key)):
            difference = rows[i, j] - key[j]
            distances[i] += difference * difference
    return distances
