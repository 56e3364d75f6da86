"""Every registered environment with every kind of observation: checkers, contents, refusals."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env as gymnasium_check
from stable_baselines3.common.env_checker import check_env as sb3_check

from bridge.encoding import GRASP_STATE
from bridge.errors import BridgeError
from bridge.observation import CameraView, ImageKind, ObservationSpec
from sim import environment_id
from sim.env import ArmEnv
from sim.objects import ObjectKind
from sim.observer import Observation
from urdf.errors import UnknownName
from urdf.pose import Pose

ARMS = ("dofbot", "ur5", "kuka_iiwa")
TASKS = ("reach", "grasp", "pick-place")
DEPTH = CameraView("wrist", ImageKind.DEPTH, 48, 40)
DESK_RGB = CameraView("desk", ImageKind.RGB, 40, 48)
GRAY = CameraView("wrist", ImageKind.GRAY, 36, 36)
SPECS = {
    "state": ObservationSpec(),
    "state without the object": ObservationSpec(object_pose=False),
    "depth": ObservationSpec(state=False, views=(CameraView("wrist", ImageKind.DEPTH),)),
    "all": ObservationSpec(proprioception=True, views=(DEPTH, DESK_RGB, GRAY), frames=2, privileged=True),
}


@contextmanager
def made(arm: str = "dofbot", task: str = "grasp", spec: ObservationSpec = SPECS["all"]) -> Iterator[ArmEnv]:
    env = gymnasium.make(environment_id(arm, task), spec=spec, disable_env_checker=True)
    assert isinstance(env.unwrapped, ArmEnv)
    yield env.unwrapped
    env.close()


def parts(observation: Observation) -> dict[str, np.ndarray]:
    assert isinstance(observation, dict)
    return dict(observation)


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("arm", ARMS)
def test_both_checkers_have_nothing_to_say(arm: str, task: str, spec: ObservationSpec) -> None:
    with made(arm, task, spec) as env, warnings.catch_warnings():
        warnings.simplefilter("error")
        # SB3 takes whatever has three axes for a picture of bytes; depth in metres is none.
        warnings.filterwarnings("ignore", message=".*(image|picture|Nature).*")
        warnings.filterwarnings("ignore", message=".*CNN.*")
        env.render_mode = "rgb_array"
        gymnasium_check(env, skip_render_check=True)
        sb3_check(env)


def test_a_dict_has_the_parts_that_were_asked_for() -> None:
    with made() as env:
        first, _ = env.reset(seed=1)
        seen = parts(first)
        assert {key: (value.shape, value.dtype.name) for key, value in seen.items()} == {
            "state": ((20,), "float32"),
            "proprioception": ((22,), "float32"),
            "wrist_depth": ((2, 40, 48), "float16"),
            "desk_rgb": ((6, 48, 40), "uint8"),
            "wrist_gray": ((2, 36, 36), "uint8"),
            "privileged": ((29,), "float32"),
        }


def test_without_the_object_its_features_are_gone_and_no_other() -> None:
    with made(spec=SPECS["state without the object"]) as env:
        kept = [name for name in GRASP_STATE.feature_names if not name.startswith("block_")]
        assert list(env.observer.state_names) == kept
        assert env.observation_space.shape == (len(kept),)
        first = env.reset(seed=1)[0]
        block = env.world.block_pose().position_m
        assert isinstance(first, np.ndarray)
        again = env.reset(
            seed=1, options={"block": Pose(block + np.array([0.02, 0.01, 0.0]), np.array([0, 0, 0, 1.0]))}
        )[0]
        np.testing.assert_array_equal(first, again)


def test_depth_is_in_metres_and_shows_the_block() -> None:
    """The desk seen by the wrist camera, along its axis: by hand from the camera's pose."""
    with made(spec=SPECS["depth"]) as env:
        observation, _ = env.reset(seed=3)
        assert isinstance(observation, np.ndarray)
        camera = env.observer.cameras["wrist_depth"]
        eye = camera.pose()
        rays = eye.rotation @ camera.camera.rays().reshape(-1, 3).T
        to_desk = (-eye.position_m[2] / rays[2]).reshape(64, 64)
        bodies = camera.body_ids()
        on_desk = bodies == env.world.desk
        assert on_desk.sum() > 500
        np.testing.assert_allclose(observation[0][on_desk], to_desk[on_desk], rtol=2e-3)
        assert (bodies == env.world.block).sum() >= 60


