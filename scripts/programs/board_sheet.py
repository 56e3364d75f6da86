"""What is printed for a board: the board itself, two rulers to check the printer with, and what to do with them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibration.board_file import PAPER_MM, RULER_ACROSS_MM, RULER_DOWN_MM, Paper, is_turned
from calibration.board_spec import Board
from calibration.boards import BLOCK, BLOCK_SIZE_M, DICTIONARY, GRIPPER
from calibration.errors import BoardError
from scripts.programs.sheet import DPI, Sheet

Rectangle = tuple[float, float, float, float]

#: Below the board: the ruler across and two lines of words. Beside it: the ruler down.
_FOOT_MM, _SIDE_MM = 24.0, 15.0
_RULER_LEFT_MM = 6.0
_TOP_MM = 5.0
_NETS = 3
#: Of the size of its letters: how high a digit is. Ref: Adobe font metrics, Helvetica.
_DIGIT_HEIGHT = 0.703
#: White that a marker keeps around it.
_ARROW_GAP_MM = 3.0
#: Sheets that are cut up, rulers and all.
_CUT_UP = ("block-stickers", "gripper")


def board_sheet(board: Board, paper: Paper, name: str) -> Sheet:
    """Return the sheet of a board; raises BoardError where it does not fit on the paper."""
    sheet = Sheet(*PAPER_MM[paper], title=f"Tandem {name} board, {paper}")
    width, height = (1000 * v for v in board.size_m)
    turned = is_turned(board)
    if turned:
        width, height = height, width
    most = sheet.width_mm - 2 * _SIDE_MM, sheet.height_mm - _FOOT_MM - 2 * _TOP_MM
    if width > most[0] + 1e-6 or height > most[1] + 1e-6:
        raise BoardError(
            f"the board is {width:.0f} x {height:.0f} mm on its sheet and {paper} holds {most[0]:.0f} x "
            f"{most[1]:.0f} mm besides its rulers: make fewer columns and rows, or smaller squares"
        )
    middle = sheet.width_mm / 2, (sheet.height_mm - _FOOT_MM) / 2
    _draw_board(sheet, board, middle, turned)
    if board.kind == "desk":
        _draw_way_to_lay(sheet, middle, width / 2)
    _draw_foot(sheet, name, describe(board))
    return sheet


def describe(board: Board) -> str:
    """Return what a board is in a line."""
    size = f"{board.columns} x {board.rows}"
    pitch = f"{1000 * board.pitch_m:g}"
    if board.kind == "chessboard":
        return f"chessboard, {size} squares of {pitch} mm"
    ids = [m.id for m in board.markers]
    markers = f"markers of {1000 * board.marker_m:g} mm, {board.dictionary}, ids {ids[0]} to {ids[-1]}"
    if board.kind == "grid":
        return f"grid, {size} cells of {pitch} mm, {markers}"
    if board.kind == "desk":
        return f"desk board, {size}, every {pitch} mm, {markers}; the arrow points to the arm"
    if board.kind == "charuco":
        return f"ChArUco board, {size} squares of {pitch} mm, {markers}"
    return f"ArUco board, {size}, every {pitch} mm, {markers}"


def printed(board: Board, shrink: int, paper: Paper = "A4") -> tuple[NDArray[np.uint8], float]:
    """Return the sheet of a board as a picture (H, W), and its pixels per metre: the print's, `shrink` in one."""
    page = board_sheet(board, paper, board.kind).raster(DPI).reduce(shrink)
    return np.asarray(page, dtype=np.uint8), DPI / 0.0254 / shrink


def gripper_sheet(paper: Paper) -> Sheet:
    """Return the sheet of the marker for the front of the gripper, several times, with the outline to cut along."""
    sheet = Sheet(*PAPER_MM[paper], title=f"Tandem gripper marker, {paper}")
    marker = GRIPPER.markers[0]
    side, whole = 1000 * marker.size_m, 1000 * GRIPPER.size_m[0]
    across, down = 3, 4
    gap_x, gap_y = (sheet.width_mm - 2 * _SIDE_MM) / across, (sheet.height_mm - _FOOT_MM) / down
    for row in range(down):
        for column in range(across):
            x, y = _SIDE_MM + (column + 0.5) * gap_x - whole / 2, (row + 0.5) * gap_y - whole / 2
            _draw_face(sheet, marker.id, (x, y), whole, side)
    what = f"marker of {side:g} mm, DICT_4X4_50, id {marker.id}; cut along the outline, stick it on, edges in line"
    _draw_foot(sheet, "gripper", what)
    return sheet


