from __future__ import annotations

import dataclasses
import math
import os
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pybullet as bullet
import pytest
from numpy.typing import NDArray

from bridge.observation import CameraView, ImageKind
from sim.errors import SimError
from sim.pinhole import PinholeCamera
from sim.rendering import LIGHT_DIRECTION, Renderer, probe_egl
from sim.sim_camera import DepthEngine, SimCamera, gray
from sim.world import ArmWorld
from urdf.description import DESK, ArmDescription, CameraMount, load_arm
from urdf.errors import UnknownName
from urdf.pose import Pose

#: Straight down from 0.3 m, beside the arm, x to the right; and the kit's own cameras.
ABOVE = CameraMount("above", DESK, Pose.from_rpy([0.35, -0.35, 0.30], [math.pi, 0.0, 0.0]), 0.8, 0.05, 2.0)
DOFBOT = load_arm("dofbot")
ARM: ArmDescription = dataclasses.replace(DOFBOT, cameras={**DOFBOT.cameras, "above": ABOVE})
BLOCK_TOP_M = 0.030


@pytest.fixture(scope="module")
def world() -> Iterator[ArmWorld]:
    made = ArmWorld(ARM, ARM.rig("table"))
    made.reset(ARM.rig("table").home_rad, block_at(0.35, -0.35))
    yield made
    made.close()


def block_at(x: float, y: float) -> Pose:
    return Pose.from_rpy([x, y, BLOCK_TOP_M / 2], [0.0, 0.0, 0.0])


def depth_camera(world: ArmWorld, camera: str = "above", engine: DepthEngine = DepthEngine.RAYCAST) -> SimCamera:
    return SimCamera(world, CameraView(camera, ImageKind.DEPTH, 64, 48), engine)


# The camera's geometry --------------------------------------------------------------------------------


def test_rays_and_projection_are_one_camera() -> None:
    """Every renderer is told of the camera by a matrix, the caster by rays: a point must land in the same pixel."""
    camera = PinholeCamera(math.radians(50.0), 0.1, 2.0, 80, 60)
    points = camera.rays() * 0.7
    opengl = np.concatenate([points * [1.0, -1.0, -1.0], np.ones((60, 80, 1))], axis=-1)
    for corner_sampling, offset in ((False, 0.5), (True, 0.0)):
        clip = opengl @ np.array(camera.projection_matrix(corner_sampling)).reshape(4, 4)
        screen = clip[..., :3] / clip[..., 3:]
        columns, rows = np.meshgrid(np.arange(80), np.arange(60))
        np.testing.assert_allclose((screen[..., 0] + 1) / 2 * 80, columns + offset, atol=1e-9)
        # From below: TinyRenderer's picture is turned over when it is handed out.
        np.testing.assert_allclose((screen[..., 1] + 1) / 2 * 60, 59 - rows + offset, atol=1e-9)
        np.testing.assert_allclose(camera.metres((screen[..., 2] + 1) / 2), 0.7, atol=1e-9)
    assert camera.focal_px == pytest.approx(30 / math.tan(math.radians(25.0)))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"fov_y_rad": 0.0}, "fov_y_rad"),
        ({"fov_y_rad": 3.1}, "fov_y_rad"),
        ({"fov_y_rad": math.nan}, "fov_y_rad"),
        ({"near_m": 0.0}, "near_m"),
        ({"near_m": 3.0}, "near_m"),
        ({"far_m": math.inf}, "far_m"),
        ({"width_px": 0}, "pixel"),
    ],
)
def test_a_camera_that_cannot_be_is_refused(change: dict[str, float], field: str) -> None:
    with pytest.raises(SimError, match=field):
        dataclasses.replace(PinholeCamera(1.0, 0.1, 2.0, 64, 64), **change)


@pytest.mark.parametrize("engine", list(DepthEngine))
def test_depth_is_right_to_half_a_millimetre(engine: DepthEngine, world: ArmWorld) -> None:
    camera = depth_camera(world, engine=engine)
    rays = camera.camera.rays()
    # By hand: the block's top is a square of 30 mm at 0.27 m, the desk lies at 0.30 m; the block's sides are hidden.
    on_block = (np.abs(rays[..., :2] * 0.27) < 0.015).all(axis=-1)
    expected = np.where(on_block, 0.27, 0.30)
    np.testing.assert_allclose(camera.depth_m(), expected, atol=0.0005)
    assert on_block.sum() == pytest.approx((camera.camera.focal_px * 0.030 / 0.27) ** 2, rel=0.1)


