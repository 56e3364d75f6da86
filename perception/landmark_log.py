"""LandmarkLog: who was seen, picture by picture, in a file that is only ever added to.

The file: a line that names the format, then records of [length, CRC-32, MessagePack], the first of them the header. A
file that ends anywhere is readable up to its last whole record.
"""

from __future__ import annotations

import struct
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import msgspec
import numpy as np
from numpy.typing import NDArray

from bridge.episode_output import DurableFile
from perception.body import HAND_LANDMARKS, LANDMARKS, BodyPose, HandPose, PeopleSighting, Side
from perception.errors import BadLandmarks

SCHEMA = 1
SUFFIX = ".landmarks"
_MAGIC = b"tandem landmarks\n"
_HEAD = struct.Struct("<II")
#: No record of three people and their hands is larger than a hundredth of this.
_MOST_BYTES = 1 << 20
#: The disk has everything that is older than this.
COMMIT_S = 0.3


class LandmarkHeader(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was looked at, with which model (the SHA-256 of its file, or how the landmarks were made), and when."""

    schema: int
    source: str
    model: str
    utc: str


class _Body(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    image: bytes
    world_m: bytes
    visibility: bytes


class _Hand(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    side: Side
    score: float
    image: bytes
    world_m: bytes


class _Seen(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A sighting: its landmarks are 32-bit floats, which is what the model gives."""

    seq: int
    stamp_ns: int
    width_px: int
    height_px: int
    bodies: tuple[_Body, ...]
    hands: tuple[_Hand, ...]


class LandmarkLog:
    """Writes a landmark file. A context; raises FileExistsError where there is one, OSError where the disk is full.

    A kill or a power cut takes what was added in the last half second, never more. Whoever adds waits for the disk
    three times a second: add from the thread that finds the landmarks, not from a control loop.
    """

    def __init__(self, path: Path, source: str, model: str, utc: str) -> None:
        self.path = path
        self._file = DurableFile(path)
        self._file.write(_MAGIC)
        self._append(msgspec.msgpack.encode(LandmarkHeader(SCHEMA, source, model, utc)))
        self._commit()

    def __enter__(self) -> LandmarkLog:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def add(self, sighting: PeopleSighting) -> None:
        """Append a sighting."""
        self._append(msgspec.msgpack.encode(_packed(sighting)))
        if time.monotonic() - self._committed_s >= COMMIT_S:
            self._commit()

    def close(self) -> None:
        """Have everything on the disk and close the file."""
        try:
            self._commit()
        finally:
            self._file.release()

    def _append(self, payload: bytes) -> None:
        self._file.write(_HEAD.pack(len(payload), zlib.crc32(payload)) + payload)

    def _commit(self) -> None:
        self._file.commit()
        self._committed_s = time.monotonic()


@dataclass(frozen=True, slots=True)
class LandmarkRecording:
    """What a landmark file holds. `lost_bytes`: after the last whole record, where it was cut off or damaged."""

    header: LandmarkHeader
    sightings: tuple[PeopleSighting, ...]
    lost_bytes: int

    @property
    def duration_s(self) -> float:
        """The time from the first picture to the last."""
        stamps = [sighting.stamp_ns for sighting in self.sightings]
        return (stamps[-1] - stamps[0]) * 1e-9 if stamps else 0.0


def read_landmarks(path: Path) -> LandmarkRecording:
    """Return a landmark file, as far as it is whole; raises BadLandmarks where it is none or of another version."""
    data = path.read_bytes()
    if not data.startswith(_MAGIC):
        raise BadLandmarks(f"{path} is no landmark file: expected one that `tandem teleop` recorded (*{SUFFIX})")
    records = list(_records(data, len(_MAGIC)))
    if not records:
        raise BadLandmarks(f"{path} was cut off before its first picture")
    try:
        header = msgspec.msgpack.decode(records[0].payload, type=LandmarkHeader)
        if header.schema != SCHEMA:
            raise BadLandmarks(f"{path} has the schema {header.schema}, expected {SCHEMA}: another version wrote it")
        seen = [msgspec.msgpack.decode(record.payload, type=_Seen) for record in records[1:]]
        sightings = tuple(map(_unpacked, seen))
    except (msgspec.MsgspecError, ValueError) as error:
        raise BadLandmarks(f"{path}: {error}, in a record whose checksum is right: another version wrote it") from error
    return LandmarkRecording(header, sightings, len(data) - records[-1].end)


@dataclass(frozen=True, slots=True)
class _Record:
    payload: bytes
    end: int


def _records(data: bytes, start: int) -> Iterator[_Record]:
    """Yield each whole record, up to the first that is cut off or damaged."""
    while len(data) - start >= _HEAD.size:
        length, crc = _HEAD.unpack_from(data, start)
        begin = start + _HEAD.size
        payload = data[begin : begin + length]
        if length > _MOST_BYTES or len(payload) < length or zlib.crc32(payload) != crc:
            return
        start = begin + length
        yield _Record(payload, start)


def _packed(sighting: PeopleSighting) -> _Seen:
    bodies = (_Body(_bytes(b.image), _bytes(b.world_m), _bytes(b.visibility)) for b in sighting.bodies)
    hands = (_Hand(h.side, h.score, _bytes(h.image), _bytes(h.world_m)) for h in sighting.hands)
    return _Seen(
        sighting.seq, sighting.stamp_ns, sighting.width_px, sighting.height_px, tuple(bodies), tuple(hands)
    )  # fmt: skip


def _unpacked(seen: _Seen) -> PeopleSighting:
    bodies = (
        BodyPose(_floats(b.image, LANDMARKS, 2), _floats(b.world_m, LANDMARKS, 3), _floats(b.visibility, LANDMARKS))
        for b in seen.bodies
    )
    hands = (
        HandPose(h.side, _floats(h.image, HAND_LANDMARKS, 2), _floats(h.world_m, HAND_LANDMARKS, 3), h.score)
        for h in seen.hands
    )
    return PeopleSighting(seen.seq, seen.stamp_ns, seen.width_px, seen.height_px, tuple(bodies), tuple(hands))


def _bytes(values: NDArray[np.float64]) -> bytes:
    return values.astype("<f4").tobytes()


def _floats(data: bytes, *shape: int) -> NDArray[np.float64]:
    return np.frombuffer(data, dtype="<f4").astype(np.float64).reshape(shape)
