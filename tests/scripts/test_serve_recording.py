"""What `tandem serve` leaves of every motion, against the bytes on the wire of a virtual board. Real processes."""

from __future__ import annotations

import re
import time
from collections.abc import Generator
from pathlib import Path

import numpy as np
import pytest

from bridge.episode_reader import Episode, read_episode
from bridge.episode_repair import repair_episode
from bridge.messages import JointCommand
from bridge.remote import RemoteRobot
from hardware.virtual.dofbot_wire import HeardFrame
from scripts.programs import served_recording
from scripts.programs.served_recording import ServedRecorder
from tests.bridge.benches import eventually
from tests.bridge.recordings import make_header
from tests.bridge.served_bench import ARM, CLOCK, MOVE_SIX, NAME, START_RAD, TORQUE, Bench


def recordings(folder: Path) -> list[Path]:
    return sorted((folder / "episodes").glob("*.mcap"))


def only_recording(folder: Path) -> Episode:
    (file,) = recordings(folder)
    assert file.stem.endswith("_serve")
    return read_episode(file)


def ticks(frame: HeardFrame) -> tuple[int, ...]:
    return tuple(int.from_bytes(frame.data[i : i + 2], "big") for i in range(0, 12, 2))


def lead(robot: RemoteRobot, count: int) -> None:
    """Send the first joint a little further with every command."""
    for k in range(1, count + 1):
        target = START_RAD + np.array([0.02 * k, 0.0, 0.0, 0.0, 0.0, 0.0])
        robot.send(JointCommand(k, CLOCK.now_ns(), tuple(target.tolist()), 0.05, 0.5))
        time.sleep(0.05)


def test_a_recording_holds_every_frame_of_the_wire_whoever_sent_it(bench: Bench) -> None:
    server = bench.serve("relax", ["--park-after-s", "0.5"])
    with RemoteRobot(bench.endpoint, ARM, CLOCK) as robot:
        lead(robot, 10)
        time.sleep(0.7)  # the watchdog holds, then the arm walks to its rest pose
        session = robot.session
    server.terminate()
    assert server.wait(20) == 0
    episode = only_recording(bench.folder)
    moves = [frame for frame in bench.heard(0) if frame.command == MOVE_SIX]
    assert [write.ticks for write in episode.bus_sent] == [ticks(frame) for frame in moves]
    late_ns = np.array([w.stamp_ns for w in episode.bus_sent]) - [frame.stamp_ns for frame in moves]
    assert np.median(np.abs(late_ns)) < 50_000_000
    torque = [frame.data for frame in bench.heard(0) if frame.command == TORQUE]
    assert [e.text for e in episode.events if e.name == "torque"] == ["on", "off"]
    assert (torque[0], torque[-1]) == (b"\x01", b"\x00")
    # All but the two with which it took hold are periods as well, in radians.
    np.testing.assert_allclose(episode.sent_rad, [bench.target_rad(frame) for frame in moves[2:]], atol=1e-9)
    assert np.ptp(episode.position_rad[:, 0]) > 0.1
    assert {reading.servo_id for reading in episode.bus_read} == {1, 2, 3, 4, 5, 6}
    told = [(e.name, e.text) for e in episode.events]
    assert ("control", f"session {session}") in told
    assert ("hold", "the arm holds") in told
    assert any(name == "server" and "walks slowly to its rest pose" in text for name, text in told)
    assert any(name == "server" and text.startswith("leaving the arm: relax") for name, text in told)
    assert episode.whole
    assert (episode.header.robot, episode.header.policy, episode.header.rig) == (NAME, "serve", "table")
    assert set(episode.header.calibration_sha256) == {"servo.json"}


