from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from bridge.episode_attempts import read_demonstrations
from bridge.episode_reader import read_episode
from bridge.free_attempt import FREE_HZ
from perception.body import PeopleSighting, Side
from perception.landmark_log import LandmarkLog
from perception.retarget_tool import natural_scale
from perception.teleop_policy import Deadman
from scripts.main import main
from scripts.programs.grasp_track import grasp_waypoints
from scripts.programs.pose_track import Waypoint, pose_track
from scripts.programs.teleop_arm import simulated_arm
from scripts.programs.teleop_controls import HeldKey, TeleopControls
from scripts.programs.teleop_session import Mode, TeleopSession, TeleopSetup
from scripts.programs.teleop_source import RecordedSightings
from urdf.description import load_arm
from urdf.kinematics import PinocchioKinematics

ARM = load_arm("dofbot")
RIG = ARM.rig("table")
REST, ASIDE = (0.15, 0.35, -0.1), (0.25, 0.35, -0.05)
WAY = (
    Waypoint(0.0, REST, other_raised=True),
    Waypoint(0.6, REST, other_raised=True),
    Waypoint(1.4, ASIDE, other_raised=True),
    Waypoint(1.8, ASIDE, other_raised=True),
)
MS = 1_000_000


def track(waypoints: Sequence[Waypoint] = WAY) -> tuple[PeopleSighting, ...]:
    return pose_track(waypoints, Side.RIGHT, np.random.default_rng(1))


def landmark_file(path: Path, sightings: Sequence[PeopleSighting]) -> Path:
    with LandmarkLog(path, "synthetic", "synthetic person", "20260101T000000Z") as log:
        for sighting in sightings:
            log.add(sighting)
    return path


@pytest.fixture
def teleop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    monkeypatch.setenv("TANDEM_DATA", str(tmp_path / "data"))
    return lambda *words: main(["teleop", "--no-window", "--json", *map(str, words)])


