"""`tandem run` against a lab: what it prints, what it refuses, and what the arm does when it dies."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from bridge.clock import MonotonicClock
from bridge.encoding import GRASP_STATE
from bridge.episode_reader import Episode, read_episode
from bridge.grasp import GraspAttempt
from bridge.loop import ControlLoop, run_episode
from bridge.observation import CameraView, ImageKind, ObservationSpec
from bridge.remote import RemoteRobot
from bridge.watcher import RobotWatcher
from hardware.cameras.remote import RemoteCamera
from perception.block_source import CameraBlockSource
from perception.marker_locator import MarkerLocator
from policies.scripted import scripted_policy
from scripts.programs.lab import running_lab
from scripts.programs.lab_process import LabProcess
from scripts.programs.lab_stage import StageHand
from scripts.run import RunSummary
from sim.lab_scene import nominal_camera
from sim.lab_truth import LabTruth, TruthFile
from tests.fakes.policy_folder import STATE, export_untrained, make_manifest
from tests.scripts.open_lab import ARM, RIG, ROOT, TORQUE, OpenLab
from tests.scripts.test_desk_eyes import measured_at
from tests.scripts.test_lab import children_of, wait_for
from urdf.kinematics import PinocchioKinematics

CLOCK = MonotonicClock()


def run_tandem(data: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "scripts.main", "run", *words],
        cwd=ROOT, env=os.environ | {"TANDEM_DATA": str(data)}, capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip


@pytest.fixture
def open_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenLab]:
    lab = OpenLab(tmp_path_factory.mktemp("l"))
    try:
        yield lab
    finally:
        lab.close()


def make_run(data: Path, rig: str = "table", arm_sha256: str = ARM.sha256, spec: ObservationSpec = STATE) -> str:
    """Leave an untrained policy as a run; return the run's name."""
    folder = data / "runs" / "grasp" / "20260101T000000Z_grasp_seed0"
    export_untrained(folder / "policy", make_manifest(spec, rig=rig, arm_sha256=arm_sha256))
    return folder.name


@pytest.mark.slow
def test_one_attempt_in_a_lab_that_it_starts_itself(tmp_path: Path) -> None:
    done = run_tandem(tmp_path, "--policy", "oracle", "--robot", "lab", "--episodes", "1", "--json")
    assert done.returncode == 0, done.stderr
    (line,) = [text for text in done.stdout.splitlines() if text.startswith("{")]
    assert done.stdout.splitlines()[-1] == line
    assert set(json.loads(line)) >= {
        "episodes", "successes", "lab_truth_successes", "commands_sent", "commands_held", "missed_deadlines", "loop_hz",
        "p99_loop_ms",
    }  # fmt: skip
    summary = msgspec.json.decode(line, type=RunSummary)
    assert (summary.episodes, summary.successes, summary.lab_truth_successes) == (1, 1, 1)
    assert summary.commands_sent > 100
    assert summary.loop_hz == pytest.approx(20.0, abs=2.0)
    assert "attempt 1: block at (" in done.stderr
    assert not (tmp_path / "robots" / "lab" / "robot.toml").exists()  # the lab has ended with it
    (truth,) = tmp_path.glob("labs/*/truth.json")
    assert [o.success for o in TruthFile.load(truth).outcomes] == [True]
    assert summary.episode is not None
    assert f"recorded: {summary.episode}" in done.stderr
    check_recording(read_episode(Path(summary.episode)), summary.commands_sent)


@pytest.mark.deep
def test_two_cameras_see_the_block_of_the_lab_as_one(tmp_path: Path) -> None:
    words = ["--policy", "oracle", "--robot", "lab", "--episodes", "1", "--camera", "left=lab", "--camera", "right=lab"]
    done = run_tandem(tmp_path, *words, "--json")
    assert done.returncode == 0, done.stderr
    summary = msgspec.json.decode(done.stdout.splitlines()[-1], type=RunSummary)
    assert (summary.successes, summary.lab_truth_successes) == (1, 1)
    assert summary.episode is not None
    assert set(read_episode(Path(summary.episode)).picture_stamps_ns) == {"lab"}  # only those of the first are recorded


