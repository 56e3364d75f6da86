from __future__ import annotations

import dataclasses
import itertools
import math
import shutil
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import gymnasium
import numpy as np
import pybullet as bullet
import pytest
from gymnasium.utils.env_checker import check_env as gymnasium_check
from stable_baselines3.common.env_checker import check_env as sb3_check

import sim
from bridge.encoding import GRASP_STATE
from bridge.errors import BridgeError
from bridge.observation import CameraView, ImageKind, ObservationSpec
from calibration.actuator import ActuatorModel
from policies.scripted import scripted_policy
from sim.env import ArmEnv
from sim.errors import SimError
from sim.randomization import randomization
from tests.sim.states import State, advance, start
from urdf.description import load_arm
from urdf.errors import UnknownName
from urdf.pose import Pose

assert sim  # importing it registers the environment
RIGS = ("table", "hanging")
each_rig = pytest.mark.parametrize("rig_name", RIGS)
F = {name: k for k, name in enumerate(GRASP_STATE.feature_names)}


@pytest.fixture(scope="module")
def envs() -> Iterator[dict[str, ArmEnv]]:
    """One environment a rig, one decision a control period."""
    made = {name: ArmEnv(rig=name, action_repeat=1, discount=0.9) for name in RIGS}
    yield made
    for env in made.values():
        env.close()


def to_block(observation: State, env: ArmEnv) -> State:
    """Go straight for the block with the whole length of a decision: 10 mm a period, features in 10 cm."""
    motion = observation[:2] * (0.03 / (0.010 * env.action_repeat))
    return (motion / max(1.0, float(np.linalg.norm(motion)))).astype(np.float32)


def play(env: ArmEnv, seed: int, action: State | None = None) -> tuple[list[State], list[float], bool]:
    """Play an episode towards the block, or with a constant action; return observations, rewards and success."""
    observation = start(env, seed)
    observations, rewards, over, success = [observation], [], False, False
    while not over:
        observation, reward, over, truncated, info = advance(
            env, to_block(observation, env) if action is None else action
        )
        assert not truncated
        assert ("is_success" in info) == over
        success = bool(info.get("is_success", False))
        observations.append(observation)
        rewards.append(reward)
    return observations, rewards, success


# The interface --------------------------------------------------------------------------------------


@each_rig
def test_gymnasiums_and_sb3s_checkers_have_nothing_to_say(rig_name: str) -> None:
    env = gymnasium.make("Tandem/Dofbot-Grasp-v0", rig=rig_name, render_mode="rgb_array")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gymnasium_check(env.unwrapped)
    env.close()
    env = gymnasium.make("Tandem/Dofbot-Grasp-v0", rig=rig_name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sb3_check(env.unwrapped)
    env.close()


def test_spaces_are_bounded_boxes_of_the_layouts(envs: dict[str, ArmEnv]) -> None:
    env = envs["table"]
    assert env.observation_space == gymnasium.spaces.Box(-40.0, 40.0, (20,), np.float32)
    assert env.action_space == gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)
    assert env.action_layout.names == ("dx", "dy")
    assert env.control_rate_hz == 20


def test_render_shows_the_scene(envs: dict[str, ArmEnv]) -> None:
    envs["table"].reset(seed=1)
    picture = envs["table"].render()
    assert picture.shape == (240, 320, 3)
    assert picture.dtype == np.uint8
    assert picture.std() > 20


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_action_that_is_not_finite_is_refused(bad: float, envs: dict[str, ArmEnv]) -> None:
    envs["table"].reset(seed=1)
    with pytest.raises(BridgeError, match="finite"):
        envs["table"].step(np.array([0.0, bad], dtype=np.float32))


def test_wrong_arms_rigs_and_repeats_are_refused() -> None:
    with pytest.raises(UnknownName, match="nearest first: hanging"):
        ArmEnv(rig="hangin")
    with pytest.raises(UnknownName, match="nearest first: dofbot"):
        ArmEnv(arm="dofbott")
    with pytest.raises(BridgeError, match="from 1 to 100"):
        ArmEnv(action_repeat=0)


@pytest.mark.parametrize("control_hz", [0, 7, 50, 240])
def test_a_control_period_that_is_no_multiple_of_the_physics_step_is_refused(control_hz: int) -> None:
    with pytest.raises(SimError, match=f"control_hz must make .* 10, 12, 15, 16, 20, .*; got {control_hz}"):
        ArmEnv(control_hz=control_hz)


def test_another_control_rate_makes_another_period() -> None:
    with closing(ArmEnv(action_repeat=1, control_hz=40)) as env:
        start(env, 0)
        advance(env, np.zeros(2, dtype=np.float32))
        assert env.robot.now_ns() == 25_000_000
        assert env.metadata["render_fps"] == 40
    with closing(ArmEnv(action_repeat=4, control_hz=40)) as env:
        assert env.metadata["render_fps"] == 10  # one picture a step, and a step lasts four periods


