from __future__ import annotations

import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from bridge.ports import Intrinsics
from calibration.board_detection import sharpness_px
from calibration.board_file import BoardFile, is_measured, load_board
from calibration.board_spec import BOARDS, Board
from calibration.camera_file import CameraCalibration
from calibration.errors import MirroredBoard, WrongDictionary, WrongScale
from calibration.intrinsics import Seen, why_refused
from calibration.lens import project
from calibration.view_guide import Advice, ViewGuide
from scripts.calibrate_camera import collect, explain, look, scale_words
from scripts.main import main
from scripts.programs.board_scenes import Look, board_picture
from scripts.programs.guide_window import guide_picture
from urdf.description import load_arm
from urdf.pose import Pose

LENS = Intrinsics(400, 300, 380.0, 381.0, 197.0, 152.0, (-0.2, 0.05, 0.0, 0.0, 0.0))
SIZE = (LENS.width_px, LENS.height_px)
BARREL = Intrinsics(640, 480, 610.0, 612.0, 316.0, 243.0, (-0.25, 0.08, 0.0005, -0.0005, 0.0))


def pose(k: int) -> Pose:
    turn = Pose.from_rotvec([0, 0, 0], [0.6 * math.cos(k * 1.7), 0.6 * math.sin(k * 1.7), 0.0])
    facing = turn @ Pose.from_rotvec([0, 0, 0], [math.pi, 0, 0])
    return Pose(np.array([0.04 * (k % 3 - 1), 0.03 * (k // 3 % 3 - 1), 0.26 + 0.03 * (k % 2)]), facing.quat_xyzw)


def picture(board: Board, k: int, look: Look | None = None) -> np.ndarray:
    return board_picture(board, LENS, pose(k), np.random.default_rng(k), look)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("views")
    for k in range(10):
        cv2.imwrite(str(made / f"{k}.png"), picture(BOARDS["charuco"], k))
    return made


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TANDEM_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def test_a_folder_of_pictures_becomes_a_camera(folder: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["calibrate", "camera", "--robot", "arm1", "--folder", str(folder), "--models", "pinhole", "--json"]) == 0
    )
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert line["fx_px"] == pytest.approx(LENS.fx_px, rel=0.005)
    assert line["held_out_px"] < 0.25
    assert line["board_measured"] is False
    camera = CameraCalibration.load("desk", "arm1", load_arm("dofbot"), data)
    assert camera.intrinsics().fx_px == line["fx_px"]
    shown = cv2.imread(line["picture"])
    assert shown is not None
    assert shown.shape[1] > 1000
    assert shown.std() > 10


def test_how_large_the_board_is_no_picture_tells_and_that_is_said(data: Path) -> None:
    assert "tandem board measured charuco" in scale_words("charuco", BOARDS["charuco"], is_measured("charuco", data))
    printed = BoardFile.of("charuco", BOARDS["charuco"], "A4")
    printed.save(data)
    assert not is_measured("charuco", data)
    printed.measured(151.5, 202.0).save(data)
    assert "101.00 % along x, 101.00 % along y" in scale_words("charuco", load_board("charuco", data), True)
    assert is_measured("charuco", data)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "--folder or --camera"),
        (["--folder", "nowhere"], "no folder"),
        (["--folder", "{folder}", "--board", "charuko"], "charuco"),
        (["--folder", "{folder}", "--models", "mirror"], "pinhole"),
        (["--folder", "{folder}", "--models"], "fisheye"),
        (["--folder", "{folder}", "--name", "a/b"], "letters"),
        (["--folder", "{folder}", "--board", "desk"], "DICT_5X5_100"),
        (["--camera", "folder:{folder}/none"], "is over after 3 pictures; until then 0 views of the charuco board"),
    ],
)
def test_bad_input_is_refused(
    folder: Path, data: Path, capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    (folder / "none").mkdir(exist_ok=True)
    for k in range(3):
        cv2.imwrite(str(folder / "none" / f"{k}.png"), np.full((300, 400, 3), 40 * k, np.uint8))
    told = [w.replace("{folder}", str(folder)) for w in words]
    assert main(["calibrate", "camera", "--robot", "arm1", *told]) == 2
    assert says in capsys.readouterr().err
    assert not list(data.rglob("camera_*"))


@pytest.mark.parametrize("kind", ["charuco", "aruco", "chessboard"])
def test_corners_are_found_where_the_lens_puts_them(kind: str) -> None:
    board = BOARDS[kind]
    centred = Pose(np.array([0.0, 0.0, 0.36]), pose(1).quat_xyzw)
    seen = board.detect(board_picture(board, LENS, centred, np.random.default_rng(0)))
    assert len(seen) > 35
    offset = seen.image_px - project(seen.object_m, centred, LENS)
    assert float(np.sqrt(np.mean(offset**2))) < 0.2


def test_blur_is_measured_in_pixels_also_where_only_one_direction_is_blurred() -> None:
    board = BOARDS["charuco"]
    for blurred, low, high in (
        (Look(blur_px=0.5), 0.4, 0.9),
        (Look(blur_px=1.6), 1.35, 2.0),
        # A motion of 6 px is a box whose steepest slope is that of a Gaussian of 6 / sqrt(2 pi) = 2.4 px.
        (Look(blur_px=0.5, motion_px=(6.0, 0.0)), 1.9, 3.0),
    ):
        flat = Pose(np.array([0.0, 0.0, 0.24]), np.array([1.0, 0.0, 0.0, 0.0]))
        rgb = board_picture(board, LENS, flat, np.random.default_rng(0), blurred)
        sharp = board_picture(board, LENS, flat, np.random.default_rng(0))
        assert low < sharpness_px(board, rgb, board.detect(sharp)) < high


@pytest.mark.parametrize("kind", ["charuco", "chessboard"])
def test_a_blurred_picture_is_told_as_blurred_also_where_the_board_is_not_found(kind: str) -> None:
    board, whole = BOARDS[kind], Pose(np.array([0.0, 0.0, 0.36]), pose(1).quat_xyzw)
    for blur_px in (2.5, 3.0, 4.0):
        rgb = board_picture(board, LENS, whole, np.random.default_rng(0), Look(blur_px=blur_px))
        assert "blurred" in why_refused(look(board, rgb, "v"), SIZE)
    sharp = board_picture(board, LENS, whole, np.random.default_rng(0))
    assert not why_refused(look(board, sharp, "v"), SIZE)
    if kind == "chessboard":
        cut = look(board, np.ascontiguousarray(sharp[:, :200]), "v")
        assert "all of it in view" in why_refused(cut, (200, SIZE[1]))


def test_a_lens_that_bends_the_sides_of_a_marker_biases_none_of_its_corners() -> None:
    board = BOARDS["aruco"]
    near = Pose(np.array([0.05, 0.03, 0.26]), pose(1).quat_xyzw)
    seen = board.detect(board_picture(board, BARREL, near, np.random.default_rng(0)))
    assert len(seen) > 60
    offset = seen.image_px - project(seen.object_m, near, BARREL)
    assert float(np.sqrt(np.mean(offset**2))) < 0.035  # straight edges through this lens leave 0.06


def test_a_mirrored_board_another_dictionary_and_other_proportions_are_told() -> None:
    board = BOARDS["charuco"]
    flat = Pose(np.array([0.0, 0.0, 0.26]), np.array([1.0, 0.0, 0.0, 0.0]))
    rgb = board_picture(board, LENS, flat, np.random.default_rng(0))
    with pytest.raises(MirroredBoard, match="mirror"):
        explain(board, [np.ascontiguousarray(rgb[:, ::-1])])
    with pytest.raises(WrongDictionary, match=r"of DICT_4X4_50.*tandem board make charuco"):
        explain(board, [board_picture(BOARDS["desk"], LENS, flat, np.random.default_rng(0))])
    markers = board_picture(BOARDS["aruco"], LENS, flat, np.random.default_rng(0))
    other = Board("aruco", 7, 5, 0.034, 0.026, "DICT_5X5_100", 40)  # the same markers, in other rows
    with pytest.raises(WrongScale, match="another board"):
        other.detect(markers)


def test_a_live_camera_is_asked_for_views_until_there_are_enough() -> None:
    board = BOARDS["charuco"]
    pictures = [picture(board, k) for k in range(8)]
    guide = ViewGuide((400, 300), wanted=8)
    shown = iter([p for p in pictures for _ in range(2)])
    told: list[Advice] = []

    def read() -> np.ndarray:
        return next(shown)

    with pytest.raises(StopIteration):
        collect(guide, board, read, lambda advice, _rgb, _count: told.append(advice))
    assert sum(a.taken for a in told) == len(guide.views) >= 6
    assert told[0].text == "Hold it still."
    seen = Seen("now", board.detect(pictures[0]))
    drawn = guide_picture(pictures[0], seen, told[-1], guide)
    assert drawn.shape[1] == 400
    assert drawn.shape[0] > 300
