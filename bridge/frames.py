"""A camera's picture as one message: raw pixels in one frame of msgpack, strict and bounded.

One frame, because a conflating subscriber keeps the newest *frame* of a message, not the newest message. Raw, because
640x480 over ipc takes half a millisecond and compressing would cost ten.
"""

from __future__ import annotations

import math

import msgspec
import numpy as np

from bridge.errors import BadMessage
from bridge.ports import Frame, Intrinsics

MAX_SIDE_PX = 1920
#: Pixels of the largest picture, and room for the rest of the message.
MAX_FRAME_BYTES = MAX_SIDE_PX * 1080 * 3 + 1024


class FrameMessage(msgspec.Struct, frozen=True, tag="frame", forbid_unknown_fields=True):
    """One picture. `stamp_ns` is the capture on the sender's monotonic clock; `rgb` is row by row, 3 bytes a pixel."""

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

    def __post_init__(self) -> None:
        if not (0 < self.width_px <= MAX_SIDE_PX and 0 < self.height_px <= MAX_SIDE_PX):
            raise BadMessage(f"a picture of {self.width_px}x{self.height_px} px: each side has 1 to {MAX_SIDE_PX}")
        if len(self.rgb) != self.width_px * self.height_px * 3:
            raise BadMessage(f"{len(self.rgb)} bytes of pixels do not fill {self.width_px}x{self.height_px} px")
        if not all(math.isfinite(v) for v in (self.cx_px, self.cy_px, *self.distortion)):
            raise BadMessage("the intrinsics hold a number that is not finite")
        if not (0 < self.fx_px < math.inf and 0 < self.fy_px < math.inf):
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


_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[FrameMessage] = msgspec.msgpack.Decoder(FrameMessage)


def encode_frame(frame: Frame) -> bytes:
    """Return the message of a colour frame; depth is not carried."""
    i = frame.intrinsics
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
            rgb=np.ascontiguousarray(frame.rgb, dtype=np.uint8).tobytes(),
            model=i.model,
        )
    )


def decode_frame(data: bytes) -> Frame:
    """Return the frame in a message; raises BadMessage on anything else. The pixels are read-only."""
    if len(data) > MAX_FRAME_BYTES:
        raise BadMessage(f"a picture of {len(data)} bytes: the largest has {MAX_FRAME_BYTES}")
    try:
        message = _decoder.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise BadMessage(f"{len(data)} bytes are no picture: {error}") from error
    rgb = np.frombuffer(message.rgb, dtype=np.uint8).reshape(message.height_px, message.width_px, 3)
    return Frame(message.name, message.seq, message.stamp_ns, rgb, message.intrinsics())
