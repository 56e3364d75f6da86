"""`tandem teleop --task`: from a person's landmarks to demonstrations that a policy learns from."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from bridge.actions import MAX_STEP_M
from bridge.episode_attempts import RecordedAttempt, RecordedDemonstrations, read_demonstrations
from bridge.episode_decisions import SUCCESS
from bridge.episode_reader import read_episode
from bridge.observation import STATE
from perception.body import PeopleSighting, Side
from perception.landmark_log import LandmarkLog
from perception.retarget_tool import natural_scale
from policies.bc import BehaviourCloning
from policies.demonstrations import Demonstrations
from policies.learner_config import BcConfig
from policies.presets import find_preset
from scripts.main import main
from scripts.programs.demonstrated import read_demonstrated
from scripts.programs.demonstration_file import read_steps
from scripts.programs.demonstration_source import as_demonstrations
from scripts.programs.grasp_track import leading_waypoints, placing_waypoints
from scripts.programs.pose_track import Waypoint, pose_track
from scripts.programs.teleop_arm import simulated_arm
from scripts.run_folder import RunConfig
from scripts.simulation import environment_id, judged
from scripts.teleop_task import PERIOD_S
from scripts.train import manifest_for
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


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a data folder with two grasps that a person showed by the command."""
    folder = tmp_path_factory.mktemp("shown")
    blocks_xy_m = [scene.placements[0].pose.position_m[:2] for scene in scenes("grasp", 3, 2)]
    track = landmark_file(folder / "person.landmarks", leading_waypoints(HOME_M, blocks_xy_m, SCALE))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TANDEM_DATA", str(folder))
        words = ("--source", str(track), "--task", "grasp", "--episodes", "2", "--seed", "3", "--no-window", "--json")
        assert main(["teleop", *words]) == 0
    return folder


@pytest.fixture
def recorded(data: Path) -> RecordedDemonstrations:
    (path,) = data.glob("episodes/*.mcap")
    return read_demonstrations(path)


def test_what_a_person_shows_is_exported_and_a_policy_learns_from_it(
    data: Path, recorded: RecordedDemonstrations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TANDEM_DATA", str(data))
    assert main(["episodes", "export", recorded.path.stem, "--name", "shown"]) == 0
    exported = as_demonstrations(read_steps(data / "demonstrations" / "shown" / "steps.npz"))
    env = gymnasium.make(environment_id("dofbot", "grasp"))
    fitted: Demonstrations = exported.fitted(env.observation_space, env.action_space, (STATE,))
    assert len(fitted.attempts) == 2
    config = BcConfig(hidden=(32, 32), learning_rate=1e-2, batch_size=32)
    learner = BehaviourCloning(env.observation_space, env.action_space, 1, fitted, config, 0)
    losses: list[float] = []
    for learner.decisions in range(1, 13):
        learner.improve()
        losses.append(learner.scalars()["imitation"])
    assert losses[-1] < losses[0] - 0.3
    env.close()


@pytest.mark.parametrize("preset", ["bc", "grasp"])
def test_the_presets_of_training_take_what_was_shown_as_it_is(
    preset: str, data: Path, recorded: RecordedDemonstrations
) -> None:
    config = replace(find_preset(preset), demonstrations=(str(recorded.path),))
    manifest = manifest_for(RunConfig(1, preset, "table", 0, config, "", {}, ""), judged(config, "table"))
    shown = read_demonstrated(config, manifest, data)
    assert shown is not None
    assert len(shown.attempts) == 2


def test_decisions_come_as_often_as_a_policys_and_move_the_tool_to_the_block(recorded: RecordedDemonstrations) -> None:
    layout = recorded.layout
    assert (layout.task, layout.action_repeat, layout.discount) == ("grasp", 3, 1.0)
    assert layout.action_layout.names == ("dx", "dy")
    assert recorded.header.period_s == pytest.approx(0.05)
    for attempt, scene in zip(recorded.attempts, scenes("grasp", 3, 2), strict=True):
        assert (attempt.verdict, attempt.terminated) == (SUCCESS, True)
        assert attempt.observations["state"].shape == (attempt.decisions + 1, 20)
        assert attempt.observations["proprioception"].shape == (attempt.decisions + 1, 22)
        np.testing.assert_allclose(np.diff(attempt.stamp_ns), 150e6, atol=1e6)
        went_m = 3 * MAX_STEP_M * attempt.actions.sum(axis=0)
        np.testing.assert_allclose(HOME_M[:2] + went_m, scene.placements[0].pose.position_m[:2], atol=0.012)
        assert earned_on_the_way(attempt) == pytest.approx(1.0, abs=0.07)


def test_the_second_attempt_waits_for_a_lowered_hand(recorded: RecordedDemonstrations) -> None:
    told = [event.text for event in read_episode(recorded.path).events]
    second = told.index("attempt 2 begins")
    assert told[second - 1].startswith("attempt 1: success")
    assert any("let go of the deadman once" in text for text in told[second:])


def earned_on_the_way(attempt: RecordedAttempt) -> float:
    """Return what an attempt earned beyond the way to the block that it began with."""
    first = attempt.observations["state"][0]
    away_m = 0.03 * math.hypot(first[2], first[3])  # block_from_tool, in units of 30 mm
    return float(attempt.rewards.sum()) - POTENTIAL_PER_M * away_m


@pytest.mark.deep
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
    assert 0.0 < float(str(told["latency_p95_ms"])) < 100.0
    (attempt,) = read_demonstrations(Path(str(told["episode"]))).attempts
    assert attempt.actions.shape[1] == 5
    assert attempt.verdict == SUCCESS
