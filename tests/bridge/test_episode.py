"""The flight recorder: what is on the disk, and what a kill, a power cut, a full disk and a changed byte cost."""

from __future__ import annotations

import io
import itertools
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from mcap.reader import NonSeekingReader, SeekingReader
from mcap.writer import Writer

from bridge.clock import MonotonicClock
from bridge.episode import MAX_QUEUED, EpisodeWriter
from bridge.episode_brief import read_brief
from bridge.episode_format import Level
from bridge.episode_output import is_being_written
from bridge.episode_reader import Episode, read_episode, read_pictures
from bridge.episode_repair import repair_episode
from bridge.errors import BadEpisode
from tests.bridge.recordings import CLOCK, JOINTS, make_header, make_sighting, make_step, record_steps

ROOT = Path(__file__).parents[2]
DEEP = os.environ.get("TANDEM_DEEP") == "1"
COUNTS = (3, 4, 2, 5)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording of 14 periods in four chunks."""
    return record_steps(tmp_path_factory.mktemp("e") / "20260131T120000Z.mcap", COUNTS)


def chunk_ends(path: Path) -> list[int]:
    """Return where the chunks end, by the library's own index."""
    with path.open("rb") as file:
        summary = SeekingReader(file).get_summary()
    assert summary is not None
    return [index.chunk_start_offset + index.chunk_length for index in summary.chunk_indexes]


def message_counts(path: Path) -> dict[str, int]:
    """Return the number of messages by topic, read with the library's readers, seeking and not; every CRC checked."""
    counts: list[dict[str, int]] = []
    for reader in (SeekingReader, NonSeekingReader):
        count: dict[str, int] = {}
        with path.open("rb") as file:
            for _, channel, _ in reader(file, validate_crcs=True).iter_messages():
                count[channel.topic] = count.get(channel.topic, 0) + 1
        counts.append(count)
    assert counts[0] == counts[1]
    return counts[0]


# What is written ---------------------------------------------------------------------------------
def test_a_recording_gives_back_what_was_recorded(tmp_path: Path) -> None:
    writer = EpisodeWriter(tmp_path / "e.mcap", make_header(start_clock_ns=1_000_000_000), CLOCK)
    for k in range(10):
        writer.record(make_step(k, 2_000_000_000 + 10_000_000 * k, make_sighting(5) if k > 6 else None))
    writer.event("attempt", "1 begins", Level.WARNING)
    writer.frame("desk", 2_050_000_000, b"one")
    tally = writer.close("done", "1 of 1")
    assert (tally.steps, tally.pictures, tally.dropped, tally.lost, tally.whole) == (10, 1, 0, 0, True)
    episode = read_episode(tmp_path / "e.mcap")
    assert episode.whole
    assert not episode.damaged
    assert episode.remarks == ()
    assert episode.missing_steps == 0
    assert episode.header.joint_names == JOINTS
    assert episode.header.calibration_sha256 == {"servo.json": "c" * 64}
    assert episode.ending is not None
    assert (episode.ending.ending, episode.ending.outcome, episode.ending.steps) == ("done", "1 of 1", 10)
    assert episode.bytes_on_disk == (tmp_path / "e.mcap").stat().st_size == tally.bytes_on_disk
    expected = np.outer(np.arange(10), [1e-3, 2e-3, 3e-3])
    np.testing.assert_allclose(episode.position_rad, expected, atol=1e-12)
    np.testing.assert_allclose(episode.sent_rad, expected + 1e-3, atol=1e-12)
    np.testing.assert_array_equal(episode.state_stamp_ns, 2_000_000_000 + 10_000_000 * np.arange(10))
    np.testing.assert_array_equal(episode.sent_stamp_ns, episode.state_stamp_ns + 1000)
    np.testing.assert_array_equal(episode.reading_age_s[0], [0.02, 0.03, np.inf])
    assert read_brief(tmp_path / "e.mcap").duration_s == pytest.approx(episode.duration_s)
    assert episode.phases == ("descend",) * 5 + ("close",) * 5
    assert episode.waiting_for[2:5] == ("", "block", "")
    told = [(event.level, event.name, event.text) for event in episode.events]
    assert (Level.WARNING, "attempt", "1 begins") in told
    assert (Level.INFO, "phase", "close") in told
    (picture,) = read_pictures(episode, "desk")
    assert (picture.jpeg, picture.stamp_ns) == (b"one", 2_050_000_000)
    assert episode.picture_stamps_ns["desk"].tolist() == [2_050_000_000]


