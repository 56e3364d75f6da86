from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest

from sim.curriculum import Stage
from sim.tasks.grasp import MAX_YAW_RAD, GraspJudge
from sim.tasks.task import draw_objects
from tests.sim.lifting import ARM, Lifter
from urdf.pose import Pose


@pytest.fixture(scope="module")
def lifter() -> Iterator[Lifter]:
    lifter = Lifter("table")
    yield lifter
    lifter.close()


def lifted(lifter: Lifter) -> GraspJudge:
    """Grip and lift a block; return the judge who watched."""
    judge = GraspJudge()
    lifter.grip((0.0, 0.0), 0.2)
    judge.begin(lifter.world)
    assert not judge.success(lifter.world)  # between the jaws is not lifted
    lifter.lift()
    judge.after_lift(lifter.world)
    return judge


def test_a_block_that_is_up_and_stays_up_is_a_success(lifter: Lifter) -> None:
    judge = lifted(lifter)
    lifter.wait(0.5)
    assert judge.success(lifter.world)


def test_a_block_that_falls_after_the_lift_is_none(lifter: Lifter) -> None:
    judge = lifted(lifter)
    lifter.open()
    lifter.wait(0.5)
    assert lifter.world.block_pose().position_m[2] < 0.02
    assert not judge.success(lifter.world)


def test_a_block_that_was_not_up_when_the_lift_ended_is_none(lifter: Lifter) -> None:
    judge = GraspJudge()
    lifter.grip((0.0, 0.0), 0.2)
    judge.begin(lifter.world)
    judge.after_lift(lifter.world)
    lifter.lift()
    assert not judge.success(lifter.world)


def test_a_block_that_floats_beside_the_jaws_is_none(lifter: Lifter) -> None:
    judge = GraspJudge()
    lifter.grip((0.070, 0.0), 0.0)  # closes on air
    judge.begin(lifter.world)
    high = lifter.world.block_pose().position_m + np.array([0.0, 0.0, 0.05])
    lifter.world.reset(lifter.world.joint_states()[0], Pose(high, np.array([0.0, 0.0, 0.0, 1.0])))
    judge.after_lift(lifter.world)
    assert not judge.success(lifter.world)


def test_blocks_are_drawn_evenly_over_the_area(lifter: Lifter) -> None:
    rig, pool = ARM.rig("hanging"), lifter.world.objects
    rng = np.random.default_rng(0)
    poses = [draw_objects(rng, rig, Stage("full"), pool, MAX_YAW_RAD, 0.03, 0)[0].pose for _ in range(2000)]
    points = np.array([p.position_m for p in poses])
    yaws = np.degrees([p.yaw_rad for p in poses])
    for values, low, high in ((points[:, 0], -0.05, 0.05), (points[:, 1], 0.075, 0.125), (yaws, -45.0, 45.0)):
        counts, _ = np.histogram(values, bins=5, range=(low, high))
        assert counts.sum() == 2000
        assert (np.abs(counts - 400) < 5 * math.sqrt(400 * 0.8)).all()
