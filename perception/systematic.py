"""What is wrong in every picture alike: the lens, as well as it was measured, and the scale of the printed targets.

Corners average out, these do not: 0.2 % of focal length are 0.8 mm at 0.4 m, however many corners there are. They are
carried through to the covariance of a pose as errors of first order: how the pose moves with each of them.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from bridge.ports import Intrinsics
from calibration.lens import project_camera
from urdf.pose import Array, Pose

#: Relative, one standard deviation: a ruler of 150 mm read to 0.15 mm, and a printer that nobody has checked.
MEASURED_PRINT, UNMEASURED_PRINT = 0.001, 0.003
#: A change of each number that moves a pixel by about a hundredth.
_NUDGE_PX, _NUDGE_COEFFICIENT = 0.01, 1e-4


@dataclasses.dataclass(frozen=True, slots=True)
class Systematic:
    """How well lens and prints are known.

    `lens` (k, k): covariance of fx fy cx cy [px] and the coefficients, None where nobody has measured them: then they
    are taken for exact, as a camera's own may be. `print_scale`: one standard deviation of the size of each print.
    """

    lens: Array | None = None
    print_scale: float = 0.0

    @staticmethod
    def of_sigma(sigma: Array, print_scale: float = 0.0) -> Systematic:
        """Return it for a lens of which standard deviations (k,) alone are known."""
        return Systematic(np.diag(np.square(sigma)), print_scale)

    @property
    def is_exact(self) -> bool:
        """Whether there is nothing to carry."""
        return self.lens is None and self.print_scale == 0.0

    def covariance(self, prints: int, intrinsics: Intrinsics) -> Array:
        """Return that (k + prints, ...) of the lens's numbers and of the scales of so many prints."""
        size = 4 + len(intrinsics.distortion)
        whole = np.zeros((size + prints,) * 2)
        if self.lens is not None:
            if self.lens.shape != (size, size):
                raise ValueError(
                    f"a covariance of {self.lens.shape} for a lens of {size} numbers: it is another lens model's; "
                    "calibrate the camera again"
                )
            whole[:size, :size] = self.lens
        whole[size:, size:] = np.eye(prints) * self.print_scale**2
        return whole


EXACT = Systematic()


def lens_slopes(points_m: Array, camera_from_target: Pose, intrinsics: Intrinsics) -> Array:
    """Return how the pixels of a target's points (n, 3) move with each number of the lens (2 n, k)."""
    seen = camera_from_target.apply(points_m)
    columns: list[Array] = []
    for index in range(4 + len(intrinsics.distortion)):
        nudge = _NUDGE_PX if index < 4 else _NUDGE_COEFFICIENT
        ahead, behind = (project_camera(seen, _nudged(intrinsics, index, sign * nudge)) for sign in (1.0, -1.0))
        columns.append((ahead - behind).ravel() / (2 * nudge))
    return np.stack(columns, axis=1)


def scale_slopes(points_m: Array, camera_from_target: Pose, intrinsics: Intrinsics) -> Array:
    """Return how the pixels of a target's points (n, 3) move as its print grows about its origin (2 n, 1)."""
    grow = 1e-4
    larger, smaller = (camera_from_target.apply(points_m * (1 + sign * grow)) for sign in (1.0, -1.0))
    moved = project_camera(larger, intrinsics) - project_camera(smaller, intrinsics)
    return moved.reshape(-1, 1) / (2 * grow)


def _nudged(intrinsics: Intrinsics, index: int, by: float) -> Intrinsics:
    if index < 4:
        name = ("fx_px", "fy_px", "cx_px", "cy_px")[index]
        return dataclasses.replace(intrinsics, **{name: getattr(intrinsics, name) + by})
    coefficients = list(intrinsics.distortion)
    coefficients[index - 4] += by
    return dataclasses.replace(intrinsics, distortion=tuple(coefficients))