def test_the_librarys_own_readers_read_it(whole: Path) -> None:
    assert message_counts(whole) == {
        "/state": 14, "/sent": 14, "/step": 14, "/camera/desk": 4, "/events": 4
    }  # fmt: skip
    with whole.open("rb") as file:
        (header, ending) = SeekingReader(file).iter_metadata()
    assert (header.name, header.metadata["robot"]) == ("tandem.episode", "desk")
    assert ending.metadata["outcome"] == "3 of 4 attempts succeeded"


def test_foxglove_finds_a_schema_that_it_knows_and_a_time_of_day(whole: Path) -> None:
    """Ref: docs.foxglove.dev: CompressedImage has timestamp, frame_id, data, format; a property needs a type."""
    with whole.open("rb") as file:
        messages = list(SeekingReader(file).iter_messages())
    seen = {channel.topic: (schema, channel, message) for schema, channel, message in messages}
    schema, channel, message = seen["/camera/desk"]
    assert schema is not None
    assert (schema.name, schema.encoding, channel.message_encoding) == (
        "foxglove.CompressedImage",
        "jsonschema",
        "json",
    )
    described = json.loads(schema.data)
    assert set(described["properties"]) == {"timestamp", "frame_id", "data", "format"}
    assert described["properties"]["data"] == {"type": "string", "contentEncoding": "base64"}
    value = json.loads(message.data)
    assert value["data"] == "/9ggYSBwaWN0dXJlIP/Z"  # by `base64`
    assert abs(value["timestamp"]["sec"] - time.time()) < 600
    assert abs(message.log_time * 1e-9 - time.time()) < 600
    for each, _, sample in seen.values():
        assert each is not None
        described = json.loads(each.data)
        assert described["type"] == "object"
        assert set(json.loads(sample.data)) <= set(described["properties"])
        assert all("type" in p for p in described["properties"].values())


def test_a_fault_is_an_event_when_it_comes_and_when_it_goes(tmp_path: Path) -> None:
    writer = EpisodeWriter(tmp_path / "e.mcap", make_header(), CLOCK)
    for k, fault in enumerate(("", "servo 3 is stalled", "servo 3 is stalled", "")):
        writer.record(make_step(k, CLOCK.now_ns(), fault=fault))
    writer.close()
    told = [(event.level, event.text) for event in read_episode(tmp_path / "e.mcap").events if event.name == "fault"]
    assert told == [(Level.ERROR, "servo 3 is stalled"), (Level.INFO, "cleared")]


def test_a_recording_never_takes_the_place_of_another(whole: Path) -> None:
    before = whole.read_bytes()
    with pytest.raises(FileExistsError):
        EpisodeWriter(whole, make_header(), CLOCK)
    assert whole.read_bytes() == before


