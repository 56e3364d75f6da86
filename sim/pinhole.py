"""PinholeCamera: the one place that knows how a camera's picture follows from its pose, for every renderer.

A pixel is seen along the ray through its centre, so the optical axis meets the picture at column (width - 1) / 2 and
row (height - 1) / 2, as in OpenCV. TinyRenderer samples a pixel at its lower left corner and is told otherwise by its
projection matrix: left alone, every picture would be half a pixel off, 3 mm on a desk seen from 0.3 m in 64x64.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.errors import SimError
from sim.shapes import Lens
from urdf.pose import Array, Pose

_SMALLEST_FOV_RAD, _GREATEST_FOV_RAD = math.radians(1.0), math.radians(170.0)


@dataclass(frozen=True, slots=True)
class PinholeCamera:
    """A camera without distortion and with square pixels: vertical field of view, range of depths, size in pixels.

    What is nearer than `near_m` is not seen: what lies behind it is. What is farther than `far_m`, and nothing at all,
    reads `far_m`.
    """

    fov_y_rad: float
    near_m: float
    far_m: float
    width_px: int
    height_px: int

    def __post_init__(self) -> None:
        if not _SMALLEST_FOV_RAD <= self.fov_y_rad <= _GREATEST_FOV_RAD:
            raise SimError(f"fov_y_rad must be {_SMALLEST_FOV_RAD:.3f} to {_GREATEST_FOV_RAD:.3f}: {self.fov_y_rad}")
        if not 0 < self.near_m < self.far_m < math.inf:
            raise SimError(f"the range must be 0 < near_m < far_m, got {self.near_m} and {self.far_m}")
        if self.width_px < 1 or self.height_px < 1:
            raise SimError(f"a picture has at least one pixel, got {self.width_px}x{self.height_px}")

    @property
    def focal_px(self) -> float:
        """The focal length, the same along rows and columns."""
        return self.height_px / 2 / math.tan(self.fov_y_rad / 2)

    @property
    def lens(self) -> Lens:
        """What the depth caster is told of this camera."""
        return Lens(self.focal_px, (self.width_px - 1) / 2, (self.height_px - 1) / 2, self.near_m, self.far_m)

    def rays(self) -> Array:
        """Return where the ray of every pixel meets the plane z = 1 of the camera (H, W, 3)."""
        rows, columns = np.indices((self.height_px, self.width_px))
        rays = np.ones((self.height_px, self.width_px, 3))
        rays[..., 0] = (columns - self.lens.column_px) / self.focal_px
        rays[..., 1] = (rows - self.lens.row_px) / self.focal_px
        return rays

    def projection_matrix(self, corner_sampling: bool) -> list[float]:
        """Return OpenGL's projection (16,), by columns, for a renderer that samples corners (or else centres)."""
        near, far = self.near_m, self.far_m
        matrix = np.zeros((4, 4))
        matrix[1, 1] = 1.0 / math.tan(self.fov_y_rad / 2)
        matrix[0, 0] = matrix[1, 1] * self.height_px / self.width_px
        if corner_sampling:
            matrix[0, 2], matrix[1, 2] = 1.0 / self.width_px, 1.0 / self.height_px
        matrix[2, 2], matrix[2, 3], matrix[3, 2] = (near + far) / (near - far), 2 * near * far / (near - far), -1.0
        return matrix.T.ravel().tolist()

    def metres(self, buffer: NDArray[np.floating]) -> Array:
        """Return the depths [m] (H, W) of an OpenGL depth buffer: along the optical axis, not along the ray."""
        values = np.asarray(buffer, dtype=np.float64).reshape(self.height_px, self.width_px)
        return self.far_m * self.near_m / (self.far_m - (self.far_m - self.near_m) * values)


def view_matrix(desk_from_camera: Pose) -> list[float]:
    """Return OpenGL's view (16,), by columns, of a camera with z forward and y down."""
    matrix = desk_from_camera.inverse().as_matrix()
    matrix[1:3] *= -1.0  # OpenGL's camera has y up and looks along -z
    return matrix.T.ravel().tolist()
