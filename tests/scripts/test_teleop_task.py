"""`tandem teleop --task`: from a person's landmarks to demonstrations that a policy learns from."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from bridge.actions import MAX_STEP_M
from bridge.episode_attempts import RecordedAttempt, read_demonstrations
from bridge.episode_decisions import SUCCESS
from bridge.observation import STATE
from perception.body import PeopleSighting, Side
from perception.landmark_log import LandmarkLog
from perception.retarget_tool import natural_scale
from policies.demonstrations import Demonstrations
from scripts.main import main
from scripts.programs.demonstration_file import read_steps
from scripts.programs.demonstration_source import as_demonstrations
from scripts.programs.grasp_track import leading_waypoints, placing_waypoints
from scripts.programs.pose_track import Waypoint, pose_track
from scripts.programs.teleop_arm import simulated_arm
from scripts.simulation import environment_id
from scripts.teleop_task import PERIOD_S
from sim.curriculum import FULL_STAGE
from sim.objects import BLOCK_SIZE_M
from sim.tasks import make_task
from sim.tasks.task import POTENTIAL_PER_M, Scene
from urdf.description import load_arm
from urdf.kinematics import PinocchioKinematics

ARM = load_arm("dofbot")
RIG = ARM.rig("table")
KINEMATICS = PinocchioKinematics(ARM, RIG)
HOME_M, HOME_RAD, _ = KINEMATICS.tool_in_desk(RIG.home_rad)
SCALE = natural_scale(RIG)


def scenes(task: str, seed: int, count: int) -> list[Scene]:
    """Return where things will lie in the attempts of a seed."""
    with simulated_arm(ARM, RIG, real_time=False) as arm:
        assert arm.world is not None
        drawn, rng = make_task(task, ARM, RIG, KINEMATICS, PERIOD_S), np.random.default_rng(seed)
        return [drawn.draw(rng, FULL_STAGE, arm.world.objects, BLOCK_SIZE_M, 0) for _ in range(count)]


def landmark_file(path: Path, waypoints: Sequence[Waypoint]) -> Path:
    sightings: Sequence[PeopleSighting] = pose_track(waypoints, Side.RIGHT, np.random.default_rng(1))
    with LandmarkLog(path, "synthetic", "synthetic person", "20260101T000000Z") as log:
        for sighting in sightings:
            log.add(sighting)
    return path


@pytest.fixture
def teleop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    monkeypatch.setenv("TANDEM_DATA", str(tmp_path))
    return lambda *words: main(["teleop", "--no-window", "--json", *map(str, words)])


def result(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def blocks_xy_m(seed: int, count: int) -> list[np.ndarray]:
    return [scene.placements[0].pose.position_m[:2] for scene in scenes("grasp", seed, count)]


def test_what_a_person_shows_is_exported_and_a_policy_learns_from_it(
    teleop: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    track = landmark_file(tmp_path / "person.landmarks", leading_waypoints(HOME_M, blocks_xy_m(3, 2), SCALE))
    assert teleop("--source", track, "--task", "grasp", "--episodes", "2", "--seed", "3") == 0
    told = result(capsys)
    assert (told["attempts"], told["successes"]) == (2, 2)
    recording = Path(str(told["episode"]))
    assert main(["episodes", "export", recording.stem, "--name", "shown"]) == 0
    exported = read_steps(tmp_path / "demonstrations" / "shown" / "steps.npz")
    env = gymnasium.make(environment_id("dofbot", "grasp"))
    fitted: Demonstrations = as_demonstrations(exported).fitted(env.observation_space, env.action_space, (STATE,))
    assert len(fitted.attempts) == 2
    capsys.readouterr()
    words = ("--preset", "bc", "--demonstrations", "shown", "--steps", "20", "--workers", "1", "--film-every-min", "0")
    few = ("--evaluation-episodes", "1", "--final-episodes", "1", "--screening-episodes", "0")
    assert main(["train", *words, *few, "--json"]) == 0
    assert result(capsys)["env_steps"] == 20


def test_decisions_come_as_often_as_a_policys_and_move_the_tool_to_the_block(
    teleop: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (block_xy_m,) = blocks_xy_m(4, 1)
    track = landmark_file(tmp_path / "person.landmarks", leading_waypoints(HOME_M, [block_xy_m], SCALE))
    assert teleop("--source", track, "--task", "grasp", "--episodes", "1", "--seed", "4") == 0
    recorded = read_demonstrations(Path(str(result(capsys)["episode"])))
    layout = recorded.layout
    assert (layout.task, layout.action_repeat, layout.discount) == ("grasp", 3, 1.0)
    assert layout.action_layout.names == ("dx", "dy")
    assert recorded.header.period_s == pytest.approx(0.05)
    (attempt,) = recorded.attempts
    assert (attempt.verdict, attempt.terminated) == (SUCCESS, True)
    assert attempt.observations["state"].shape == (attempt.decisions + 1, 20)
    assert attempt.observations["proprioception"].shape == (attempt.decisions + 1, 22)
    np.testing.assert_allclose(np.diff(attempt.stamp_ns), 150e6, atol=60e6)
    went_m = 3 * MAX_STEP_M * attempt.actions.sum(axis=0)
    np.testing.assert_allclose(HOME_M[:2] + went_m, block_xy_m, atol=0.012)
    assert earned_on_the_way(attempt) == pytest.approx(1.0, abs=0.07)


def earned_on_the_way(attempt: RecordedAttempt) -> float:
    """Return what an attempt earned beyond the way to the block that it began with."""
    first = attempt.observations["state"][0]
    away_m = 0.03 * math.hypot(first[2], first[3])  # block_from_tool, in units of 30 mm
    return float(attempt.rewards.sum()) - POTENTIAL_PER_M * away_m


def test_a_person_takes_the_block_to_its_goal(
    teleop: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (scene,) = scenes("pick-place", 5, 1)
    block, goal_m = scene.placements[0].pose, scene.goal_m
    assert goal_m is not None
    turn_rad = math.remainder(block.yaw_rad - HOME_RAD, math.pi / 2)
    way = placing_waypoints(HOME_M, block.position_m[:2], goal_m[:2], turn_rad, RIG, SCALE)
    track = landmark_file(tmp_path / "person.landmarks", way)
    assert teleop("--source", track, "--task", "pick-place", "--turning", "--episodes", "1", "--seed", "5") == 0
    told = result(capsys)
    assert (told["attempts"], told["successes"]) == (1, 1)
    (attempt,) = read_demonstrations(Path(str(told["episode"]))).attempts
    assert attempt.actions.shape[1] == 5
    assert attempt.verdict == SUCCESS