def test_a_camera_on_the_desk_stays_while_one_on_the_arm_moves(world: ArmWorld) -> None:
    wrist, above = depth_camera(world, "wrist"), depth_camera(world)
    before = wrist.pose(), above.pose()
    world.reset(ARM.rig("table").rest_rad, block_at(0.35, -0.35))
    assert not wrist.pose().is_close(before[0], 0.01, 0.1)
    assert above.pose().is_close(before[1])
    gripper = world.link_pose("gripper_link")
    assert wrist.pose().is_close(gripper @ ARM.camera("wrist", world.rig).link_from_camera)
    world.reset(ARM.rig("table").home_rad, block_at(0.35, -0.35))


def test_a_displaced_camera_is_where_it_was_put_and_comes_back(world: ArmWorld) -> None:
    camera = depth_camera(world)
    nominal = camera.depth_m()
    camera.displace(translation_m=[0.01, 0.0, -0.05], rotation_rad=[0.0, 0.0, math.pi / 2], fov_rad=0.1)
    # In the camera's own frame: its x is the desk's, its z points down.
    np.testing.assert_allclose(camera.pose().position_m, [0.36, -0.35, 0.35], atol=1e-12)
    np.testing.assert_allclose(camera.pose().rotation[:, 0], [0.0, -1.0, 0.0], atol=1e-12)
    assert camera.camera.fov_y_rad == pytest.approx(0.9)
    assert np.median(camera.depth_m()) == pytest.approx(0.35, abs=1e-6)
    camera.displace()
    np.testing.assert_array_equal(camera.depth_m(), nominal)


def test_all_engines_see_the_same_depth_from_the_wrist(world: ArmWorld) -> None:
    world.reset(ARM.rig("table").home_rad, block_at(0.0, 0.155))
    ours, exact, theirs = (depth_camera(world, "wrist", engine).depth_m() for engine in DepthEngine)
    assert (np.abs(ours - theirs) <= 0.001).mean() >= 0.99
    assert (np.abs(exact - theirs) <= 0.001).mean() >= 0.97
    world.reset(ARM.rig("table").home_rad, block_at(0.35, -0.35))


# The reference experiment -----------------------------------------------------------------------------


def test_the_hanging_rigs_wrist_camera_sees_what_the_experiment_saw() -> None:
    """Its home pose lies outside our joint limits, but a pose can be set all the same.

    The top of a block at y = 0.1125 m covers the five lowest rows by 13 columns (by hand, from the camera's pose).
    """
    world = ArmWorld(DOFBOT, DOFBOT.rig("hanging"))
    camera = SimCamera(world, CameraView("wrist", ImageKind.DEPTH))
    home_rad = np.array([0.040, -1.4025, -0.263, 1.6674, 3.1011, -1.57])
    for y, pixels, tolerance in ((0.125, 130, 0.15), (0.1125, 65, 0.15), (0.100, 0, 0.0)):
        world.reset(home_rad, block_at(0.0, y))
        pose = camera.pose()
        np.testing.assert_allclose(pose.position_m, [0.0074, 0.0972, 0.2152], atol=0.001)
        np.testing.assert_allclose(pose.rotation[:, 2], [0.0, 0.48, -0.8775], atol=0.002)
        assert (camera.body_ids() == world.block).sum() == pytest.approx(pixels, rel=tolerance)
    world.close()


# What an observation gets -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "shape", "dtype"),
    [
        (ImageKind.DEPTH, (1, 20, 30), np.float16),
        (ImageKind.GRAY, (1, 20, 30), np.uint8),
        (ImageKind.RGB, (3, 20, 30), np.uint8),
    ],
)
def test_pictures_are_channels_first_and_small(
    kind: ImageKind, shape: tuple[int, int, int], dtype: type, world: ArmWorld
) -> None:
    camera = SimCamera(world, CameraView("wrist", kind, 30, 20))
    picture = camera.read()
    assert picture.shape == shape
    assert picture.dtype == dtype
    assert picture.std() > 0
    assert picture.flags["C_CONTIGUOUS"]


def test_colours_are_not_mixed_up_and_gray_is_their_luma(world: ArmWorld) -> None:
    rgb = SimCamera(world, CameraView("above", ImageKind.RGB, 64, 48))
    picture = rgb.read()
    np.testing.assert_array_equal(picture, rgb.rgb().transpose(2, 0, 1))
    on_block = depth_camera(world).depth_m() < 0.285
    red, _, blue = (float(channel[on_block].mean()) for channel in picture)
    assert red > 1.5 * blue  # wood
    colours = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[255, 255, 255], [0, 0, 0], [10, 20, 30]]], np.uint8)
    np.testing.assert_array_equal(gray(colours), [[76, 150, 29], [255, 0, 18]])
    luma = SimCamera(world, CameraView("above", ImageKind.GRAY, 64, 48)).read()
    np.testing.assert_array_equal(luma[0], gray(rgb.rgb()))


