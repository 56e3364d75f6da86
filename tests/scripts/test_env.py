"""`tandem env`: what it says about the environments is held against the environments themselves."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from PIL import Image

import sim
from bridge.encoding import ToolFrame
from bridge.observation import CameraView, ImageKind, ObservationSpec
from policies.scripted import scripted_policy
from scripts import main as tandem
from scripts.env import EnvShowArgs, run_show
from scripts.programs.env_facts import list_environments
from scripts.programs.feature_units import (
    Feature,
    action_features,
    privileged_features,
    proprioception_features,
    state_features,
)
from scripts.programs.reach_map import SERVED, TOO_FAR, ReachMap, draw_reach_map, judge, tangent_rad
from scripts.programs.reach_plot import write_reach_map
from scripts.programs.reach_solver import BatchKinematics, SeedBook
from sim.env import ArmEnv
from sim.observer import privileged_names
from urdf.description import load_arm
from urdf.errors import Unreachable
from urdf.kinematics import PinocchioKinematics

ARMS = ("dofbot", "ur5", "kuka_iiwa")
TASKS = ("reach", "grasp", "pick-place")


# List --------------------------------------------------------------------------------------------
def test_the_list_holds_every_registered_environment_and_what_it_takes(capsys: pytest.CaptureFixture[str]) -> None:
    assert tandem.main(["env", "list", "--json"]) == 0
    captured = capsys.readouterr()
    (line,) = captured.out.splitlines()
    rows = {row["id"]: row for row in json.loads(line)["environments"]}
    assert set(rows) == {sim.environment_id(arm, task) for arm in ARMS for task in TASKS}
    for name, row in rows.items():
        assert name in captured.err
        assert set(row["rigs"]) == set(load_arm(row["arm"]).rigs)
    for name in (sim.environment_id("dofbot", "pick-place"), sim.environment_id("ur5", "reach")):
        env = gymnasium.make(name, disable_env_checker=True)
        assert env.observation_space.shape == (rows[name]["observation_size"],)
        assert env.action_space.shape == (len(rows[name]["action"]),)
        env.close()


def test_arms_without_an_id_are_told() -> None:
    assert "dofbot-se" in list_environments().other_arms


# Show --------------------------------------------------------------------------------------------
def test_show_tells_spaces_rigs_cameras_and_limits(capsys: pytest.CaptureFixture[str]) -> None:
    assert tandem.main(["env", "show", "--arm", "ur5", "--task", "reach", "--no-map", "--json"]) == 0
    captured = capsys.readouterr()
    (line,) = captured.out.splitlines()
    shown = json.loads(line)
    ur5 = load_arm("ur5")
    assert shown["id"] == "Tandem/UR5-Reach-v0"
    assert [f["name"] for f in shown["action"]] == ["dx", "dy", "dz"]
    assert [j["name"] for j in shown["joints"]] == list(ur5.joint_names)
    assert shown["joints"][0]["upper_deg"] == pytest.approx(np.degrees(ur5.upper_rad[0]), abs=0.01)
    assert {c["name"] for c in shown["cameras"]} == set(ur5.cameras)
    assert shown["gripper_opening_mm"][1] == pytest.approx(84.9, abs=0.2)
    assert shown["control_hz"] == 20.0
    assert shown["reach"] is None
    assert "shoulder_pan_joint" in captured.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--arm", "ur50"), "nearest first: ur5, "),
        (("--task", "pickplace"), "nearest first: pick-place, "),
        (("--rig", "hangign"), "nearest first: hanging, "),
    ],
)
def test_bad_names_are_bad_input(words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert tandem.main(["env", "show", *words, "--json"]) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.out == ""


def test_every_column_of_numbers_has_its_unit(capsys: pytest.CaptureFixture[str]) -> None:
    assert tandem.main(["env", "show", "--no-map"]) == 0
    lines = [line.split("  ") for line in capsys.readouterr().out.splitlines()]
    printed = {word.strip() for line in lines for word in line}
    for header in (
        *("lower [deg]", "upper [deg]", "fastest [deg/s]"),
        *("base [mm]", "block area [mm]", "reach box [mm]", "grasp, hover [mm]", "lean [deg]"),
        *("view, top to bottom [deg]", "near to far [m]", "dtype", "unit"),
    ):
        assert header in printed, header


@pytest.mark.parametrize("arm", ARMS)
def test_the_spaces_and_the_privileged_numbers_are_those_of_the_environment(
    arm: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tandem.main(["env", "show", "--arm", arm, "--task", "pick-place", "--no-map", "--json"]) == 0
    captured = capsys.readouterr()
    shown = json.loads(captured.out)
    views = (CameraView("wrist", ImageKind.DEPTH), CameraView("desk", ImageKind.RGB))
    env = ArmEnv(arm=arm, task="pick-place", spec=ObservationSpec(privileged=True, views=views))
    observation, _ = env.reset(seed=1)
    assert isinstance(observation, dict)
    space = env.observation_space
    assert isinstance(space, gymnasium.spaces.Dict)
    rows = {row["part"]: row for row in shown["spaces"]}
    for part, box in space.spaces.items():
        row = rows[part]
        assert isinstance(box, gymnasium.spaces.Box)
        assert (tuple(row["shape"]), row["dtype"]) == (observation[part].shape, str(observation[part].dtype))
        assert (row["low"], row["high"]) == (box.low.min(), box.high.max())
    assert rows["wrist_depth"]["unit"] == "m"
    assert rows["wrist_depth"]["shape"] == [1, 64, 64]
    assert rows["action"]["shape"] == [5]
    assert {row["part"] for row in shown["spaces"]} >= {f"{c}_{k}" for c in env.description.cameras for k in ImageKind}
    names = privileged_names(env.description.joint_names)
    assert [f["name"] for f in shown["privileged"]] == list(names)
    privileged = dict(zip(names, observation["privileged"].tolist(), strict=True))
    tool_m, block_m = env.world.tool_pose().position_m, env.world.block_pose().position_m
    center_m = [*env.rig.area_center_m, 0.0]
    for k, axis in enumerate("xyz"):
        assert privileged[f"block_from_tool_{axis}"] == pytest.approx(10 * (block_m - tool_m)[k], abs=1e-4)
        assert privileged[f"tool_{axis}"] == pytest.approx(10 * (tool_m - center_m)[k], abs=1e-4)
    assert privileged["object_size"] == pytest.approx(0.3)
    position_rad, _ = env.world.joint_states()
    for name, angle in zip(env.description.joint_names, position_rad, strict=True):
        assert privileged[f"{name}_position"] == pytest.approx(angle, abs=1e-5)
    for feature in privileged_features(env):
        assert feature.meaning
        assert f" {feature.name} " in captured.err
    env.close()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--out", "map.xyz"), "a reach map ends in one of .png"),
        (("--no-map", "--out", "map.png"), "contradict each other"),
    ],
)
def test_what_cannot_be_written_is_refused_at_once(
    words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tandem.main(["env", "show", *words]) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.out == ""


# Units -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("task", TASKS)
def test_every_number_has_a_meaning_and_a_range(arm: str, task: str) -> None:
    env = ArmEnv(arm=arm, task=task)
    features = state_features(env)
    assert tuple(f.name for f in features) == env.observation_layout.feature_names
    assert tuple(f.name for f in action_features(env.action_layout)) == env.action_layout.names
    for feature in (*features, *proprioception_features(env)):
        assert feature.low < feature.high, feature
        assert feature.meaning
    env.close()


def by_name(features: tuple[Feature, ...]) -> dict[str, Feature]:
    return {f.name: f for f in features}


@pytest.mark.parametrize("task", TASKS)
def test_the_units_are_those_of_the_world(task: str) -> None:
    """Multiplied by its unit, a number is the millimetres that physics measures."""
    env = ArmEnv(task=task)
    observation, _ = env.reset(seed=2)
    action = np.zeros(env.action_space.shape or (0,), dtype=np.float32)
    action[0] = 0.3
    for _ in range(4):
        observation = env.step(action)[0]
    assert isinstance(observation, np.ndarray)
    features = state_features(env)
    millimetres = {f.name: f.per_one * float(v) for f, v in zip(features, observation, strict=True)}
    tool, block = 1000 * env.world.tool_pose().position_m, 1000 * env.world.block_pose().position_m
    center = 1000 * np.array([*env.rig.area_center_m, 0.0])
    goal = getattr(env.attempt, "goal_m", None)
    expected = {f"tool_{axis}": tool[k] - center[k] for k, axis in enumerate("xyz")}
    if task != "reach":
        expected |= {f"block_from_tool_{axis}": block[k] - tool[k] for k, axis in enumerate("xyz")}
    if goal is not None:
        expected |= {f"goal_from_tool_{axis}": 1000 * goal[k] - tool[k] for k, axis in enumerate("xyz")}
        expected |= {f"block_from_goal_{axis}": block[k] - 1000 * goal[k] for k, axis in enumerate("xyz")}
        expected |= {f"goal_{axis}": 1000 * goal[k] - center[k] for k, axis in enumerate("xyz")}
    known = set(expected) & set(millimetres)
    assert len(known) >= 6
    for name in known:
        assert by_name(features)[name].unit == "mm"
        assert millimetres[name] == pytest.approx(expected[name], abs=2.5), name
    if "opening" in millimetres:
        assert millimetres["opening"] == pytest.approx(57.4, abs=1.0)
    env.close()


@pytest.mark.parametrize("task", TASKS)
def test_what_is_seen_lies_in_the_ranges_that_are_told(task: str) -> None:
    env = ArmEnv(task=task)
    features = state_features(env)
    # The tool lags and overshoots by a little, and pushes things a little beyond the area.
    slack = np.array([25.0 / f.per_one if f.unit == "mm" else 0.05 for f in features])
    low, high = np.array([f.low for f in features]) - slack, np.array([f.high for f in features]) + slack
    seen: list[np.ndarray] = []
    for name, seed in (("oracle", 1), ("oracle", 2), ("random", 3)):
        policy = scripted_policy(
            name, env.observation_layout, len(env.action_layout.names), env.action_repeat, np.random.default_rng(seed)
        )
        observation, over = env.reset(seed=seed)[0], False
        while not over:
            assert isinstance(observation, np.ndarray)
            seen.append(observation)
            observation, _, terminated, truncated, _ = env.step(policy.act(observation.astype(np.float32)))
            over = terminated or truncated
    table = np.array(seen)
    outside = [f.name for k, f in enumerate(features) if (table[:, k] < low[k]).any() or (table[:, k] > high[k]).any()]
    assert outside == []
    env.close()


# Reach map ---------------------------------------------------------------------------------------
@pytest.fixture(
    scope="module", params=[("dofbot", "table"), ("dofbot", "hanging"), ("ur5", "table"), ("kuka_iiwa", "table")]
)
def solver(request: pytest.FixtureRequest) -> tuple[BatchKinematics, SeedBook, PinocchioKinematics]:
    arm, rig = request.param
    description = load_arm(arm)
    batch = BatchKinematics(description, description.rig(rig))
    return batch, SeedBook(batch, np.random.default_rng(0)), PinocchioKinematics(description, description.rig(rig))


def test_many_tools_at_once_are_where_pinocchio_puts_each(
    solver: tuple[BatchKinematics, SeedBook, PinocchioKinematics],
) -> None:
    batch, _, one = solver
    q = np.random.default_rng(1).uniform(batch.lower_rad, batch.upper_rad, (20, len(batch.lower_rad)))
    tool = batch.tool(q)
    for k in range(20):
        position, heading, tilt = one.tool_in_desk(q[k])
        assert np.allclose(tool.position_m[:, k], position, atol=1e-9)
        assert tool.heading_rad[k] == pytest.approx(heading, abs=1e-6)
        assert tool.tilt_rad[k] == pytest.approx(tilt, abs=1e-6)
        assert np.linalg.norm(position - batch.shoulder_m) <= batch.longest_m + 1e-9


def test_the_map_agrees_with_the_kinematics_that_move_the_arm(
    solver: tuple[BatchKinematics, SeedBook, PinocchioKinematics],
) -> None:
    batch, book, one = solver
    rng = np.random.default_rng(2)
    radius_m, top_m = np.abs(book.positions_m[:, :2]).max(), book.positions_m[:, 2].max()
    points = rng.uniform([-radius_m, -radius_m, 0.0], [radius_m, radius_m, top_m], (120, 3))
    verdicts = judge(batch, book, points, 0.01, lambda _: None)
    headings = tangent_rad(points)
    agree = 0
    for k, point in enumerate(points):
        try:
            one.solve(point, headings[k])
        except Unreachable:
            agree += verdicts.reason[k] != SERVED
        else:
            agree += verdicts.reason[k] == SERVED
    assert agree >= 116  # of 120; what is left lies on the very edge of the cone


@pytest.mark.parametrize(("arm", "rig"), [("dofbot", "hanging"), ("kuka_iiwa", "table")])
def test_without_the_limit_that_is_blamed_most_places_are_served(arm: str, rig: str) -> None:
    description = load_arm(arm)
    batch = BatchKinematics(description, description.rig(rig))
    book = SeedBook(batch, np.random.default_rng(0))
    radius_m, top_m = np.abs(book.positions_m[:, :2]).max(), book.positions_m[:, 2].max()
    points = np.random.default_rng(4).uniform([-radius_m, -radius_m, 0.0], [radius_m, radius_m, top_m], (600, 3))
    reason = judge(batch, book, points, 0.01, lambda _: None).reason
    joint = int(np.bincount(reason[reason >= 0]).argmax())
    blamed = points[reason == joint][:40]
    assert len(blamed) >= 10
    lower, upper = description.lower_rad.copy(), description.upper_rad.copy()
    lower[joint], upper[joint] = lower[joint] - 2.0, upper[joint] + 2.0
    freed = BatchKinematics(dataclasses.replace(description, lower_rad=lower, upper_rad=upper), description.rig(rig))
    after = judge(freed, SeedBook(freed, np.random.default_rng(0)), blamed, 0.01, lambda _: None)
    assert after.served_share >= 0.8


def test_what_the_map_calls_served_is_served(solver: tuple[BatchKinematics, SeedBook, PinocchioKinematics]) -> None:
    batch, book, one = solver
    rng = np.random.default_rng(3)
    points = book.positions_m[rng.integers(len(book.positions_m), size=300)]
    headings = tangent_rad(points)
    places = book.nearest(points, headings, 1)[:, 0]
    answers = batch.solve(points, headings, book.position_rad[places])
    assert answers.served.sum() >= 100
    for k in np.flatnonzero(answers.served):
        q = answers.position_rad[k]
        position, heading, tilt = one.tool_in_desk(q)
        assert np.linalg.norm(position - points[k]) < 1e-4
        assert abs(np.sin(heading - headings[k])) < 2.1e-3
        assert tilt <= batch.rig.max_tilt_rad + 1e-9
        assert tilt == pytest.approx(answers.tilt_rad[k], abs=1e-6)
        assert (q >= one.lower_rad).all()
        assert (q <= one.upper_rad).all()


@pytest.fixture(scope="module")
def small_map() -> ReachMap:
    dofbot = load_arm("dofbot")
    shares: list[float] = []
    reach = draw_reach_map(dofbot, dofbot.rig("table"), shares.append, columns=20)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    return reach


def test_the_block_area_is_served_whole_and_the_corners_of_the_map_are_not(small_map: ReachMap) -> None:
    rig = small_map.rig
    assert small_map.area.served_share == 1.0
    assert small_map.box.served_share > 0.9
    assert rig.grasp_m in small_map.heights_m
    assert rig.hover_m in small_map.heights_m
    corners = small_map.slices.reason[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert (corners != SERVED).all()
    assert np.isnan(small_map.slices.tilt_rad[small_map.slices.reason != SERVED]).all()
    assert np.nanmax(small_map.slices.tilt_rad) <= rig.max_tilt_rad
    shares = small_map.limits(small_map.slices)
    assert sum(shares.values()) + small_map.slices.served_share == pytest.approx(1.0)
    assert any(name.startswith("the limit of joint") for name in shares)
    assert np.allclose(small_map.home_m, ToolFrame(small_map.description, rig).locate(rig.home_rad)[0])


def test_the_picture_shows_what_is_served_in_deep_colours(small_map: ReachMap, tmp_path: Path) -> None:
    path = tmp_path / "map.png"
    write_reach_map(small_map, path)
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    assert pixels.shape[0] > 700
    assert pixels.shape[1] > 1400
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    teal = ((green > red + 25) & (blue > red + 25)).mean()
    assert teal > 0.05
    assert [p.name for p in tmp_path.iterdir()] == ["map.png"]


def test_beyond_the_length_of_the_arm_nothing_else_is_to_blame() -> None:
    dofbot = load_arm("dofbot")
    batch = BatchKinematics(dofbot, dofbot.rig("table"))
    book = SeedBook(batch, np.random.default_rng(0))
    far = np.array([[0.0, batch.longest_m + 0.01, 0.0], [5.0, 5.0, 0.0]])
    verdicts = judge(batch, book, far, 0.01, lambda _: None)
    assert verdicts.reason.tolist() == [TOO_FAR, TOO_FAR]
    assert verdicts.served_share == 0.0


@pytest.mark.deep
def test_show_draws_the_map_where_it_is_asked_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "maps" / "dofbot.png"
    assert run_show(EnvShowArgs(out=out, json=True)) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["reach"]["path"] == str(out)
    assert shown["reach"]["area_served"] == 1.0
    assert out.stat().st_size > 30_000
