"""read_demonstrations: the attempts of a recording as arrays, as a policy saw them. What is missing is said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
from mcap.opcode import Opcode
from mcap.records import Channel, McapRecord, Message
from mcap.records import Metadata as MetadataRecord
from numpy.typing import NDArray

from bridge.episode_decisions import (
    DECISION,
    DEMONSTRATION,
    OUTCOME,
    UNKNOWN,
    DecisionMessage,
    DemonstrationHeader,
    OutcomeMessage,
    PartLayout,
    Verdict,
    read_part,
)
from bridge.episode_format import HEADER, EpisodeHeader, from_metadata
from bridge.episode_records import PARSE_ERRORS, RecordScan
from bridge.errors import BadEpisode
from bridge.observation import Part


@dataclass(frozen=True, slots=True)
class RecordedAttempt:
    """One attempt of k decisions. `observations` (k + 1, ...) end with what was seen when the attempt was over.

    Where nobody looked then, the last observation stands there twice. `stamp_ns` (k,) is of the run's own clock,
    `actions` (k, m) are in the policy's layout, `rewards` (k,).
    """

    number: int
    stamp_ns: NDArray[np.int64]
    observations: Mapping[str, Part]
    actions: NDArray[np.float32]
    rewards: NDArray[np.float64]
    terminated: bool
    truncated: bool
    verdict: Verdict

    @property
    def decisions(self) -> int:
        """How many decisions there are."""
        return len(self.actions)


@dataclass(frozen=True, slots=True)
class RecordedDemonstrations:
    """The attempts of one recording that have an end; `remarks` says which have none, and what is damaged."""

    path: Path
    header: EpisodeHeader
    layout: DemonstrationHeader
    attempts: tuple[RecordedAttempt, ...]
    remarks: tuple[str, ...]


def read_demonstrations(path: Path) -> RecordedDemonstrations:
    """Read the attempts; raises BadEpisode where the file holds no demonstration, or OSError."""
    content = _Content()
    with path.open("rb") as file:
        scan = RecordScan(file)
        try:
            for record in scan.records():
                if record.opcode == Opcode.METADATA:
                    content.note(MetadataRecord.read(record.stream))
                elif record.opcode == Opcode.CHUNK:
                    for item in scan.chunk(record):
                        content.take(item)
        except PARSE_ERRORS as error:
            raise BadEpisode(f"{path}: {error}") from error
        except BadEpisode as error:
            raise BadEpisode(f"{path}: {error}") from error
    if content.header is None:
        raise BadEpisode(f"{path} is no recording of a run: it has no header")
    if content.layout is None:
        raise BadEpisode(
            f"{path} holds no demonstration: what the policy saw was not recorded. `tandem episodes record` and "
            "`tandem teleop` record it"
        )
    attempts, left_out = content.attempts(content.layout)
    return RecordedDemonstrations(path, content.header, content.layout, attempts, (*scan.remarks, *left_out))


@dataclass(slots=True)
class _Content:
    """What has been read so far."""

    header: EpisodeHeader | None = None
    layout: DemonstrationHeader | None = None
    _topics: dict[int, str] = field(default_factory=lambda: {})
    _decisions: dict[int, dict[int, DecisionMessage]] = field(default_factory=lambda: {})
    _outcomes: dict[int, dict[int, OutcomeMessage]] = field(default_factory=lambda: {})

    def note(self, metadata: MetadataRecord) -> None:
        """Take in a metadata record."""
        if metadata.name == HEADER:
            self.header = from_metadata(EpisodeHeader, metadata.metadata)
        elif metadata.name == DEMONSTRATION:
            self.layout = from_metadata(DemonstrationHeader, metadata.metadata)

    def take(self, item: McapRecord) -> None:
        """Take in one record of a chunk."""
        if isinstance(item, Channel):
            self._topics[item.id] = item.topic
        elif isinstance(item, Message):
            topic = self._topics.get(item.channel_id)
            try:
                if topic == DECISION:
                    decision = msgspec.json.decode(item.data, type=DecisionMessage)
                    self._decisions.setdefault(decision.attempt, {})[decision.number] = decision
                elif topic == OUTCOME:
                    outcome = msgspec.json.decode(item.data, type=OutcomeMessage)
                    self._outcomes.setdefault(outcome.attempt, {})[outcome.number] = outcome
            except msgspec.MsgspecError as error:
                raise BadEpisode(f"a message of {topic} is not what this program writes: {error}") from error

    def attempts(self, layout: DemonstrationHeader) -> tuple[tuple[RecordedAttempt, ...], list[str]]:
        """Return the whole attempts, and in words which are not."""
        whole: list[RecordedAttempt] = []
        left_out: list[str] = []
        for number in sorted(self._decisions):
            decisions, outcomes = self._decisions[number], self._outcomes.get(number, {})
            why = _unfit(decisions, outcomes)
            if why:
                left_out.append(f"attempt {number} is left out: {why}")
            else:
                whole.append(_attempt(number, decisions, outcomes, layout))
        return tuple(whole), left_out


def _unfit(decisions: dict[int, DecisionMessage], outcomes: dict[int, OutcomeMessage]) -> str:
    """Return what is missing in an attempt; empty where it is whole."""
    ends = [k for k, outcome in outcomes.items() if outcome.terminated or outcome.truncated]
    if len(ends) != 1:
        return f"it has no end after {len(decisions)} decisions: the run was cut off or interrupted"
    count = ends[0] + 1
    holes = [k for k in range(count) if k not in outcomes or k not in decisions or not decisions[k].action]
    return f"{len(holes)} of its {count} decisions are missing, the first is number {holes[0]}" if holes else ""


def _attempt(
    number: int,
    decisions: dict[int, DecisionMessage],
    outcomes: dict[int, OutcomeMessage],
    layout: DemonstrationHeader,
) -> RecordedAttempt:
    count = 1 + max(outcomes)
    taken = [decisions[k] for k in range(count)]
    ends = [outcomes[k] for k in range(count)]
    seen = [*taken, decisions.get(count, taken[-1])]
    size = len(layout.action_layout.names)
    if any(len(decision.action) != size for decision in taken):
        raise BadEpisode(
            f"attempt {number}: an action has other than the {size} numbers of {layout.action_layout.name}"
        )
    verdict = ends[-1].verdict
    return RecordedAttempt(
        number=number,
        stamp_ns=np.array([decision.stamp_ns for decision in taken], dtype=np.int64),
        observations={part.name: _stacked(seen, part) for part in layout.parts},
        actions=np.array([decision.action for decision in taken], dtype=np.float32).reshape(count, size),
        rewards=np.array([end.reward for end in ends], dtype=np.float64),
        terminated=ends[-1].terminated,
        truncated=ends[-1].truncated,
        verdict=verdict if verdict in ("success", "failure") else UNKNOWN,
    )


def _stacked(seen: list[DecisionMessage], layout: PartLayout) -> Part:
    whole: Part = np.stack([read_part(message, layout) for message in seen])  # pyright: ignore[reportAssignmentType]
    return whole
