"""EpisodeMessages: turns what a run brings into the messages of a recording, and counts them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO

import msgspec
from mcap.writer import CompressionType, Writer

from bridge.encoding import Phase
from bridge.episode_decisions import (
    DECISION,
    DEMONSTRATION,
    DEMONSTRATION_CHANNELS,
    OUTCOME,
    Decision,
    DemonstrationHeader,
    Outcome,
    OutcomeMessage,
    to_message,
)
from bridge.episode_format import (
    BLOCK,
    BUS_CHANNELS,
    CAMERA_PREFIX,
    CHANNELS,
    ENDING,
    EVENTS,
    HEADER,
    PICTURES,
    PROFILE,
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
    PoseValue,
    Quaternion,
    StepMessage,
    Vector,
    json_schema,
    to_metadata,
    to_stamp,
)
from bridge.loop import LoopStep
from bridge.messages import RobotState
from bridge.ports import BlockSighting


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened at `stamp_ns` of the run's clock."""

    stamp_ns: int
    level: Level
    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Picture:
    """A JPEG file of camera `name`, captured at `stamp_ns` of the run's clock."""

    stamp_ns: int
    name: str
    jpeg: bytes


Item = LoopStep | Event | Picture | Decision | Outcome | BusSent | BusRead


class EpisodeMessages:
    """Writes MCAP into a stream; the caller has it flushed chunk by chunk, and keeps the stream."""

    def __init__(
        self, stream: IO[bytes], header: EpisodeHeader, demonstration: DemonstrationHeader | None = None
    ) -> None:
        """Write the header; `demonstration` says what the decisions are of, where there will be some."""
        self.steps = self.pictures = 0
        self._utc_from_clock_ns = header.start_utc_ns - header.start_clock_ns
        self._encoder = msgspec.json.Encoder()
        self._writer = Writer(stream, compression=CompressionType.ZSTD, enable_data_crcs=True)
        self._writer.start(PROFILE)
        self._writer.add_metadata(HEADER, to_metadata(header))
        self._channels: dict[str, int] = {}
        self._sequences: dict[str, int] = {}
        for topic, name, kind in CHANNELS:
            self._open(topic, name, kind)
        if demonstration is not None:
            self._writer.add_metadata(DEMONSTRATION, to_metadata(demonstration))
            for topic, name, kind in DEMONSTRATION_CHANNELS:
                self._open(topic, name, kind)
        self._phase: Phase | None = None
        self._fault = ""
        self._holding = False
        self._sighting_ns = -1

    def take(self, item: Item) -> None:
        """Write one thing that came."""
        if isinstance(item, LoopStep):
            self._take_step(item)
        elif isinstance(item, Event):
            utc_ns = self._utc_ns(item.stamp_ns)
            self._add(EVENTS, utc_ns, EventMessage(to_stamp(utc_ns), item.level, item.name, item.text))
        elif isinstance(item, Decision):
            self._add(DECISION, self._utc_ns(item.stamp_ns), to_message(item))
        elif isinstance(item, Outcome):
            self._take_outcome(item)
        elif isinstance(item, BusSent | BusRead):
            topic, name = BUS_CHANNELS[type(item)]
            if topic not in self._channels:
                self._open(topic, name, type(item))
            self._add(topic, self._utc_ns(item.stamp_ns), item)
        else:
            self._take_picture(item)

    def flush(self) -> None:
        """Close the chunk: what came so far is in the stream."""
        self._writer.flush()

    def finish(self, ending: EpisodeEnding) -> None:
        """Write how it ended, and the index of everything."""
        self._writer.flush()
        self._writer.add_metadata(ENDING, to_metadata(ending))
        self._writer.finish()

    def _open(self, topic: str, name: str, kind: type[msgspec.Struct]) -> None:
        schema = self._writer.register_schema(name, "jsonschema", json_schema(name, kind))
        self._channels[topic] = self._writer.register_channel(topic, "json", schema)
        self._sequences[topic] = 0

    def _utc_ns(self, stamp_ns: int) -> int:
        return max(self._utc_from_clock_ns + stamp_ns, 0)

    def _add(self, topic: str, utc_ns: int, message: msgspec.Struct) -> None:
        self._sequences[topic] += 1
        data = self._encoder.encode(message)
        self._writer.add_message(self._channels[topic], utc_ns, data, utc_ns, self._sequences[topic])

    def _take_step(self, step: LoopStep) -> None:
        self.steps += 1
        sent = step.sent
        self._note_changes(step.state, step.phase)
        self._add(STATE, self._utc_ns(step.state.stamp_ns), step.state)
        self._add(SENT, self._utc_ns(sent.stamp_ns), sent)
        action = tuple(step.action.tolist())
        message = StepMessage(sent.stamp_ns, step.phase.name.lower(), action, step.waiting_for)
        self._add(STEP, self._utc_ns(sent.stamp_ns), message)
        if step.sighting is not None and step.sighting.stamp_ns != self._sighting_ns:
            self._sighting_ns = step.sighting.stamp_ns
            self._take_sighting(step.sighting)

    def _note_changes(self, state: RobotState, phase: Phase) -> None:
        """Write as events what an engineer looks for first: phases, holds, faults."""
        if phase != self._phase:
            self._phase = phase
            self.take(Event(state.stamp_ns, Level.INFO, "phase", phase.name.lower()))
        if state.holding != self._holding:
            self._holding = state.holding
            text = "the arm holds" if state.holding else "the arm moves again"
            self.take(Event(state.stamp_ns, Level.WARNING if state.holding else Level.INFO, "hold", text))
        if state.fault != self._fault:
            self._fault = state.fault
            level = Level.ERROR if state.fault else Level.INFO
            self.take(Event(state.stamp_ns, level, "fault", state.fault or "cleared"))

    def _take_sighting(self, sighting: BlockSighting) -> None:
        utc_ns = self._utc_ns(sighting.stamp_ns)
        pose = sighting.base_from_block
        x, y, z = pose.position_m.tolist()
        a, b, c, w = pose.quat_xyzw.tolist()
        value = PoseValue(Vector(x, y, z), Quaternion(a, b, c, w))
        self._add(BLOCK, utc_ns, PoseMessage(to_stamp(utc_ns), "base", value))

    def _take_outcome(self, o: Outcome) -> None:
        message = OutcomeMessage(o.stamp_ns, o.attempt, o.number, o.reward, o.terminated, o.truncated, o.verdict)
        self._add(OUTCOME, self._utc_ns(o.stamp_ns), message)

    def _take_picture(self, picture: Picture) -> None:
        self.pictures += 1
        topic, utc_ns = CAMERA_PREFIX + picture.name, self._utc_ns(picture.stamp_ns)
        if topic not in self._channels:
            self._open(topic, *PICTURES)
        self._add(topic, utc_ns, PictureMessage(to_stamp(utc_ns), picture.name, picture.jpeg, "jpeg"))