@pytest.mark.deep
def test_a_run_takes_the_cameras_place_from_hand_eye_where_that_is_asked(tmp_path: Path) -> None:
    words = ["--policy", "oracle", "--robot", "lab", "--episodes", "1", "--camera-place", "hand-eye", "--json"]
    with LabProcess(seed=0, data=tmp_path):
        refused = run_tandem(tmp_path, *words)
        assert refused.returncode == 2
        assert "tandem calibrate hand-eye" in refused.stderr
        really = LabTruth.draw(0, len(ARM.joint_names)).desk_from_camera(nominal_camera(RIG))
        measured_at(really, "desk").save(tmp_path)
        done = run_tandem(tmp_path, *words)
    assert done.returncode == 0, done.stderr
    summary = msgspec.json.decode(done.stdout.splitlines()[-1], type=RunSummary)
    assert (summary.successes, summary.lab_truth_successes) == (1, 1)


def check_recording(episode: Episode, commands: int) -> None:
    """Everything that one attempt in the lab leaves: periods, pictures, sightings, events, hashes."""
    assert episode.whole
    assert episode.remarks == ()
    assert episode.steps == commands
    assert episode.header.robot == "lab"
    assert set(episode.header.calibration_sha256) == {"servo.json"}
    assert set(episode.header.configuration_sha256) == {"robot.toml"}
    assert episode.ending is not None
    assert (episode.ending.ending, episode.ending.outcome) == ("done", "1 of 1 attempts succeeded")
    assert episode.ending.dropped == episode.ending.lost == 0
    assert {"descend", "close", "lift", "hold"} <= set(episode.phases)
    assert len(episode.block_m) > 5
    assert 1.0 < len(episode.picture_stamps_ns["lab"]) / episode.duration_s < 5.5
    told = [event.text for event in episode.events if event.name == "attempt"]
    assert told[0] == "attempt 1 begins"
    assert told[1].startswith("attempt 1: block at")


def test_an_unknown_robot_lists_the_valid_names(tmp_path: Path) -> None:
    for name in ("attic", "desk"):
        (tmp_path / "robots" / name).mkdir(parents=True)
        (tmp_path / "robots" / name / "robot.toml").touch()
    done = run_tandem(tmp_path, "--policy", "oracle", "--robot", "dask", "--episodes", "1")
    assert done.returncode == 2
    assert "nearest first: desk, " in done.stderr
    assert "attic" in done.stderr
    assert "lab" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_policy_lists_the_valid_names(tmp_path: Path) -> None:
    done = run_tandem(tmp_path, "--policy", "orakle", "--episodes", "1")
    assert done.returncode == 2
    assert "nearest first: oracle, " in done.stderr


def test_a_policy_of_another_arm_is_refused_before_a_lab_is_started(tmp_path: Path) -> None:
    name = make_run(tmp_path, arm_sha256="0" * 64)
    done = run_tandem(tmp_path, "--policy", name, "--episodes", "1")
    assert done.returncode == 2
    assert "kinematics, limits, gripper or tool changed" in done.stderr
    assert not (tmp_path / "labs").exists()


def test_a_policy_of_pictures_that_no_arm_has_is_refused_before_a_lab_is_started(tmp_path: Path) -> None:
    spec = ObservationSpec(state=False, proprioception=True, views=(CameraView("desk", ImageKind.DEPTH),))
    name = make_run(tmp_path, spec=spec)
    done = run_tandem(tmp_path, "--policy", name, "--episodes", "1")
    assert done.returncode == 2
    assert "pictures of camera 'desk'" in done.stderr
    assert "`tandem evaluate`" in done.stderr
    assert not (tmp_path / "labs").exists()


def test_a_policy_of_another_rig_moves_nothing(open_lab: OpenLab, tmp_path: Path) -> None:
    run = make_run(tmp_path, rig="hanging")
    open_lab.turn_for(0.5)  # until the board has heard all that taking hold of the arm sent
    asked_ns = time.monotonic_ns()
    process = open_lab.tandem("run", "--policy", str(tmp_path / "runs" / "grasp" / run), "--episodes", "1")
    assert open_lab.turn_until(lambda: process.poll() is not None, 60.0)
    assert process.returncode == 2
    assert "trained on rig 'hanging', this rig is 'table'" in process.communicate()[1]
    assert open_lab.heard(asked_ns) == []
    assert open_lab.world.attempts == 0


