"""A camera's pictures as messages: what a reader asks, and what a sender answers; strict and bounded.

One message is one frame of ZeroMQ. On one machine pictures are sent raw: 640x480 takes half a millisecond over ipc, and
compressing would cost ten. Across a network they are JPEG; depth is packed without loss on both (`depth_coding`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from bridge.depth_coding import UNITS_UM, pack, to_counts, to_depth_m, unpack
from bridge.errors import BadMessage
from bridge.ports import Frame, Intrinsics

MAX_SIDE_PX = 1920
_MAX_PIXELS = MAX_SIDE_PX * 1080
#: Colour and depth of the largest picture, and room for the rest of the message.
MAX_FRAME_BYTES = _MAX_PIXELS * 6 + 4096
MAX_QUESTION_BYTES = 256

Picture = NDArray[np.uint8]


class FrameAsk(msgspec.Struct, frozen=True, tag="ask", forbid_unknown_fields=True):
    """A reader asks for the newest picture other than the one that it has; none yet: -1, 0. Stamps are the sender's."""

    have_seq: int
    have_ns: int


class ClockAsk(msgspec.Struct, frozen=True, tag="clock", forbid_unknown_fields=True):
    """A reader asks, at `asked_ns` by its clock, what time it is."""

    asked_ns: int


class ClockAnswer(msgspec.Struct, frozen=True, tag="time", forbid_unknown_fields=True):
    """When the question was received by the sender's clock, and which boot of which machine that clock counts from.

    `trouble` is why the sender has no fresh picture, in words; empty where it has.
    """

    asked_ns: int
    received_ns: int
    machine: str
    trouble: str = ""


class FrameMessage(msgspec.Struct, frozen=True, tag="frame", forbid_unknown_fields=True):
    """One picture. `stamp_ns` is the capture on the sender's monotonic clock.

    `rgb` is row by row, 3 bytes a pixel, or a JPEG file. Focal lengths are both not-a-number where the camera is not
    calibrated. `depth` is packed, in counts of `depth_unit_um`; 0: there is none.
    """

    name: str
    seq: int
    stamp_ns: int
    width_px: int
    height_px: int
    fx_px: float
    fy_px: float
    cx_px: float
    cy_px: float
    distortion: tuple[float, ...]
    rgb: bytes
    model: str = "pinhole"
    coding: Literal["raw", "jpeg"] = "raw"
    depth_unit_um: int = 0
    depth: bytes = b""

    def __post_init__(self) -> None:
        if not (0 < self.width_px <= MAX_SIDE_PX and 0 < self.height_px <= MAX_SIDE_PX):
            raise BadMessage(f"a picture of {self.width_px}x{self.height_px} px: each side has 1 to {MAX_SIDE_PX}")
        if self.width_px * self.height_px > _MAX_PIXELS:
            raise BadMessage(f"a picture of {self.width_px}x{self.height_px} px: {_MAX_PIXELS} pixels at most")
        if self.coding == "raw" and len(self.rgb) != self.width_px * self.height_px * 3:
            raise BadMessage(f"{len(self.rgb)} bytes of pixels do not fill {self.width_px}x{self.height_px} px")
        if self.depth_unit_um not in (0, *UNITS_UM) or (self.depth_unit_um == 0 and self.depth):
            raise BadMessage(
                f"depth in units of {self.depth_unit_um} µm: expected one of {UNITS_UM}, or 0 and no depth"
            )
        if not all(math.isfinite(v) for v in (self.cx_px, self.cy_px, *self.distortion)):
            raise BadMessage("the intrinsics hold a number that is not finite")
        is_unknown = math.isnan(self.fx_px) and math.isnan(self.fy_px)
        if not (is_unknown or (0 < self.fx_px < math.inf and 0 < self.fy_px < math.inf)):
            raise BadMessage(f"focal lengths {self.fx_px}, {self.fy_px} px must be positive")
        try:
            self.intrinsics()
        except ValueError as error:
            raise BadMessage(str(error)) from error

    def intrinsics(self) -> Intrinsics:
        """Return the camera's geometry."""
        return Intrinsics(
            self.width_px,
            self.height_px,
            self.fx_px,
            self.fy_px,
            self.cx_px,
            self.cy_px,
            self.distortion,
            self.model,
        )