def test_stacked_pictures_are_the_last_ones_oldest_first_and_nothing_is_left_of_the_episode_before() -> None:
    with made() as env:
        frames = [parts(env.reset(seed=1)[0])["wrist_gray"]]
        np.testing.assert_array_equal(frames[0][0], frames[0][1])
        for _ in range(3):
            frames.append(parts(env.step(np.array([1.0, 0.2], dtype=np.float32))[0])["wrist_gray"])
            np.testing.assert_array_equal(frames[-1][0], frames[-2][1])
            assert not np.array_equal(frames[-1][0], frames[-1][1])
        again = parts(env.reset(seed=1)[0])["wrist_gray"]
        np.testing.assert_array_equal(again, frames[0])


def test_every_part_changes_while_the_arm_moves() -> None:
    with made() as env:
        before = parts(env.reset(seed=1)[0])
        observation: Observation = {}
        for _ in range(3):
            observation = env.step(np.array([0.8, -0.3], dtype=np.float32))[0]
        for key, value in parts(observation).items():
            assert not np.array_equal(value, before[key]), key


def test_what_the_arm_cannot_give_is_refused_before_the_first_step() -> None:
    with pytest.raises(UnknownName, match="nearest first: wrist"):
        ArmEnv(spec=ObservationSpec(views=(CameraView("wirst", ImageKind.DEPTH),)))
    with pytest.raises(UnknownName, match="nearest first: pick-place"):
        ArmEnv(task="pickplace")
    with pytest.raises(BridgeError, match="at least one of"):
        ObservationSpec(state=False)
    with pytest.raises(BridgeError, match="frames must be a whole number from 1 to 16, got 0"):
        ObservationSpec(frames=0)
    with pytest.raises(BridgeError, match="width_px must be a whole number from 1 to 1024, got 4000"):
        CameraView("wrist", ImageKind.RGB, 4000, 64)
    with pytest.raises(BridgeError, match="one picture of each kind"):
        ObservationSpec(views=(DEPTH, DEPTH))


@pytest.mark.parametrize("kind", [ObjectKind.CYLINDER, ObjectKind.PRISM])
def test_other_objects_with_clutter_beside_them_can_be_grasped(kind: ObjectKind) -> None:
    env = ArmEnv(objects=(kind,), distractors=4)
    try:
        for seed in range(3):
            env.reset(seed=seed)
            target, *others = env.scene.placements
            assert env.world.objects.target.kind is kind
            assert len(others) == 4
            for other in others:
                apart = np.linalg.norm((other.pose.position_m - target.pose.position_m)[:2])
                assert apart > 0.05
    finally:
        env.close()


def test_a_spec_knows_its_parts_as_the_environment_orders_them_and_can_be_cut_down_to_some() -> None:
    spec = SPECS["all"]
    with made(spec=spec) as env:
        assert isinstance(env.observation_space, gymnasium.spaces.Dict)
        assert sorted(spec.part_names) == sorted(env.observation_space.spaces)
        assert list(spec.part_names) == list(env.reset(seed=0)[0])
    less = spec.only(["proprioception", DEPTH.key])
    assert less == ObservationSpec(state=False, proprioception=True, views=(DEPTH,), frames=2)
    assert spec.only(spec.part_names) == spec
    with pytest.raises(UnknownName, match=f"valid, nearest first: {DEPTH.key}"):
        spec.only(["wrist_dept"])
