"""The block in depth: pictures by the simulator's caster and noise, truth by its physics."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from bridge.observation import ImageKind
from bridge.ports import Frame, Intrinsics
from perception.cloud import point_cloud
from perception.depth import FEWEST_PIXELS, locate_in_depth
from perception.errors import DeskNotSeen, NoDepth, NothingStandsOut, NotTheBlock, TooLittleSeen
from perception.plane import find_desk
from scripts.programs.arm_mask import RenderedArmMask
from scripts.programs.bench_depth_block import errors_of, shown_scenes, with_depth
from scripts.programs.depth_scenes import BlockScene, BlockScenes
from urdf.pose import Array, Pose

LENS = Intrinsics(64, 64, 50.0, 50.0, 31.5, 31.5)
#: 0.2 m above the desk, looking straight down, its columns turned by 20 degrees: nothing lies along its pixels.
ABOVE = Pose.from_rpy([0.0, 0.15, 0.2], [math.pi, 0.0, 0.35])


@pytest.fixture(scope="module")
def worlds() -> Iterator[BlockScenes]:
    worlds = BlockScenes("dofbot", randomization="mild", seed=5)
    yield worlds
    worlds.close()


@pytest.fixture(scope="module")
def scenes(worlds: BlockScenes) -> list[BlockScene]:
    return shown_scenes(worlds, 16, lambda share: None)


@pytest.fixture(scope="module")
def mask(worlds: BlockScenes) -> Iterator[RenderedArmMask]:
    mask = RenderedArmMask(worlds.description, worlds.rig)
    yield mask
    mask.close()


def box_depth(size_m: Array, center_m: Array, camera: Pose = ABOVE, lens: Intrinsics = LENS) -> NDArray[np.float32]:
    """Return the depth of an axis-aligned box on the plane z = 0, every ray cut with both by hand."""
    v, u = np.indices((lens.height_px, lens.width_px))
    rays = np.stack([(u - lens.cx_px) / lens.fx_px, (v - lens.cy_px) / lens.fy_px, np.ones_like(u)], axis=-1)
    along = rays @ camera.rotation.T
    along = np.where(np.abs(along) < 1e-12, 1e-12, along)
    ends = [(center_m + s * size_m / 2 - camera.position_m) / along for s in (-1, 1)]
    enter, leave = np.minimum(*ends).max(axis=-1), np.maximum(*ends).min(axis=-1)
    desk = -camera.position_m[2] / along[..., 2]
    return np.where((enter < leave) & (enter > 0), enter, desk).astype(np.float32)


def cube(size_m: float, x: float, y: float, z: float | None = None) -> NDArray[np.float32]:
    return box_depth(np.full(3, size_m), np.array([x, y, size_m / 2 if z is None else z]))


def test_in_noise_the_picture_leaves_less_than_a_millimetre_open(
    scenes: list[BlockScene], mask: RenderedArmMask
) -> None:
    errors = errors_of(lambda scene: with_depth(scene, mask, True), scenes)
    assert errors.missed == 0
    assert np.median(errors.along_m) < 0.0006
    assert errors.along_m.max() < 0.0025
    assert np.median(errors.yaw_rad) < math.radians(1.0)
    assert (np.abs(errors.scaled[:, :2]) < 4.0).all()


def test_the_desk_in_the_picture_mends_a_camera_that_is_askew(scenes: list[BlockScene], mask: RenderedArmMask) -> None:
    errors = errors_of(lambda scene: with_depth(scene, mask, False), scenes)
    assert np.median(errors.along_m) < 0.0025
    askew = Pose.from_rotvec([0.0, 0.0, 0.004], [math.radians(3.0), math.radians(-2.0), 0.0])
    believed = Pose(ABOVE.position_m + askew.position_m, (askew @ ABOVE).quat_xyzw)
    fix = locate_in_depth(cube(0.03, 0.012, 0.161), LENS, believed)
    np.testing.assert_allclose(fix.desk_from_block.position_m, [0.012, 0.161, 0.015], atol=0.0008)
    assert fix.desk.correction_rad == pytest.approx(math.hypot(math.radians(3.0), math.radians(2.0)), abs=2e-3)


@pytest.mark.parametrize("lens", [LENS, Intrinsics(320, 240, 188.0, 188.0, 159.5, 119.5)])
def test_pictures_of_any_size_say_the_same(lens: Intrinsics) -> None:
    depth = box_depth(np.full(3, 0.03), np.array([-0.02, 0.14, 0.015]), lens=lens)
    fix = locate_in_depth(depth, lens, ABOVE)
    np.testing.assert_allclose(fix.desk_from_block.position_m, [-0.02, 0.14, 0.015], atol=0.0005)
    assert fix.block_mask.shape == depth.shape
    assert abs(fix.desk_from_block.yaw_rad) < math.radians(1.0)
    assert fix.standing


def test_half_a_block_in_the_picture_is_enough() -> None:
    # The picture's edge is at 107 mm on the block's top, along the picture's own columns.
    x, y = 0.104 * math.cos(0.35), 0.15 + 0.104 * math.sin(0.35)
    fix = locate_in_depth(cube(0.03, x, y), LENS, ABOVE)
    np.testing.assert_allclose(fix.desk_from_block.position_m[:2], [x, y], atol=0.002)


def test_a_block_held_above_the_desk_is_told_from_one_that_stands() -> None:
    fix = locate_in_depth(cube(0.03, 0.0, 0.15, z=0.055), LENS, ABOVE)
    assert not fix.standing
    np.testing.assert_allclose(fix.desk_from_block.position_m, [0.0, 0.15, 0.055], atol=0.002)


def test_a_speck_at_the_edge_that_fits_a_blocks_corner_is_not_taken_for_the_block() -> None:
    near, edge_m = cube(0.03, 0.0, 0.15), 0.117
    x, y = edge_m * math.cos(0.35), 0.15 + edge_m * math.sin(0.35)
    speck = cube(0.03, x, y)
    assert FEWEST_PIXELS <= (speck < box_depth(np.full(3, 1e-6), np.zeros(3)) - 0.004).sum() < 60
    near += np.where(near < 0.19, np.random.default_rng(0).normal(0.0, 0.0006, near.shape), 0.0).astype(np.float32)
    fix = locate_in_depth(np.minimum(near, speck), LENS, ABOVE)
    np.testing.assert_allclose(fix.desk_from_block.position_m[:2], [0.0, 0.15], atol=0.002)


def test_holes_and_numbers_that_are_none_tell_nothing() -> None:
    depth = cube(0.03, 0.01, 0.15)
    rng = np.random.default_rng(0)
    depth[rng.random(depth.shape) < 0.2] = 0.0
    depth[::9, ::7] = np.nan
    fix = locate_in_depth(depth, LENS, ABOVE)
    np.testing.assert_allclose(fix.desk_from_block.position_m[:2], [0.01, 0.15], atol=0.001)


def test_the_arm_is_no_block(scenes: list[BlockScene], mask: RenderedArmMask, worlds: BlockScenes) -> None:
    scene = scenes[0]
    camera = next(iter(worlds.env.observer.cameras.values()))
    worlds.env.reset(seed=3)
    depth = camera.depth_m()
    shows_arm = camera.body_ids() == worlds.env.world.arm
    joints = worlds.env.world.joint_states()[0]
    found = mask(depth, scene.lens, camera.pose(), joints)
    assert shows_arm.any()
    assert (found & shows_arm).sum() >= 0.98 * shows_arm.sum()
    assert found.sum() < shows_arm.sum() + 250


def test_an_empty_desk_a_speck_and_another_thing_are_refused() -> None:
    with pytest.raises(NothingStandsOut, match="nothing stands on the desk"):
        locate_in_depth(cube(0.001, 0.0, 0.15), LENS, ABOVE)
    with pytest.raises(TooLittleSeen, match="12 are needed"):
        locate_in_depth(cube(0.008, 0.0, 0.15), LENS, ABOVE)
    for size_m in (0.022, 0.036, 0.045):
        with pytest.raises(NotTheBlock, match="no cube of 30 mm"):
            locate_in_depth(cube(size_m, 0.0, 0.15), LENS, ABOVE)
    with pytest.raises(NotTheBlock, match="no cube of 30 mm"):
        locate_in_depth(box_depth(np.array([0.09, 0.02, 0.03]), np.array([0.0, 0.15, 0.015])), LENS, ABOVE)


def test_a_desk_that_lies_elsewhere_is_refused() -> None:
    higher = Pose(ABOVE.position_m + np.array([0.0, 0.0, 0.06]), ABOVE.quat_xyzw)
    with pytest.raises(DeskNotSeen, match="calibration"):
        locate_in_depth(cube(0.03, 0.0, 0.15), LENS, higher)
    with pytest.raises(DeskNotSeen):
        find_desk(np.zeros((0, 3)), ABOVE)


def test_a_picture_without_depth_or_of_another_size_is_refused() -> None:
    rgb = np.zeros((64, 64, 3), dtype=np.uint8)
    with pytest.raises(NoDepth, match="no depth"):
        point_cloud(Frame("desk", 0, 0, rgb, LENS))
    with pytest.raises(NoDepth, match="64x64"):
        locate_in_depth(np.ones((48, 64), dtype=np.float32), LENS, ABOVE)


def test_a_cloud_has_the_colours_of_its_pixels_and_lies_on_the_desk() -> None:
    rgb = np.arange(64 * 64 * 3, dtype=np.int64).astype(np.uint8).reshape(64, 64, 3)
    depth = box_depth(np.full(3, 1e-6), np.array([5.0, 5.0, 0.0]))
    depth[5, 7] = 0.0
    cloud = point_cloud(Frame("desk", 0, 0, rgb, LENS, depth), ABOVE)
    assert len(cloud) == 64 * 64 - 1
    assert cloud.rgb is not None
    np.testing.assert_array_equal(cloud.rgb, rgb[cloud.pixels[:, 1], cloud.pixels[:, 0]])
    np.testing.assert_allclose(cloud.points_m[:, 2], 0.0, atol=1e-6)
    # The corners are 31.5 columns and rows from the middle: 0.2 m times 31.5 / 50 along each.
    far = np.linalg.norm(cloud.points_m[:, :2] - [0.0, 0.15], axis=1).max()
    assert far == pytest.approx(math.sqrt(2) * 0.2 * 31.5 / 50, abs=1e-6)


def test_kinds_of_scenes_are_those_asked_for(worlds: BlockScenes) -> None:
    scene = worlds.scene(0)
    assert list(scene.pictures) == [ImageKind.DEPTH]
    assert scene.pictures[ImageKind.DEPTH].dtype == np.float16
    again = worlds.scene(0)
    np.testing.assert_array_equal(scene.pictures[ImageKind.DEPTH], again.pictures[ImageKind.DEPTH])
