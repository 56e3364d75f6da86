"""What a wrong lens and wrongly printed targets do to a block's place is what its covariance says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from bridge.ports import Intrinsics
from calibration.boards import BLOCK, DESK_BOARD, Target, desk_from_board
from calibration.lens import project
from perception.locate import BlockFix, fix_camera, locate_block, locate_free
from perception.markers import turn_between
from perception.systematic import EXACT, Systematic
from sim.lab_scene import LAB_INTRINSICS, nominal_camera
from tests.perception.lab_pictures import RIG
from urdf.pose import Array, Pose

LENS = replace(LAB_INTRINSICS, distortion=(-0.1, 0.02, 0.0005, -0.0005, 0.0))
CAMERA = nominal_camera(RIG)
BOARD = desk_from_board(RIG)
X, Y = RIG.area_center_m
STANDING = Pose.from_rpy([X + 0.02, Y - 0.015, 0.015], [0.0, 0.0, 0.3])
LIFTED = Pose.from_rpy([X + 0.01, Y + 0.01, 0.075], [0.0, 0.1, 0.2])


def grown(target: Target, factor: float) -> Target:
    """Return a target as a printer makes it that prints everything so much larger, the block's middle staying."""
    markers = tuple(
        replace(
            m,
            size_m=m.size_m * factor,
            target_from_marker=Pose(m.target_from_marker.position_m * factor, m.target_from_marker.quat_xyzw),
        )
        for m in target.markers
    )
    return replace(target, markers=markers)


def corners_px(
    block: Pose, lens: Intrinsics, board_factor: float = 1.0, block_factor: float = 1.0
) -> Mapping[int, Array]:
    """Return where the corners of the board and of the block's top and front are seen, always with the same noise."""
    seen: dict[int, Array] = {}
    rng = np.random.default_rng(1)  # OpenCV's planar pose is wrong for corners without any
    for target, pose, ids in (
        (grown(DESK_BOARD, board_factor), BOARD, DESK_BOARD.ids),
        (grown(BLOCK, block_factor), block, (2, 4)),
    ):
        for marker in target.markers:
            if marker.id in ids:
                exact = project(marker.corners_m(), CAMERA.inverse() @ pose, lens)
                seen[marker.id] = exact + rng.normal(0.0, 0.003, exact.shape)
    return seen


def found_in(seen_px: Mapping[int, Array], systematic: Systematic = EXACT) -> BlockFix:
    camera = fix_camera(seen_px, LENS, BOARD)
    return locate_block(seen_px, LENS, camera, systematic=systematic)


def systematic_of(index: int, size: float) -> Systematic:
    sigma = np.zeros(9)
    sigma[index] = size
    return Systematic.of_sigma(sigma)


def wrong_lens(index: int, size: float) -> Intrinsics:
    if index < 4:
        name = ("fx_px", "fy_px", "cx_px", "cy_px")[index]
        return replace(LENS, **{name: getattr(LENS, name) + size})
    numbers = list(LENS.distortion)
    numbers[index - 4] += size
    return replace(LENS, distortion=tuple(numbers))


def shift(found: Pose, truth: Pose) -> Array:
    return np.concatenate([found.position_m - truth.position_m, turn_between(truth, found)])


def check(error: Array, added: Array) -> None:
    """Check that an error of one standard deviation is the one direction that a covariance (6, 6) was grown in."""
    expected = np.outer(error, error)
    scale = np.repeat([1.0, 0.02], 3)  # radians in metres of a block
    assert np.linalg.norm(error * scale) > 2e-6, "this must move the block"
    difference = (added - expected) * np.outer(scale, scale)
    assert np.linalg.norm(difference) < 0.15 * np.linalg.norm(expected * np.outer(scale, scale))


@pytest.mark.parametrize("block", [STANDING, LIFTED], ids=["standing", "lifted"])
@pytest.mark.parametrize(("index", "size"), [(0, 0.5), (1, 0.5), (2, 0.5), (3, 0.5), (4, 0.004), (6, 0.0005)])
def test_a_lens_that_is_off_by_one_sigma_moves_the_block_by_one(block: Pose, index: int, size: float) -> None:
    exact = found_in(corners_px(block, LENS))
    there = found_in(corners_px(block, wrong_lens(index, size)))
    known = found_in(corners_px(block, LENS), systematic_of(index, size))
    assert there.standing == exact.standing == known.standing == (block is STANDING)
    check(shift(there.desk_from_block, exact.desk_from_block), known.covariance - exact.covariance)


def test_prints_that_are_too_large_by_one_sigma_move_the_block_by_one() -> None:
    exact = found_in(corners_px(LIFTED, LENS))
    errors = [
        shift(found_in(corners_px(LIFTED, LENS, *factors)).desk_from_block, exact.desk_from_block)
        for factors in ((1.003, 1.0), (1.0, 1.003))
    ]
    added = found_in(corners_px(LIFTED, LENS), Systematic(print_scale=0.003)).covariance - exact.covariance
    together = sum((np.outer(e, e) for e in errors), np.zeros((6, 6)))
    assert np.linalg.norm(added[:3, :3] - together[:3, :3]) < 0.15 * np.linalg.norm(together[:3, :3])


def test_a_single_marker_in_the_air_is_nearer_or_farther_by_the_share_that_the_focal_length_is_off() -> None:
    seen = {4: corners_px(STANDING, LENS)[4]}
    share = 0.002
    sigma = np.zeros(9)
    sigma[:2] = share * LENS.fx_px, share * LENS.fy_px
    both = np.diag(sigma**2)
    both[0, 1] = both[1, 0] = sigma[0] * sigma[1]  # a lens that is longer is so along both axes
    sure, unsure = (locate_free(seen, LENS, systematic=known) for known in (EXACT, Systematic(both)))
    added = unsure.covariance - sure.covariance
    away = sure.camera_from_target.position_m
    distance = float(np.linalg.norm(away))
    ahead = away / distance
    assert float(np.sqrt(ahead @ added[:3, :3] @ ahead)) == pytest.approx(share * distance, rel=0.1)


def test_the_covariance_of_another_lens_model_is_refused() -> None:
    with pytest.raises(ValueError, match="calibrate the camera again"):
        found_in(corners_px(STANDING, LENS), Systematic(np.eye(12)))


@pytest.mark.parametrize("factor", [0.9834, 1.012])
def test_a_board_whose_measured_scale_is_told_puts_camera_and_block_where_they_are(factor: float) -> None:
    seen_px = corners_px(STANDING, LENS, board_factor=factor)
    told = fix_camera(seen_px, LENS, BOARD, DESK_BOARD.scaled(factor, factor))
    untold = fix_camera(seen_px, LENS, BOARD)
    off_m = [np.linalg.norm(fix.desk_from_camera.position_m - CAMERA.position_m) for fix in (told, untold)]
    assert off_m[0] < 0.0003 < 0.004 < off_m[1]
    block = locate_block(seen_px, LENS, told).desk_from_block.position_m
    assert np.linalg.norm(block - STANDING.position_m) < 0.0001
