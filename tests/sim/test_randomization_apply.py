"""Draws in a PyBullet world: what they change, and that nothing is left of them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

import numpy as np
import pybullet as bullet
import pytest

from sim.draws import Draw, SceneDraw
from sim.pinhole import PinholeCamera
from sim.randomization import HARD
from sim.randomization_apply import GRAVITY_M_S2, SceneDresser, texture_picture, tilted_gravity
from sim.rendering import take_picture
from sim.scene_view import scene_view
from sim.world import ArmWorld
from urdf.description import load_arm
from urdf.pose import Pose

ARM = load_arm("dofbot")
SCENE_VIEW = scene_view(ARM.rig("table"))
NOMINAL = Draw.nominal(6)
LENS = PinholeCamera(math.radians(38.0), 0.05, 3.0, 80, 60)
DROPPED = Pose.from_rotvec([0.01, 0.15, 0.05], [0.3, 0.2, 0.1])


@pytest.fixture
def world() -> Iterator[ArmWorld]:
    made = ArmWorld(ARM, ARM.rig("table"))
    yield made
    made.close()


def dresser_of(world: ArmWorld) -> SceneDresser:
    return SceneDresser(world.client, world.desk, [world.block])


def with_scene(scene: SceneDraw) -> Draw:
    return dataclasses.replace(NOMINAL, scene=scene)


def fall(world: ArmWorld, steps: int = 120) -> list[float]:
    """Drop the block askew and return where it comes to rest, to the last bit."""
    world.reset(world.rig.home_rad, DROPPED)
    world.step(steps)
    pose = world.block_pose()
    return [*pose.position_m.tolist(), *pose.quat_xyzw.tolist()]


def picture(world: ArmWorld) -> np.ndarray:
    return take_picture(world.client, SCENE_VIEW, LENS)[0]


class Untouchable:
    """Stands where PyBullet stood and lets nobody call it."""

    def __getattr__(self, name: str) -> object:
        raise AssertionError(f"a nominal draw called pybullet.{name}")


def test_a_nominal_draw_does_not_touch_the_world(world: ArmWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    dresser = dresser_of(world)
    monkeypatch.setattr("sim.randomization_apply.bullet", Untouchable())
    dresser.apply(NOMINAL)
    dresser.apply(HARD.scaled(0.0).sample(np.random.default_rng(0), 6))
    with pytest.raises(AssertionError, match="setGravity"):
        dresser.apply(dataclasses.replace(NOMINAL, gravity_tilt_rad=(0.1, 0.0)))


def test_nothing_is_left_of_a_hard_episode_in_the_next_nominal_one(world: ArmWorld) -> None:
    clean_fall, clean_picture = fall(world), picture(world)
    dresser = dresser_of(world)
    rng = np.random.default_rng(1)
    for _ in range(6):
        dresser.apply(HARD.sample(rng, 6))
        assert fall(world) != clean_fall
        assert (picture(world) != clean_picture).mean() > 0.1
    dresser.apply(NOMINAL)
    assert fall(world) == clean_fall
    assert (picture(world) == clean_picture).all()


def test_the_block_slides_on_a_tilted_rig_where_friction_says(world: ArmWorld) -> None:
    """Down a slope the block starts to slide when tan(tilt) passes the product of both frictions, 0.8 x 0.7 = 0.56."""
    dresser = dresser_of(world)
    slid_m = []
    for tilt_deg in (25.0, 34.0):
        dresser.apply(dataclasses.replace(NOMINAL, gravity_tilt_rad=(math.radians(tilt_deg), 0.0)))
        world.reset(world.rig.home_rad, Pose.from_rotvec([0.05, 0.2, 0.015], [0.0, 0.0, 0.0]))
        world.step(120)
        slid_m.append(0.2 - world.block_pose().position_m[1])
    assert abs(slid_m[0]) < 0.003
    slope = math.radians(34.0)
    by_hand_m = 0.5 * GRAVITY_M_S2 * (math.sin(slope) - 0.56 * math.cos(slope)) * 0.5**2
    assert slid_m[1] == pytest.approx(by_hand_m, rel=0.3)


def test_gravity_keeps_its_strength_and_leans_as_the_rig_does() -> None:
    assert tilted_gravity((0.0, 0.0)) == (0.0, 0.0, -GRAVITY_M_S2)
    # The rig's far edge (+y) is raised by a turn about x: what hangs leans towards -y.
    x, y, z = tilted_gravity((0.1, 0.0))
    assert (x, y, z) == pytest.approx((0.0, -GRAVITY_M_S2 * math.sin(0.1), -GRAVITY_M_S2 * math.cos(0.1)))
    x, y, z = tilted_gravity((0.0, 0.1))
    assert (x, y, z) == pytest.approx((GRAVITY_M_S2 * math.sin(0.1), 0.0, -GRAVITY_M_S2 * math.cos(0.1)))
    assert math.hypot(*tilted_gravity((0.2, -0.3))) == pytest.approx(GRAVITY_M_S2)


def test_colours_are_added_and_kept_within_range(world: ArmWorld) -> None:
    dresser_of(world).apply(with_scene(SceneDraw(object_color=(0.5, -0.1, 0.1), desk_color=(-0.4, 0.0, 0.0))))
    block = bullet.getVisualShapeData(world.block, physicsClientId=world.client)[0][7]
    desk = bullet.getVisualShapeData(world.desk, physicsClientId=world.client)[0][7]
    assert block == pytest.approx((1.0, 0.36, 0.26, 1.0), abs=1e-6)
    assert desk == pytest.approx((0.53, 0.92, 0.89, 1.0), abs=1e-6)


def test_a_texture_shows_and_is_loaded_once(world: ArmWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []
    load = bullet.loadTexture

    def counted(path: str, physicsClientId: int) -> int:  # noqa: N803 - PyBullet's spelling
        loaded.append(path)
        return load(path, physicsClientId=physicsClientId)

    monkeypatch.setattr(bullet, "loadTexture", counted)
    dresser = dresser_of(world)
    plain = picture(world).astype(int)
    shown = []
    for strength, seed in ((0.8, 4), (0.8, 7), (0.8, 4), (0.4, 4)):
        dresser.apply(with_scene(SceneDraw(texture_strength=strength, texture_seed=seed)))
        shown.append(picture(world).astype(int))
    assert (shown[0] == shown[2]).all()
    assert np.abs(shown[0] - shown[1]).mean() > 2
    assert np.abs(shown[0] - plain).mean() > np.abs(shown[3] - plain).mean() > 2
    assert len(loaded) == len(set(loaded)) == 6  # three looks, two bodies each


def test_a_texture_is_as_deep_as_its_strength() -> None:
    for pattern in range(12):
        weak, strong = texture_picture(pattern, 0.2), texture_picture(pattern, 1.0)
        assert weak.min() >= 255 * 0.8 - 1
        assert strong.min() < 60
        assert strong.std() > 3 * weak.std() > 0
    assert len({texture_picture(pattern, 0.5).tobytes() for pattern in range(12)}) == 12
