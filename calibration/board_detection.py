"""A board in a picture: its corners to a fraction of a pixel, how sharp it is, and why it was not found.

A board that is not the one it was said to be is told, not measured: mirrored, of another dictionary, or of other
proportions. Pixel centres have whole coordinates.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from bridge.ports import Intrinsics
from calibration.board_spec import Board, BoardCorners
from calibration.boards import Image
from calibration.edge_corners import fit_print
from calibration.errors import MirroredBoard, WrongDictionary, WrongScale
from calibration.flat_view import homography, through
from calibration.lens_fit import lens_of_one_view
from calibration.lens_solver import View
from urdf.pose import Array

if TYPE_CHECKING:
    import cv2

Gray = NDArray[np.uint8]

#: What other boards are commonly printed with, tried in this order when a picture shows nothing of ours.
DICTIONARIES = (
    "DICT_4X4_50", "DICT_5X5_100", "DICT_6X6_250", "DICT_4X4_250", "DICT_5X5_250", "DICT_4X4_1000", "DICT_5X5_1000",
    "DICT_6X6_1000", "DICT_7X7_50", "DICT_7X7_1000", "DICT_ARUCO_ORIGINAL", "DICT_APRILTAG_36h11",
    "DICT_APRILTAG_16h5", "DICT_APRILTAG_25h9",
)  # fmt: skip
#: Fewer points than this say nothing about a board.
MIN_POINTS = 8
#: So many markers of another kind are no chance find.
_SURE = 4
#: Corners of so many markers tell how a lens bends a picture.
_BENT_MARKERS = 6
#: An edge is looked at twice, blurred by so much; of the pixels of a picture so many are its strongest edges, where a
#: step of 20 grey levels is one.
_FINER_PX, _COARSER_PX = 1.0, 2.5
_EDGE_SHARE, _LEAST_STEEPNESS = 0.005, 2.0
#: Up to this width a chessboard is sought in the enlarged picture.
_SMALL_PX = 800
#: A flat view leaves this much, relative to the board's size in the picture, for the lens to bend.
_MAX_MISFIT = 0.05


def detect(board: Board, rgb: Image) -> BoardCorners:
    """Return what a picture shows of the board; see `Board.detect`."""
    gray = _gray(rgb)
    corners = _chessboard(board, gray) if board.kind == "chessboard" else _with_markers(board, gray)
    if len(corners) >= MIN_POINTS:
        _check_flat(board, corners)
    return corners


def explain_nothing(board: Board, rgb: Image) -> None:
    """Raise MirroredBoard or WrongDictionary where that is why a picture shows none of the board.

    Half a second: for once, not for every picture.
    """
    if board.kind == "chessboard":
        return
    gray = _gray(rgb)
    if len(_markers(board.dictionary, gray)) >= _SURE:
        return
    mirrored = _markers(board.dictionary, np.ascontiguousarray(gray[:, ::-1]))
    if len(set(mirrored) & {m.id for m in board.markers}) >= min(_SURE, len(board.markers)):
        raise MirroredBoard(
            f"the picture shows the {board.kind} board as in a mirror: switch off mirroring in the camera or its "
            "driver, or print the board again without 'mirror' or 'flip' in the printer's settings"
        )
    for name in DICTIONARIES:
        found = _markers(name, gray)
        if name != board.dictionary and len(found) >= _SURE:
            raise WrongDictionary(
                f"the picture shows {len(found)} markers of {name}, and the {board.kind} board has {board.dictionary}: "
                f"print ours (tandem board make {board.kind}), or describe that one: "
                f"tandem board make {board.kind} --name NAME --dictionary {name}"
            )


def sharpness_px(board: Board, rgb: Image, corners: BoardCorners) -> float:
    """Return how blurred the board's edges are: the standard deviation [px] of the blur, of the worse direction.

    A sharp lens leaves 0.5 to 1 px. An edge blurred by sigma rises, at its steepest, by its height / (sigma sqrt 2 pi).
    NaN where no edge is in the picture.
    """
    gray = _gray(rgb).astype(np.float64)
    lines = board.edges_m()
    seen = homography(corners.object_m[:, :2], corners.image_px)
    ends = through(seen, lines[:, :, :2].reshape(-1, 2)).reshape(-1, 2, 2)
    height, width = gray.shape
    inside = np.all((ends > 1) & (ends < (width - 2, height - 2)), axis=(1, 2))
    along_x = np.abs(lines[:, 1, 0] - lines[:, 0, 0]) > np.abs(lines[:, 1, 1] - lines[:, 0, 1])
    worst = 0.0
    for mask in (inside & along_x, inside & ~along_x):
        sigmas = [s for s in (_edge_sigma_px(gray, a, b) for a, b in ends[mask]) if math.isfinite(s)]
        if not sigmas:
            return math.nan
        worst = max(worst, float(np.median(sigmas)))
    return worst


def picture_blur_px(rgb: Image) -> float:
    """Return how blurred the strongest edges of a picture are [px], whatever it shows; NaN where it has none.

    Blurred once more by a known width an edge loses the more of its steepness, the sharper it was.
    Ref: Zhuo and Sim, Defocus map estimation from a single image (2011).
    """
    import cv2

    gray = _gray(rgb).astype(np.float32)
    finer, coarser = (_steepness(cv2.GaussianBlur(gray, (0, 0), s)) for s in (_FINER_PX, _COARSER_PX))
    strong = finer >= max(float(np.quantile(finer, 1 - _EDGE_SHARE)), _LEAST_STEEPNESS)
    if not strong.any():
        return math.nan
    ratio = float(np.median(finer[strong] / coarser[strong])) ** 2
    if ratio <= 1:
        return math.inf
    return math.sqrt(max(0.0, (_COARSER_PX**2 - ratio * _FINER_PX**2) / (ratio - 1)))


def _steepness(gray: cv2.typing.MatLike) -> NDArray[np.float32]:
    down, across = np.gradient(np.asarray(gray, dtype=np.float32))
    return np.hypot(across, down)


def _edge_sigma_px(gray: NDArray[np.float64], start_px: Array, end_px: Array) -> float:
    length = float(np.linalg.norm(end_px - start_px))
    count = max(5, int(4 * length))
    steps = np.linspace(0.0, 1.0, count)[:, None]
    x, y = (start_px + steps * (end_px - start_px)).T
    left, top = x.astype(int), y.astype(int)
    u, v = x - left, y - top
    upper = (1 - u) * gray[top, left] + u * gray[top, left + 1]
    lower = (1 - u) * gray[top + 1, left] + u * gray[top + 1, left + 1]
    profile = (1 - v) * upper + v * lower
    step = float(np.ptp(profile))
    if step < 20:  # grey levels: no edge of black on white
        return math.nan
    slope = float(np.abs(np.diff(profile)).max()) * (count - 1) / length
    return step / (slope * math.sqrt(2 * math.pi))


def _gray(rgb: Image) -> Gray:
    import cv2

    return rgb if rgb.ndim == 2 else np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), dtype=np.uint8)


def _with_markers(board: Board, gray: Gray) -> BoardCorners:
    if board.kind != "charuco":
        seen = _markers(board.dictionary, gray)
        ours = {m.id: seen[m.id] for m in board.markers if m.id in seen}
        lens = _straightening(board, gray, ours)
        refined = {m: _refined(board, gray, m, corners_px, lens) for m, corners_px in ours.items()}
        return _corners(board, _numbered(refined))
    corners, ids, _, _ = _charuco_detector(board).detectBoard(gray)
    if ids is None or len(ids) == 0:  # pyright: ignore[reportUnnecessaryComparison] - OpenCV's stubs know no None
        return _corners(board, [])
    numbers = cast("list[int]", np.asarray(ids).ravel().tolist())
    return _corners(board, list(zip(numbers, np.asarray(corners, dtype=np.float64).reshape(-1, 2), strict=True)))


def _numbered(markers: Mapping[int, Array]) -> list[tuple[int, Array]]:
    return [(4 * m + k, p) for m, corners_px in markers.items() for k, p in enumerate(corners_px)]


def _straightening(board: Board, gray: Gray, markers: Mapping[int, Array]) -> Intrinsics:
    """Return a lens that straightens the edges of the board's markers, by how their corners lie in this picture.

    A barrel bends the side of a marker 60 px wide by 0.3 px. Fitted as straight its corners would all lie too far out
    or in, alike in every picture, and the focal length with them.
    """
    height, width = gray.shape
    if len(markers) >= _BENT_MARKERS:
        seen = _corners(board, _numbered(markers))
        lens = lens_of_one_view(View("", seen.object_m, seen.image_px), (width, height))
        if lens is not None:
            return lens
    return Intrinsics(width, height, width, width, (width - 1) / 2, (height - 1) / 2)


def _refined(board: Board, gray: Gray, marker_id: int, corners_px: Array, lens: Intrinsics) -> Array:
    """Return a marker's corners from all edges of its print; as they are where the picture does not bear it out."""
    fit = fit_print(gray, corners_px, _white_cells(board.dictionary, marker_id), lens)
    return corners_px if fit is None else fit.corners_px