def test_a_killed_server_leaves_all_but_the_last_half_second(bench: Bench) -> None:
    server = bench.serve()
    bench.stream()
    time.sleep(1.5)
    server.kill()
    killed_ns = time.monotonic_ns()
    server.wait()
    episode = only_recording(bench.folder)
    assert not episode.whole
    moves = [f for f in bench.heard(0) if f.command == MOVE_SIX and f.stamp_ns < killed_ns - 500_000_000]
    assert len(moves) > 15
    assert [write.ticks for write in episode.bus_sent][: len(moves)] == [ticks(frame) for frame in moves]
    repair_episode(episode.path)
    repaired = read_episode(episode.path)
    assert repaired.whole
    assert repaired.bus_sent == episode.bus_sent
    np.testing.assert_array_equal(repaired.sent_rad, episode.sent_rad)


def test_a_disk_that_takes_nothing_costs_the_recording_and_not_the_arm(bench: Bench) -> None:
    (bench.folder / "episodes").write_text("no folder")
    server = bench.serve("hold")
    with RemoteRobot(bench.endpoint, ARM, CLOCK) as robot:
        lead(robot, 5)
    server.terminate()
    said, _ = server.communicate(timeout=20)
    assert server.returncode == 0
    accepted = re.search(r"(\d+) commands accepted", said)
    assert accepted is not None
    assert int(accepted[1]) >= 3  # a busy machine may be too late for one
    assert len([f for f in bench.heard(0) if f.command == MOVE_SIX]) >= 2 + int(accepted[1])


def test_nothing_is_recorded_where_nobody_wants_it(bench: Bench) -> None:
    server = bench.serve("hold", ["--no-record"])
    server.terminate()
    assert server.wait(20) == 0
    assert not (bench.folder / "episodes").exists()


# The recorder alone ----------------------------------------------------------------------------------
@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def recorder(tmp_path: Path, bench: Bench, told: list[str]) -> Generator[ServedRecorder]:
    with ServedRecorder(tmp_path, make_header(), bench.calibration, CLOCK, told.append) as recorder:
        yield recorder


def test_every_motion_has_its_recording_and_what_was_said_before_belongs_to_it(
    tmp_path: Path, recorder: ServedRecorder, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served_recording, "REST_S", 0.3)
    for number in (1, 2):
        recorder.note("server", f"motion {number} begins")
        time.sleep(0.2)
        assert len(recordings(tmp_path)) == number - 1  # words alone move no arm
        recorder.scribe.wrote((1,), (2000 + number,), 0.1)
        assert eventually(lambda: len(told) == number)  # noqa: B023
    first, second = (read_episode(path) for path in recordings(tmp_path))
    assert [w.ticks for w in (*first.bus_sent, *second.bus_sent)] == [(2001,), (2002,)]
    assert "motion 1 begins" in [e.text for e in first.events]
    assert [e.text for e in second.events if e.name == "server"] == ["motion 2 begins"]
    assert first.ending is not None
    assert first.ending.ending == "the arm rests"


def test_a_long_motion_is_cut_and_nothing_is_lost_between(
    tmp_path: Path, recorder: ServedRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served_recording, "LONGEST_S", 0.3)
    for k in range(100):
        recorder.scribe.wrote((1,), (1000 + k,), 0.1)
        time.sleep(0.01)
    recorder.close("done")
    parts = [read_episode(path) for path in recordings(tmp_path)]
    assert len(parts) >= 2
    written = sorted((w.stamp_ns, w.ticks) for part in parts for w in part.bus_sent)
    assert [row[1] for row in written] == [(1000 + k,) for k in range(100)]
    endings = sorted(part.ending.ending for part in parts if part.ending is not None)
    assert endings == ["done", *["goes on in the next recording"] * (len(parts) - 1)]


def test_what_others_need_of_the_disk_is_left_to_them(
    tmp_path: Path, recorder: ServedRecorder, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served_recording, "MIN_FREE_BYTES", 1 << 60)
    for _ in range(3):
        recorder.scribe.switched(True)
        time.sleep(0.1)
    assert recordings(tmp_path) == []
    assert len(told) == 1
    assert "remove old recordings" in told[0]
