"""A printed marker fitted to its picture as a whole: where its corners are, and how surely.

Every edge of the print counts, those between its cells too, and every pixel on them. The model is the print seen
through a homography (in the straight picture that the lens would give without distortion), blurred by a Gaussian of
unknown width, under light that changes evenly across it, through a tone curve that may bend: cameras brighten the
mid-tones, which makes all that is black thinner by tenths of a pixel, the frame and the cells alike.

Ref: for the blurred corner the first terms of the tetrachoric series, Kendall 1941; erf as Abramowitz & Stegun 7.1.26.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from bridge.ports import Intrinsics
from calibration.lens import project_camera, undistort
from urdf.pose import Array

Gray = NDArray[np.uint8]
_Floats = NDArray[np.float32]

#: What remains of the errors of corners, one standard deviation per axis, where noise is no matter: the model's own,
#: and what JPEG does to noise (measured on rendered pictures, as a webcam hands them out; 0.02 is right for those that
#: are only noisy).
MODEL_SIGMA_PX = 0.03
_FIRST_BLUR_PX, _LEAST_BLUR_PX, _MOST_BLUR_PX = 0.9, 0.25, 3.0
#: Straightened pixels that take part, at most; a large marker has more than it needs.
_MOST_PIXELS = 1600
#: The white around a marker is taken for white only so far out, in cells; where blur mixes it with what follows, less.
_WHITE_CELLS, _LEAST_WHITE_CELLS, _MOST_WHITE_CELLS = 1.4, 0.25, 0.9
_STEPS = 8
#: A step that moves no corner by more than this share of a pixel is the last.
_DONE_PX = 0.004
#: A print that differs from the model by more than this share of its contrast is not this print, or half hidden.
_MOST_MISFIT = 0.10
_LEAST_CONTRAST = 12.0
#: A fit that ends this far, in cells, from where the detector saw the corners, went astray.
_ASTRAY_CELLS = 0.8
#: A lens bends so evenly that a cubic through nodes this far apart is right to a thousandth of a pixel.
_LATTICE_PX = 16
_LEAST_WINDOW_PX = 8


@dataclass(frozen=True, slots=True)
class PrintFit:
    """Corners (4, 2) in the order they came, with the covariance (8, 8) of x0 y0 x1 y1 ...; blur; misfit / contrast."""

    corners_px: Array
    covariance_px2: Array
    blur_px: float
    misfit: float


@dataclass(frozen=True, slots=True)
class _Pixels:
    """Pixels near a marker: where they are in the straight picture, centred and scaled to about one, and their grey."""

    homogeneous: _Floats  # (3, n)
    gray: _Floats  # (n,)
    middle: Array  # of the straight picture, in units of the focal length
    scale: float
    straight_per_px: _Floats  # (2, 2): what a pixel of the real picture is in the straight one, in units of `scale`


def fit_print(gray: Gray, corners_px: Array, bits: NDArray[np.bool_], intrinsics: Intrinsics) -> PrintFit | None:
    """Return the fit of a marker whose cells `bits` (n, n) are white where True, its black border included.

    `corners_px` (4, 2), clockwise from the top left of `bits`, may be a pixel off. None where the picture does not
    bear the print out: partly hidden, too faint, another marker.
    """
    cells = len(bits)
    around = _pixels_around(gray, corners_px, cells, intrinsics)
    if around is None:
        return None
    first, pixels = around
    found = _descend(first, pixels, _steps_of(bits))
    if found is None or found.contrast < _LEAST_CONTRAST:
        return None
    straight_corners = _corners_of(found.homography, cells)
    fitted_px, px_per_straight = _to_px(straight_corners, pixels, intrinsics)
    misfit = math.sqrt(found.variance) / found.contrast
    astray_px = _ASTRAY_CELLS * _cell_px(corners_px, cells) + 0.5
    if not (np.abs(fitted_px - corners_px).max() < astray_px and misfit < _MOST_MISFIT):
        return None
    spread = px_per_straight @ _corner_slopes(found.homography, straight_corners, cells)
    covariance = spread @ (np.linalg.inv(found.normal)[:8, :8] * found.variance) @ spread.T
    covariance = (covariance + covariance.T) / 2 + MODEL_SIGMA_PX**2 * np.eye(8)
    return PrintFit(fitted_px, covariance, found.blur_px, misfit)


def _cell_px(corners_px: Array, cells: int) -> float:
    return float(np.linalg.norm(corners_px - np.roll(corners_px, 1, axis=0), axis=1).max()) / cells


def _homography(corners: Array, cells: int) -> Array:
    """Return the (3, 3) map from the straight picture to cells, its last number one, from four corners (4, 2)."""
    rows: list[list[float]] = []
    wanted: list[float] = []
    for (x, y), (u, v, _) in zip(corners.tolist(), _marks(cells).tolist(), strict=True):
        rows += [[x, y, 1.0, 0.0, 0.0, 0.0, -u * x, -u * y], [0.0, 0.0, 0.0, x, y, 1.0, -v * x, -v * y]]
        wanted += [u, v]
    return np.append(np.linalg.solve(np.array(rows), np.array(wanted, dtype=np.float64)), 1.0).reshape(3, 3)


def _steps_of(bits: NDArray[np.bool_]) -> _Floats:
    """Return the second differences (n + 1, n + 1) of the print in its white surroundings, columns u, rows v."""
    return np.diff(np.diff(np.pad(bits.astype(np.float32), 1, constant_values=1.0), axis=0), axis=1)


def _pixels_around(gray: Gray, corners_px: Array, cells: int, lens: Intrinsics) -> tuple[Array, _Pixels] | None:
    """Return the first homography, and the pixels of the print and of the white around it."""
    (low_x, low_y), (high_x, high_y) = corners_px.min(axis=0), corners_px.max(axis=0)
    left, top = max(math.floor(float(low_x)) - 5, 0), max(math.floor(float(low_y)) - 5, 0)
    right, bottom = (min(math.ceil(float(v)) + 6, n) for v, n in zip((high_x, high_y), gray.shape[::-1], strict=True))
    if min(right - left, bottom - top) < _LEAST_WINDOW_PX:
        return None
    stride = max(1, math.isqrt((right - left) * (bottom - top) // (2 * _MOST_PIXELS)))
    columns: NDArray[np.int_] = np.arange(left, right, stride)
    rows: NDArray[np.int_] = np.arange(top, bottom, stride)
    (across, some), (down, few) = _weights(columns, lens.width_px), _weights(rows, lens.height_px)
    straight = down @ (across @ _lattice(lens)[:, some, few]).transpose(0, 2, 1)  # (xy, rows, columns)
    if not np.isfinite(straight).all():
        return None
    corners = np.stack([_between(straight, (corner - [left, top]) / stride) for corner in corners_px])
    middle = corners.mean(axis=0)
    scale = float(np.abs(corners - middle).max())
    straight = (straight - middle[:, None, None]) / scale
    first = _homography((corners - middle) / scale, cells)
    r, c = len(rows) // 2, len(columns) // 2
    step = np.stack([straight[:, r, c] - straight[:, r, c - 1], straight[:, r, c] - straight[:, r - 1, c]], 1) / stride
    homogeneous = np.concatenate([straight.reshape(2, -1), np.ones((1, len(rows) * len(columns)))])
    seen = first @ homogeneous
    place = seen[:2] / seen[2]
    # Cells per pixel in the middle of the marker are near enough to tell how far out its white is white.
    blur_cells = _FIRST_BLUR_PX * np.linalg.norm((first[:2, :2] - cells / 2 * first[2, :2]) @ step, axis=1)
    margin = np.clip(_WHITE_CELLS - 2.5 * blur_cells, _LEAST_WHITE_CELLS, _MOST_WHITE_CELLS)[:, None]
    kept = ((place > -margin) & (place < cells + margin)).all(axis=0)
    values = gray[top:bottom:stride, left:right:stride].ravel()[kept]
    chosen = np.ascontiguousarray(homogeneous[:, kept], dtype=np.float32)
    return first, _Pixels(chosen, values.astype(np.float32), middle, scale, step.astype(np.float32))


@lru_cache(maxsize=8)
def _lattice(lens: Intrinsics) -> Array:
    """Return the straight x/z and y/z (2, columns, rows) of a lattice of pixels over the whole picture."""
    across, down = _nodes(lens.width_px), _nodes(lens.height_px)
    pixels = np.stack(np.meshgrid(across, down, indexing="ij"), axis=-1).reshape(-1, 2)
    return undistort(pixels, lens).T.reshape(2, len(across), len(down))


def _nodes(length_px: int) -> Array:
    return np.linspace(0.0, length_px - 1.0, max(4, math.ceil(length_px / _LATTICE_PX)))


def _weights(places: NDArray[np.int_], length_px: int) -> tuple[Array, slice]:
    """Return what each of some nodes adds at whole pixels (n, nodes): a cubic through the four around; and which."""
    nodes = _nodes(length_px)
    t = places / nodes[1]
    base = np.clip(np.floor(t).astype(int) - 1, 0, len(nodes) - 4)
    a, b, c, d = (t - base - k for k in range(4))
    # A lens may have no ray for a corner of the picture: nodes that add nothing are left out, not taken times zero.
    used = slice(int(base[0]), int(base[-1]) + 4)
    weights = np.zeros((len(places), used.stop - used.start))
    row = np.arange(len(places))
    for k, cubic in enumerate((-b * c * d / 6, a * c * d / 2, -a * b * d / 2, a * b * c / 6)):
        weights[row, base + k - used.start] = cubic
    return weights, used


def _between(straight: Array, place: Array) -> Array:
    """Return the straight point (2,) at a place (column, row) of a window of them (2, rows, columns)."""
    column, row = (min(max(int(v), 0), n - 2) for v, n in zip(place, straight.shape[:0:-1], strict=True))
    right, down = place[0] - column, place[1] - row
    (a, b), (c, d) = straight[:, row : row + 2, column : column + 2].transpose(1, 2, 0)
    return (1 - down) * ((1 - right) * a + right * b) + down * ((1 - right) * c + right * d)


@dataclass(frozen=True, slots=True)
class _Descent:
    """Where Gauss-Newton ended, the variance of a pixel that it leaves, and the normal matrix of all parameters."""

    homography: Array
    blur_px: float
    contrast: float
    variance: float
    normal: Array


def _descend(first: Array, pixels: _Pixels, steps: _Floats) -> _Descent | None:
    """Fit homography and blur; light (three numbers for black, three for white) and tone follow from them each time."""
    homography, log_blur = first.copy(), math.log(_FIRST_BLUR_PX)
    straight_px = float(np.linalg.norm(pixels.straight_per_px[:, 0]))
    corners = _corners_of(homography, len(steps) - 1)
    light = left = np.zeros(0, dtype=np.float32)
    normal = np.eye(1)
    for _ in range(_STEPS):
        value, slopes = _model(homography.astype(np.float32), math.exp(log_blur), pixels, steps)
        basis = np.concatenate([pixels.homogeneous, pixels.homogeneous * value, (value * (1 - value))[None]])
        try:
            light = np.linalg.solve(basis @ basis.T, basis @ pixels.gray)
            left = pixels.gray - light @ basis
            slopes *= light[3:6] @ pixels.homogeneous + light[6] * (1 - 2 * value)
            jacobian = np.concatenate([slopes, basis])
            normal = (jacobian @ jacobian.T).astype(np.float64)
            step = np.linalg.solve(normal, (jacobian @ left).astype(np.float64))
            homography.ravel()[:8] += step[:8]
            before, corners = corners, _corners_of(homography, len(steps) - 1)
        except np.linalg.LinAlgError:
            return None
        blur = min(max(log_blur + min(max(step[8], -0.4), 0.4), math.log(_LEAST_BLUR_PX)), math.log(_MOST_BLUR_PX))
        log_blur = float(blur)
        if np.abs(corners - before).max() < _DONE_PX * straight_px:
            break
    variance = float(left @ left) / (len(left) - len(normal))
    return _Descent(homography, math.exp(log_blur), float(light[5]), variance, normal)


def _model(homography: _Floats, blur_px: float, pixels: _Pixels, steps: _Floats) -> tuple[_Floats, _Floats]:
    """Return how white each pixel is (n,), and its slopes (9, n) by the homography's eight numbers and the log blur."""
    seen = homography @ pixels.homogeneous
    place, ray = seen[:2] / seen[2], pixels.homogeneous / seen[2]
    # Cells per real pixel, along u and v (2, n) for each of x and y.
    skew = homography[:2, :2] @ pixels.straight_per_px
    lean = homography[2, :2] @ pixels.straight_per_px
    by_x, by_y = ((skew[:, k, None] - place * lean[k]) / seen[2] for k in range(2))
    steepness = np.sqrt(by_x * by_x + by_y * by_y)
    slant = (by_x[0] * by_x[1] + by_y[0] * by_y[1]) / (steepness[0] * steepness[1])
    sigma = np.float32(blur_px) * steepness
    z = (place[:, None] - np.arange(len(steps), dtype=np.float32)[:, None]) / sigma[:, None]
    below, density = _normal(z)
    tilted = z * density
    below_v, density_v, tilted_v = (steps.T @ part[1] for part in (below, density, tilted))
    value = 1 + _dot(below_v, below[0])
    value += slant * (_dot(density_v, density[0]) + slant / 2 * _dot(tilted_v, tilted[0]))
    slopes = np.empty((9, len(value)), dtype=np.float32)
    along_u, along_v = _dot(below_v, density[0]) / sigma[0], _dot(density_v, below[0]) / sigma[1]
    slopes[:3], slopes[3:6] = along_u * ray, along_v * ray
    slopes[6:8] = -(along_u * place[0] + along_v * place[1]) * ray[:2]
    slopes[8] = -_dot(below_v, tilted[0]) - _dot(tilted_v, below[0])
    return value, slopes


