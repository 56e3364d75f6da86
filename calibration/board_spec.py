"""The boards that a camera is measured with: what is printed where, in metres. Data; OpenCV only inside `detect`.

A board's frame sits in its middle: x right, y up, z out of the paper. Corners of a marker run clockwise from its top
left. Every point has a number of its own: the corner between squares, row by row from the top left, or four times the
marker's id plus the corner.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray

from calibration.boards import DESK_BOARD, DICTIONARY, Image, Marker
from calibration.errors import BoardError, WrongScale
from urdf.errors import UnknownName
from urdf.pose import Array, Pose

BoardKind = Literal["charuco", "aruco", "chessboard", "grid", "desk"]
#: A printer that errs by more than this did not print at 100 %: A4 on Letter paper "to fit" is 0.94 to 0.97.
MAX_SCALE_ERROR = 0.02
#: A marker of a ChArUco board keeps at least this share of its square as white border, on all sides together.
_QUIET_SHARE = 0.1
_UPRIGHT = np.array([0.0, 0.0, 0.0, 1.0])


@dataclass(frozen=True, slots=True)
class BoardCorners:
    """Points of a board in one picture: their numbers (n,), places on the board (n, 3) and in the picture (n, 2)."""

    ids: NDArray[np.int64]
    object_m: Array
    image_px: Array

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class Board:
    """One printed board. Sizes are those on paper that a perfect printer makes; `scale` is what yours makes of them.

    charuco, chessboard: `columns` x `rows` squares of side `pitch_m`. aruco: that many markers, `pitch_m` from middle
    to middle. grid: that many cells of `pitch_m` between lines, a marker at each corner of the sheet. desk: the
    reference board of `calibration/boards.py`.
    """

    kind: BoardKind
    columns: int
    rows: int
    pitch_m: float
    marker_m: float = 0.0
    dictionary: str = ""
    first_id: int = 0
    #: Measured length over nominal length of what was printed, along the board's x and along its y.
    scale: tuple[float, float] = (1.0, 1.0)

    def __post_init__(self) -> None:
        if not (2 <= self.columns <= 60 and 2 <= self.rows <= 60):
            raise BoardError(f"a board of {self.columns} x {self.rows}: expected 2 to 60 columns and rows")
        if not 0.001 <= self.pitch_m <= 1.0:
            raise BoardError(f"a pitch of {1000 * self.pitch_m:g} mm: expected 1 to 1000 mm")
        if self.kind in ("charuco", "aruco"):
            widest = self.pitch_m * (1 - _QUIET_SHARE)
            if not 0.2 * self.pitch_m <= self.marker_m <= widest:
                raise BoardError(
                    f"markers of {1000 * self.marker_m:g} mm every {1000 * self.pitch_m:g} mm: expected "
                    f"{200 * self.pitch_m:g} to {1000 * widest:g} mm, so that white stays around them"
                )
        if self.kind == "chessboard" and self.columns % 2 == self.rows % 2:
            raise BoardError(
                f"a chessboard of {self.columns} x {self.rows} squares looks the same upside down: make one of the "
                "two numbers odd, the other even"
            )
        check_scale(self.scale)

    def scaled(self, along_x: float, along_y: float) -> Board:
        """Return the board as it came out of the printer; raises WrongScale where that is no print at 100 %."""
        return replace(self, scale=(along_x, along_y))

    @property
    def size_m(self) -> tuple[float, float]:
        """Width and height of what is printed, nominal, white border left out."""
        if self.kind == "aruco":
            return self._across(self.columns), self._across(self.rows)
        if self.kind == "desk":
            corners = np.concatenate([m.corners_m() for m in DESK_BOARD.markers])
            width, height, _ = np.ptp(corners, axis=0)
            return float(width), float(height)
        width, height = self.columns * self.pitch_m, self.rows * self.pitch_m
        return (width, height + 2 * _grid_band_m(self)) if self.kind == "grid" else (width, height)

    def _across(self, count: int) -> float:
        return (count - 1) * self.pitch_m + self.marker_m

    @property
    def markers(self) -> tuple[Marker, ...]:
        """Its markers as printed by a perfect printer; empty for a chessboard."""
        if self.kind == "desk":
            return DESK_BOARD.markers
        places = _marker_places(self)
        return tuple(
            Marker(self.first_id + k, f"marker {self.first_id + k}", self.marker_m, Pose(np.array([x, y, 0]), _UPRIGHT))
            for k, (x, y) in enumerate(places)
        )

    @property
    def points_m(self) -> dict[int, Array]:
        """All points that can be seen (3,), by number, as your printer made them."""
        stretch = np.array([*self.scale, 1.0])
        if self.kind in ("charuco", "chessboard"):
            columns, rows = self.columns - 1, self.rows - 1
            return {
                row * columns + column: stretch
                * np.array([(column - (columns - 1) / 2), ((rows - 1) / 2 - row), 0.0])
                * self.pitch_m
                for row in range(rows)
                for column in range(columns)
            }
        return {4 * m.id + k: stretch * p for m in self.markers for k, p in enumerate(m.corners_m())}

    def edges_m(self) -> Array:
        """Return black-to-white edges (n, 2, 3): from, to, across the edge at its middle: where sharpness is judged."""
        stretch = np.array([*self.scale, 1.0])
        half = self.pitch_m / 2.6
        if self.kind in ("charuco", "chessboard"):
            # Beside each corner, in the white rim of a charuco square that its marker leaves free.
            aside = (self.pitch_m - self.marker_m) / 4 if self.kind == "charuco" else self.pitch_m / 3
            sides = [(np.array([0.0, s * aside, 0.0]), np.array([half, 0.0, 0.0])) for s in (1, -1)]
            sides += [(np.array([s * aside, 0.0, 0.0]), np.array([0.0, half, 0.0])) for s in (1, -1)]
            lines = [(p + a * stretch - d * stretch, p + a * stretch + d * stretch)
                     for p in self.points_m.values() for a, d in sides]  # fmt: skip
            return np.array(lines)
        edges: list[tuple[Array, Array]] = []
        for marker in self.markers:
            corners = marker.corners_m()
            centre = corners.mean(axis=0)
            for k in range(4):
                middle = (corners[k] + corners[(k + 1) % 4]) / 2
                outward = (middle - centre) / (marker.size_m / 2) * marker.size_m / 8
                edges.append(((middle - outward) * stretch, (middle + outward) * stretch))
        return np.array(edges)

    def detect(self, rgb: Image) -> BoardCorners:
        """Return what a picture (H, W, 3) shows of the board, sub-pixel; nothing where it shows none of it.

        Raises MirroredBoard, WrongDictionary or WrongScale where it shows something that is not this board.
        """
        from calibration.board_detection import detect

        return detect(self, rgb)


def check_dictionary(board: Board) -> None:
    """Raise where OpenCV has no such dictionary, or the dictionary too few markers for the board."""
    if board.kind == "chessboard":
        return
    import cv2

    names = [n for n in dir(cv2.aruco) if n.startswith("DICT_")]
    if board.dictionary not in names:
        raise UnknownName("dictionary", board.dictionary, names)
    made = cv2.aruco.getPredefinedDictionary(cast("int", getattr(cv2.aruco, board.dictionary)))
    last, count = board.markers[-1].id, len(made.bytesList)
    if not (board.first_id >= 0 and last < count):
        raise BoardError(
            f"the board needs the markers {board.first_id} to {last} and {board.dictionary} has 0 to {count - 1}: "
            "choose a larger dictionary, a smaller board or a lower first id"
        )


def check_scale(scale: tuple[float, float]) -> None:
    """Raise WrongScale where a printer that errs so much did not print at 100 %."""
    for which, value in zip("xy", scale, strict=True):
        if not abs(value - 1) <= MAX_SCALE_ERROR:
            raise WrongScale(
                f"the print along the board's {which} came out at {100 * value:.2f} % of its length: a printer errs by "
                f"less than {100 * MAX_SCALE_ERROR:.0f} %, so this was fitted to the page. Print it again at 100 % "
                "(actual size), on the paper it was made for; or measure the ruler again, in mm, from its first line "
                "to its last"
            )


def _marker_places(board: Board) -> list[tuple[float, float]]:
    """Return the middles of the markers [m], in the order of their ids: row by row from the top left."""
    if board.kind == "chessboard":
        return []
    if board.kind == "grid":
        x = board.columns * board.pitch_m / 2 - board.marker_m / 2
        y = board.rows * board.pitch_m / 2 + _grid_band_m(board) - board.marker_m / 2
        return [(-x, y), (x, y), (-x, -y), (x, -y)]
    squares = [(column, row) for row in range(board.rows) for column in range(board.columns)]
    if board.kind == "charuco":  # markers sit in the white squares; the one at the top left is black
        squares = [(column, row) for column, row in squares if (column + row) % 2]
    return [
        ((column - (board.columns - 1) / 2) * board.pitch_m, ((board.rows - 1) / 2 - row) * board.pitch_m)
        for column, row in squares
    ]


def _grid_band_m(board: Board) -> float:
    """Return the height above and below a grid that its corner markers and their white border take."""
    return board.marker_m * 1.35


#: The boards that `tandem board make` makes unless it is told other sizes. Each fits on A4 and on Letter. They share no
#: marker with each other, and only the desk board shares its dictionary with the block.
BOARDS: Mapping[str, Board] = MappingProxyType({
    "charuco": Board("charuco", 7, 10, 0.024, 0.018, "DICT_5X5_100"),
    "aruco": Board("aruco", 5, 7, 0.034, 0.026, "DICT_5X5_100", 40),
    "chessboard": Board("chessboard", 7, 10, 0.024),
    "grid": Board("grid", 16, 18, 0.010, 0.024, "DICT_5X5_100", 80),
    "desk": Board("desk", 6, 5, 0.037, 0.030, DICTIONARY, 10),
})  # fmt: skip


def find_board(name: str) -> Board:
    """Return a standard board by name; raises UnknownName."""
    if name not in BOARDS:
        raise UnknownName("board", name, BOARDS)
    return BOARDS[name]