def stickers_sheet(paper: Paper) -> Sheet:
    """Return the sheet of the block's faces: nets to cut out and fold around it, all with the same markers."""
    sheet = Sheet(*PAPER_MM[paper], title=f"Tandem block stickers, {paper}")
    face = 1000 * BLOCK_SIZE_M
    left = sheet.width_mm / 2 - 2 * face
    gap = (sheet.height_mm - _FOOT_MM - 2 * face * _NETS) / (_NETS + 0.5)
    for k in range(_NETS):
        _draw_net(sheet, left, gap * (k + 0.6) + 2 * face * k, face)
    what = f"block of {face:g} mm, markers of 20 mm, DICT_4X4_50, ids 0 to 4"
    _draw_foot(sheet, "block-stickers", f"{what}; cut along the outline, fold around the block, +z up")
    return sheet


def _draw_board(sheet: Sheet, board: Board, middle: tuple[float, float], turned: bool) -> None:
    def place(x_m: float, y_m: float) -> tuple[float, float]:
        right, up = (-y_m, x_m) if turned else (x_m, y_m)
        return middle[0] + 1000 * right, middle[1] - 1000 * up

    def area(corner_m: tuple[float, float], opposite_m: tuple[float, float]) -> Rectangle:
        (a, b), (c, d) = place(*corner_m), place(*opposite_m)
        return min(a, c), min(b, d), abs(c - a), abs(d - b)

    if board.kind in ("charuco", "chessboard"):
        p = board.pitch_m
        left, top = -board.columns * p / 2, board.rows * p / 2
        sheet.fill([
            area((left + c * p, top - r * p), (left + (c + 1) * p, top - (r + 1) * p))
            for r in range(board.rows) for c in range(board.columns) if (r + c) % 2 == 0
        ])  # fmt: skip
    if board.kind == "grid":
        _draw_grid(sheet, board, middle)
    for marker in board.markers:
        corners = marker.corners_m()
        black = black_cells(board.dictionary, marker.id)
        cell = marker.size_m / len(black)
        left, top = corners[0][0], corners[0][1]
        cells = [
            area((left + c * cell, top - r * cell), (left + e * cell, top - (r + 1) * cell))
            for r, row in enumerate(black) for c, e in _runs(row)
        ]  # fmt: skip
        sheet.fill(cells)


def black_cells(dictionary: str, marker_id: int) -> np.ndarray:
    """Return which cells (n, n) of a marker are black, its border included."""
    import cv2

    made = cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, dictionary))
    side = made.markerSize + 2
    return np.asarray(cv2.aruco.generateImageMarker(made, marker_id, side)) == 0


