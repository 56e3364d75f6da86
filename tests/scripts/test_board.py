from __future__ import annotations

import io
import json
import re
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from calibration.board_file import PAPER_MM, BoardFile, Paper, load_board
from calibration.board_spec import BOARDS, BoardKind
from calibration.boards import DESK_BOARD, GRIPPER, desk_from_board, detect_markers
from scripts.main import main
from scripts.programs.board_sheet import board_sheet, gripper_sheet
from urdf.description import load_arm
from urdf.errors import UnknownName

MM_PER_POINT = 25.4 / 72


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TANDEM_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def black_rectangles_mm(pdf: bytes) -> tuple[np.ndarray, tuple[float, float]]:
    """Read black rectangles (n, 4) left, top, right, bottom in mm from the paper's top left, and the paper's size."""
    box = re.search(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", pdf)
    content = re.search(rb"stream\n(.*?)\nendstream", pdf, re.DOTALL)
    assert box
    assert content
    width, height = float(box[1]), float(box[2])
    words = content[1].split()
    a, b, c, d, e, f = (float(w) for w in words[:6])
    assert (words[6], b, c) == (b"cm", 0.0, 0.0)
    grey, found, numbers = 0.0, [], []
    for word in words[7:]:
        if word == b"g":
            grey = numbers[-1]
        elif word == b"re" and grey == 0.0:
            x, y, w, h = numbers[-4:]
            left, right = a * x + e, a * (x + w) + e
            top, bottom = height - (d * y + f), height - (d * (y + h) + f)
            found.append((left, top, right, bottom))
        elif re.fullmatch(rb"-?[\d.]+", word):
            numbers.append(float(word))
    return np.array(found) * MM_PER_POINT, (width * MM_PER_POINT, height * MM_PER_POINT)


def make(*words: str) -> None:
    assert main(["board", "make", *words]) == 0


def test_the_pdf_is_to_scale(data: Path) -> None:
    make("charuco", "--paper", "Letter")
    pdf = (data / "boards" / "charuco_Letter.pdf").read_bytes()
    assert b"/PrintScaling /None" in pdf
    black, sheet = black_rectangles_mm(pdf)
    assert sheet == pytest.approx((215.9, 279.4), abs=0.01)
    sides = black[:, 2:] - black[:, :2]
    squares = black[np.all(np.abs(sides - 24.0) < 1.0, axis=1)]
    assert len(squares) == 35
    assert np.abs(squares[:, 2:] - squares[:, :2] - 24.0).max() < 0.01
    # A marker's black border is one cell high and as wide as the marker: the first row of each of 35 markers.
    borders = black[(np.abs(sides[:, 0] - 18.0) < 0.5) & (np.abs(sides[:, 1] - 18 / 7) < 0.1)]
    tops = [
        b for b in borders if any(abs(o[1] - b[1] - 18 * 6 / 7) < 0.02 and abs(o[0] - b[0]) < 0.02 for o in borders)
    ]
    assert len(tops) >= 35
    assert np.abs(sides[np.abs(sides[:, 0] - 18.0) < 0.5][:, 0] - 18.0).max() < 0.05
    rulers = [r for r in sides if r[0] > 140 or r[1] > 190]
    assert sorted(max(r) for r in rulers) == pytest.approx([150.0, 200.0], abs=0.01)


def test_the_png_is_to_scale_and_says_how_large_it_is(data: Path) -> None:
    make("charuco")
    file = (data / "boards" / "charuco_A4.png").read_bytes()
    # Pixels a metre, from the file itself. Ref: PNG specification, pHYs.
    across, down, unit = struct.unpack(">IIB", file[file.index(b"pHYs") + 4 :][:9])
    assert unit == 1
    picture = np.asarray(Image.open(io.BytesIO(file)))
    assert picture.shape[1] / across == pytest.approx(0.210, abs=1e-4)
    assert picture.shape[0] / down == pytest.approx(0.297, abs=1e-4)
    # Down the middle of the sheet stands a column of squares and markers; edges against white are 24 mm apart.
    row = picture[round(0.0175 * down) + 40] < 128
    edges = np.flatnonzero(np.diff(row.astype(int))) * 1000 / across
    widths = np.diff(edges)
    squares = widths[np.abs(widths - 24.0) < 0.5]
    assert len(squares) >= 3
    assert np.abs(squares - 24.0).max() < 0.05


@pytest.mark.parametrize("kind", ["aruco", "chessboard", "grid", "desk"])
def test_what_is_printed_is_found_where_the_board_says(data: Path, kind: str) -> None:
    make(kind, "--paper", "Letter")
    picture = Image.open(data / "boards" / f"{kind}_Letter.png")
    small = picture.resize((picture.width // 10, picture.height // 10), Image.Resampling.BOX)
    rgb = np.repeat(np.asarray(small)[:, :, None], 3, axis=2)
    board = load_board(kind, data)
    seen = board.detect(rgb)
    assert len(seen) == len(board.points_m)
    # 600 dpi / 10, and the desk board lies on its side: x up the sheet.
    px_per_m = 60 / 0.0254
    right, up = (seen.object_m[:, :2] * px_per_m).T
    if kind == "desk":
        right, up = -up, right
    expected = np.stack([right, -up], axis=1)
    offset = seen.image_px - expected
    assert np.abs(offset - offset.mean(axis=0)).max() < 0.6


@pytest.mark.parametrize("paper", ["A4", "Letter"])
@pytest.mark.parametrize("kind", ["charuco", "desk"])
def test_each_number_of_a_ruler_stands_at_its_tick_and_clear_of_the_board(kind: BoardKind, paper: Paper) -> None:
    sheet = board_sheet(BOARDS[kind], paper, kind)
    width_mm, height_mm = PAPER_MM[paper]
    half_board_mm = 500 * BOARDS[kind].size_m[1 if kind == "desk" else 0]
    numbers = [w for w in sheet.words if w.text.isdigit()]
    across = [w for w in numbers if w.y_mm > height_mm - 20]
    assert [w.text for w in across] == [str(k) for k in range(0, 151, 10)]
    assert all(w.centred and abs(w.x_mm - (width_mm / 2 - 75 + int(w.text))) < 0.01 for w in across)
    down = [w for w in numbers if w.x_mm < 20 and w not in across]
    assert [w.text for w in down] == [str(k) for k in range(0, 201, 20)]
    for word in down:
        # A digit of Helvetica is 0.703 of the size of its letters high and 0.556 wide.
        assert word.y_mm - 0.703 * word.size_mm / 2 == pytest.approx(
            (height_mm - 24) / 2 - 100 + int(word.text), abs=0.05
        )
        assert word.x_mm + 0.556 * word.size_mm * len(word.text) / 2 < width_mm / 2 - half_board_mm - 1.5


def test_the_arrow_of_the_desk_board_is_at_the_side_where_the_arm_stands() -> None:
    sheet = board_sheet(BOARDS["desk"], "A4", "desk")
    (arm,) = [w for w in sheet.words if w.text == "arm"]
    px_per_mm = 100 / 25.4
    rgb = np.repeat(np.asarray(sheet.raster(100))[:, :, None], 3, axis=2)
    right_mm = {number: corners[:, 0].mean() / px_per_mm for number, corners in detect_markers(rgb).items()}
    rig = load_arm("dofbot").rig("table")
    board = desk_from_board(rig)
    base_m = rig.desk_from_base.position_m[:2]
    away_m = {m.id: np.linalg.norm(board.apply(m.corners_m()).mean(axis=0)[:2] - base_m) for m in DESK_BOARD.markers}
    nearest, farthest = min(away_m, key=lambda k: away_m[k]), max(away_m, key=lambda k: away_m[k])
    assert right_mm[farthest] < right_mm[nearest] < arm.x_mm < 205


@pytest.mark.parametrize("paper", ["A4", "Letter"])
def test_the_grippers_markers_keep_clear_of_the_rulers(paper: Paper) -> None:
    sheet = gripper_sheet(paper)
    faces = np.concatenate([ink.rectangles_mm for ink in sheet.ink[:-1]])
    numbers = [w for w in sheet.words if w.text.isdigit() and w.x_mm < 20]
    assert faces[:, 0].min() > max(w.x_mm for w in numbers) + 3
    assert (faces[:, 0] + faces[:, 2]).max() < PAPER_MM[paper][0] - 5


def test_a_measured_ruler_scales_the_board_and_history_is_kept(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make("charuco")
    make("desk")
    assert load_board("charuco", data).scale == (1.0, 1.0)
    assert main(["board", "measured", "charuco", "--across-mm", "149.4", "--down-mm", "200.5"]) == 0
    board = load_board("charuco", data)
    assert board.scale == pytest.approx((0.996, 1.0025))
    first = board.points_m[0]
    assert first == pytest.approx([-2.5 * 0.024 * 0.996, 4 * 0.024 * 1.0025, 0.0])
    assert main(["board", "measured", "desk", "--across-mm", "149.4", "--down-mm", "200.5"]) == 0
    assert load_board("desk", data).scale == pytest.approx((1.0025, 0.996))  # it lies on its side
    assert len(list((data / "boards" / "history").glob("charuco_*.json"))) == 1
    capsys.readouterr()
    assert main(["board", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out.splitlines()[-1])["boards"]
    assert {line["name"]: line["scale"] for line in listed}["charuco"] == pytest.approx([0.996, 1.0025])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["measured", "charuco", "--across-mm", "141", "--down-mm", "188"], "actual size"),
        (["measured", "charuco", "--across-mm", "15", "--down-mm", "20"], "in mm"),
        (["measured", "charuco", "--across-mm", "nan", "--down-mm", "200"], "in mm"),
        (["measured", "nope", "--across-mm", "150", "--down-mm", "200"], "charuco"),
        (["make", "charuco", "--columns", "12"], "fewer columns"),
        (["make", "charuco", "--marker-mm", "23.9"], "white"),
        (["make", "chessboard", "--columns", "8"], "upside down"),
        (["make", "aruco", "--dictionary", "DICT_4X4_50"], "larger dictionary"),
        (["make", "aruco", "--dictionary", "DICT_4X4_5"], "DICT_4X4_50"),
        (["make", "desk", "--pitch-mm", "30"], "aruco board"),
        (["make", "charuco", "--name", "../x"], "letters"),
    ],
)
def test_bad_input_is_refused_and_nothing_is_overwritten(
    data: Path, capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    # As `make` would, without drawing.
    BoardFile.of("charuco", load_board("charuco", data), "A4").save(data)
    before = {p: p.read_bytes() for p in data.rglob("*") if p.is_file()}
    assert main(["board", *words]) == 2
    assert says in capsys.readouterr().err
    assert {p: p.read_bytes() for p in data.rglob("*") if p.is_file()} == before


def test_the_stickers_are_the_faces_of_the_block(data: Path) -> None:
    make("block-stickers")
    black, _ = black_rectangles_mm((data / "boards" / "block-stickers_A4.pdf").read_bytes())
    sides = black[:, 2:] - black[:, :2]
    # The upper and lower border of a marker of 20 mm and 6 cells: two rows for each of 3 x 5 faces, or more where the
    # cells inside are black from side to side.
    borders = sides[np.abs(sides[:, 1] - 20 / 6) < 0.01]
    assert (np.abs(borders[:, 0] - 20.0) < 0.01).sum() >= 30


def test_the_grippers_marker_is_seen_with_the_size_that_the_servos_calibration_expects(data: Path) -> None:
    make("gripper")
    dots_per_m = 600 / 0.0254
    picture = np.asarray(Image.open(data / "boards" / "gripper_A4.png").convert("RGB"))
    first = picture[: picture.shape[0] // 4, : picture.shape[1] // 3]  # one of twelve
    corners = detect_markers(np.ascontiguousarray(first[::4, ::4]))[40]
    sides = np.linalg.norm(corners - np.roll(corners, 1, axis=0), axis=1) * 4 / dots_per_m
    np.testing.assert_allclose(sides, GRIPPER.markers[0].size_m, rtol=0.01)
    assert main(["board", "make", "gripper", "--marker-mm", "20"]) == 2


def test_a_measured_board_is_not_lost_when_another_sheet_is_made_under_its_name(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    BoardFile.of("charuco", load_board("charuco", data), "A4").measured(149.4, 199.2).save(data)
    for other in (["--paper", "Letter"], ["--rows", "9"]):
        assert main(["board", "make", "charuco", *other]) == 2
        assert "--name charuco_" in capsys.readouterr().err
    assert not list((data / "boards").glob("*.pdf"))
    make("charuco")
    assert "stays measured" in capsys.readouterr().out
    assert load_board("charuco", data).scale == pytest.approx((0.996, 0.996))
    make("charuco", "--paper", "Letter", "--name", "charuco_Letter")
    assert load_board("charuco_Letter", data).scale == (1.0, 1.0)


def test_a_file_where_the_boards_should_lie_is_told(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data.mkdir()
    (data / "boards").write_text("")
    assert main(["board", "make", "charuco"]) == 2
    assert str(data / "boards") in capsys.readouterr().err


def test_an_unknown_board_names_each_of_the_known_ones_once(data: Path) -> None:
    BoardFile.of("charuco", load_board("charuco", data), "A4").save(data)
    with pytest.raises(UnknownName) as refused:
        load_board("nob", data)
    assert sorted(refused.value.valid) == ["aruco", "charuco", "chessboard", "desk", "grid"]