Question = FrameAsk | ClockAsk
Answer = FrameMessage | ClockAnswer

_encoder = msgspec.msgpack.Encoder()
_questions: msgspec.msgpack.Decoder[Question] = msgspec.msgpack.Decoder(Question)
_answers: msgspec.msgpack.Decoder[Answer] = msgspec.msgpack.Decoder(Answer)


def encode(message: Question | Answer) -> bytes:
    """Return the bytes of a message."""
    return _encoder.encode(message)


def encode_frame(frame: Frame, to_jpeg: Callable[[Picture], bytes] | None = None) -> bytes:
    """Return the message of a frame, its colours raw or as `to_jpeg` makes them.

    Raises BadMessage where it does not fit into one: too large, or depths beyond 65.5 m.
    """
    i = frame.intrinsics
    rgb = np.ascontiguousarray(frame.rgb, dtype=np.uint8)
    depth, unit_um = b"", 0
    if frame.depth_m is not None:
        if frame.depth_m.shape != rgb.shape[:2]:
            raise BadMessage(
                f"depth of {frame.depth_m.shape} beside colours of {rgb.shape[:2]}: align it to them first"
            )
        counts, unit_um = to_counts(frame.depth_m)
        depth = pack(counts)
    return _encoder.encode(
        FrameMessage(
            name=frame.name,
            seq=frame.seq,
            stamp_ns=frame.stamp_ns,
            width_px=i.width_px,
            height_px=i.height_px,
            fx_px=i.fx_px,
            fy_px=i.fy_px,
            cx_px=i.cx_px,
            cy_px=i.cy_px,
            distortion=i.distortion,
            rgb=rgb.tobytes() if to_jpeg is None else to_jpeg(rgb),
            model=i.model,
            coding="raw" if to_jpeg is None else "jpeg",
            depth_unit_um=unit_um,
            depth=depth,
        )
    )


def decode_question(data: bytes) -> Question:
    """Return what a reader asks; raises BadMessage on anything else."""
    if len(data) > MAX_QUESTION_BYTES:
        raise BadMessage(f"a question of {len(data)} bytes: the longest has {MAX_QUESTION_BYTES}")
    try:
        return _questions.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise BadMessage(f"{len(data)} bytes are no question for a picture: {error}") from error


def decode_answer(data: bytes) -> Answer:
    """Return what a sender answers; raises BadMessage on anything else. The picture is unpacked by `frame_of`."""
    if len(data) > MAX_FRAME_BYTES:
        raise BadMessage(f"a picture of {len(data)} bytes: the largest has {MAX_FRAME_BYTES}")
    try:
        return _answers.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise BadMessage(f"{len(data)} bytes are no picture: {error}") from error


def frame_of(message: FrameMessage, from_jpeg: Callable[[bytes], Picture] | None = None) -> Frame:
    """Return the frame in a message, stamped as it is there; raises BadMessage. Raw pixels are read-only."""
    shape = (message.height_px, message.width_px, 3)
    if message.coding == "raw":
        rgb = np.frombuffer(message.rgb, dtype=np.uint8).reshape(shape)
    elif from_jpeg is None:
        raise BadMessage("a JPEG came, and there is nothing here that reads one")
    else:
        rgb = from_jpeg(message.rgb)
        if rgb.shape != shape:
            raise BadMessage(f"a JPEG of {rgb.shape[1]}x{rgb.shape[0]} px in a frame of {shape[1]}x{shape[0]} px")
    depth_m = None
    if message.depth_unit_um:
        depth_m = to_depth_m(unpack(message.depth, message.height_px, message.width_px), message.depth_unit_um)
    return Frame(message.name, message.seq, message.stamp_ns, rgb, message.intrinsics(), depth_m)


def decode_frame(data: bytes, from_jpeg: Callable[[bytes], Picture] | None = None) -> Frame:
    """Return the frame in the bytes of its message; raises BadMessage on anything else."""
    answer = decode_answer(data)
    if isinstance(answer, ClockAnswer):
        raise BadMessage("a clock's answer, where a picture was expected")
    return frame_of(answer, from_jpeg)