def _runs(row: np.ndarray) -> list[tuple[int, int]]:
    """Return where black begins and ends in a row of cells: one rectangle each, so that no seam shows."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], row.astype(int), [0]])))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _draw_grid(sheet: Sheet, board: Board, middle: tuple[float, float]) -> None:
    pitch = 1000 * board.pitch_m
    half_x, half_y = board.columns * pitch / 2, board.rows * pitch / 2
    fine: list[Rectangle] = []
    bold: list[Rectangle] = []
    for count, is_upright in ((board.columns, True), (board.rows, False)):
        for k in range(count + 1):
            at = (k - count / 2) * pitch
            is_bold = abs(at / (5 * pitch) - round(at / (5 * pitch))) < 1e-9
            line = 0.4 if is_bold else 0.18
            x, y = middle[0] + at, middle[1] - at
            (bold if is_bold else fine).append(
                (x - line / 2, middle[1] - half_y, line, 2 * half_y) if is_upright
                else (middle[0] - half_x, y - line / 2, 2 * half_x, line)
            )  # fmt: skip
            if abs(at / (2 * pitch) - round(at / (2 * pitch))) > 1e-9:
                continue
            if is_upright:
                sheet.number(f"{at:.0f}", x, middle[1] + half_y + 3.4, 2.4, 0.35)
                sheet.number(f"{at:.0f}", x, middle[1] - half_y - 1.4, 2.4, 0.35)
            else:
                sheet.number(f"{at:.0f}", middle[0] - half_x - 3.6, y + 0.9, 2.4, 0.35)
                sheet.number(f"{at:.0f}", middle[0] + half_x + 3.6, y + 0.9, 2.4, 0.35)
    sheet.fill(fine, 0.6)
    sheet.fill(bold, 0.3)
    x, y = middle
    sheet.fill([(x, y - 0.5, 2 * pitch, 1.0), (x - 0.5, y - 2 * pitch, 1.0, 2 * pitch), (x - 1.4, y - 1.4, 2.8, 2.8)])
    sheet.write("x", x + 2 * pitch - 2.4, y - 1.6, 4.2, bold=True)
    sheet.write("y", x + 1.6, y - 2 * pitch + 2.6, 4.2, bold=True)
    sheet.write("[mm]", x + half_x - 8.0, y + half_y + 7.4, 2.4)


def _draw_way_to_lay(sheet: Sheet, middle: tuple[float, float], half_mm: float) -> None:
    """Draw an arrow to the arm beside the desk board, and a cross in its middle to measure from."""
    x, y = middle
    sheet.fill([(x - 5, y - 0.1, 10, 0.2), (x - 0.1, y - 5, 0.2, 10)], 0.6)
    left, long, step = x + half_mm + _ARROW_GAP_MM, 5.0, 0.1
    shares = np.arange(0.0, 1.0, step / long)
    sheet.fill([(left + long * s, y - 4 * (1 - s), step, 8 * (1 - s)) for s in shares.tolist()], 0.2)
    sheet.number("arm", left + long / 2, y + 8.0, 3.0)


def _draw_net(sheet: Sheet, left: float, top: float, face: float) -> None:
    """Draw the four sides in a row, as they follow each other around the block, and the top above the first."""
    markers = {m.name: m for m in BLOCK.markers}
    side = 1000 * BLOCK.markers[0].size_m
    for name, column, row in (("+z", 0, 0), ("-y", 0, 1), ("+x", 1, 1), ("+y", 2, 1), ("-x", 3, 1)):
        _draw_face(sheet, markers[name].id, (left + column * face, top + row * face), face, side)
    sheet.write("top +z; below it -y, then +x, +y, -x", left + face + 4, top + face - 4, 3.0)


def _draw_face(sheet: Sheet, marker_id: int, at_mm: tuple[float, float], face: float, side: float) -> None:
    """Draw a marker of `side` in the middle of a square `face`, whose outline is a hair."""
    x, y = at_mm
    black = black_cells(DICTIONARY, marker_id)
    cell, inset = side / len(black), (face - side) / 2
    sheet.fill([
        (x + inset + c * cell, y + inset + r * cell, (e - c) * cell, cell)
        for r, cells in enumerate(black) for c, e in _runs(cells)
    ])  # fmt: skip
    hair = 0.12
    sheet.fill([
        (x, y, face, hair), (x, y + face - hair, face, hair), (x, y, hair, face), (x + face - hair, y, hair, face)
    ], 0.65)  # fmt: skip


def _draw_foot(sheet: Sheet, name: str, what: str) -> None:
    """Draw both rulers and say what they are for."""
    left, base = sheet.width_mm / 2 - RULER_ACROSS_MM / 2, sheet.height_mm - 21.0
    marks: list[Rectangle] = [(left, base - 0.1, RULER_ACROSS_MM, 0.2)]
    for k in range(int(RULER_ACROSS_MM) + 1):
        marks.append((left + k - 0.06, base, 0.12, _tick_mm(k)))
        if k % 10 == 0:
            sheet.number(str(k), left + k, base + 7.0)
    top = (sheet.height_mm - _FOOT_MM) / 2 - RULER_DOWN_MM / 2
    x, short, size = _RULER_LEFT_MM, 0.7, 2.4
    marks.append((x - 0.1, top, 0.2, RULER_DOWN_MM))
    for k in range(int(RULER_DOWN_MM) + 1):
        marks.append((x, top + k - 0.06, short * _tick_mm(k), 0.12))
        if k % 20 == 0:
            sheet.number(str(k), x + 5.7, top + k + _DIGIT_HEIGHT * size / 2, size)
    sheet.fill(marks)
    line = sheet.height_mm - 9.4
    sheet.write(f"Tandem {name}", left, line, 3.2, bold=True)
    sheet.write(what, left + 3.2 * 0.6 * len(f"Tandem {name}") + 3.0, line, 2.6)
    rulers = f"This ruler must be {RULER_ACROSS_MM:g} mm long, the one at the left {RULER_DOWN_MM:g} mm."
    told = "1 mm off: print again." if name in _CUT_UP else f"Tell what yours are: tandem board measured {name} --help"
    sheet.write(f"Print at 100 % (actual size). {rulers} {told}", left, line + 4.2, 2.35)


def _tick_mm(millimetre: int) -> float:
    return 4.4 if millimetre % 10 == 0 else 3.2 if millimetre % 5 == 0 else 2.0