@pytest.fixture
def with_models(tmp_path: Path, landmark_models: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Somebody at a terminal, and the models in the data folder."""
    monkeypatch.setattr("scripts.teleop._keys", lambda stack: [lambda: ""])
    models = tmp_path / "data" / "models"
    models.mkdir(parents=True)
    for model in landmark_models:
        shutil.copy(model, models)
    return models


def result(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    return json.loads(capsys.readouterr().out.splitlines()[-1])


@pytest.mark.parametrize("name", ["pose.jpg", "person.pdf"])
def test_a_file_in_which_nobody_moves_is_refused_before_anybody_is_asked_for(
    name: str, teleop: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    still = tmp_path / name
    still.write_bytes(b"no film")
    assert teleop("--source", still) == 2
    assert "nobody moves there; a recording ends in one of .mp4" in capsys.readouterr().err


def test_a_landmark_file_leads_a_simulated_arm_and_leaves_recording_and_picture(
    teleop: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, picture = landmark_file(tmp_path / "person.landmarks", track()), tmp_path / "run.png"
    assert teleop("--source", source, "--out", picture) == 0
    told = result(capsys)
    assert told["engagements"] == 1
    assert told["commands_hz"] == pytest.approx(FREE_HZ)
    assert 0.0 < float(str(told["latency_p95_ms"])) < 60.0
    assert picture.stat().st_size > 10_000
    episode = read_episode(Path(str(told["episode"])))
    assert any("engaged: following" in event.text for event in episode.events)
    assert episode.ending is not None
    assert "engaged once" in episode.ending.outcome
    (attempt,) = read_demonstrations(episode.path).attempts
    assert attempt.decisions > 10
    assert attempt.observations["proprioception"].shape == (attempt.decisions + 1, 22)
    assert (attempt.truncated, attempt.verdict) == (True, "")  # nobody knows whether that was a success


def test_a_scripted_person_lifts_the_block_by_the_command(
    teleop: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home_m, _, _ = PinocchioKinematics(ARM, RIG).tool_in_desk(RIG.home_rad)
    way = grasp_waypoints(home_m, RIG.area_center_m, RIG, natural_scale(RIG))
    assert teleop("--source", landmark_file(tmp_path / "grasp.landmarks", track(way)), "--no-record") == 0
    assert float(str(result(capsys)["block_rise_mm"])) > 40.0


@pytest.mark.parametrize("mode", ["planar", "arm"])
def test_postures_are_copied_by_other_arms_as_well(
    mode: str, teleop: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = landmark_file(tmp_path / "person.landmarks", track())
    assert teleop("--source", source, "--robot", "sim:kuka_iiwa", "--mode", mode, "--no-record") == 0
    assert result(capsys)["engagements"] == 1


def test_half_a_body_leads_nobody_and_the_reason_is_told(
    teleop: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = track()
    for sighting in seen:
        sighting.bodies[0].visibility[[14, 16]] = 0.1
    assert teleop("--source", landmark_file(tmp_path / "half.landmarks", seen)) == 0
    captured = capsys.readouterr()
    assert "your right elbow and wrist cannot be seen" in captured.err
    assert json.loads(captured.out.splitlines()[-1])["engagements"] == 0


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--source", "nobody.mp4"), "no such file"),
        (("--source", "uvc:97"), "tandem models fetch"),
        (("--source", "nonsense"), "unknown source 'nonsense'; valid, nearest first: realsense, "),
        (("--robot", "simm"), "valid, nearest first: sim, "),
        (("--robot", "sim:hexapod"), "hexapod"),
        (("--robot", "nobody"), "nobody"),
        (("--scale", "0"), "--scale"),
        (("--max-gap-deg", "-1"), "--max-gap-deg"),
        (("--deadman", "none"), "nobody could let go"),
        (("--deadman", "pedal"), "--deadman key"),
        (("--pedal", "17"), "belong together"),
        (("--deadman-key", " "), "--deadman-key"),
        (("--people", "9"), "--people"),
        (("--robot", "sim:kuka-twin"), "films a recording"),
        (("--preview",), "a simulation already"),
        (("--preview", "--robot", "nobody"), "nobody"),
        (("--task", "grasp", "--mode", "arm"), "--mode tool"),
        (("--task", "grasp", "--episodes", "0"), "--episodes"),
        (("--task", "grasp", "--sees", "privileged"), "no arm could show that"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(
    words: tuple[str, ...], why: str, teleop: Callable[..., int], capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("scripts.teleop._keys", lambda stack: [lambda: ""])  # somebody at a terminal
    assert teleop(*words) == 2
    assert why in capsys.readouterr().err


def test_a_camera_that_is_not_there_is_told_before_anything_moves(
    teleop: Callable[..., int], with_models: Path, landmark_models: tuple[Path, Path], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert teleop("--source", "uvc:97") == 2
    assert "there is no /dev/video97" in capsys.readouterr().err
    (with_models / landmark_models[0].name).write_bytes(b"no model")
    assert teleop("--source", "uvc:97") == 2
    assert "SHA-256" in capsys.readouterr().err
    assert not (tmp_path / "data" / "episodes").exists()


def test_a_camera_in_use_is_told_with_who_has_it_and_nothing_is_recorded(
    teleop: Callable[..., int], with_models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    device = Path(f"/dev/shm/tandem-camera-{os.getpid()}")  # under /dev, as cameras are
    device.write_bytes(b"no picture for a second reader")
    with device.open("rb") as held, subprocess.Popen(["sleep", "60"], stdin=held) as holder:
        try:
            assert teleop("--source", f"uvc:{device}") == 2
        finally:
            holder.kill()
            device.unlink()
    said = capsys.readouterr().err
    assert f"it is in use, held by sleep (pid {holder.pid})" in said
    assert "end that program" in said
    assert not (tmp_path / "data" / "episodes").exists()


def test_a_library_that_mediapipe_lacks_is_told_before_a_recording_is_begun(
    teleop: Callable[..., int], with_models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def lacking(*_: object) -> None:
        raise OSError("libEGL.so.1: cannot open shared object file: No such file or directory")

    monkeypatch.setattr("perception.pose._pose_landmarker", lacking)
    assert teleop("--source", "uvc:97") == 2
    assert "sudo apt install libegl1 libgles2" in capsys.readouterr().err
    assert not (tmp_path / "data" / "episodes").exists()


def test_without_a_terminal_nobody_could_stop_the_arm(
    teleop: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert teleop("--source", "uvc:97") == 2
    assert "nobody could stop the arm" in capsys.readouterr().err


# Stopping --------------------------------------------------------------------------------------------
class Typist:
    """Presses keys at the times of a clock [s since it was first asked]."""

    def __init__(self, now_ns: Callable[[], int], presses: list[tuple[float, str]]) -> None:
        self._now_ns, self._presses = now_ns, presses

    def key(self) -> str:
        if self._presses and self._now_ns() * 1e-9 >= self._presses[0][0]:
            return self._presses.pop(0)[1]
        return ""


def test_a_stop_is_cleared_by_a_key_and_the_hand_has_to_be_lowered_first() -> None:
    down_up = (
        *WAY,
        Waypoint(2.6, ASIDE, other_raised=False),
        Waypoint(2.8, ASIDE, other_raised=True),
        Waypoint(3.6, ASIDE, other_raised=True),
    )
    stopped: list[str] = []
    with simulated_arm(ARM, RIG, real_time=False) as arm:
        typist = Typist(arm.clock.now_ns, [(1.6, " "), (1.7, "c")])
        controls = TeleopControls(arm.clock, [typist.key], "d")
        setup = TeleopSetup(Mode.TOOL, Side.RIGHT, mirror=False, deadman=Deadman.HAND)
        session = TeleopSession(
            arm, setup, RecordedSightings(track(down_up), arm.clock), controls, None, stopped.append
        )
        assert session.run()
    assert session.recorder.notes.engagements == 2
    assert any("let go of the deadman" in line for line in stopped)
    assert any("emergency stop by the space key" in line for line in stopped)


def test_a_stop_that_nobody_clears_ends_the_session() -> None:
    with simulated_arm(ARM, RIG, real_time=False) as arm:
        typist = Typist(arm.clock.now_ns, [(1.2, " "), (1.4, "q")])
        setup = TeleopSetup(Mode.TOOL, Side.RIGHT, mirror=False, deadman=Deadman.HAND)
        controls = TeleopControls(arm.clock, [typist.key], "d")
        session = TeleopSession(arm, setup, RecordedSightings(track(), arm.clock), controls, None, lambda text: None)
        assert not session.run()
    assert "space key" in session.recorder.notes.stopped


def test_a_held_key_counts_until_its_repeats_stop() -> None:
    key = HeldKey()
    assert not key.held(0)
    key.press(1000 * MS)
    assert key.held(1690 * MS)
    assert not key.held(1710 * MS)
    key.press(2000 * MS)
    key.press(2500 * MS)
    assert key.held(2690 * MS)
    assert not key.held(2710 * MS)
    assert not key.held(1000 * MS)


def test_a_pedal_is_the_deadman_while_it_is_trodden_on_and_no_key_is() -> None:
    trodden = [True]
    with simulated_arm(ARM, RIG, real_time=False) as arm:
        controls = TeleopControls(arm.clock, [lambda: "d"], "d", lambda: trodden[0])
        assert controls.read().held
        trodden[0] = False
        assert not controls.read().held


def test_recorded_sightings_come_in_their_time_and_end() -> None:
    with simulated_arm(ARM, RIG, real_time=False) as arm:
        played = RecordedSightings(track(), arm.clock, late_s=0.02)
        assert played.newest() is None
        arm.clock.sleep_until(arm.clock.now_ns() + 500 * MS)
        newest = played.newest()
        assert newest is not None
        assert 20 * MS <= arm.clock.now_ns() - newest.stamp_ns <= 20 * MS + math.ceil(1e9 / 30) + 5 * MS
        assert not played.over()
        arm.clock.sleep_until(arm.clock.now_ns() + 2_000 * MS)
        assert played.newest() is not None
        assert played.over()
