"""The printed targets: the desk's reference board and the markers of the block. Data, pictures to print, detection.

Corners run clockwise from a marker's top left, as OpenCV orders them. A target's frame has z out of the paper.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bridge.ports import Intrinsics
from calibration.edge_corners import PrintFit, fit_print
from urdf.description import Rig
from urdf.pose import Array, Pose

if TYPE_CHECKING:
    import cv2

Image = NDArray[np.uint8]

#: Both targets draw from one dictionary, so one detector finds them in one pass.
DICTIONARY = "DICT_4X4_50"
#: Cells of a marker along a side, its black border included.
CELLS = 6

BLOCK_SIZE_M = 0.030
_MARKER_M = 0.020
_BOARD_COLUMNS, _BOARD_ROWS = 6, 5
_BOARD_MARKER_M, _BOARD_GAP_M = 0.030, 0.007
_BOARD_FIRST_ID = 10
_UPRIGHT = np.array([0.0, 0.0, 0.0, 1.0])


@dataclass(frozen=True, slots=True)
class Marker:
    """One square marker on a target."""

    id: int
    name: str
    size_m: float
    target_from_marker: Pose
    #: Printed length over nominal length, along the marker's x and y.
    stretch: tuple[float, float] = (1.0, 1.0)

    def corners_m(self) -> Array:
        """Return the corners (4, 3) in the target's frame."""
        x, y = (self.size_m / 2 * share for share in self.stretch)
        return self.target_from_marker.apply([[-x, y, 0.0], [x, y, 0.0], [x, -y, 0.0], [-x, -y, 0.0]])


@dataclass(frozen=True, slots=True)
class Target:
    """A rigid thing with markers on it."""

    name: str
    size_m: tuple[float, float, float]
    markers: tuple[Marker, ...]

    @property
    def ids(self) -> tuple[int, ...]:
        """The ids of all its markers."""
        return tuple(m.id for m in self.markers)

    def matches(self, seen_px: Mapping[int, Array]) -> tuple[tuple[int, ...], Array, Array]:
        """Return (ids, corners in the target's frame (n, 3), the same corners in the picture (n, 2))."""
        found = [m for m in self.markers if m.id in seen_px]
        if not found:
            return (), np.zeros((0, 3)), np.zeros((0, 2))
        object_m = np.concatenate([m.corners_m() for m in found])
        image_px = np.concatenate([seen_px[m.id] for m in found])
        return tuple(m.id for m in found), object_m, image_px

    def scaled(self, along_x: float, along_y: float) -> Target:
        """Return a flat board as it came out of the printer, its middle staying; all its markers stand upright."""
        if any(m.target_from_marker.position_m[2] for m in self.markers):
            raise ValueError(f"the {self.name} is no flat board: it has no one print to scale")
        grow = np.array([along_x, along_y, 1.0])
        markers = tuple(
            replace(
                m,
                target_from_marker=Pose(m.target_from_marker.position_m * grow, m.target_from_marker.quat_xyzw),
                stretch=(along_x, along_y),
            )
            for m in self.markers
        )
        return replace(self, markers=markers)


def _desk_board() -> Target:
    """A grid of markers with its middle left free: the block works inside the ring and hides nothing of it.

    The ring spans the whole block area, so the camera's pose is interpolated there, never extrapolated. It prints on
    one A4 sheet.
    """
    pitch = _BOARD_MARKER_M + _BOARD_GAP_M
    markers: list[Marker] = []
    for row in range(_BOARD_ROWS):
        for column in range(_BOARD_COLUMNS):
            if 0 < row < _BOARD_ROWS - 1 and 0 < column < _BOARD_COLUMNS - 1:
                continue
            x = (column - (_BOARD_COLUMNS - 1) / 2) * pitch
            y = ((_BOARD_ROWS - 1) / 2 - row) * pitch
            number = _BOARD_FIRST_ID + len(markers)
            place = Pose(np.array([x, y, 0.0]), _UPRIGHT)
            markers.append(Marker(number, f"row {row}, column {column}", _BOARD_MARKER_M, place))
    size = (_BOARD_COLUMNS * pitch + _BOARD_GAP_M, _BOARD_ROWS * pitch + _BOARD_GAP_M, 0.0)
    return Target("desk board", size, tuple(markers))