@lru_cache(maxsize=256)
def _white_cells(dictionary: str, marker_id: int) -> NDArray[np.bool_]:
    import cv2

    made = _dictionary(dictionary)
    return np.asarray(cv2.aruco.generateImageMarker(made, marker_id, made.markerSize + 2)) > 0


def _corners(board: Board, found: Sequence[tuple[int, Array]]) -> BoardCorners:
    points = board.points_m
    ours = [(n, p) for n, p in found if n in points]
    ids = np.array([n for n, _ in ours], dtype=np.int64)
    object_m = np.array([points[n] for n, _ in ours], dtype=np.float64).reshape(-1, 3)
    return BoardCorners(ids, object_m, np.array([p for _, p in ours], dtype=np.float64).reshape(-1, 2))


def _markers(dictionary: str, gray: Gray) -> dict[int, Array]:
    """Return the corners (4, 2) of every marker of a dictionary by id; an id seen twice says nothing: left out."""
    corners, ids, _ = _marker_detector(dictionary).detectMarkers(gray)
    if len(corners) == 0:
        return {}
    numbers = cast("list[int]", np.asarray(ids).ravel().tolist())
    pairs = zip(numbers, corners, strict=True)
    return {n: np.asarray(c, dtype=np.float64).reshape(4, 2) for n, c in pairs if numbers.count(n) == 1}


