from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pybullet as bullet
import pytest

from sim.errors import SimError
from sim.objects import BLOCK_SIZE_M, ObjectKind, Placement, PoolSpec
from sim.world import ArmWorld
from urdf.description import load_arm
from urdf.pose import Pose

ARM = load_arm("dofbot")
RIG = ARM.rig("table")
KINDS = (ObjectKind.BLOCK, ObjectKind.CYLINDER, ObjectKind.PRISM)
SIZES_M = (0.026, 0.030, 0.034)


@pytest.fixture(scope="module")
def world() -> Iterator[ArmWorld]:
    world = ArmWorld(ARM, RIG, PoolSpec(KINDS, SIZES_M, distractors=2))
    yield world
    world.close()


def on_desk(x: float, y: float, size_m: float) -> Pose:
    return Pose.from_rotvec([x, y, size_m / 2], [0.0, 0.0, 0.4])


def test_the_pool_holds_every_kind_in_every_size_and_the_distractors(world: ArmWorld) -> None:
    pool = world.objects
    assert [(o.kind, o.size_m) for o in pool.objects[:9]] == [(k, s) for k in KINDS for s in SIZES_M]
    assert len(pool.objects) == 11
    assert pool.nearest(ObjectKind.CYLINDER, 0.033) == 5
    assert pool.nearest(ObjectKind.BLOCK, 0.0) == 0
    assert list(pool.distractor_indices) == [9, 10]


@pytest.mark.parametrize("index", range(9))
def test_every_object_stands_on_the_desk_as_high_and_heavy_as_it_should_be(world: ArmWorld, index: int) -> None:
    pooled = world.objects.objects[index]
    world.reset(RIG.home_rad, None)
    world.objects.place([Placement(index, on_desk(0.2, 0.2, pooled.size_m))])
    assert world.block == pooled.body
    world.step(240)
    pose = world.block_pose()
    np.testing.assert_allclose(pose.position_m, [0.2, 0.2, pooled.size_m / 2], atol=5e-4)
    area = {ObjectKind.BLOCK: 1.0, ObjectKind.CYLINDER: math.pi / 4, ObjectKind.PRISM: math.sqrt(3) / 2}[pooled.kind]
    grams = 30.0 * area * (pooled.size_m / 0.030) ** 3
    assert 1000 * bullet.getDynamicsInfo(pooled.body, -1, physicsClientId=world.client)[0] == pytest.approx(grams)
    low, high = bullet.getAABB(pooled.body, -1, physicsClientId=world.client)
    assert high[2] - low[2] == pytest.approx(pooled.size_m, abs=0.004)


def test_parked_objects_are_far_away_and_stay_there(world: ArmWorld) -> None:
    world.reset(RIG.home_rad, None)
    world.objects.place([Placement(4, on_desk(0.2, 0.2, 0.03))])
    world.step(240)
    for index, pooled in enumerate(world.objects.objects):
        position, _ = bullet.getBasePositionAndOrientation(pooled.body, physicsClientId=world.client)
        assert (np.linalg.norm(position) < 1.0) == (index == 4)
        if index != 4:
            assert position[2] == pytest.approx(5.0)


def test_mass_and_friction_may_be_given_and_are_forgotten_afterwards(world: ArmWorld) -> None:
    body = world.objects.objects[0].body

    def dynamics() -> tuple[float, float]:
        mass, friction, *_ = bullet.getDynamicsInfo(body, -1, physicsClientId=world.client)
        return mass, friction

    world.reset(RIG.home_rad, None)
    world.objects.place([Placement(0, on_desk(0.2, 0.2, 0.026), mass_kg=0.045, friction=0.6)])
    assert dynamics() == (pytest.approx(0.045), pytest.approx(0.6))
    world.reset(RIG.home_rad, None)
    world.objects.place([Placement(0, on_desk(0.2, 0.2, 0.026))])
    assert dynamics() == (pytest.approx(0.030 * (0.026 / 0.030) ** 3), pytest.approx(0.8))


def test_a_pool_that_cannot_be_is_refused_by_field() -> None:
    for wrong, field in (
        ({"kinds": ()}, "kind"),
        ({"sizes_m": (0.2,)}, "sizes_m must be 0.01 to 0.08"),
        ({"distractors": 5}, "distractors must be a whole number from 0 to 4"),
    ):
        with pytest.raises(SimError, match=field):
            PoolSpec(**wrong)  # pyright: ignore[reportArgumentType]


def test_an_ordinary_world_has_one_block() -> None:
    world = ArmWorld(ARM, RIG)
    assert [(o.kind, o.size_m) for o in world.objects.objects] == [(ObjectKind.BLOCK, BLOCK_SIZE_M)]
    world.close()