@pytest.mark.parametrize(("task", "limit_s"), [("reach", 5.0), ("grasp", 20.0), ("pick-place", 15.0)])
def test_an_episode_may_last_as_many_seconds_at_every_control_rate(task: str, limit_s: float) -> None:
    for control_hz in (5, 20, 40, 120):
        with closing(ArmEnv(task=task, control_hz=control_hz)) as env:
            assert env.task.max_periods == limit_s * control_hz


@pytest.mark.parametrize(("control_hz", "stay_ns"), [(10, 300_000_000), (20, 250_000_000), (40, 250_000_000)])
def test_a_reach_has_to_stay_a_quarter_of_a_second_at_every_control_rate(control_hz: int, stay_ns: int) -> None:
    with closing(ArmEnv(task="reach", action_repeat=1, control_hz=control_hz)) as env:
        oracle = scripted_policy("oracle", env.observation_layout, 3, 1, np.random.default_rng(0))
        observation, over, outside_ns = start(env, 0), False, 0
        assert env.scene.goal_m is not None
        while not over:
            observation, _, over, truncated, _ = advance(env, oracle.act(observation))
            assert not truncated
            away_m = np.linalg.norm(env.world.tool_pose().position_m - env.scene.goal_m)
            if away_m > 0.010:
                outside_ns = env.robot.now_ns()
        assert env.robot.now_ns() - outside_ns == stay_ns


@pytest.mark.parametrize("task", ["reach", "grasp", "pick-place"])
def test_the_oracle_succeeds_at_twice_the_control_rate(task: str) -> None:
    with closing(ArmEnv(task=task, control_hz=40)) as env:
        size = len(env.action_layout.names)
        oracle = scripted_policy("oracle", env.observation_layout, size, env.action_repeat, np.random.default_rng(0))
        for seed in range(3):
            observation, over, info = start(env, seed), False, {}
            while not over:
                observation, _, terminated, truncated, info = advance(env, oracle.act(observation))
                over = terminated or truncated
            assert info["is_success"], seed


@pytest.mark.parametrize("task", ["grasp", "pick-place"])
def test_an_area_that_the_arm_cannot_reach_is_refused(task: str, tmp_path: Path) -> None:
    folder = shutil.copytree(load_arm("dofbot").urdf_path.parent, tmp_path / "far")
    text = (folder / "arm.toml").read_text()
    (folder / "arm.toml").write_text(text.replace("area_center_m = [0.0, 0.155]", "area_center_m = [0.0, 0.29]"))
    with pytest.raises(SimError, match=r"rig 'table': the block area, area_center_m \[0.0, 0.29\] .* cannot grasp"):
        ArmEnv(arm=str(folder), task=task)


# The task -------------------------------------------------------------------------------------------


@each_rig
def test_blocks_lie_anywhere_in_the_area_turned_by_up_to_45_degrees(rig_name: str, envs: dict[str, ArmEnv]) -> None:
    env = envs[rig_name]
    center = {"table": 0.155, "hanging": 0.100}[rig_name]
    places = []
    for seed in range(60):
        env.reset(seed=seed)
        block = env.world.block_pose()
        places.append([*block.position_m, math.degrees(block.yaw_rad)])
    x, y, z, yaw = np.array(places).T
    assert -0.05 <= x.min() < -0.04 < 0.04 < x.max() <= 0.05
    assert -0.025 <= y.min() - center < -0.02 < 0.02 < y.max() - center <= 0.025
    np.testing.assert_allclose(z, 0.015)
    assert -45.0 <= yaw.min() < -35.0 < 35.0 < yaw.max() <= 45.0


def test_a_seed_fixes_the_episode_and_a_block_may_be_given(envs: dict[str, ArmEnv]) -> None:
    env = envs["table"]
    first = start(env, 3)
    other = start(env, 4)
    again = start(env, 3)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    block = Pose.from_rotvec([0.01, 0.16, 0.015], [0.0, 0.0, 0.2])
    env.reset(seed=3, options={"block": block})
    assert env.world.block_pose().is_close(block, 1e-9, 1e-7)