@lru_cache(maxsize=32)
def _marker_detector(dictionary: str) -> cv2.aruco.ArucoDetector:
    import cv2

    parameters = cv2.aruco.DetectorParameters()
    parameters.cornerRefinementMethod = cv2.aruco.CORNER_REFINE_SUBPIX
    parameters.relativeCornerRefinmentWinSize = 0.5  # of a marker's cell, as in calibration/boards.py
    return cv2.aruco.ArucoDetector(_dictionary(dictionary), parameters)


@lru_cache(maxsize=8)
def _charuco_detector(board: Board) -> cv2.aruco.CharucoDetector:
    import cv2

    ids = np.array([m.id for m in board.markers])
    size = (board.columns, board.rows)
    made = cv2.aruco.CharucoBoard(size, board.pitch_m, board.marker_m, _dictionary(board.dictionary), ids)
    return cv2.aruco.CharucoDetector(made)


def _dictionary(name: str) -> cv2.aruco.Dictionary:
    import cv2

    return cv2.aruco.getPredefinedDictionary(cast("int", getattr(cv2.aruco, name)))


def _chessboard(board: Board, gray: Gray) -> BoardCorners:
    import cv2

    size = (board.columns - 1, board.rows - 1)
    # Looking at four times the pixels finds corners better in a small picture, and takes seconds in a large one.
    flags = cv2.CALIB_CB_ACCURACY if gray.shape[1] <= _SMALL_PX else 0
    found, corners = cv2.findChessboardCornersSB(gray, size, flags=flags)
    if not found:
        return _corners(board, [])
    pixels = np.asarray(corners, dtype=np.float64).reshape(-1, 2)
    # OpenCV may start at either end. Ours starts beside the black square at the top left, which is the board's own.
    return _corners(board, list(enumerate(_from_black_corner(gray, pixels, board))))


def _from_black_corner(gray: Gray, pixels: Array, board: Board) -> Array:
    columns, rows = board.columns - 1, board.rows - 1
    grid = pixels.reshape(rows, columns, 2)
    right, down = grid[0, -1] - grid[0, 0], grid[-1, 0] - grid[0, 0]
    if right[0] * down[1] - right[1] * down[0] < 0:  # a mirrored order of what is never seen from behind
        grid = grid[:, ::-1]
    # The square beyond the first corner, from the parallelogram of its neighbours.
    first = grid[0, 0] - 0.5 * (grid[0, 1] - grid[0, 0]) - 0.5 * (grid[1, 0] - grid[0, 0])
    last = grid[-1, -1] + 0.5 * (grid[-1, -1] - grid[-1, -2]) + 0.5 * (grid[-1, -1] - grid[-2, -1])
    height, width = gray.shape

    def level(p: Array) -> int:
        return int(gray[min(max(round(p[1]), 0), height - 1), min(max(round(p[0]), 0), width - 1)])

    return (grid if level(first) <= level(last) else grid[::-1, ::-1]).reshape(-1, 2)


def _check_flat(board: Board, corners: BoardCorners) -> None:
    """Raise where the points do not lie in the picture as on a flat board seen from the front."""
    flat = corners.object_m[:, :2]
    if np.linalg.matrix_rank(flat - flat.mean(axis=0), tol=1e-6) < 2:
        return
    seen = homography(flat, corners.image_px)
    misfit = through(seen, flat) - corners.image_px
    reach = float(np.ptp(corners.image_px, axis=0).max())
    if math.sqrt(float(np.mean(misfit**2))) > _MAX_MISFIT * reach:
        raise WrongScale(
            f"the points do not lie as on the {board.kind} board of {board.columns} x {board.rows}, "
            f"{1000 * board.pitch_m:g} mm: it is another board, or it is bent. Name the board that was printed "
            "(tandem board), and glue it to something flat"
        )
    middle = flat.mean(axis=0)
    here, right, up = through(seen, middle + 1e-3 * np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
    # Seen from the front, x points right of y in a picture whose y points down.
    if (right - here)[0] * (up - here)[1] - (right - here)[1] * (up - here)[0] > 0:
        raise MirroredBoard(
            f"the markers stand as in a mirror image of the {board.kind} board: print it again unmirrored"
        )
