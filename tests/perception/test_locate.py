from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from calibration.boards import BLOCK, DESK_BOARD, desk_from_board, detect_markers, see_markers
from calibration.lens import project
from perception.board_watch import BoardWatch, CameraFilter
from perception.errors import PoseUncertain, TargetNotSeen
from perception.locate import BlockFix, CameraFix, fix_camera, locate_block, locate_camera, locate_free
from perception.marker_locator import MarkerLocator
from scripts.programs.marker_scenes import DESK_LENS, SceneRange, draw_scene
from sim.lab_scene import LAB_INTRINSICS
from tests.perception.lab_pictures import RIG, STRAIGHT_UP, LabEye, frame_of, somewhere
from urdf.pose import Array, Pose

BOARD = desk_from_board(RIG)
FAR_AWAY = Pose.from_rpy([5.0, 5.0, 0.015], [0.0, 0.0, 0.0])


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lab")


@pytest.fixture(scope="module")
def eye(cache: Path) -> Iterator[LabEye]:
    eye = LabEye(cache, seed=11)
    yield eye
    eye.close()


def locate(seen_px: dict[int, Array]) -> BlockFix:
    return locate_block(seen_px, LAB_INTRINSICS, fix_camera(seen_px, LAB_INTRINSICS, BOARD))


def test_block_and_camera_are_found_over_the_whole_area_wherever_the_camera_was_pushed(
    cache: Path, record_property: Callable[[str, object], None]
) -> None:
    rng = np.random.default_rng(6)
    xy_mm, yaw_deg, camera_mm, camera_deg = [], [], [], []
    for seed in range(6):
        eye = LabEye(cache, seed)
        for _ in range(10):
            truth = somewhere(rng)
            seen_px = detect_markers(eye.picture(truth))
            seen = fix_camera(seen_px, LAB_INTRINSICS, BOARD)
            fix = locate_block(seen_px, LAB_INTRINSICS, seen)
            camera = seen.desk_from_camera
            assert fix.standing
            found = fix.desk_from_block
            xy_mm.append(1000 * float(np.linalg.norm(found.position_m[:2] - truth.position_m[:2])))
            yaw_deg.append(math.degrees(abs(found.yaw_rad - truth.yaw_rad)))
            apart_m, apart_rad = camera.distance_to(eye.desk_from_camera)
            camera_mm.append(1000 * apart_m)
            camera_deg.append(math.degrees(apart_rad))
        eye.close()
    for name, values in (("xy_mm", xy_mm), ("yaw_deg", yaw_deg), ("camera_mm", camera_mm), ("camera_deg", camera_deg)):
        record_property(name, f"median {np.median(values):.3f}, worst {max(values):.3f} of {len(values)}")
    assert len(xy_mm) == 60
    assert np.median(xy_mm) < 0.3
    assert np.median(yaw_deg) < 0.5
    assert max(xy_mm) < 2.0
    assert max(yaw_deg) < 2.0
    assert max(camera_mm) < 2.0
    assert max(camera_deg) < 0.3


@pytest.mark.parametrize("kept", [2, 4], ids=["front face alone", "top face alone"])
def test_one_marker_is_enough_for_a_block_that_stands_its_twin_notwithstanding(eye: LabEye, kept: int) -> None:
    rng = np.random.default_rng(7)
    twins_tempted = 0
    for _ in range(12):
        truth = somewhere(rng)
        seen_px = detect_markers(eye.picture(truth))
        seen_px = {n: c for n, c in seen_px.items() if n == kept or n in DESK_BOARD.ids}
        if kept not in seen_px:
            continue
        fix = locate(seen_px)
        assert fix.marker_ids == (kept,)
        assert fix.standing
        assert 1000 * np.linalg.norm(fix.desk_from_block.position_m[:2] - truth.position_m[:2]) < 2.0
        assert math.degrees(abs(fix.desk_from_block.yaw_rad - truth.yaw_rad)) < 4.0
        twins_tempted += 1
    assert twins_tempted >= 10