def _dot(a: _Floats, b: _Floats) -> _Floats:
    return np.einsum("kn,kn->n", a, b)


def _normal(z: _Floats) -> tuple[_Floats, _Floats]:
    """Return the normal distribution below z, and its density."""
    size = np.abs(z) * np.float32(math.sqrt(0.5))
    bell = np.exp(-size * size)
    t = 1 / (1 + np.float32(0.3275911) * size)
    tail = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429)))) * bell / 2
    return np.where(z > 0, 1 - tail, tail), bell * np.float32(1 / math.sqrt(2 * math.pi))


def _corners_of(homography: Array, cells: int) -> Array:
    """Return the corners (4, 2) in the straight picture."""
    back = _marks(cells) @ np.linalg.inv(homography).T
    return back[:, :2] / back[:, 2:]


def _marks(cells: int) -> Array:
    return np.array([[0.0, 0.0, 1.0], [cells, 0.0, 1.0], [cells, cells, 1.0], [0.0, cells, 1.0]])


def _corner_slopes(homography: Array, corners: Array, cells: int) -> Array:
    """Return the slopes (8, 8) of the corners in the straight picture by the homography's eight numbers."""
    slopes = np.zeros((8, 8))
    for k, ((x, y), (u, v, _)) in enumerate(zip(corners.tolist(), _marks(cells).tolist(), strict=True)):
        weight = homography[2] @ [x, y, 1.0]
        ray = np.array([x, y, 1.0]) / weight
        gradient = (homography[:2, :2] - np.outer([u, v], homography[2, :2])) / weight
        by_numbers = np.zeros((2, 8))
        by_numbers[0, :3] = by_numbers[1, 3:6] = ray
        by_numbers[:, 6:] = -np.outer([u, v], ray[:2])
        slopes[2 * k : 2 * k + 2] = -np.linalg.solve(gradient, by_numbers)
    return slopes


def _to_px(straight: Array, pixels: _Pixels, lens: Intrinsics) -> tuple[Array, Array]:
    """Return pixels (4, 2) of straight corners (4, 2), and their slopes (8, 8)."""
    nudge = 1e-4
    tried = (straight + nudge * np.array([[[0.0, 0.0]], [[1.0, 0.0]], [[0.0, 1.0]]])) * pixels.scale + pixels.middle
    here, right, down = project_camera(np.concatenate([tried, np.ones((3, 4, 1))], axis=2), lens)
    slopes = np.zeros((8, 8))
    for k in range(4):
        slopes[2 * k : 2 * k + 2, 2 * k : 2 * k + 2] = np.stack([right[k] - here[k], down[k] - here[k]], axis=1) / nudge
    return here, slopes
