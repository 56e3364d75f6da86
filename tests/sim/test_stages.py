"""Every stage of every curriculum can be drawn for every task, on every arm in every rig."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

import numpy as np
import pybullet as bullet
import pytest

from sim.curriculum import CURRICULA, FULL_STAGE, Stage
from sim.env import ArmEnv
from sim.errors import SimError
from sim.objects import ObjectKind, ObjectPool, PoolSpec
from sim.tasks import TASKS, make_task
from sim.tasks.reach import LEAST_DISTANCE_M
from sim.tasks.task import Scene, Task
from urdf.description import load_arm
from urdf.kinematics import PinocchioKinematics
from urdf.tables import arm_names

EVERY_RIG = [(arm, rig) for arm in arm_names() for rig in load_arm(arm).rigs]
EVERY_STAGE = [(name, stage) for name, preset in CURRICULA.items() for stage in preset.stages]
each_rig = pytest.mark.parametrize("env", EVERY_RIG, indirect=True, ids="-".join)
each_stage = pytest.mark.parametrize(
    "stage", [s for _, s in EVERY_STAGE], ids=[f"{n}-{s.name}" for n, s in EVERY_STAGE]
)


@pytest.fixture(scope="module")
def env(request: pytest.FixtureRequest) -> Iterator[ArmEnv]:
    arm, rig = request.param
    env = ArmEnv(arm=arm, rig=rig, objects=tuple(ObjectKind), distractors=4)
    yield env
    env.close()


@pytest.fixture(scope="module")
def tasks(env: ArmEnv) -> dict[str, Task]:
    kinematics = PinocchioKinematics(env.description, env.rig)
    return {name: make_task(name, env.description, env.rig, kinematics, 0.05) for name in TASKS}


def draw(task: Task, env: ArmEnv, stage: Stage, seed: int) -> Scene:
    return task.draw(np.random.default_rng(seed), stage, env.world.objects, 0.03, stage.distractors)


@each_rig
@each_stage
@pytest.mark.parametrize("name", ["grasp", "pick-place"])
def test_the_object_lies_in_the_stages_part_of_the_area_and_the_goal_apart_from_all(
    name: str, stage: Stage, env: ArmEnv, tasks: dict[str, Task]
) -> None:
    task = tasks[name]
    for seed in range(8):
        scene = draw(task, env, stage, seed)
        corner = env.rig.area_center_m - env.rig.area_size_m / 2
        share = (scene.placements[0].pose.position_m[:2] - corner) / env.rig.area_size_m
        assert np.all(share >= np.array(stage.area_lower) - 1e-9)
        assert np.all(share <= np.array(stage.area_upper) + 1e-9)
        assert len(scene.placements) == 1 + stage.distractors
        if name == "grasp":
            continue
        assert scene.goal_m is not None
        assert np.all(np.abs(scene.goal_m[:2] - env.rig.area_center_m) <= env.rig.area_size_m / 2 + 1e-9)
        for placed in scene.placements:
            assert math.dist(scene.goal_m[:2], placed.pose.position_m[:2]) >= 0.04
        again = draw(task, env, stage, seed)
        assert again.goal_m is not None
        assert np.array_equal(again.goal_m, scene.goal_m)


@each_rig
@each_stage
def test_a_reach_goes_to_the_stages_part_of_the_box_and_never_nowhere(
    stage: Stage, env: ArmEnv, tasks: dict[str, Task]
) -> None:
    task = tasks["reach"]
    lower, upper = env.rig.reach_lower_m, env.rig.reach_upper_m
    home_m = env.rig.desk_from_base @ env.description.base_from_tool(env.rig.home_rad)
    for seed in range(8):
        goal = draw(task, env, stage, seed).goal_m
        assert goal is not None
        share = (goal - lower) / (upper - lower)
        assert np.all(share[:2] >= np.array(stage.area_lower) - 1e-9)
        assert np.all(share[:2] <= np.array(stage.area_upper) + 1e-9)
        assert 0.0 <= share[2] <= 1.0
        assert np.linalg.norm(goal - home_m.position_m) >= LEAST_DISTANCE_M


@each_rig
def test_the_full_reach_is_drawn_between_the_very_corners_of_the_box(env: ArmEnv, tasks: dict[str, Task]) -> None:
    task = tasks["reach"]
    for seed in range(8):
        goal = draw(task, env, FULL_STAGE, seed).goal_m
        points = np.random.default_rng(seed).uniform(env.rig.reach_lower_m, env.rig.reach_upper_m, (200, 3))
        assert np.any(np.all(points == goal, axis=1))


def test_a_stage_that_holds_nothing_but_home_is_refused_by_name() -> None:
    arm = load_arm("dofbot")
    home_m = (arm.rig("table").desk_from_base @ arm.base_from_tool(arm.rig("table").home_rad)).position_m
    # All of z that a stage leaves is 2 mm; its middle along x and y is home.
    rig = dataclasses.replace(arm.rig("table"), reach_lower_m=home_m - 0.001, reach_upper_m=home_m + 0.001)
    task = make_task("reach", arm, rig, PinocchioKinematics(arm, rig), 0.05)
    client = bullet.connect(bullet.DIRECT)
    pool = ObjectPool(client, PoolSpec())
    with pytest.raises(SimError, match=r"rig 'table', stage 'home': of 200 points .* 40 mm from home"):
        task.draw(np.random.default_rng(0), Stage("home", (0.5, 0.5), (0.5, 0.5)), pool, 0.03, 0)
    bullet.disconnect(physicsClientId=client)
