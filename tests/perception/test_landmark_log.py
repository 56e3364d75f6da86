from __future__ import annotations

import signal
import subprocess
import sys
import time
import zlib
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from perception.body import BodyPose, HandPose, PeopleSighting, Side
from perception.errors import BadLandmarks
from perception.landmark_log import LandmarkLog, read_landmarks

ROOT = Path(__file__).parents[2]
MS = 1_000_000


def sighting(seq: int, bodies: int = 1, hands: int = 1, stamp_ns: int | None = None) -> PeopleSighting:
    draw = np.random.default_rng(seq)

    def rows(*shape: int) -> NDArray[np.float64]:
        # Numbers that a 32-bit float holds exactly, as the model's do.
        return draw.normal(size=shape).astype(np.float32).astype(np.float64)

    return PeopleSighting(
        seq, 1_000 * MS + seq * 33 * MS if stamp_ns is None else stamp_ns, 640, 480,
        tuple(BodyPose(rows(33, 2), rows(33, 3), rows(33)) for _ in range(bodies)),
        tuple(HandPose(Side.LEFT, rows(21, 2), rows(21, 3), 0.75) for _ in range(hands)),
    )  # fmt: skip


def numbers(seen: PeopleSighting) -> list[list[float]]:
    bodies = [part for b in seen.bodies for part in (b.image, b.world_m, b.visibility)]
    return [part.ravel().tolist() for part in (*bodies, *(p for h in seen.hands for p in (h.image, h.world_m)))]


def written(path: Path, sightings: list[PeopleSighting]) -> Path:
    with LandmarkLog(path, "webcam", "59929e1d", "2026-01-02T03:04:05Z") as log:
        for seen in sightings:
            log.add(seen)
    return path


def test_what_was_seen_is_read_back_number_by_number(tmp_path: Path) -> None:
    seen = [sighting(0), sighting(1, bodies=0, hands=0), sighting(2, bodies=3, hands=6)]
    recording = read_landmarks(written(tmp_path / "a.landmarks", seen))
    assert (recording.header.source, recording.header.model) == ("webcam", "59929e1d")
    assert recording.lost_bytes == 0
    assert recording.duration_s == pytest.approx(0.066)
    for back, was in zip(recording.sightings, seen, strict=True):
        assert (back.seq, back.stamp_ns, back.width_px, back.height_px) == (was.seq, was.stamp_ns, 640, 480)
        assert numbers(back) == numbers(was)
        assert [(h.side, h.score) for h in back.hands] == [(h.side, h.score) for h in was.hands]


@pytest.fixture(scope="module")
def ten(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return written(tmp_path_factory.mktemp("ten") / "a.landmarks", [sighting(k) for k in range(10)]).read_bytes()


@pytest.fixture(scope="module")
def cut_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cut") / "a.landmarks"


@settings(max_examples=60, deadline=None)
@given(share=st.floats(0.0, 1.0))
def test_a_file_that_ends_anywhere_gives_all_whole_pictures(ten: bytes, cut_file: Path, share: float) -> None:
    cut = ten[: round(share * len(ten))]
    cut_file.write_bytes(cut)
    record = (len(ten) - 100) // 10  # a little less than one
    try:
        recording = read_landmarks(cut_file)
    except BadLandmarks:
        assert len(cut) < record
        return
    assert [s.seq for s in recording.sightings] == list(range(len(recording.sightings)))
    assert len(recording.sightings) >= len(cut) // (record + 12) - 1
    assert recording.lost_bytes < record + 100


def test_a_flipped_bit_costs_what_comes_after_it_and_is_told(tmp_path: Path, ten: bytes) -> None:
    damaged = bytearray(ten)
    damaged[len(ten) // 2] ^= 16
    (tmp_path / "a.landmarks").write_bytes(damaged)
    recording = read_landmarks(tmp_path / "a.landmarks")
    assert [s.seq for s in recording.sightings] == [0, 1, 2, 3]  # the middle of the file is in the fifth
    assert recording.lost_bytes > len(ten) * 0.4


_RECORDS_UNTIL_KILLED = """
import sys, time
from pathlib import Path
from perception.landmark_log import LandmarkLog
from tests.perception.test_landmark_log import sighting
log = LandmarkLog(Path(sys.argv[1]), "webcam", "model", "now")
for seq in range(10_000):
    log.add(sighting(seq, stamp_ns=time.monotonic_ns()))
    print(seq, flush=True)
    time.sleep(0.02)
"""


def test_a_killed_recorder_loses_half_a_second_at_most(tmp_path: Path) -> None:
    path = tmp_path / "a.landmarks"
    command = [sys.executable, "-c", _RECORDS_UNTIL_KILLED, str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as recorder:
        assert recorder.stdout is not None
        for line in recorder.stdout:
            if int(line) >= 50:
                break
        killed_ns = time.monotonic_ns()
        recorder.send_signal(signal.SIGKILL)
    last = read_landmarks(path).sightings[-1]
    assert (killed_ns - last.stamp_ns) * 1e-9 < 0.5


def test_a_recording_is_never_written_over(tmp_path: Path) -> None:
    path = written(tmp_path / "a.landmarks", [sighting(0)])
    with pytest.raises(FileExistsError):
        LandmarkLog(path, "webcam", "model", "now")
    assert len(read_landmarks(path).sightings) == 1


def test_another_file_and_another_version_are_refused(tmp_path: Path, ten: bytes) -> None:
    path = tmp_path / "a.landmarks"
    path.write_bytes(b"\x89PNG\r\n")
    with pytest.raises(BadLandmarks, match=r"no landmark file: expected one that `tandem teleop` recorded"):
        read_landmarks(path)
    length = int.from_bytes(ten[17:21], "little")
    header = msgspec.msgpack.decode(ten[25 : 25 + length])
    assert header["schema"] == 1
    newer = msgspec.msgpack.encode({**header, "schema": 2})
    path.write_bytes(ten[:17] + len(newer).to_bytes(4, "little") + zlib.crc32(newer).to_bytes(4, "little") + newer)
    with pytest.raises(BadLandmarks, match="schema 2, expected 1"):
        read_landmarks(path)


def test_a_recording_without_pictures_is_whole(tmp_path: Path) -> None:
    recording = read_landmarks(written(tmp_path / "a.landmarks", []))
    assert (recording.sightings, recording.lost_bytes, recording.duration_s) == ((), 0, 0.0)
