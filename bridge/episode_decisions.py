"""What a demonstration adds to a recording: what the policy saw and did, decision by decision, and what came of it.

    /decision   the observation as the policy saw it, and its action; no action where the attempt was over
    /outcome    what the decision was worth, whether it ended the attempt, and whether that was a success

The metadata `tandem.demonstration` names task and layouts. Pictures are packed without loss, depth too: the 16 bits of
its half-precision metres are packed as counts are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from bridge.actions import ActionLayout
from bridge.depth_coding import Counts, pack, unpack
from bridge.encoding import ObservationLayout
from bridge.errors import BadEpisode, BadMessage
from bridge.observation import ObservationSpec, Part

DECISION, OUTCOME, DEMONSTRATION = "/decision", "/outcome", "tandem.demonstration"
SCHEMA_VERSION = 1
SUCCESS, FAILURE, UNKNOWN = "success", "failure", ""

Verdict = Literal["success", "failure", ""]
PartType = Literal["float32", "float16", "uint8"]


class PartLayout(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One part of an observation: numbers with their names, or a picture (C, H, W), float16 metres or uint8."""

    name: str
    dtype: PartType
    shape: tuple[int, ...]
    feature_names: tuple[str, ...] = ()

    @property
    def is_picture(self) -> bool:
        """Whether it is a picture and not a vector."""
        return len(self.shape) == 3


class DemonstrationHeader(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was demonstrated: the task, what the policy saw and did, and how many periods a decision lasts.

    `environment` is the Gymnasium id of the simulation, with its `randomization`, the `discount` of its shaping, and
    the `seed` of its attempts; on an arm these stay empty.
    """

    schema_version: int = SCHEMA_VERSION
    task: str
    spec: ObservationSpec
    state_layout: ObservationLayout
    parts: tuple[PartLayout, ...]
    action_layout: ActionLayout
    action_repeat: int
    environment: str = ""
    randomization: str = ""
    discount: float | None = None
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """Decision `number` of an attempt, from 0: what the policy saw at `stamp_ns`, and its action.

    The last one of an attempt has no action: it is what was seen when the attempt was over.
    """

    stamp_ns: int
    attempt: int
    number: int
    observation: Mapping[str, Part]
    action: NDArray[np.float32] | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of decision `number`. `verdict` is empty where the attempt goes on, or nobody knows."""

    stamp_ns: int
    attempt: int
    number: int
    reward: float
    terminated: bool = False
    truncated: bool = False
    verdict: Verdict = UNKNOWN


class DecisionMessage(Struct, frozen=True):
    """A decision as it is written: vectors as numbers, pictures packed."""

    stamp_ns: int
    attempt: int
    number: int
    action: tuple[float, ...]
    vectors: dict[str, tuple[float, ...]]
    pictures: dict[str, bytes]


class OutcomeMessage(Struct, frozen=True):
    """An outcome as it is written."""

    stamp_ns: int
    attempt: int
    number: int
    reward: float
    terminated: bool
    truncated: bool
    verdict: str


#: Topic, name of the schema, what a message is: as `episode_format.CHANNELS`.
DEMONSTRATION_CHANNELS: tuple[tuple[str, str, type[Struct]], ...] = (
    (DECISION, "tandem.Decision", DecisionMessage),
    (OUTCOME, "tandem.Outcome", OutcomeMessage),
)


def verdict_of(success: bool | None) -> Verdict:
    """Return a success, a failure, or that nobody knows, in a word."""
    if success is None:
        return UNKNOWN
    return SUCCESS if success else FAILURE


def to_message(decision: Decision) -> DecisionMessage:
    """Return a decision as it is written."""
    vectors = {name: tuple(part.tolist()) for name, part in decision.observation.items() if part.ndim == 1}
    pictures = {name: pack_picture(part) for name, part in decision.observation.items() if part.ndim == 3}
    action = () if decision.action is None else tuple(decision.action.tolist())
    return DecisionMessage(decision.stamp_ns, decision.attempt, decision.number, action, vectors, pictures)


def read_part(message: DecisionMessage, layout: PartLayout) -> Part:
    """Return one part of what was seen; raises BadEpisode where the message has none such."""
    try:
        if layout.is_picture:
            return unpack_picture(message.pictures[layout.name], layout)
        values = np.array(message.vectors[layout.name], dtype=np.float32)
    except (KeyError, BadMessage) as error:
        raise BadEpisode(
            f"decision {message.number} of attempt {message.attempt}: part {layout.name}: {error}"
        ) from error
    if values.shape != layout.shape:
        raise BadEpisode(
            f"decision {message.number} of attempt {message.attempt}: part {layout.name} has {values.size} numbers, "
            f"the header says {layout.shape}"
        )
    return values


def pack_picture(picture: Part) -> bytes:
    """Return a picture (C, H, W), uint8 or float16, in few bytes and without loss."""
    channels, height, width = picture.shape
    counts: Counts = picture.view(np.uint16) if picture.dtype == np.float16 else picture.astype(np.uint16)
    return pack(np.ascontiguousarray(counts).reshape(channels * height, width))


def unpack_picture(data: bytes, layout: PartLayout) -> Part:
    """Return the picture; raises BadMessage where the bytes are of no picture of that shape."""
    channels, height, width = layout.shape
    counts = unpack(data, channels * height, width).reshape(layout.shape)
    return counts.view(np.float16) if layout.dtype == "float16" else counts.astype(np.uint8)