def _block() -> Target:
    """One marker on each face but the bottom one; the block's frame sits at its centre. Side markers stand upright."""
    faces: list[tuple[str, list[float], list[float]]] = [
        ("+x", [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]),
        ("-x", [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]),
        ("+y", [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]),
        ("-y", [0.0, -1.0, 0.0], [1.0, 0.0, 0.0]),
        ("+z", [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]),
    ]
    markers: list[Marker] = []
    for number, (name, normal, right) in enumerate(faces):
        z, x = np.array(normal), np.array(right)
        matrix = np.eye(4)
        matrix[:3, 0], matrix[:3, 1], matrix[:3, 2] = x, np.cross(z, x), z
        matrix[:3, 3] = z * BLOCK_SIZE_M / 2
        markers.append(Marker(number, name, _MARKER_M, Pose.from_matrix(matrix)))
    return Target("block", (BLOCK_SIZE_M, BLOCK_SIZE_M, BLOCK_SIZE_M), tuple(markers))


def _gripper() -> Target:
    """The printed face on the front of the Dofbot's gripper, in the tool's frame: seen from before the arm."""
    matrix = np.eye(4)
    matrix[:3, 0], matrix[:3, 1], matrix[:3, 2] = [-1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, -1.0, 0.0]
    matrix[:3, 3] = [0.0, -0.0261, -0.069]  # the middle of the gripper servo's face
    return Target("gripper", (0.044, 0.044, 0.0), (Marker(40, "face", 0.034, Pose.from_matrix(matrix)),))


DESK_BOARD = _desk_board()
BLOCK = _block()
#: Its target frame is the arm's tool. How it was really stuck on is up to the person who did it.
GRIPPER = _gripper()


def desk_from_board(rig: Rig) -> Pose:
    """Return where the reference board lies on the desk of a rig: flat, in the middle of the block area."""
    return Pose(np.array([*rig.area_center_m, 0.0]), _UPRIGHT)


def marker_image(marker_id: int, side_px: int) -> Image:
    """Return one marker (side_px, side_px), black and white, without a quiet zone."""
    import cv2

    dictionary = cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, DICTIONARY))
    return np.asarray(cv2.aruco.generateImageMarker(dictionary, marker_id, side_px), dtype=np.uint8)