@pytest.mark.parametrize("only_front", [False, True], ids=["what is seen", "front face alone"])
def test_a_lifted_and_tilted_block_is_taken_for_lifted(eye: LabEye, only_front: bool) -> None:
    rng = np.random.default_rng(8)
    for _ in range(12):
        pitch = Pose.from_rpy([0.0, 0.0, 0.0], [rng.uniform(-0.3, 0.3), 0.0, 0.0])
        truth = somewhere(rng, height_m=0.015 + rng.uniform(0.03, 0.06)) @ pitch
        seen_px = detect_markers(eye.picture(truth))
        if only_front:
            seen_px = {n: c for n, c in seen_px.items() if n == 2 or n in DESK_BOARD.ids}
        if 2 not in seen_px:
            continue
        fix = locate(seen_px)
        assert not fix.standing
        error_m = fix.desk_from_block.position_m - truth.position_m
        assert abs(error_m[2]) < 0.008, "a lift of 30 mm is told from one of 20"
        assert np.linalg.norm(error_m[:2]) < 0.010


def test_without_a_board_the_error_names_the_board_and_its_ids(eye: LabEye) -> None:
    seen_px = detect_markers(eye.picture(somewhere(np.random.default_rng(9))))
    blind = {n: c for n, c in seen_px.items() if n in BLOCK.ids}
    with pytest.raises(TargetNotSeen, match=r"no marker of the desk board in the picture \(ids 10, 11, .*27\)"):
        locate_camera(blind, LAB_INTRINSICS, BOARD)
    one = {n: c for n, c in seen_px.items() if n == 24}
    with pytest.raises(TargetNotSeen, match=r"only marker 24 of the desk board .*; 2 are needed"):
        locate_camera(one, LAB_INTRINSICS, BOARD)


def test_without_a_block_the_error_names_the_block_and_its_ids(eye: LabEye) -> None:
    seen_px = detect_markers(eye.picture(FAR_AWAY))
    with pytest.raises(TargetNotSeen, match=r"no marker of the block in the picture \(ids 0, 1, 2, 3, 4\)"):
        locate(seen_px)


def test_the_board_is_seen_past_the_arm(eye: LabEye) -> None:
    for position_rad in (RIG.home_rad, RIG.rest_rad, STRAIGHT_UP):
        seen_px = detect_markers(eye.picture(FAR_AWAY, position_rad))
        assert sum(n in seen_px for n in DESK_BOARD.ids) >= 10
        apart_m, _ = locate_camera(seen_px, LAB_INTRINSICS, BOARD).distance_to(eye.desk_from_camera)
        assert apart_m < 0.002


def test_corners_that_no_pose_explains_are_not_believed(eye: LabEye) -> None:
    seen_px = detect_markers(eye.picture(somewhere(np.random.default_rng(10))))
    rng = np.random.default_rng(0)
    shaken = {n: c + rng.normal(0.0, 9.0, c.shape) for n, c in seen_px.items()}
    with pytest.raises(PoseUncertain, match="px"):
        locate_camera(shaken, LAB_INTRINSICS, BOARD)


def test_camera_filter_ignores_one_bad_frame_and_averages_the_rest() -> None:
    truth = Pose.from_rpy([0.0, 0.5, 0.3], [2.0, 0.1, -3.0])
    rng = np.random.default_rng(12)
    camera, worst_alone_m, filtered = CameraFilter(window=15), 0.0, truth
    for k in range(15):
        shaken = truth @ Pose.exp(rng.normal(0.0, 1e-3, 6))
        worst_alone_m = max(worst_alone_m, shaken.distance_to(truth)[0])
        filtered = camera.add(shaken if k != 13 else Pose.from_rpy([1.0, 1.0, 1.0], [0.0, 0.0, 0.0]), stamp_ns=k)
    assert filtered.distance_to(truth)[0] < 0.5 * worst_alone_m
    assert camera.age_s(14 + 2 * 10**9) == pytest.approx(2.0)


def test_camera_filter_believes_a_camera_that_was_bumped() -> None:
    before, after = Pose.from_rpy([0.0, 0.5, 0.3], [2.0, 0.1, 3.0]), Pose.from_rpy([0.0, 0.52, 0.3], [2.0, 0.1, 3.0])
    camera = CameraFilter(window=15)
    for k in range(15):
        camera.add(before, k)
    for k in range(9):
        camera.add(after, 15 + k)
    assert camera.pose().is_close(after, 1e-9, 1e-9)


