"""A fourth arm is a folder with an arm.toml: the Franka Panda that pybullet_data keeps, and not a line of code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pybullet as bullet
import pytest
from stable_baselines3 import SAC
from stable_baselines3.common.env_checker import check_env

from policies.scripted import scripted_policy
from sim.env import ArmEnv
from sim.world import ArmWorld
from tests.sim.lifting import Lifter
from tests.sim.states import advance, start
from urdf.description import ArmDescription, load_arm

PANDA = """
urdf = "pybullet_data:franka_panda/panda.urdf"
joints = [
    "panda_joint1", "panda_joint2", "panda_joint3", "panda_joint4", "panda_joint5", "panda_joint6", "panda_joint7",
]
limit_margin_deg = 2.0

[tool]
link = "panda_hand"
xyz_m = [0.0, 0.0, 0.103]
rpy_deg = [0.0, 0.0, 90.0]

[gripper]
law = "pinion"
followers = { panda_finger_joint1 = -0.020, panda_finger_joint2 = -0.020 }
radius_m = 0.020
offset_m = 0.0
widest_m = 0.080
tip_height_m = 0.112
open_rad = -2.0
closed_rad = 0.0

[cameras.wrist]
link = "panda_hand"
xyz_m = [0.07, 0.0, 0.02]
fov_y_deg = 60.0
near_m = 0.02
far_m = 3.0

[cameras.desk]
link = "desk"
xyz_m = [0.0, 1.036, 0.45]
rpy_deg = [-130.0, 0.0, 180.0]
fov_y_deg = 30.0
near_m = 0.05
far_m = 3.0

[rigs.table]
xyz_m = [0.0, 0.0, 0.0]
rpy_deg = [0.0, 0.0, 90.0]
desk_size_m = [2.0, 2.0]
area_center_m = [0.0, 0.50]
area_size_m = [0.18, 0.115]
hover_m = 0.080
grasp_m = 0.018
max_tilt_deg = 20.0
home_rad = [0.2954, 0.3649, -0.0121, -2.322, 0.0099, 2.6869, 1.0607, -2.0]
rest_rad = [0.2954, 0.3649, -0.0121, -2.322, 0.0099, 2.6869, 1.0607, -2.0]
floor_m = 0.002
reach_lower_m = [-0.25, 0.35, 0.02]
reach_upper_m = [0.25, 0.65, 0.30]

[[guards]]
link = "panda_hand"
center_m = [0.0, 0.0, 0.106]
radius_m = 0.004
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("arms") / "panda"
    folder.mkdir()
    (folder / "arm.toml").write_text(PANDA)
    return folder


@pytest.fixture(scope="module")
def panda(folder: Path) -> ArmDescription:
    return load_arm(str(folder))


@pytest.fixture(scope="module")
def env(folder: Path) -> Iterator[ArmEnv]:
    env = ArmEnv(arm=str(folder))
    yield env
    env.close()


def test_the_world_takes_it_and_it_stands_still(panda: ArmDescription) -> None:
    rig = panda.rig("table")
    world = ArmWorld(panda, rig)
    world.reset(rig.home_rad, None)
    world.step(240)
    np.testing.assert_allclose(world.joint_states()[0], rig.home_rad, atol=0.01)
    assert world.tool_pose().is_close(rig.desk_from_base @ panda.base_from_tool(rig.home_rad), 0.002, 0.01)
    assert bullet.getNumJoints(world.arm, physicsClientId=world.client) == 12
    world.close()


def test_it_lifts_a_block_between_both_fingers(panda: ArmDescription) -> None:
    lifter = Lifter("table", panda)
    lifter.grip((0.004, 0.0), 0.3)
    lifter.lift()
    assert lifter.world.block_pose().position_m[2] > 0.045
    assert lifter.world.jaws_touching() == 2
    lifter.close()


def test_the_environment_has_nothing_to_say_about_it(env: ArmEnv) -> None:
    check_env(env)


def test_episodes_run_and_the_oracle_grasps(env: ArmEnv) -> None:
    oracle = scripted_policy("oracle", env.observation_layout, 2, env.action_repeat, np.random.default_rng(0))
    successes = 0
    for seed in range(5):
        observation = start(env, seed)
        over, info = False, {}
        while not over:
            observation, _, over, _, info = advance(env, oracle.act(observation))
        successes += bool(info["is_success"])
    assert successes >= 4


@pytest.mark.parametrize("task", ["grasp", "reach"])
def test_a_learner_takes_steps_on_it(task: str, folder: Path) -> None:
    with closing(ArmEnv(arm=str(folder), task=task)) as env:
        small = {"net_arch": [32, 32]}
        learner = SAC("MlpPolicy", env, learning_starts=20, batch_size=16, policy_kwargs=small, seed=0, device="cpu")
        before = [weight.detach().clone() for weight in learner.actor.parameters()]
        learner.learn(60)
        assert learner.num_timesteps == 60
        after = list(learner.actor.parameters())
        assert all(weight.isfinite().all() for weight in after)
        assert any(not weight.equal(old) for weight, old in zip(after, before, strict=True))
        assert env.action_space.contains(learner.predict(start(env, 1), deterministic=True)[0])