@each_rig
@pytest.mark.parametrize("action", [(0.0, 0.0), (1.0, 1.0), (-1.0, 0.3)])
def test_the_descent_takes_at_most_100_control_steps(
    rig_name: str, action: tuple[float, float], envs: dict[str, ArmEnv]
) -> None:
    observations, _, success = play(envs[rig_name], 5, np.array(action, dtype=np.float32))
    assert 40 <= len(observations) - 1 <= 100
    assert not success
    # From hover to grasp at 1 mm a period: 42 mm of command.
    left = np.array([o[F["descent_left"]] for o in observations[:-1]])
    assert left[0] == pytest.approx(1.0, abs=0.02)
    np.testing.assert_allclose(np.diff(left)[:40], -1.0 / 42.0, atol=1e-4)
    assert left[-1] == pytest.approx(0.0, abs=1e-6)


@each_rig
def test_going_straight_for_the_block_lifts_it(rig_name: str, envs: dict[str, ArmEnv]) -> None:
    env = envs[rig_name]
    successes = 0
    for seed in range(10):
        observations, _, success = play(env, seed)
        successes += success
        assert observations[-1][F["phase_descend"]] == 0.0
        if success:
            assert env.world.block_pose().position_m[2] > 0.045
    assert successes >= 9


def test_a_block_that_is_too_heavy_is_no_success(envs: dict[str, ArmEnv]) -> None:
    env = envs["table"]
    bullet.changeDynamics(env.world.block, -1, mass=3.0, physicsClientId=env.world.client)
    try:
        assert not play(env, 0)[2]
    finally:
        bullet.changeDynamics(env.world.block, -1, mass=0.030, physicsClientId=env.world.client)
    assert play(env, 0)[2]


# Actions --------------------------------------------------------------------------------------------


def command_moves_mm(env: ArmEnv, action: tuple[float, float], steps: int) -> list[tuple[float, float]]:
    """Return how the commanded position moved in each step: the block does not move, so the feature tells."""
    before = start(env, 2)
    moves = []
    for _ in range(steps):
        after = advance(env, np.array(action, dtype=np.float32))[0]
        moves.append(tuple(-30.0 * (after[:2] - before[:2])))
        before = after
    return moves


@pytest.mark.parametrize(
    ("action", "expected_mm"),
    [
        ((1.0, 0.0), (10.0, 0.0)),
        ((0.3, -0.4), (3.0, -4.0)),
        ((0.7, -0.7), (7.0, -7.0)),
        ((1.0, -1.0), (7.071, -7.071)),  # the diagonal is no longer than a side
    ],
)
def test_an_action_moves_the_tool_by_at_most_10_mm_a_period(
    action: tuple[float, float], expected_mm: tuple[float, float], envs: dict[str, ArmEnv]
) -> None:
    # Home is left of the area: one step from there stays inside the workspace.
    (moved,) = command_moves_mm(envs["table"], action, 1)
    assert moved == pytest.approx(expected_mm, abs=0.01)


def test_a_decision_is_repeated(envs: dict[str, ArmEnv]) -> None:
    env = ArmEnv(action_repeat=3)
    (moved,) = command_moves_mm(env, (0.5, 0.0), 1)
    env.close()
    assert moved == pytest.approx((15.0, 0.0), abs=0.01)


def test_the_tool_stays_in_the_box_around_area_and_home(envs: dict[str, ArmEnv]) -> None:
    env = envs["table"]
    observation = start(env, 2)
    block = env.world.block_pose().position_m
    for _ in range(30):
        observation = advance(env, np.array([1.0, 1.0], dtype=np.float32))[0]
    # The area ends at (50, 180) mm; 15 mm may be added.
    command = block[:2] - 0.03 * observation[:2]
    assert command == pytest.approx([0.065, 0.195], abs=1e-5)


# Reward ---------------------------------------------------------------------------------------------


def distances_m(observations: list[State]) -> list[float]:
    """Return how far the tool was from the block, seen from above: from what the policy sees."""
    return [0.03 * math.hypot(o[F["block_from_tool_x"]], o[F["block_from_tool_y"]]) for o in observations]


@each_rig
@pytest.mark.parametrize("action", [None, (0.4, -0.2)])
def test_shaping_is_a_difference_of_potentials_and_sums_to_nothing_but_the_start(
    rig_name: str, action: tuple[float, float] | None, envs: dict[str, ArmEnv]
) -> None:
    env, discount = envs[rig_name], 0.9
    chosen = None if action is None else np.array(action, dtype=np.float32)
    observations, rewards, success = play(env, 7, chosen)
    potentials = [-5.0 * d for d in distances_m(observations)]
    potentials[-1] = 0.0  # a terminal state has none
    expected = [discount * b - a for a, b in itertools.pairwise(potentials)]
    expected[-1] += float(success)
    np.testing.assert_allclose(rewards, expected, atol=1e-5)
    weights = discount ** np.arange(len(rewards))
    start = 5.0 * distances_m(observations)[0]
    assert float(weights @ rewards) == pytest.approx(start + weights[-1] * success, abs=1e-5)
    assert success == (action is None)