# Kill and power cut --------------------------------------------------------------------------------
def start(path: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.bridge.recordings", str(path), *words],
        cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def wait_for_period(process: subprocess.Popen[str], beyond: int) -> int:
    """Return the stamp of the first period after `beyond`."""
    assert process.stdout is not None
    for line in process.stdout:
        number, stamp_ns = map(int, line.split())
        if number > beyond:
            return stamp_ns
    raise AssertionError(process.communicate())


def test_a_killed_process_loses_less_than_half_a_second(tmp_path: Path) -> None:
    lost_s: list[float] = []
    for trial, periods in enumerate((37, 95)):
        path = tmp_path / f"{trial}.mcap"
        process = start(path)
        told_ns = wait_for_period(process, periods)
        process.kill()
        said, _ = process.communicate()
        last_ns = int(said.split()[-1]) if said.split() else told_ns
        episode = read_episode(path)
        assert not episode.whole
        assert episode.ending is None
        assert "cut off at byte" in episode.remarks[0]
        np.testing.assert_allclose(episode.sent_rad[:, 0], 1e-3 * np.arange(1, episode.steps + 1), atol=1e-12)
        lost_s.append(float(last_ns - episode.state_stamp_ns[-1]) * 1e-9)
    assert max(lost_s) <= 0.5, lost_s
    assert max(lost_s) > 0.0  # something was on its way


def test_a_power_cut_loses_less_than_half_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut leaves what fsync had returned for, and nothing else."""
    path, forced, fsync = tmp_path / "e.mcap", list[tuple[int, int]](), os.fsync

    def watched_fsync(handle: int) -> None:
        size = os.fstat(handle).st_size
        fsync(handle)
        if path.exists() and os.path.samestat(os.fstat(handle), path.stat()):
            forced.append((time.monotonic_ns(), size))

    monkeypatch.setattr(os, "fsync", watched_fsync)
    writer = EpisodeWriter(path, make_header(), CLOCK)
    deadline_ns = CLOCK.now_ns()
    for k in range(200):
        writer.record(make_step(k, CLOCK.now_ns()))
        deadline_ns += 10_000_000
        CLOCK.sleep_until(deadline_ns)
    writer.close()
    data, lost_s = path.read_bytes(), list[float]()
    for (_, size), (next_ns, _) in itertools.pairwise(forced[1:]):
        cut = tmp_path / "cut.mcap"
        cut.write_bytes(data[:size])
        lost_s.append((next_ns - int(read_episode(cut).state_stamp_ns[-1])) * 1e-9)
    assert len(lost_s) >= 6
    assert max(lost_s) <= 0.5, lost_s


def test_cut_off_at_any_byte_it_is_read_up_to_the_last_whole_chunk(whole: Path, tmp_path: Path) -> None:
    data, ends, cut = whole.read_bytes(), chunk_ends(whole), tmp_path / "cut.mcap"
    steps = [0, *np.cumsum(COUNTS).tolist(), 14]  # the first chunk holds the beginning alone, the last one the end
    near = {end + off for end in ends for off in (-1, 0, 1)}
    sizes = range(len(data)) if DEEP else sorted({*range(0, len(data), 29), *near, len(data) - 1})
    unreadable: list[int] = []
    for size in sizes:
        cut.write_bytes(data[:size])
        try:
            episode = read_episode(cut)
        except BadEpisode:
            unreadable.append(size)
            continue
        complete = sum(end <= size for end in ends)
        assert episode.steps == (steps[complete - 1] if complete else 0), size
        assert episode.position_rad.shape == (episode.steps, 3)
        assert not episode.whole
        assert "cut off" in episode.remarks[-1]
    # Before the header is whole there is nothing to read: it comes to the disk with the first chunk, in one write.
    assert unreadable
    assert max(unreadable) < ends[0]
    assert unreadable == [size for size in sizes if size <= max(unreadable)]


# A byte that has changed ---------------------------------------------------------------------------
def test_no_changed_byte_goes_unnoticed(whole: Path, tmp_path: Path) -> None:
    data, bad = whole.read_bytes(), tmp_path / "bad.mcap"
    with whole.open("rb") as file:
        summary = SeekingReader(file).get_summary()
    assert summary is not None
    told: list[str] = []
    end_of_data = chunk_ends(whole)[-1]
    for place in range(0, end_of_data, 1 if DEEP else 31):
        bad.write_bytes(data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :])
        try:
            episode = read_episode(bad)
        except BadEpisode as error:
            told.append(str(error))
        else:
            assert episode.remarks, f"byte {place}"
            assert episode.damaged or not episode.whole, f"byte {place}"
            told += episode.remarks
    assert any("crc validation failed in Chunk" in text for text in told)


def test_a_damaged_chunk_is_left_out_and_the_rest_is_read_and_repaired(whole: Path, tmp_path: Path) -> None:
    path, data = tmp_path / "bad.mcap", bytearray(whole.read_bytes())
    ends = chunk_ends(whole)
    data[ends[2] - 20] ^= 0xFF  # in the chunk of periods 3 to 6
    path.write_bytes(data)
    episode = read_episode(path)
    assert (episode.steps, episode.missing_steps, episode.whole, episode.damaged) == (10, 4, True, True)
    assert "is damaged and left out" in episode.remarks[0]
    assert f"{1000 * episode.position_rad[3, 0]:.0f}" == "7"
    repair_episode(path)
    again = read_episode(path)
    assert (again.steps, again.missing_steps, again.whole, again.damaged) == (10, 4, True, False)
    assert message_counts(path)["/state"] == 10


def test_what_a_damaged_chunk_opened_is_told_by_the_end_of_the_file(whole: Path, tmp_path: Path) -> None:
    """The first chunk opens the channels of all others: one byte of it cost the whole recording."""
    path, data = tmp_path / "bad.mcap", bytearray(whole.read_bytes())
    data[chunk_ends(whole)[0] - 20] ^= 0xFF
    path.write_bytes(data)
    episode = read_episode(path)
    assert (episode.steps, episode.damaged) == (14, True)
    assert len(list(read_pictures(episode, "desk"))) == 4
    repair_episode(path)
    again = read_episode(path)
    assert (again.steps, again.whole, again.damaged) == (14, True, False)
    counts = message_counts(path)
    assert (counts["/state"], counts["/camera/desk"]) == (14, 4)


# Repair --------------------------------------------------------------------------------------------
def cut_off(whole: Path, path: Path) -> Episode:
    path.write_bytes(whole.read_bytes()[: chunk_ends(whole)[3] + 40])
    return read_episode(path)


def test_a_repaired_recording_is_whole_for_everybody(whole: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.mcap"
    before = cut_off(whole, path)
    assert repair_episode(path).remarks == before.remarks
    after = read_episode(path)
    assert after.whole
    assert after.remarks == ()
    assert after.ending is None
    assert after.steps == before.steps == 9
    assert after.header == before.header
    np.testing.assert_array_equal(after.sent_rad, before.sent_rad)
    np.testing.assert_array_equal(after.state_stamp_ns, before.state_stamp_ns)
    assert after.events == before.events
    assert message_counts(path) == {"/state": 9, "/sent": 9, "/step": 9, "/camera/desk": 3, "/events": 3}
    with path.open("rb") as file:
        note = [m.metadata for m in SeekingReader(file).iter_metadata() if m.name == "tandem.repair"]
    assert "cut off at byte" in note[0]["remarks"]
    assert list(tmp_path.iterdir()) == [path]
    once = path.read_bytes()
    repair_episode(path)  # a whole one stays as it is
    assert path.read_bytes() == once


def test_a_repair_that_has_no_room_leaves_the_recording_as_it_was(whole: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.mcap"
    cut_off(whole, path)
    before = path.read_bytes()
    script = (
        "import resource, sys; from pathlib import Path; from bridge.episode_repair import repair_episode\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY)); repair_episode(Path(sys.argv[1]))"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], cwd=ROOT, capture_output=True, text=True)
    assert "File too large" in done.stderr
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_recording_that_is_being_written_is_not_repaired(tmp_path: Path) -> None:
    path = tmp_path / "e.mcap"
    writer = EpisodeWriter(path, make_header(), CLOCK)
    assert is_being_written(path)
    with pytest.raises(BadEpisode, match="is being written"):
        repair_episode(path)
    writer.close()
    assert not is_being_written(path)


# What is no recording ------------------------------------------------------------------------------
def test_a_foreign_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "notes.mcap"
    path.write_bytes(b"Dear diary, today the arm moved")
    with pytest.raises(BadEpisode, match=r"notes.mcap: no MCAP file: it begins with b'Dear dia'"):
        read_episode(path)
    path.write_bytes(b"")
    with pytest.raises(BadEpisode, match="cut off after 0 bytes"):
        read_episode(path)
    other = io.BytesIO()
    stranger = Writer(other)
    stranger.start("ros2")
    stranger.finish()
    path.write_bytes(other.getvalue())
    with pytest.raises(BadEpisode, match="no recording of Tandem's"):
        read_episode(path)
    with pytest.raises(BadEpisode, match="no recording of Tandem's"):
        repair_episode(path)
    assert path.read_bytes() == other.getvalue()


# A disk that takes nothing, or not now -------------------------------------------------------------
def grow_to(path: Path, size: int) -> None:
    end_s = time.monotonic() + 20
    while not path.exists() or path.stat().st_size < size:
        assert time.monotonic() < end_s, "the recording does not grow"
        time.sleep(0.01)


def limit_size(process: subprocess.Popen[str], size: int) -> None:
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def test_a_disk_that_is_full_for_a_while_costs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "e.mcap"
    process = start(path)
    wait_for_period(process, 20)
    limit_size(process, path.stat().st_size + 700)
    time.sleep(1.2)
    full = read_episode(path)
    assert path.stat().st_size <= full.bytes_on_disk
    limit_size(process, resource.RLIM_INFINITY)
    grow_to(path, full.bytes_on_disk + 3000)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert err.splitlines()[-1] == "lost 0 whole True"
    assert err.count("is losing something") == 1
    assert "File too large: make room. The run goes on" in err
    episode = read_episode(path)
    assert episode.whole
    assert episode.remarks == ()
    np.testing.assert_allclose(episode.sent_rad[:, 0], 1e-3 * np.arange(1, episode.steps + 1), atol=1e-12)
    assert episode.steps >= int(out.split()[-2])  # the period that was interrupted need not be in it


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """A file system of 1 MB on `tmp_path`: how it is seen from here, and what runs a command where it is seen there."""
    script = 'mount -t tmpfs -o size=1m none "$0" && echo mounted && exec sleep 300'
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, str(tmp_path)]
    if shutil.which("unshare") is None or shutil.which("nsenter") is None:
        pytest.skip("no unshare and nsenter here; the test with a limit on the size of files stands in")
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        if holder.stdout.readline() != "mounted\n":
            pytest.skip("no mounts in a namespace here; the test with a limit on the size of files stands in")
        inside = (f"--target={holder.pid}", "--user", "--mount", "--preserve-credentials", f"--wd={ROOT}")
        yield Path(f"/proc/{holder.pid}/root{tmp_path}"), ("nsenter", *inside)
    finally:
        holder.kill()
        holder.communicate()


def test_a_disk_that_stays_full_ends_no_run_and_keeps_what_it_has(
    tmp_path: Path, small_disk: tuple[Path, tuple[str, ...]]
) -> None:
    disk, within = small_disk
    command = [*within, sys.executable, "-m", "tests.bridge.recordings", str(tmp_path / "e.mcap"), "100000"]
    process = subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_for_period(process, 250)  # 25 MB: more than disk and memory hold
    assert process.poll() is None
    children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
    os.kill(int(children[0]) if children else process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=30)
    lost = int(err.splitlines()[-1].split()[1])
    assert err.splitlines()[-1].endswith("whole False")
    assert err.count("is losing something") == 1
    assert "No space left on device: make room" in err
    episode = read_episode(disk / "e.mcap")
    assert not episode.whole
    assert 0 < episode.steps < 250
    assert lost > 100
    np.testing.assert_allclose(episode.sent_rad[:, 0], 1e-3 * np.arange(1, episode.steps + 1), atol=1e-12)


def test_a_disk_that_hangs_makes_nobody_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsync = os.fsync

    def slow_fsync(handle: int) -> None:
        time.sleep(0.6)
        fsync(handle)

    writer = EpisodeWriter(tmp_path / "e.mcap", make_header(), CLOCK)
    monkeypatch.setattr(os, "fsync", slow_fsync)
    took_s: list[float] = []
    for k in range(120):
        step, begin_s = make_step(k, CLOCK.now_ns()), time.perf_counter()
        writer.record(step)
        writer.event("note", "something")
        writer.frame("desk", step.state.stamp_ns, bytes(1000))
        took_s.append(time.perf_counter() - begin_s)
        time.sleep(0.005)
    assert float(np.percentile(took_s, 90)) < 1e-3  # of a hundred calls none waited for what the disk takes
    assert max(took_s) < 0.4
    assert writer.close().whole


def test_what_comes_faster_than_it_can_be_written_is_counted_and_noted(tmp_path: Path) -> None:
    told: list[str] = []
    writer = EpisodeWriter(tmp_path / "e.mcap", make_header(), CLOCK, told.append)
    for k in range(MAX_QUEUED + 3000):
        writer.record(make_step(k, k))
    sizes = [0]
    while (size := writer.path.stat().st_size) != sizes[-1]:  # until what was taken in has been written
        sizes.append(size)
        time.sleep(0.7)
    writer.record(make_step(9999, 9999))
    tally = writer.close()
    episode = read_episode(tmp_path / "e.mcap")
    assert tally.dropped > 0
    assert tally.steps + tally.dropped == MAX_QUEUED + 3001
    assert episode.steps == tally.steps
    assert episode.ending is not None
    assert episode.ending.dropped == tally.dropped
    noted = [int(e.text.split()[0]) for e in episode.events if "before this are missing" in e.text]
    assert sum(noted) == tally.dropped
    (text,) = told
    assert "the disk cannot keep up" in text


def test_the_recorder_slows_no_loop(tmp_path: Path) -> None:
    """100 periods a second with pictures: half the deadlines are kept as well as without, give or take 2 ms."""
    clock = MonotonicClock()

    def lateness_ms(writer: EpisodeWriter | None) -> float:
        late: list[float] = []
        due_ns = clock.now_ns()
        for k in range(100):
            if writer is not None:
                writer.record(make_step(k, clock.now_ns()))
                if k % 20 == 0:
                    writer.frame("desk", clock.now_ns(), bytes(40_000))
            due_ns = max(due_ns, clock.now_ns() - 20_000_000) + 10_000_000
            clock.sleep_until(due_ns)
            late.append((clock.now_ns() - due_ns) * 1e-6)
        return float(np.median(late))

    without = lateness_ms(None)
    writer = EpisodeWriter(tmp_path / "e.mcap", make_header(), clock)
    with_one = lateness_ms(writer)
    writer.close()
    assert with_one < without + 2.0