def test_a_sensor_comes_between_the_truth_and_the_observation(world: ArmWorld) -> None:
    seen: list[tuple[tuple[int, ...], np.dtype]] = []

    def hole(depth_m: NDArray[np.float32]) -> NDArray[np.float32]:
        seen.append((depth_m.shape, depth_m.dtype))
        return np.where(np.arange(depth_m.shape[1]) < 10, np.float32(0.0), depth_m)

    def invert(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        seen.append((rgb.shape, rgb.dtype))
        return 255 - rgb

    depth = depth_camera(world)
    clean = depth.read()
    depth.on_depth = hole
    noisy = depth.read()
    assert (noisy[0, :, :10] == 0).all()
    np.testing.assert_array_equal(noisy[0, :, 10:], clean[0, :, 10:])
    picture = SimCamera(world, CameraView("above", ImageKind.GRAY, 64, 48))
    rgb = picture.rgb()
    picture.on_rgb = invert
    np.testing.assert_array_equal(picture.read()[0], gray(255 - rgb))
    assert seen == [((48, 64), np.dtype(np.float32)), ((48, 64, 3), np.dtype(np.uint8))]


def test_light_falls_from_where_it_is_told(world: ArmWorld) -> None:
    camera = SimCamera(world, CameraView("above", ImageKind.GRAY, 64, 48))
    assert tuple(camera.light_direction) == LIGHT_DIRECTION
    bright = camera.read().mean()
    camera.light_direction = (1.0, 0.0, 0.05)  # grazing
    assert camera.read().mean() < bright - 10


def test_a_camera_that_the_arm_does_not_have_is_refused_by_name(world: ArmWorld) -> None:
    with pytest.raises(UnknownName, match="wrist"):
        SimCamera(world, CameraView("wirst", ImageKind.DEPTH))


def test_what_is_loaded_later_is_seen_after_another_look() -> None:
    world = ArmWorld(ARM, ARM.rig("table"))
    world.reset(ARM.rig("table").home_rad, block_at(0.35, -0.35))
    camera = depth_camera(world)
    before = camera.depth_m()
    look = bullet.createVisualShape(bullet.GEOM_SPHERE, radius=0.05, physicsClientId=world.client)
    bullet.createMultiBody(0.0, -1, look, [0.35, -0.35, 0.05], physicsClientId=world.client)
    np.testing.assert_array_equal(camera.depth_m(), before)
    camera.look_again()
    assert camera.depth_m().min() == pytest.approx(0.20, abs=0.002)
    world.close()


# Renderers --------------------------------------------------------------------------------------------


def test_who_made_a_picture_can_be_recorded(world: ArmWorld) -> None:
    assert depth_camera(world).engine == "raycast"
    assert depth_camera(world, engine=DepthEngine.RAYCAST_EXACT).engine == "raycast-exact"
    assert depth_camera(world, engine=DepthEngine.RENDERER).engine == "TinyRenderer"
    assert SimCamera(world, CameraView("wrist", ImageKind.RGB)).engine == "TinyRenderer"


def test_without_a_driver_egl_is_refused_and_nothing_else_is_used() -> None:
    """PyBullet's plugin would end the process: a typed error must come instead, and no client may be left open."""
    code = (
        "import pybullet as b; from sim.rendering import Renderer; from sim.world import ArmWorld;"
        "from sim.errors import SimError; from urdf.description import load_arm; a = load_arm('dofbot')\n"
        "try: ArmWorld(a, a.rig('table'), renderer=Renderer.EGL)\n"
        "except SimError as error: print('REFUSED', b.isConnected(0), error)"
    )
    nowhere = {**os.environ, "__EGL_VENDOR_LIBRARY_FILENAMES": "/nonexistent", "DISPLAY": ""}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=nowhere, timeout=100)
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("REFUSED 0 renderer 'egl'")
    assert "tiny" in run.stdout


def test_egl_sees_what_we_cast() -> None:
    try:
        driver = probe_egl()
    except SimError as error:
        pytest.skip(f"no EGL driver here: {error}")
    world = ArmWorld(DOFBOT, DOFBOT.rig("table"), renderer=Renderer.EGL)
    world.reset(DOFBOT.rig("table").home_rad, block_at(0.02, 0.155))
    ours = depth_camera(world, "wrist")
    theirs = depth_camera(world, "wrist", DepthEngine.RENDERER)
    assert theirs.engine == driver == world.renderer_name
    assert (np.abs(ours.depth_m() - theirs.depth_m()) <= 0.001).mean() >= 0.99
    assert SimCamera(world, CameraView("wrist", ImageKind.RGB)).read().std() > 10
    world.close()