# Cost -----------------------------------------------------------------------------------------------


@each_rig
def test_a_reset_loads_nothing_and_takes_milliseconds(rig_name: str, envs: dict[str, ArmEnv]) -> None:
    env = envs[rig_name]
    taken_s = []
    for seed in range(20):
        started_s = time.process_time()
        env.reset(seed=seed)
        taken_s.append(time.process_time() - started_s)
        assert bullet.getNumBodies(physicsClientId=env.world.client) == 3
    assert np.median(taken_s) < 0.01


# Bad input ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("randomization", "hrad", "nearest first: hard, "),
        ("objects", ("sphere",), "unknown object 'sphere'; valid, nearest first: .*cylinder"),
        ("renderer", "opengl", "unknown renderer 'opengl'; valid, nearest first: "),
        ("depth_engine", "xx", "unknown depth engine 'xx'"),
        ("spec", {"views": 1}, "spec must be an ObservationSpec"),
        ("action_repeat", 1.5, "action_repeat must be a whole number from 1 to 100, got 1.5"),
        ("action_repeat", "3", "action_repeat must be a whole number"),
        ("discount", float("nan"), "discount must be a number from 0 to 1, got nan"),
        ("sighting_error_m", -1.0, "sighting_error_m must be a number from 0 to 0.1"),
        ("distractors", 1.5, "distractors must be a whole number from 0 to 4"),
        ("render_mode", "human", "render_mode must be None or one of"),
    ],
)
def test_a_field_that_cannot_be_is_named_with_what_is_valid(field: str, value: object, message: str) -> None:
    with pytest.raises((SimError, BridgeError, UnknownName), match=message):
        ArmEnv(**{field: value})  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("make", "fields", "message"),
    [
        (
            CameraView,
            {"camera": "wrist", "kind": "infrared"},
            "unknown kind of picture 'infrared'; valid",
        ),
        (
            CameraView,
            {"camera": "wrist", "kind": "depth", "width_px": 64.5},
            "width_px must be a whole number from",
        ),
        (ObservationSpec, {"views": ("wrist",)}, "views must be CameraViews"),
        (ObservationSpec, {"frames": 1.5}, "frames must be a whole number from 1 to 16"),
    ],
)
def test_a_spec_that_cannot_be_is_refused_where_it_is_made(
    make: Callable[..., object], fields: dict[str, object], message: str
) -> None:
    with pytest.raises((BridgeError, UnknownName), match=message):
        make(**fields)


def test_names_do_where_the_members_do() -> None:
    assert CameraView("wrist", "depth") == CameraView("wrist", ImageKind.DEPTH)  # pyright: ignore[reportArgumentType]
    with closing(ArmEnv(randomization="mild", renderer="tiny", objects=("prism",))) as env:  # pyright: ignore
        assert env.randomization == randomization("mild")
        assert env.world.renderer_name == "TinyRenderer"


@pytest.mark.parametrize("bad", [None, "abc", [0.0], [0.0, 0.0, 0.0]])
def test_an_action_of_the_wrong_shape_is_refused(bad: object, envs: dict[str, ArmEnv]) -> None:
    start(envs["table"], 0)
    with pytest.raises(BridgeError, match="an action is 2 numbers, dx, dy, from -1 to 1"):
        envs["table"].step(bad)  # pyright: ignore[reportArgumentType]


def test_nothing_moves_before_a_reset_and_reset_knows_its_options() -> None:
    with closing(ArmEnv()) as env:
        with pytest.raises(SimError, match="reset the environment"):
            env.step(np.zeros(2, dtype=np.float32))
        wrong: list[dict[str, object]] = [{"blok": 1}, {"block": (0.0, 0.1)}]
        for options in wrong:
            with pytest.raises(SimError, match="knows the option 'block'"):
                env.reset(seed=0, options=options)
        with pytest.raises(SimError, match="off the desk"):
            env.reset(seed=0, options={"block": Pose.from_rotvec([5.0, 0.0, 0.015], [0.0, 0.0, 0.0])})


def test_identified_servos_take_the_place_of_the_nominal_ones() -> None:
    late = dataclasses.replace(ActuatorModel.nominal(load_arm("dofbot")), dead_time_s=0.3)
    with closing(ArmEnv(action_repeat=1)) as nominal, closing(ArmEnv(action_repeat=1, actuator=late)) as identified:
        for env in (nominal, identified):
            start(env, 0)
            for _ in range(5):
                advance(env, np.ones(2, dtype=np.float32))
        moved = [np.abs(env.world.joint_states()[0] - env.rig.home_rad).max() for env in (nominal, identified)]
        assert moved[0] > 0.02
        assert moved[1] < 0.002
