"""read_episode: a recording as arrays. One that was cut off is read as far as it goes, and says so."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar

import msgspec
import numpy as np
from mcap.opcode import Opcode
from mcap.records import Channel, McapRecord, Message
from mcap.records import Metadata as MetadataRecord
from numpy.typing import NDArray

from bridge.episode_format import (
    BLOCK,
    BUS_READ,
    BUS_SENT,
    CAMERA_PREFIX,
    ENDING,
    EVENTS,
    HEADER,
    SENT,
    STATE,
    STEP,
    BusRead,
    BusSent,
    EpisodeEnding,
    EpisodeHeader,
    EventMessage,
    Level,
    PictureMessage,
    PoseMessage,
    StepMessage,
    from_metadata,
)
from bridge.episode_messages import Event, Picture
from bridge.episode_records import PARSE_ERRORS, Record, RecordScan, repeated_at_the_end
from bridge.errors import BadEpisode
from urdf.pose import Array

Decoded = TypeVar("Decoded", bound=msgspec.Struct)
Stamps = NDArray[np.int64]


class _State(msgspec.Struct, frozen=True):
    """What is read of a RobotState: a field that a later version adds is passed over. A null is no finite number."""

    stamp_ns: int
    position_rad: tuple[float, ...]
    velocity_rad_s: tuple[float | None, ...]
    reading_age_s: tuple[float | None, ...]
    holding: bool = False
    fault: str = ""
    reading_rad: tuple[float, ...] = ()


class _Sent(msgspec.Struct, frozen=True):
    """What is read of a JointCommand."""

    stamp_ns: int
    position_rad: tuple[float, ...]
    duration_s: float


@dataclass(frozen=True, slots=True)
class Episode:
    """One run: k control periods of an arm with n joints. Stamps are ns of the run's own clock.

    `position_rad` (k, n) is the best estimate of that moment; `reading_rad` (k, n) is what a servo measured last, which
    was `reading_age_s` earlier, NaN where nobody kept it.
    `block_m` (m, 3): where the block was seen, in the frame of the arm's base. `duration_s`: from the first thing that
    was recorded to the last. `bus_sent` and `bus_read`: what passed on the servo bus, where its owner recorded.

    `whole`: it has its end; without, `ending` is None. `damaged`: bytes before the end are not what was written;
    `missing_steps` periods were in chunks that are gone. `remarks` says both in words.
    """

    path: Path
    header: EpisodeHeader
    ending: EpisodeEnding | None
    state_stamp_ns: Stamps
    position_rad: Array
    velocity_rad_s: Array
    reading_rad: Array
    reading_age_s: Array
    holding: NDArray[np.bool_]
    sent_stamp_ns: Stamps
    sent_rad: Array
    sent_duration_s: Array
    missing_steps: int
    phases: tuple[str, ...]
    waiting_for: tuple[str, ...]
    events: tuple[Event, ...]
    picture_stamps_ns: dict[str, Stamps]
    block_stamp_ns: Stamps
    block_m: Array
    bus_sent: tuple[BusSent, ...]
    bus_read: tuple[BusRead, ...]
    duration_s: float
    bytes_on_disk: int
    whole: bool
    damaged: bool
    remarks: tuple[str, ...]

    @property
    def steps(self) -> int:
        """How many control periods there are."""
        return len(self.sent_stamp_ns)


def read_episode(path: Path) -> Episode:
    """Read a recording, every byte of it; raises BadEpisode where it is none, or OSError."""
    content = _Content()
    try:
        with path.open("rb") as file:
            content.know(repeated_at_the_end(file))
            scan = RecordScan(file)
            for record in scan.records():
                content.take(record, scan)
            size = file.tell()
        if content.header is None:
            raise BadEpisode("it holds no metadata 'tandem.episode': an MCAP file, but no recording of Tandem's")
        return content.episode(path, content.header, scan, size)
    except BadEpisode as error:
        raise BadEpisode(f"{path}: {error}") from error


def read_pictures(episode: Episode, camera: str) -> Iterator[Picture]:
    """Give the pictures of one camera in order."""
    utc_from_clock_ns = episode.header.start_utc_ns - episode.header.start_clock_ns
    with episode.path.open("rb") as file:
        channels = {item.id: item.topic for item in repeated_at_the_end(file) if isinstance(item, Channel)}
        for item in _items(file):
            if isinstance(item, Channel):
                channels[item.id] = item.topic
            elif isinstance(item, Message) and channels.get(item.channel_id) == CAMERA_PREFIX + camera:
                jpeg = _decode(item, CAMERA_PREFIX + camera, PictureMessage).data
                yield Picture(item.log_time - utc_from_clock_ns, camera, jpeg)


def _items(file: BinaryIO) -> Iterator[McapRecord]:
    scan = RecordScan(file)
    for record in scan.records():
        if record.opcode == Opcode.CHUNK:
            yield from scan.chunk(record)


class _Content:
    """What has been read so far."""

    def __init__(self) -> None:
        self.header: EpisodeHeader | None = None
        self._ending: EpisodeEnding | None = None
        self._channels: dict[int, str] = {}
        #: By number: the three of one period may lie in two chunks, one of which is damaged.
        self._states: dict[int, _State] = {}
        self._sent: dict[int, _Sent] = {}
        self._steps: dict[int, StepMessage] = {}
        self._events: list[EventMessage] = []
        self._pictures: dict[str, list[int]] = {}
        self._span_ns = (1 << 63, 0)
        self._blocks: list[tuple[int, tuple[float, float, float]]] = []
        self._bus_sent: list[BusSent] = []
        self._bus_read: list[BusRead] = []

    def know(self, openings: Sequence[McapRecord]) -> None:
        """Learn what the channels hold before the chunks tell."""
        self._channels.update({item.id: item.topic for item in openings if isinstance(item, Channel)})

    def take(self, record: Record, scan: RecordScan) -> None:
        """Take in one record of the file."""
        if record.opcode == Opcode.CHUNK:
            for inner in scan.chunk(record):
                self._take_inner(inner, scan)
        elif record.opcode == Opcode.METADATA:
            try:
                metadata = MetadataRecord.read(record.stream)
            except PARSE_ERRORS as error:
                raise BadEpisode(f"the metadata at byte {record.offset} is damaged: {error}") from error
            if metadata.name == HEADER:
                self.header = from_metadata(EpisodeHeader, metadata.metadata)
            elif metadata.name == ENDING:
                self._ending = from_metadata(EpisodeEnding, metadata.metadata)

    def _take_inner(self, item: McapRecord, scan: RecordScan) -> None:
        if isinstance(item, Channel):
            self._channels[item.id] = item.topic
        elif isinstance(item, Message):
            topic = self._channels.get(item.channel_id)
            if topic is None:
                self._channels[item.channel_id] = ""
                scan.remarks.append(f"channel {item.channel_id} is left out: the chunk that opens it is damaged")
            else:
                self._take_message(topic, item)

    def _take_message(self, topic: str, message: Message) -> None:
        first_ns, last_ns = self._span_ns
        self._span_ns = min(first_ns, message.log_time), max(last_ns, message.log_time)
        if topic == STATE:
            self._states[message.sequence] = _decode(message, topic, _State)
        elif topic == SENT:
            self._sent[message.sequence] = _decode(message, topic, _Sent)
        elif topic == STEP:
            self._steps[message.sequence] = _decode(message, topic, StepMessage)
        elif topic == EVENTS:
            self._events.append(_decode(message, topic, EventMessage))
        elif topic == BLOCK:
            at = _decode(message, topic, PoseMessage).pose.position
            self._blocks.append((message.log_time, (at.x, at.y, at.z)))
        elif topic == BUS_SENT:
            self._bus_sent.append(_decode(message, topic, BusSent))
        elif topic == BUS_READ:
            self._bus_read.append(_decode(message, topic, BusRead))
        elif topic.startswith(CAMERA_PREFIX):
            self._pictures.setdefault(topic.removeprefix(CAMERA_PREFIX), []).append(message.log_time)

    def episode(self, path: Path, header: EpisodeHeader, scan: RecordScan, size: int) -> Episode:
        """Return everything as arrays."""
        numbers = sorted(self._states.keys() & self._sent.keys() & self._steps.keys())
        states, sent = [self._states[k] for k in numbers], [self._sent[k] for k in numbers]
        steps = [self._steps[k] for k in numbers]
        joints = len(header.joint_names)
        utc_from_clock_ns = header.start_utc_ns - header.start_clock_ns
        return Episode(
            path=path,
            header=header,
            ending=self._ending,
            state_stamp_ns=np.array([s.stamp_ns for s in states], dtype=np.int64),
            position_rad=_rows([s.position_rad for s in states], joints),
            velocity_rad_s=_rows([_numbers(s.velocity_rad_s, math.nan) for s in states], joints),
            reading_rad=_rows([s.reading_rad or (math.nan,) * joints for s in states], joints),
            reading_age_s=_rows([_numbers(s.reading_age_s, math.inf) for s in states], joints),
            holding=np.array([s.holding for s in states], dtype=np.bool_),
            sent_stamp_ns=np.array([s.stamp_ns for s in sent], dtype=np.int64),
            sent_rad=_rows([s.position_rad for s in sent], joints),
            sent_duration_s=np.array([s.duration_s for s in sent], dtype=np.float64),
            missing_steps=numbers[-1] - len(numbers) if numbers else 0,
            phases=tuple(s.phase for s in steps),
            waiting_for=tuple(s.waiting_for for s in steps),
            events=tuple(
                Event(
                    e.timestamp.sec * 1_000_000_000 + e.timestamp.nsec - utc_from_clock_ns,
                    Level(e.level),
                    e.name,
                    e.message,
                )
                for e in self._events
            ),
            picture_stamps_ns={
                name: np.array(stamps, dtype=np.int64) - utc_from_clock_ns for name, stamps in self._pictures.items()
            },
            block_stamp_ns=np.array([utc for utc, _ in self._blocks], dtype=np.int64) - utc_from_clock_ns,
            block_m=_rows([at for _, at in self._blocks], 3),
            bus_sent=tuple(self._bus_sent),
            bus_read=tuple(self._bus_read),
            duration_s=max(self._span_ns[1] - self._span_ns[0], 0) * 1e-9,
            bytes_on_disk=size,
            whole=scan.whole,
            damaged=scan.damaged,
            remarks=tuple(scan.remarks),
        )


def _decode(message: Message, topic: str, kind: type[Decoded]) -> Decoded:
    try:
        return msgspec.json.decode(message.data, type=kind)
    except msgspec.MsgspecError as error:
        raise BadEpisode(f"message {message.sequence} of {topic} is not what this program writes: {error}") from error


def _numbers(values: Sequence[float | None], instead: float) -> tuple[float, ...]:
    return tuple(instead if v is None else v for v in values)


def _rows(rows: Sequence[tuple[float, ...]], joints: int) -> Array:
    if any(len(row) != joints for row in rows):
        raise BadEpisode(f"a message has other than {joints} angles, the header names {joints} joints")
    return np.array(rows, dtype=np.float64).reshape(len(rows), joints)
