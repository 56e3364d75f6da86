from __future__ import annotations

import math
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest

from calibration.boards import (
    BLOCK,
    BLOCK_SIZE_M,
    DESK_BOARD,
    Marker,
    Target,
    board_image,
    desk_from_board,
    detect_markers,
    face_image,
)
from urdf.description import load_arm

PX_PER_MM = 4
needs_opencv = pytest.mark.skipif(find_spec("cv2") is None, reason="OpenCV is not part of the base install")


@needs_opencv
def test_every_marker_of_the_printed_board_is_found_where_the_data_says() -> None:
    picture = board_image(PX_PER_MM)
    height, width = picture.shape[:2]
    seen = detect_markers(picture)
    assert set(seen) == set(DESK_BOARD.ids)
    for marker in DESK_BOARD.markers:
        # Board millimetres from the middle, y up, to pixels whose centres are whole: by hand.
        x, y = (1000 * PX_PER_MM * marker.corners_m()[:, k] for k in (0, 1))
        expected = np.stack([width / 2 + x - 0.5, height / 2 - y - 0.5], axis=1)
        assert np.abs(seen[marker.id] - expected).max() < 0.3


def test_the_board_prints_on_one_a4_sheet() -> None:
    assert sorted(DESK_BOARD.size_m)[1:] <= [0.210, 0.297]


@pytest.mark.parametrize("rig_name", ["table", "hanging"])
def test_a_block_in_the_area_never_stands_on_a_marker_of_the_board(rig_name: str) -> None:
    rig = load_arm("dofbot").rig(rig_name)
    reach = rig.area_size_m / 2 + BLOCK_SIZE_M * math.sqrt(2) / 2
    place = desk_from_board(rig)
    for marker in DESK_BOARD.markers:
        offset = np.abs(place.apply(marker.corners_m())[:, :2] - rig.area_center_m)
        assert np.any(offset.min(axis=0) > reach)


def test_block_and_board_share_no_marker() -> None:
    ids = [*BLOCK.ids, *DESK_BOARD.ids]
    assert len(set(ids)) == len(ids) == 5 + 18


@needs_opencv
@pytest.mark.parametrize("marker", BLOCK.markers, ids=lambda m: m.name)
def test_each_face_of_the_block_shows_its_marker_with_a_quiet_zone(marker: Marker) -> None:
    picture = np.pad(face_image(marker, PX_PER_MM), ((9, 9), (9, 9), (0, 0)))  # black around: the paper must suffice
    assert set(detect_markers(picture)) == {marker.id}


def test_corners_of_the_faces_lie_as_on_a_real_block() -> None:
    corners = {m.name: m.corners_m() * 1000 for m in BLOCK.markers}
    assert corners["+z"] == pytest.approx(np.array([[-10, 10, 15], [10, 10, 15], [10, -10, 15], [-10, -10, 15]]))
    # Standing in front of +y one sees -x on the right and up above.
    assert corners["+y"] == pytest.approx(np.array([[10, 15, 10], [-10, 15, 10], [-10, 15, -10], [10, 15, -10]]))
    assert corners["+x"] == pytest.approx(np.array([[15, -10, 10], [15, 10, 10], [15, 10, -10], [15, -10, -10]]))


@pytest.mark.parametrize("target", [BLOCK, DESK_BOARD], ids=lambda t: t.name)
def test_no_marker_is_mirrored(target: Target) -> None:
    for marker in target.markers:
        top_left, top_right, _, bottom_left = marker.corners_m()
        normal = np.cross(top_right - top_left, top_left - bottom_left)
        assert normal / np.linalg.norm(normal) == pytest.approx(marker.target_from_marker.rotation[:, 2])
        if target is BLOCK:
            assert np.dot(normal, marker.corners_m().mean(axis=0)) > 0  # outwards


@needs_opencv
def test_an_id_that_is_seen_twice_is_left_out() -> None:
    tile = np.pad(face_image(BLOCK.markers[0], PX_PER_MM), ((9, 9), (9, 9), (0, 0)), constant_values=255)
    other = np.pad(face_image(BLOCK.markers[4], PX_PER_MM), ((9, 9), (9, 9), (0, 0)), constant_values=255)
    assert set(detect_markers(np.concatenate([tile, other, tile], axis=1))) == {BLOCK.markers[4].id}


@needs_opencv
def test_an_empty_picture_holds_no_marker() -> None:
    assert detect_markers(np.full((480, 640, 3), 127, dtype=np.uint8)) == {}


def test_the_targets_are_data_that_a_raspberry_pi_can_read_without_opencv() -> None:
    code = "import sys, calibration.boards; sys.exit('cv2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_board_that_a_printer_stretched_has_its_corners_where_they_came_out() -> None:
    stretched = DESK_BOARD.scaled(0.98, 1.01)
    for nominal, printed in zip(DESK_BOARD.markers, stretched.markers, strict=True):
        np.testing.assert_allclose(printed.corners_m(), nominal.corners_m() * [0.98, 1.01, 1.0], atol=1e-12)
    with pytest.raises(ValueError, match="block"):
        BLOCK.scaled(0.98, 0.98)