def board_image(px_per_mm: int = 10, board: Target = DESK_BOARD) -> Image:
    """Return the board (H, W, 3) to print at `px_per_mm`; its upper edge is the board's +y."""
    import cv2

    width, height = (round(1000 * v * px_per_mm) for v in board.size_m[:2])
    picture = np.full((height, width, 3), 255, dtype=np.uint8)
    for marker in board.markers:
        side = round(1000 * marker.size_m * px_per_mm)
        x, y, _ = marker.corners_m()[0]
        left, top = round(width / 2 + 1000 * x * px_per_mm), round(height / 2 - 1000 * y * px_per_mm)
        picture[top : top + side, left : left + side] = marker_image(marker.id, side)[:, :, None]
    frame = round((_BOARD_MARKER_M + 1.5 * _BOARD_GAP_M) * 1000 * px_per_mm)
    cv2.rectangle(picture, (frame, frame), (width - frame, height - frame), (205, 210, 216), max(1, px_per_mm // 2))
    return picture


def face_image(marker: Marker, px_per_mm: int = 10, paper_rgb: tuple[int, int, int] = (255, 255, 255)) -> Image:
    """Return one face of the block (N, N, 3) to print at `px_per_mm`; the paper is the marker's quiet zone."""
    side, whole = (round(1000 * v * px_per_mm) for v in (marker.size_m, BLOCK_SIZE_M))
    picture = np.empty((whole, whole, 3), dtype=np.uint8)
    picture[:] = paper_rgb
    inset = (whole - side) // 2
    bits = marker_image(marker.id, side)[:, :, None] > 0
    tile = picture[inset : inset + side, inset : inset + side]
    tile[:] = np.where(bits, tile, 0)
    return picture


def detect_markers(rgb: Image, intrinsics: Intrinsics | None = None) -> dict[int, Array]:
    """Return the sub-pixel corners (4, 2) of every marker in an RGB picture (H, W, 3), by id.

    Pixel centres have whole coordinates. An id that is seen twice says nothing about where its target is: left out.
    With `intrinsics` (a guess will do) corners come from all edges of the print: 0.01 px instead of 0.2, 1-2 ms each.
    """
    import cv2

    gray = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
    seen_px = _detect(gray)
    if intrinsics is None:
        return seen_px
    return seen_px | {n: fit.corners_px for n, fit in _fits(gray, seen_px, intrinsics).items()}


def see_markers(
    rgb: Image,
    intrinsics: Intrinsics,
    ids: Collection[int] | None = None,
    within: tuple[slice, slice] | None = None,
) -> tuple[dict[int, Array], dict[int, PrintFit]]:
    """Return the corners of every marker in a picture, and the fits of those of `ids`, of all where None.

    A marker without a fit is partly hidden, or in a corner where the lens shows nothing: its corners are 0.2 px good.
    `within`: the rows and columns to look in, with starts and ends; None: everywhere.
    """
    import cv2

    gray = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
    seen_px = _detect(gray, within)
    return seen_px, _fits(gray, {n: c for n, c in seen_px.items() if ids is None or n in ids}, intrinsics)


def _fits(gray: Image, seen_px: Mapping[int, Array], intrinsics: Intrinsics) -> dict[int, PrintFit]:
    fits = {n: fit_print(gray, corners_px, _bits(n), intrinsics) for n, corners_px in seen_px.items()}
    return {n: fit for n, fit in fits.items() if fit is not None}


@lru_cache
def _bits(marker_id: int) -> NDArray[np.bool_]:
    return marker_image(marker_id, CELLS) > 0


def _detect(gray: Image, within: tuple[slice, slice] | None = None) -> dict[int, Array]:
    part = gray if within is None else np.ascontiguousarray(gray[within])
    corners, ids, _ = _detector(max(gray.shape) / max(part.shape)).detectMarkers(part)
    if len(corners) == 0:
        return {}
    first = (0, 0) if within is None else (within[1].start, within[0].start)
    numbers = [int(n) for n in np.asarray(ids).ravel()]
    seen = zip(numbers, corners, strict=True)
    return {n: np.asarray(c, dtype=np.float64).reshape(4, 2) + first for n, c in seen if numbers.count(n) == 1}


def _detector(whole_per_part: float) -> cv2.aruco.ArucoDetector:
    import cv2

    parameters = cv2.aruco.DetectorParameters()
    parameters.cornerRefinementMethod = cv2.aruco.CORNER_REFINE_SUBPIX
    parameters.relativeCornerRefinmentWinSize = 0.5  # of a marker's cell: 0.3, the default, doubles the error here
    # Of the larger side of what is looked at: a face of the block seen at a slant.
    parameters.minMarkerPerimeterRate = 0.05 * whole_per_part
    # The outline of the block's face, 5 mm outside its marker, must not pass for the same candidate seen twice.
    parameters.minMarkerDistanceRate = 0.05
    # A cell may be two pixels wide: its middle third is judged. The default, all but a rim of an eighth, loses one
    # small marker in ten of a webcam's pictures to the blur between the cells.
    parameters.perspectiveRemoveIgnoredMarginPerCell = 0.33
    parameters.perspectiveRemovePixelPerCell = 8
    dictionary = cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, DICTIONARY))
    return cv2.aruco.ArucoDetector(dictionary, parameters)
