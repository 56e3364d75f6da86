"""Points to pixels and back, through any of the lens models: the one place that knows what a coefficient does.

In NumPy: the arm's own computer has no OpenCV, and OpenCV's inverse stops after five steps of a fixed point that
diverges near the edge of a wide lens. Ref: docs.opencv.org/4.x, camera calibration and fisheye camera model.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bridge.ports import Intrinsics
from urdf.pose import Array, Pose

_STEPS = 30
_DONE = 1e-12
#: An inverse that does not come this close, in units of the focal length, has found nothing.
_MET = 1e-9


def project(points_m: Array, camera_from_points: Pose, intrinsics: Intrinsics) -> Array:
    """Return the pixels (n, 2) of points (n, 3); NaN for a point that is not in front of the camera.

    Pixel centres have whole coordinates. A pixel may lie outside the picture.
    """
    return project_camera(camera_from_points.apply(np.reshape(points_m, (-1, 3))), intrinsics)


def project_camera(points_m: Array, intrinsics: Intrinsics) -> Array:
    """Return the pixels (..., 2) of points (..., 3) in the camera's frame: x right, y down, z forward."""
    depth = points_m[..., 2:]
    straight = points_m[..., :2] / np.where(depth > 0, depth, np.nan)
    bent = bend(straight, intrinsics.distortion, intrinsics.model)
    return bent * (intrinsics.fx_px, intrinsics.fy_px) + (intrinsics.cx_px, intrinsics.cy_px)


def undistort(pixels: Array, intrinsics: Intrinsics) -> Array:
    """Return x/z, y/z (n, 2) of the rays of pixels (n, 2); NaN for a pixel that no ray reaches through this lens."""
    flat = np.asarray(pixels, dtype=np.float64).reshape(-1, 2)
    bent = (flat - (intrinsics.cx_px, intrinsics.cy_px)) / (intrinsics.fx_px, intrinsics.fy_px)
    if intrinsics.model == "fisheye":
        return _unbend_fisheye(bent, intrinsics.distortion)
    return _unbend(bent, intrinsics)


def bend(straight: Array, distortion: Sequence[float] | Array, model: str) -> Array:
    """Return where a lens of unit focal length puts rays x/z, y/z (..., 2); coefficients in OpenCV's order."""
    x, y = straight[..., 0], straight[..., 1]
    if model == "fisheye":
        k1, k2, k3, k4 = distortion
        radius = np.hypot(x, y)
        theta = np.arctan(radius)
        t = theta * theta
        bent = theta * (1 + t * (k1 + t * (k2 + t * (k3 + t * k4))))
        return straight * np.where(radius > 1e-12, bent / np.where(radius > 1e-12, radius, 1.0), 1.0)[..., None]
    k1, k2, p1, p2, k3, *rest = distortion
    r = x * x + y * y
    radial = 1 + r * (k1 + r * (k2 + r * k3))
    if rest:
        k4, k5, k6 = rest
        radial = radial / (1 + r * (k4 + r * (k5 + r * k6)))
    cross = 2 * x * y
    return np.stack(
        [x * radial + p1 * cross + p2 * (r + 2 * x * x), y * radial + p1 * (r + 2 * y * y) + p2 * cross], axis=-1
    )


def _unbend(bent: Array, intrinsics: Intrinsics) -> Array:
    """Invert `bend` by Newton's method with a numeric Jacobian (central differences, exact to 1e-10)."""
    nudge = 1e-6
    guess = bent.copy()
    for _ in range(_STEPS):
        tried = np.stack([guess, *(guess + s * nudge * e for e in np.eye(2) for s in (1, -1))])
        here, right, left, down, up = bend(tried, intrinsics.distortion, intrinsics.model)
        along_x, along_y = (right - left) / (2 * nudge), (down - up) / (2 * nudge)
        miss = bent - here
        area = along_x[:, 0] * along_y[:, 1] - along_y[:, 0] * along_x[:, 1]
        # Beyond the fold, where the picture runs backwards, the area turns negative: no ray of this lens.
        area = np.where(area > 1e-9, area, np.nan)
        step = np.stack(
            [
                (miss[:, 0] * along_y[:, 1] - miss[:, 1] * along_y[:, 0]) / area,
                (miss[:, 1] * along_x[:, 0] - miss[:, 0] * along_x[:, 1]) / area,
            ],
            axis=1,
        )
        guess = guess + step
        if not np.any(np.abs(step) > _DONE):
            break
    left_over = np.abs(bend(guess, intrinsics.distortion, intrinsics.model) - bent).max(axis=1)
    return np.where((left_over < _MET)[:, None], guess, np.nan)


def _unbend_fisheye(bent: Array, distortion: tuple[float, ...]) -> Array:
    """Invert the fisheye by Newton's method on the angle from the optical axis."""
    k1, k2, k3, k4 = distortion
    wanted = np.hypot(bent[:, 0], bent[:, 1])
    theta = np.minimum(wanted, np.pi / 2 - 0.01)
    for _ in range(_STEPS):
        t = theta * theta
        slope = 1 + t * (3 * k1 + t * (5 * k2 + t * (7 * k3 + t * 9 * k4)))
        value = theta * (1 + t * (k1 + t * (k2 + t * (k3 + t * k4))))
        step = (wanted - value) / np.where(slope > 1e-9, slope, np.nan)
        theta = theta + step
        if not np.any(np.abs(step) > _DONE):
            break
    t = theta * theta
    left_over = np.abs(theta * (1 + t * (k1 + t * (k2 + t * (k3 + t * k4)))) - wanted)
    seen = (left_over < _MET) & (theta >= 0) & (theta < np.pi / 2)
    stretch = np.where(wanted > 1e-12, np.tan(theta) / np.where(wanted > 1e-12, wanted, 1.0), 1.0)
    return np.where(seen[:, None], bent * stretch[:, None], np.nan)