def test_a_board_counts_from_the_next_picture_on_settled_or_not(eye: LabEye) -> None:
    watch, nothing = BoardWatch(RIG), dict[int, Array]()
    rgb = eye.picture(somewhere(np.random.default_rng(15)))
    first = watch.fix(frame_of(rgb, 0, 0))
    pushed_px = {n: corners_px + np.array([2.0, 0.0]) for n, corners_px in detect_markers(rgb).items()}
    for k in range(1, 9):
        watch.fix(frame_of(rgb, k, k * 10**8), pushed_px)
        if k % 2:
            watch.settle()  # where nobody settles, the next picture does
    believed = watch.fix(frame_of(rgb, 9, 9 * 10**8), nothing)
    middle_px, before_px = (
        project(np.zeros((1, 3)), fix.desk_from_camera.inverse(), LAB_INTRINSICS) for fix in (believed, first)
    )
    assert middle_px - before_px == pytest.approx(np.array([[2.0, 0.0]]), abs=0.3)
    with pytest.raises(TargetNotSeen):
        watch.fix(frame_of(rgb, 10, 31 * 10**8), nothing)


def test_a_block_is_found_where_it_was_and_where_it_was_carried_to(eye: LabEye) -> None:
    """The first picture is searched whole, later ones around the block; what is found is the same."""
    rng, locator = np.random.default_rng(16), MarkerLocator(RIG)
    for k in range(12):
        truth = somewhere(rng)
        rgb = eye.picture(truth)
        for again in range(2):
            seen = locator.locate(frame_of(rgb, 2 * k + again, (2 * k + again) * 10**8))
            locator.settle()
            fresh = MarkerLocator(RIG).locate(frame_of(rgb, 0, 0))
            assert seen.marker_ids == fresh.marker_ids
            assert seen.base_from_block.is_close(fresh.base_from_block, 2e-4, 2e-3)


@pytest.mark.parametrize("height_m", [0.015, 0.060], ids=["standing", "lifted"])
def test_a_block_s_place_is_as_wrong_as_it_is_said_to_be(height_m: float) -> None:
    rng = np.random.default_rng(13)
    sigma = np.array([3e-4, 3e-4, 3e-4, 1e-3, 1e-3, 1e-3])
    scaled = []
    for k in range(30):
        scene = draw_scene(SceneRange(DESK_LENS, tilt_rad=(0.3, 1.0)), np.random.default_rng((15, k)))
        truth = Pose.from_rpy([0.0, 0.0, height_m], [0.0, 0.0, 0.0])
        camera = truth @ scene.camera_from_block.inverse()
        off = sigma * rng.normal(size=6)
        turned = Pose.from_rotvec(np.zeros(3), off[3:]) @ Pose(np.zeros(3), camera.quat_xyzw)
        believed = Pose(camera.position_m + off[:3], turned.quat_xyzw)
        seen_px, fits = see_markers(scene.rgb, DESK_LENS)
        fix = locate_block(seen_px, DESK_LENS, CameraFix.known(believed, DESK_LENS, np.diag(sigma**2)), fits)
        assert fix.standing == (height_m < 0.02)
        error = fix.desk_from_block.position_m - truth.position_m
        scaled.append(float(error @ np.linalg.solve(fix.covariance[:3, :3], error)))
    # Chi squared of three numbers; standing, one of them is the desk's height, which here is exact.
    assert 0.8 < np.mean(scaled) < 4.5
    assert max(scaled) < 16.3, "one in a thousand"


def test_the_camera_is_as_wrong_as_it_is_said_to_be(cache: Path) -> None:
    eye, rng = LabEye(cache, 31), np.random.default_rng(13)
    seen_px = detect_markers(eye.picture(somewhere(rng)))
    fix = fix_camera(seen_px, LAB_INTRINSICS, BOARD)
    eye.close()
    off = fix.desk_from_camera.position_m - eye.desk_from_camera.position_m
    assert float(off @ np.linalg.solve(fix.covariance[:3, :3], off)) < 11.3
    assert 1e-5 < np.sqrt(fix.covariance[0, 0]) < 1e-3


def test_a_block_in_the_air_is_found_without_desk_or_board() -> None:
    lens = SceneRange(DESK_LENS)
    for k in range(6):
        scene = draw_scene(lens, np.random.default_rng((14, k)))
        seen_px, fits = see_markers(scene.rgb, scene.intrinsics)
        found = locate_free(seen_px, scene.intrinsics, fits)
        error = found.camera_from_target.position_m - scene.camera_from_block.position_m
        assert np.linalg.norm(error) < 0.002
        assert float(error @ np.linalg.solve(found.covariance[:3, :3], error)) < 16.3
    with pytest.raises(TargetNotSeen, match="no marker of the block"):
        locate_free({}, DESK_LENS)
