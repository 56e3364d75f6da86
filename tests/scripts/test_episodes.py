"""`tandem episodes`: what it lists, shows, repairs and plays again, and what it refuses."""

from __future__ import annotations

import signal
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image as Pillow

from bridge.clock import MonotonicClock
from bridge.encoding import Phase
from bridge.episode import EpisodeWriter
from bridge.episode_format import BusRead, BusSent, EpisodeHeader, Level, utc_name
from bridge.episode_messages import Event
from bridge.episode_reader import read_episode
from bridge.errors import BadEpisode
from bridge.loop import ControlLoop, LoopStep
from bridge.messages import JointCommand, RobotState
from scripts.episodes import EpisodeFigures, EpisodeList, RepairSummary
from scripts.episodes_replay import ReplaySummary
from scripts.main import main
from scripts.programs.episode_files import resolve_episode
from scripts.programs.episode_numbers import ServoFigures, joint_figures, loop_figures
from scripts.programs.episode_replay import NoBlock, ReplayAttempt, Timeline
from sim.sim_robot import SimRobot
from sim.world import ArmWorld
from tests.scripts.open_lab import ARM, RIG, OpenLab
from urdf.kinematics import PinocchioKinematics
from urdf.pose import Array

PERIOD_S = 0.05
CLOCK = MonotonicClock()


def phases_so_far(file: Path) -> tuple[str | None, ...]:
    """Give the phases in a recording that is still being written: none while its first bytes are on the way."""
    try:
        return read_episode(file).phases
    except BadEpisode:
        return ()


def make_header(arm_sha256: str = ARM.sha256, rig: str = "table") -> EpisodeHeader:
    now = datetime.now(UTC)
    return EpisodeHeader(
        robot="desk",
        arm=ARM.name,
        arm_sha256=arm_sha256,
        rig=rig,
        joint_names=ARM.joint_names,
        period_s=PERIOD_S,
        policy="oracle",
        configuration_sha256={},
        calibration_sha256={},
        versions={},
        start_utc=utc_name(now),
        start_utc_ns=round(now.timestamp() * 1e9),
        start_clock_ns=0,
    )


def times(count: int) -> Array:
    """Return the times of so many periods [s]."""
    return np.arange(count, dtype=np.float64) * PERIOD_S


def sway(t: Array) -> Array:
    """Return joint angles (len(t), 6) near home: joint 1 swings by 0.3 rad in 4 s, joint 2 by 0.2 rad in 3 s."""
    poses = np.tile(RIG.home_rad, (len(t), 1))
    poses[:, 0] += 0.3 * np.sin(2 * np.pi * t / 4)
    poses[:, 1] += 0.2 * np.sin(2 * np.pi * t / 3)
    return poses


def save(
    path: Path,
    stamps_s: Array,
    sent_rad: Array,
    measured_rad: Array,
    header: EpisodeHeader | None = None,
    outcome: str = "1 of 1 attempts succeeded",
    readings_rad: Array | None = None,
) -> Path:
    """Record a motion; return the path. With readings, each was taken 10 ms before its state."""
    writer = EpisodeWriter(path, header or make_header(), CLOCK)
    for k, (stamp_s, sent, measured) in enumerate(zip(stamps_s, sent_rad, measured_rad, strict=True)):
        stamp_ns = round(stamp_s * 1e9)
        read = () if readings_rad is None else tuple(readings_rad[k].tolist())
        state = RobotState(k, stamp_ns, tuple(measured.tolist()), (0.0,) * 6, (0.01,) * 6, reading_rad=read)
        command = JointCommand(k, stamp_ns + 1_000_000, tuple(sent.tolist()), PERIOD_S)
        writer.record(LoopStep(state, None, Phase.MOVE, np.zeros(2, np.float32), command, ""))
    writer.close("done", outcome)
    return path


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TANDEM_DATA", str(tmp_path))
    (tmp_path / "episodes").mkdir()
    return tmp_path


def swaying(data: Path, name: str = "20260102T030405Z", header: EpisodeHeader | None = None) -> Path:
    """Leave a recording of 6 s whose measured motion is the commanded one, 100 ms late."""
    t = times(120)
    return save(data / "episodes" / f"{name}.mcap", t, sway(t), sway(t - 0.1), header)


