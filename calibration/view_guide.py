"""ViewGuide: looks on while a person moves a board before a camera, takes the views that help, and asks for the next.

What it asks for: points all over the picture, since a lens is known only where it was seen; the board tilted to each
side, since flat views cannot tell a long lens from a far board; and near, so that it fills the picture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bridge.ports import Intrinsics
from calibration.errors import WeakViews
from calibration.flat_view import homography, pose_of
from calibration.intrinsics import MIN_VIEWS, Seen, blur_limit_px, same_view, why_refused
from calibration.lens import undistort
from calibration.lens_fit import fit_lens
from calibration.lens_solver import View

WANTED_VIEWS = 20
#: The picture in cells: a point in each is the aim, and this share of them is enough.
CELLS = (8, 6)
ENOUGH_CELLS = 0.9
#: A tilt from here on counts, the board's face turned towards one side.
TILTED_RAD, FLAT_RAD = math.radians(22), math.radians(12)
#: Of the picture's area that the board covers when it counts as near.
_NEAR_SHARE = 0.3
_WANTED_TILTS, _WANTED_FLAT, _WANTED_NEAR = 3, 2, 6
#: A board that moves more between two pictures blurs them, or bends them where lines are read one by one.
_STILL_SHARE = 0.004
_REFIT_VIEWS = 8
#: What a moving board is told.
HOLD_STILL = "Hold it still."

_EDGES = ("left", "right", "upper", "lower")
_ROWS, _COLUMNS = ("top", "middle", "bottom"), ("left", "centre", "right")


@dataclass(frozen=True, slots=True)
class Advice:
    """Whether the view was taken, what to do next, and how much of what is needed is there (0 to 1)."""

    taken: bool
    text: str
    progress: float
    done: bool


@dataclass(frozen=True, slots=True)
class Attitude:
    """How a board stands before the camera: its tilt, and which of its edges is nearest in the picture."""

    tilt_rad: float
    near_edge: str


class ViewGuide:
    """Judges one picture after the other; `views` are those that it has taken."""

    def __init__(self, size_px: tuple[int, int], wanted: int = WANTED_VIEWS) -> None:
        self.size_px = size_px
        self.wanted = max(wanted, MIN_VIEWS)
        self.views: list[Seen] = []
        #: Points in each cell of the picture (rows, columns).
        self.coverage: NDArray[np.int64] = np.zeros(CELLS[::-1], dtype=np.int64)
        self._attitudes: list[Attitude] = []
        self._near = 0
        self._last: Seen | None = None
        # A guess until there are views to fit: 53 degrees across, the usual webcam.
        self._camera = Intrinsics(*size_px, size_px[0], size_px[0], (size_px[0] - 1) / 2, (size_px[1] - 1) / 2)

    def consider(self, seen: Seen, must_be_still: bool = True) -> Advice:
        """Take the view if it helps, and say what to do next. `must_be_still`: compare with the picture before it."""
        before, self._last = self._last, seen
        why = why_refused(seen, self.size_px)
        if why:
            is_blurred = seen.blur_px > blur_limit_px(self.size_px)
            nothing = not len(seen.corners) and not is_blurred and not seen.needs
            return self._advice(False, "Show the board to the camera." if nothing else _sentence(why))
        if must_be_still and not self._is_still(before, seen):
            return self._advice(False, HOLD_STILL)
        if any(same_view(seen.corners, v.corners, self.size_px) for v in self.views):
            return self._advice(False, self._next(seen))
        if not self._helps(seen):
            return self._advice(False, self._next(seen))
        self._take(seen)
        return self._advice(True, self._next(seen))

    def attitude(self, seen: Seen) -> Attitude:
        """Return how the board stands, by what is known of the camera so far."""
        rays = undistort(seen.corners.image_px, self._camera)
        known = np.isfinite(rays).all(axis=1)
        x, y, z = pose_of(homography(seen.corners.object_m[known, :2], rays[known])).rotation[:, 2]
        # The face turned to the right brings the left edge near; turned down, the upper one.
        edge = ("left" if x > 0 else "right") if abs(x) > abs(y) else ("upper" if y > 0 else "lower")
        return Attitude(math.acos(float(np.clip(-z, -1.0, 1.0))), edge)

    def needs(self) -> dict[str, float]:
        """Return what is asked for and how much of it is there (0 to 1)."""
        filled = float(np.mean(self.coverage > 0))
        tilted = [a.near_edge for a in self._attitudes if a.tilt_rad >= TILTED_RAD]
        flat = sum(a.tilt_rad <= FLAT_RAD for a in self._attitudes)
        return {
            "coverage": min(1.0, filled / ENOUGH_CELLS),
            **{edge: min(1.0, tilted.count(edge) / _WANTED_TILTS) for edge in _EDGES},
            "near": min(1.0, self._near / _WANTED_NEAR),
            "flat": min(1.0, flat / _WANTED_FLAT),
            "views": min(1.0, len(self.views) / self.wanted),
        }

    def _advice(self, taken: bool, text: str) -> Advice:
        needs = self.needs()
        # Who cannot reach the last corner shall not be kept for ever.
        done = min(needs.values()) >= 1.0 or len(self.views) >= 2 * self.wanted
        return Advice(taken, "That is enough." if done else text, sum(needs.values()) / len(needs), done)

    def _is_still(self, before: Seen | None, now: Seen) -> bool:
        if before is None:
            return False
        _, old, new = np.intersect1d(before.corners.ids, now.corners.ids, return_indices=True)
        if len(old) == 0:
            return False
        moved = np.linalg.norm(before.corners.image_px[old] - now.corners.image_px[new], axis=1)
        return float(np.median(moved)) <= _STILL_SHARE * self.size_px[0]

    def _helps(self, seen: Seen) -> bool:
        needs, attitude = self.needs(), self.attitude(seen)
        if np.any(self._cells(seen) & (self.coverage == 0)):
            return True
        if attitude.tilt_rad >= TILTED_RAD:
            if needs[attitude.near_edge] < 1.0:
                return True
        elif attitude.tilt_rad <= FLAT_RAD and needs["flat"] < 1.0:
            return True
        if self._share(seen) >= _NEAR_SHARE and needs["near"] < 1.0:
            return True
        # All that is left to wish for is more of them: any will do that is not like another.
        return all(v >= 1.0 for k, v in needs.items() if k != "views")

    def _take(self, seen: Seen) -> None:
        self.views.append(seen)
        self.coverage += self._counts(seen)
        self._near += self._share(seen) >= _NEAR_SHARE
        if len(self.views) in (4, 6, 9, 13):
            self._learn_camera()
        else:
            self._attitudes.append(self.attitude(seen))

    def _learn_camera(self) -> None:
        """Fit the camera to the views so far and judge all their attitudes anew."""
        few = self.views[-_REFIT_VIEWS:]
        try:
            fit = fit_lens([View(s.name, s.corners.object_m, s.corners.image_px) for s in few], self.size_px, "pinhole")
        except WeakViews:
            fit = None
        # Few views may say little: the guess stays until the focal length is known to a tenth.
        if fit is not None and math.sqrt(float(fit.covariance[0, 0])) < 0.1 * fit.intrinsics.fx_px:
            self._camera = fit.intrinsics
        self._attitudes = [self.attitude(s) for s in self.views]

    def _counts(self, seen: Seen) -> NDArray[np.int64]:
        columns, rows = CELLS
        x, y = (seen.corners.image_px / self.size_px * CELLS).astype(int).T
        counts = np.zeros((rows, columns), dtype=np.int64)
        np.add.at(counts, (np.clip(y, 0, rows - 1), np.clip(x, 0, columns - 1)), 1)
        return counts

    def _cells(self, seen: Seen) -> NDArray[np.bool_]:
        return self._counts(seen) > 0

    def _share(self, seen: Seen) -> float:
        """Return the share of the picture between the points seen, as the box around them turned with the board."""
        pixels = seen.corners.image_px - seen.corners.image_px.mean(axis=0)
        axes = np.linalg.svd(pixels, full_matrices=False)[2]
        width, height = np.ptp(pixels @ axes.T, axis=0)
        return float(width * height) / (self.size_px[0] * self.size_px[1])

    def _next(self, seen: Seen) -> str:
        needs, attitude = self.needs(), self.attitude(seen)
        missing = min((k for k in needs if needs[k] < 1.0 and k != "views"), key=lambda k: needs[k], default="views")
        if missing == "coverage":
            return f"Move the board to the {self._emptiest()} of the picture."
        if missing in _EDGES:
            is_on_the_way = attitude.near_edge == missing and FLAT_RAD < attitude.tilt_rad < TILTED_RAD
            how = "Tilt it more" if is_on_the_way else "Tilt it"
            return f"{how}, 30 to 45 degrees: its {missing} edge towards the camera."
        if missing == "near":
            return "Bring it nearer, so that it fills the picture."
        if missing == "flat":
            return "Show it from the front, without tilt."
        return "Show it in other tilts and places."

    def _emptiest(self) -> str:
        empty = np.argwhere(self.coverage == 0)
        thirds = (empty * 3) // np.array(CELLS[::-1])
        places, counts = np.unique(thirds, axis=0, return_counts=True)
        row, column = places[int(np.argmax(counts))]
        return f"{_ROWS[row]} {_COLUMNS[column]}" if (row, column) != (1, 1) else "middle"


def _sentence(why: str) -> str:
    return f"{why[0].upper()}{why[1:]}."