def test_a_killed_run_leaves_the_moving_arm_standing(open_lab: OpenLab) -> None:
    """Hold frame on the wire within 300 ms, every joint at rest within 500 ms, torque still on."""
    process = open_lab.tandem("run", "--policy", "oracle", "--episodes", "1")
    assert open_lab.turn_until(lambda: open_lab.world.attempts == 1 or process.poll() is not None, 60.0)
    assert process.poll() is None, process.communicate()
    open_lab.turn_for(1.0)
    process.kill()
    killed_ns = time.monotonic_ns()
    open_lab.turn_for(2.0)
    assert open_lab.speed_rad_s(killed_ns - 200_000_000, killed_ns) > 0.1  # it did move
    after = open_lab.heard(killed_ns)
    assert after
    assert (after[-1].stamp_ns - killed_ns) * 1e-9 < 0.3
    end_ns = open_lab.motion[-1][0]
    assert open_lab.speed_rad_s(killed_ns + 500_000_000, end_ns) < 0.01
    assert open_lab.heard(killed_ns, TORQUE) == []
    assert all(open_lab.board.torque_on)


def test_a_killed_run_with_a_lab_of_its_own_is_held_before_the_lab_relaxes_the_arm(tmp_path: Path) -> None:
    run = subprocess.Popen(
        [sys.executable, "-m", "scripts.main", "run", "--policy", "oracle", "--episodes", "3"],
        cwd=ROOT, env=os.environ | {"TANDEM_DATA": str(tmp_path)}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_for(lambda: running_lab(tmp_path) is not None, 60.0)
        lab = running_lab(tmp_path)
        assert lab is not None
        with RobotWatcher(lab.endpoint, CLOCK) as watcher:  # until it is on its way home
            assert wait_for(lambda: max(map(abs, watcher.read_state().velocity_rad_s)) > 0.05, 40.0)
    finally:
        run.kill()
        run.wait()
    (log,) = tmp_path.glob("labs/*/server.log")
    assert wait_for(lambda: "bus:" in log.read_text(encoding="utf-8"), 40.0)
    said = log.read_text(encoding="utf-8")
    (held,) = re.findall(r"holds by the watchdog: (\d+)", said)
    assert int(held) >= 1
    assert said.index("by the watchdog") < said.index("leaving the arm: relax")


def test_a_lab_that_dies_ends_the_run_with_its_last_words(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "scripts.main", "run", "--policy", "oracle", "--episodes", "9"],
        cwd=ROOT, env=os.environ | {"TANDEM_DATA": str(tmp_path)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert wait_for(lambda: running_lab(tmp_path) is not None, 60.0), process.communicate()
    lab = running_lab(tmp_path)
    assert lab is not None
    assert lab.pid > 1
    (camera_pid,) = [pid for pid, words in children_of(lab.pid).items() if "spawn_main" in words]
    time.sleep(3.0)
    os.kill(camera_pid, signal.SIGKILL)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert b"the camera process ended" in said
    assert b"Traceback" not in said


@pytest.mark.deep
def test_a_block_held_for_ten_seconds_stays_held(tmp_path: Path) -> None:
    """Longer than the stall protection waits: squeezing must not trip it."""
    with LabProcess(seed=5, out=tmp_path / "out", data=tmp_path / "data") as lab:
        robot, hand = RemoteRobot(lab.robot.endpoint, ARM, CLOCK), StageHand(lab.robot.stage_endpoint)
        camera = RemoteCamera(lab.robot.camera_endpoint)
        tracker = CameraBlockSource(camera, MarkerLocator(RIG))
        try:
            attempt = GraspAttempt(ARM, RIG, PinocchioKinematics(ARM, RIG), 0.05)
            loop = ControlLoop(robot, CLOCK, tracker, attempt)
            loop.move_to(RIG.home_rad)
            hand.place_block()
            loop.stay(RIG.home_rad, 1.5)
            hand.begin_attempt()
            run_episode(loop, scripted_policy("oracle", GRASP_STATE, 2, 3, np.random.default_rng(0)), 3)
            assert loop.gave_up == ""
            loop.stay(loop.target_rad, 10.0)
            hand.end_attempt()
            sighting = tracker.read_block()
            seen_ns = CLOCK.now_ns()
        finally:
            for part in (tracker, camera, hand, robot):
                part.close()
    (outcome,) = TruthFile.load(tmp_path / "out" / "truth.json").outcomes
    assert outcome.held_s >= 10.0
    assert sighting is not None
    assert (seen_ns - sighting.stamp_ns) * 1e-9 < 2.0
    assert (RIG.desk_from_base @ sighting.base_from_block).position_m[2] > 0.035
