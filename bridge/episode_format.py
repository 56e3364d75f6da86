"""What a recording holds: its channels with their JSON schemas, its header, and how it ended.

    /state      where the arm was, period by period (RobotState)
    /sent       what really went to its motors (JointCommand)
    /step       the phase of the attempt, the policy's action, and what was waited for
    /block      where the block was seen, in the frame of the arm's base
    /events     what happened, in words
    /camera/…   pictures, JPEG
    /bus/sent, /bus/read  what passed on a servo bus, in the servos' own counts, where its owner records
    /decision, /outcome   in a demonstration alone: `bridge/episode_decisions.py`

Every message is JSON, every channel says by a schema what it holds. Times of messages are UTC as the clock of the run
counts it on from the start, so that a clock that is set meanwhile bends nothing. Names that start with `foxglove.` are
drawn by Foxglove as what they are. Ref: https://mcap.dev/spec; docs.foxglove.dev, message schemas CompressedImage, Log
and PoseInFrame.
"""

from __future__ import annotations

from datetime import datetime
from enum import IntEnum
from typing import TypeVar, get_origin

import msgspec
from msgspec import Struct

from bridge.errors import BadEpisode
from bridge.messages import JointCommand, RobotState

SCHEMA_VERSION = 1
PROFILE = "tandem"
STATE, SENT, STEP, BLOCK, EVENTS, CAMERA_PREFIX = "/state", "/sent", "/step", "/block", "/events", "/camera/"
BUS_SENT, BUS_READ = "/bus/sent", "/bus/read"
HEADER, ENDING, REPAIR = "tandem.episode", "tandem.ending", "tandem.repair"

Metadata = TypeVar("Metadata", bound=Struct)