def cut(path: Path, share: float = 0.5) -> None:
    """Take the end of a file away."""
    with path.open("rb+") as file:
        file.truncate(round(share * path.stat().st_size))


def last_line(text: str) -> bytes:
    return text.splitlines()[-1].encode()


# List ----------------------------------------------------------------------------------------------
def test_the_list_tells_whole_cut_off_and_foreign_files_apart(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    swaying(data)
    cut(swaying(data, "20260103T000000Z"), 0.8)
    (data / "episodes" / "20260104T000000Z.mcap").write_bytes(b"Dear diary")
    writer = EpisodeWriter(data / "episodes" / "20260105T000000Z.mcap", make_header(), CLOCK)
    assert main(["episodes", "list", "--json"]) == 0
    out, err = capsys.readouterr()
    writer.close()
    listed = msgspec.json.decode(last_line(out), type=EpisodeList)
    assert [(row.name, row.condition) for row in listed.episodes] == [
        ("20260105T000000Z", "being written"),
        ("20260103T000000Z", "cut off"),
        ("20260102T030405Z", "whole"),
    ]
    whole = listed.episodes[-1]
    assert (whole.steps, whole.robot, whole.ending, whole.outcome) == (120, "desk", "done", "1 of 1 attempts succeeded")
    assert whole.bytes_on_disk == Path(whole.file).stat().st_size
    assert "20260104T000000Z.mcap: no MCAP file" in listed.unreadable[0]
    assert "tandem episodes repair" in err


def test_an_empty_folder_is_said_to_be_one(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["episodes", "list"]) == 0
    assert "no recording in" in capsys.readouterr().out
    for words in (["show"], ["replay"], ["repair", "20260102T030405Z"]):
        assert main(["episodes", *words]) == 2
        assert "(none yet); `tandem run` leaves one" in capsys.readouterr().err


def test_a_long_ending_is_shortened_in_the_list_and_a_recording_of_nothing_has_no_picture(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    why = "CommandRefused: " + "somebody else is in control, " * 9
    EpisodeWriter(data / "episodes" / "20260102T030405Z.mcap", make_header(), CLOCK).close(why, "")
    assert main(["episodes", "list"]) == 0
    head, row = capsys.readouterr().out.splitlines()
    assert row.endswith("…")
    assert len(row) <= head.index("ended") + 60
    assert main(["episodes", "show"]) == 0
    shown = capsys.readouterr().out
    assert why.rstrip() in shown
    assert "no picture" in shown
    assert not (data / "plots").exists()


def test_the_newest_is_that_of_a_command_before_that_of_the_server_beneath_it(data: Path) -> None:
    folder = data / "episodes"
    swaying(data, "20260102T030405Z")
    served = swaying(data, "20260102T030406Z_serve")
    assert resolve_episode("newest", data) == folder / "20260102T030405Z.mcap"
    assert resolve_episode("20260102T030406Z_serve", data) == served
    (folder / "20260102T030405Z.mcap").unlink()
    assert resolve_episode("newest", data) == served


# Show ----------------------------------------------------------------------------------------------
def test_show_says_rates_and_tracking_and_draws(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = swaying(data)
    assert main(["episodes", "show", "--json"]) == 0
    out, _ = capsys.readouterr()
    figures = msgspec.json.decode(last_line(out), type=EpisodeFigures)
    assert figures.file == str(path)
    assert figures.loop.rate_hz == pytest.approx(20.0)
    assert figures.loop.period_p99_ms == pytest.approx(50.0)
    assert figures.loop.late_periods == 0
    lags = {joint.joint: joint.lag_ms for joint in figures.joints}
    assert lags[ARM.joint_names[0]] == pytest.approx(100.0, abs=5.0)
    assert lags[ARM.joint_names[1]] == pytest.approx(100.0, abs=5.0)
    assert lags[ARM.joint_names[2]] is None  # it did not move
    assert figures.picture is not None
    with Pillow.open(figures.picture) as picture:
        assert picture.width > 1500
        assert len(picture.convert("RGB").getcolors(1 << 24) or ()) > 100  # something is drawn


def test_tracking_error_is_that_of_the_motion(data: Path) -> None:
    """By hand: measured lies 0.02 rad beside the command on joint 1, and nowhere else."""
    t = times(100)
    beside = sway(t)
    beside[:, 0] += 0.02
    sent = np.roll(sway(t), -1, axis=0)  # what is sent in a period is what the next state answers to
    episode = read_episode(save(data / "e.mcap", t, sent, beside))
    joints = joint_figures(episode)
    assert joints[0].rms_deg == pytest.approx(np.degrees(0.02), abs=1e-3)
    assert joints[0].max_deg == pytest.approx(np.degrees(0.02), abs=1e-3)
    assert joints[1].max_deg == 0.0


def test_what_a_servo_read_counts_before_what_was_estimated(data: Path) -> None:
    """The estimate follows the command to the letter; the servo, read 10 ms before each state, is 0.03 rad off."""
    t = times(100)
    sent = np.roll(sway(t), -1, axis=0)
    read = sway(t - 0.01)
    read[:, 0] += 0.03
    joints = joint_figures(read_episode(save(data / "e.mcap", t, sent, sway(t), readings_rad=read)))
    assert all(joint.measured for joint in joints)
    assert joints[0].rms_deg == pytest.approx(np.degrees(0.03), abs=0.15)  # between commands the joint moves on
    assert joints[1].max_deg < 0.3


def test_pauses_are_no_late_periods(data: Path) -> None:
    t = times(40)
    t[10:] += 0.06  # one period took 110 ms
    t[20:] += 7.0  # somebody placed a block
    loop = loop_figures(read_episode(save(data / "e.mcap", t, sway(t), sway(t))))
    assert (loop.late_periods, loop.pauses) == (1, 1)
    assert loop.period_max_ms == pytest.approx(110.0)


def test_a_cut_off_recording_is_shown_with_a_warning(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cut(swaying(data), 0.8)
    assert main(["episodes", "show", "newest", "--no-plot", "--json"]) == 0
    out, err = capsys.readouterr()
    figures = msgspec.json.decode(last_line(out), type=EpisodeFigures)
    assert not figures.whole
    assert "ATTENTION: cut off at byte" in err


def test_bad_input_ends_with_two(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    swaying(data)
    stranger = data / "notes.mcap"
    stranger.write_bytes(b"Dear diary")
    for words, said in (
        (("show", "20260102T030406Z"), "valid, nearest first: 20260102T030405Z, newest"),
        (("show", str(stranger)), "no MCAP file: it begins with b'Dear dia'"),
        (("repair", str(stranger)), "no MCAP file"),
        (("replay", str(stranger)), "no MCAP file"),
        (("show", str(data)), "is a folder"),
        (("show", "--out", "a.gif"), "a plot ends in one of .png"),
        (("replay", "--max-pause-s", "-1"), "--max-pause-s must be at least 0"),
        (("replay", "--robot", "dask"), "unknown robot 'dask'"),
    ):
        assert main(["episodes", *words]) == 2, words
        out, err = capsys.readouterr()
        assert said in out + err
        assert "Traceback" not in err


def jogged(data: Path) -> Path:
    """Leave a recording of two servos of which one was moved, by somebody who knew no angles."""
    unknown = msgspec.structs.replace(make_header(), robot="/dev/ttyUSB0", arm="", rig="", joint_names=(), policy="jog")
    writer = EpisodeWriter(data / "episodes" / "20260102T030405Z.mcap", unknown, CLOCK)
    for k in range(5):
        writer.take(BusSent(1_000_000_000 + 100_000_000 * k, (2,), (2000 + 10 * k,), 0.1))
        writer.take(BusRead(1_050_000_000 + 100_000_000 * k, 2, 1999 + 10 * k))
        writer.take(BusRead(1_060_000_000 + 100_000_000 * k, 3, 1500))
    writer.close("done", "5 steps")
    return writer.path


def test_servos_without_angles_are_shown_in_counts_and_played_by_nobody(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = jogged(data)
    assert main(["episodes", "show", "--json"]) == 0
    out, err = capsys.readouterr()
    shown = msgspec.json.decode(last_line(out), type=EpisodeFigures)
    assert shown.servos == (
        ServoFigures(2, 5, 2000, 2040, 5, 1999, 2039),
        ServoFigures(3, 0, None, None, 5, 1500, 1500),
    )
    assert "servo 2: sent 5 times, 2000..2040; read 5 times, 1999..2039 (counts)" in err
    assert "servo 3: sent nowhere" in err
    assert shown.picture is not None
    assert Pillow.open(shown.picture).size[0] > 1000
    with pytest.raises(BadEpisode, match="servo counts and no angles"):
        Timeline.of(read_episode(file), 2.0)


def test_help_names_units(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("list", "show", "replay", "repair"):
        with pytest.raises(SystemExit) as done:
            main(["episodes", name, "--help"])
        assert done.value.code == 0
    assert "MAX-PAUSE-S" in capsys.readouterr().out.upper()


# Repair --------------------------------------------------------------------------------------------
def test_repair_makes_whole_and_then_has_nothing_to_do(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = swaying(data)
    cut(path, 0.8)
    for repaired in (True, False):
        assert main(["episodes", "repair", path.stem, "--json"]) == 0
        summary = msgspec.json.decode(last_line(capsys.readouterr().out), type=RepairSummary)
        assert summary.repaired == repaired
    assert read_episode(path).whole


# Replay --------------------------------------------------------------------------------------------
def record_simulated(path: Path) -> Path:
    """Record the swaying of a simulated arm through the control loop itself."""
    robot = SimRobot(ArmWorld(ARM, RIG), PERIOD_S)
    try:
        writer = EpisodeWriter(path, make_header(), robot)
        kinematics = PinocchioKinematics(ARM, RIG)
        attempt = ReplayAttempt(ARM, RIG, PERIOD_S, sway(times(80)), kinematics)
        loop = ControlLoop(robot, robot, NoBlock(), attempt, writer)
        loop.begin()
        while attempt.phase != Phase.DONE:
            loop.observe()
            loop.apply(loop.no_action)
        writer.close()
    finally:
        robot.close()
    return path


def test_a_replay_in_simulation_is_the_same_motion_and_is_recorded(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = record_simulated(data / "episodes" / "20260102T030405Z.mcap")
    assert main(["episodes", "replay", path.stem, "--robot", "sim", "--json"]) == 0
    out, err = capsys.readouterr()
    summary = msgspec.json.decode(last_line(out), type=ReplaySummary)
    assert summary.periods == 80
    assert [joint.joint for joint in summary.joints] == list(ARM.joint_names)
    # A count of the servos is 1.4 mrad; the rest is where the arm had settled before it began.
    assert max(joint.rms_rad for joint in summary.joints) < 0.004
    assert "degrees rms" in err
    again, first = read_episode(Path(summary.episode)), read_episode(path)
    assert (again.header.robot, again.header.policy) == ("sim", f"replay of {path.stem}")
    assert again.whole
    np.testing.assert_allclose(again.sent_rad[-80:], first.sent_rad, atol=2e-3)


def test_pauses_are_shortened_and_late_periods_are_one_period(data: Path) -> None:
    t = times(30)
    t[10:] += 0.06
    t[20:] += 7.0
    timeline = Timeline.of(read_episode(save(data / "e.mcap", t, sway(t), sway(t))), max_pause_s=1.0)
    assert len(timeline.source) == 29 + 20 + 1 - 1
    assert timeline.source.tolist() == [*range(19), *[19] * 20, *range(20, 30)]
    np.testing.assert_array_equal(timeline.targets_rad, sway(t)[timeline.source])


def test_commands_of_another_rate_are_played_in_their_own_time(data: Path) -> None:
    """What a server records comes as it was sent: here at 100 Hz, then, after a minute, at 10 Hz."""
    quick, slow = 0.01 * np.arange(101), 61.0 + 0.1 * np.arange(11)
    stamps_s: Array = np.concatenate((quick, slow), dtype=np.float64)
    file = save(data / "episodes" / "a.mcap", stamps_s, sway(stamps_s), sway(stamps_s))
    timeline = Timeline.of(read_episode(file), 2.0)
    assert len(timeline.source) == 20 + 40 + 20 + 1  # one second, the pause shortened to two, one second
    np.testing.assert_array_equal(timeline.source[:21], np.arange(0, 101, 5))
    assert set(timeline.source[20:60]) == {100}
    np.testing.assert_array_equal(timeline.source[60::2], np.arange(101, 112))


def test_a_motion_with_the_torque_off_in_its_middle_is_not_played(data: Path) -> None:
    writer = EpisodeWriter(data / "episodes" / "a.mcap", make_header(), CLOCK)
    for k, pose in enumerate(sway(times(40))):
        if k == 20:
            writer.take(Event(1_000_000_000, Level.INFO, "torque", "off"))
        stamp_ns = 50_000_000 * k + 1
        state = RobotState(k, stamp_ns, tuple(pose.tolist()), (0.0,) * 6, (0.01,) * 6)
        command = JointCommand(k, stamp_ns, tuple(pose.tolist()), PERIOD_S)
        writer.record(LoopStep(state, None, Phase.MOVE, np.zeros(0, np.float32), command, ""))
    writer.close()
    with pytest.raises(BadEpisode, match=r"torque went off after 1\.0 s"):
        Timeline.of(read_episode(writer.path), 2.0)


def test_another_arm_and_another_rig_are_not_moved(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    swaying(data, "a", make_header(arm_sha256="0" * 64))
    assert main(["episodes", "replay", "a"]) == 2
    assert "its commands mean something else here" in capsys.readouterr().err
    swaying(data, "b", make_header(rig="attic"))
    assert main(["episodes", "replay", "b"]) == 2
    assert "attic" in capsys.readouterr().err


def test_a_first_pose_that_is_not_reached_plays_nothing(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Under the desk: the safety filter stops the approach, and the replay says so."""
    t = times(20)
    folded = np.tile(RIG.home_rad, (20, 1))
    folded[:, 1] = -1.5
    folded[:, 2] = 0.0
    save(data / "episodes" / "low.mcap", t, folded, folded)
    assert main(["episodes", "replay", "low"]) == 1
    assert "the first pose of the recording was not reached" in capsys.readouterr().err
    endings = [read_episode(p).ending for p in (data / "episodes").glob("2*.mcap")]
    assert [ending.ending.partition(":")[0] for ending in endings if ending] == ["BridgeError"]


@pytest.mark.slow
def test_a_replay_on_a_served_arm_goes_slowly_to_the_first_pose_and_an_interrupt_holds(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    lab = OpenLab(tmp_path_factory.mktemp("r"))
    try:
        folder = Path(lab.environment["TANDEM_DATA"]) / "episodes"
        t = times(400)
        save(folder / "sway.mcap", t, sway(t), sway(t))
        process = lab.tandem("episodes", "replay", "sway", "--robot", "lab", "--json")

        def of_replay() -> set[Path]:
            return set(folder.glob("2*.mcap")) - set(folder.glob("*_serve.mcap"))  # the server leaves its own

        def playing() -> bool:
            """Look into the recording of the replay, while it is being written, every quarter of a second."""
            files = of_replay() if time.monotonic() % 0.25 < 0.01 else set[Path]()
            return process.poll() is not None or any("move" in phases_so_far(file) for file in files)

        assert lab.turn_until(playing, 60.0)
        assert process.poll() is None, process.communicate()
        lab.turn_for(0.5)
        process.send_signal(signal.SIGINT)
        assert lab.turn_until(lambda: process.poll() is not None, 20.0)
        out, err = process.communicate()
        assert process.returncode == 130, (out, err)
        assert "interrupted" in err
        (file,) = of_replay()
        episode = read_episode(file)
        assert episode.whole
        assert episode.ending is not None
        assert episode.ending.ending == "interrupted"
        approach = [k for k, phase in enumerate(episode.phases) if phase != "move"]
        assert len(approach) > 20
        assert float(np.abs(np.diff(episode.sent_rad[approach], axis=0)).max()) <= 0.41 * PERIOD_S
        stopped_ns = time.monotonic_ns()
        lab.turn_for(1.0)
        assert lab.speed_rad_s(stopped_ns + 500_000_000, lab.motion[-1][0]) < 0.01
        assert all(lab.board.torque_on)
    finally:
        lab.close()