class EpisodeHeader(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was run on what. `start_clock_ns` is the run's own clock at `start_utc_ns`; hashes are by file name.

    Arm and rig are empty, and there are no joints, where nobody knew more than the numbers of the servos.
    """

    schema_version: int = SCHEMA_VERSION
    robot: str
    arm: str
    arm_sha256: str
    rig: str
    joint_names: tuple[str, ...]
    period_s: float
    policy: str
    configuration_sha256: dict[str, str]
    calibration_sha256: dict[str, str]
    versions: dict[str, str]
    start_utc: str
    start_utc_ns: int
    start_clock_ns: int


class EpisodeEnding(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a run ended, and what its recording holds. `outcome` is the run's own word on what came of it.

    `dropped` were not taken in because the recorder could not keep up, `lost` because the disk would not have them.
    """

    end_utc: str
    ending: str
    outcome: str
    steps: int
    pictures: int
    dropped: int
    lost: int


class EpisodeRepair(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was repaired: when, out of how many bytes, and what was wrong with them."""

    repair_utc: str
    bytes_before: int
    remarks: tuple[str, ...]


class Level(IntEnum):
    """How much an event matters. Ref: docs.foxglove.dev, message schema Log."""

    INFO = 2
    WARNING = 3
    ERROR = 4


class Stamp(Struct, frozen=True):
    """A time of day in UTC."""

    sec: int
    nsec: int


class EventMessage(Struct, frozen=True):
    """Something that happened."""

    timestamp: Stamp
    level: int
    name: str
    message: str
    file: str = ""
    line: int = 0


class StepMessage(Struct, frozen=True):
    """What the loop was about in one control period."""

    stamp_ns: int
    phase: str
    action: tuple[float, ...]
    waiting_for: str


class BusSent(Struct, frozen=True):
    """What was written to servos of a bus: be at these counts after `duration_s`."""

    stamp_ns: int
    servo_ids: tuple[int, ...]
    ticks: tuple[int, ...]
    duration_s: float


class BusRead(Struct, frozen=True):
    """Where a servo said that it was, when its answer came."""

    stamp_ns: int
    servo_id: int
    ticks: int


class PictureMessage(Struct, frozen=True):
    """One picture; `data` is the file that a camera or its driver made of it."""

    timestamp: Stamp
    frame_id: str
    data: bytes
    format: str


class Vector(Struct, frozen=True):
    """Metres."""

    x: float
    y: float
    z: float


class Quaternion(Struct, frozen=True):
    """A turn."""

    x: float
    y: float
    z: float
    w: float


class PoseValue(Struct, frozen=True):
    """A pose."""

    position: Vector
    orientation: Quaternion


class PoseMessage(Struct, frozen=True):
    """A pose in a frame."""

    timestamp: Stamp
    frame_id: str
    pose: PoseValue


#: Topic, name of the schema, what a message is.
CHANNELS: tuple[tuple[str, str, type[Struct]], ...] = (
    (STATE, "tandem.RobotState", RobotState),
    (SENT, "tandem.JointCommand", JointCommand),
    (STEP, "tandem.Step", StepMessage),
    (BLOCK, "foxglove.PoseInFrame", PoseMessage),
    (EVENTS, "foxglove.Log", EventMessage),
)
#: Those of a bus, which most recordings do without, are opened by their first message.
BUS_CHANNELS: dict[type[Struct], tuple[str, str]] = {
    BusSent: (BUS_SENT, "tandem.BusSent"),
    BusRead: (BUS_READ, "tandem.BusRead"),
}
PICTURES: tuple[str, type[Struct]] = ("foxglove.CompressedImage", PictureMessage)

_JSON_TYPES = {int: "integer", float: "number", str: "string", bool: "boolean"}


def json_schema(name: str, kind: type[Struct]) -> bytes:
    """Return the JSON schema of a message: every property with its type in its place, as Foxglove wants it."""
    return msgspec.json.encode({"title": name, **_object(kind)})


def _object(kind: type[Struct]) -> dict[str, object]:
    properties: dict[str, object] = {}
    tag = kind.__struct_config__.tag
    if tag is not None:
        properties["type"] = {"type": "string", "const": tag}
    properties |= {field.name: _property(field.type) for field in msgspec.structs.fields(kind)}
    return {"type": "object", "properties": properties}


def _property(kind: object) -> dict[str, object]:
    if kind is Stamp:
        return {"title": "time", **_object(Stamp)}
    if kind is bytes:
        return {"type": "string", "contentEncoding": "base64"}
    if isinstance(kind, type) and issubclass(kind, Struct):
        return _object(kind)
    if get_origin(kind) is dict:
        return {"type": "object"}
    if isinstance(kind, type) and kind in _JSON_TYPES:
        return {"type": _JSON_TYPES[kind]}
    # What is left are tuples of numbers or of words, with or without an end.
    item = str if "str" in str(kind) else float
    return {"type": "array", "items": {"type": _JSON_TYPES[item]}}


def to_metadata(values: Struct) -> dict[str, str]:
    """Return the texts by name that a metadata record holds: words as they are, everything else as JSON."""
    plain: dict[str, object] = msgspec.to_builtins(values)
    return {k: v if isinstance(v, str) else msgspec.json.encode(v).decode() for k, v in plain.items()}


def from_metadata(kind: type[Metadata], texts: dict[str, str]) -> Metadata:
    """Return what a metadata record says; raises BadEpisode where it lacks something or says what nobody knows."""
    words = {field.name for field in msgspec.structs.fields(kind) if field.type is str}
    try:
        values = {k: v if k in words else msgspec.json.decode(v) for k, v in texts.items()}
        return msgspec.convert(values, kind)
    except msgspec.MsgspecError as error:
        raise BadEpisode(f"written by another version: {error} (this program reads schema {SCHEMA_VERSION})") from error


def to_stamp(utc_ns: int) -> Stamp:
    """Return nanoseconds since 1970 as Foxglove writes them."""
    return Stamp(utc_ns // 1_000_000_000, utc_ns % 1_000_000_000)


def utc_name(at: datetime) -> str:
    """Return a time as the name of a recording: `20260131T235959Z`."""
    return at.strftime("%Y%m%dT%H%M%SZ")
