"""Pictures as JPEG, for the way across a network. Needs OpenCV."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from bridge.errors import BadMessage
from bridge.frames import MAX_SIDE_PX

Picture = NDArray[np.uint8]

#: Markers may be seen nearly as sharply as before: corners move by 0.02 px (docs/cameras.md).
QUALITY = 90
# ITU-T T.81, table B.1: start of frame (every kind of coding), and the markers that no length follows.
_FRAME_STARTS = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_BARE = {0x01, *range(0xD0, 0xDA)}


def to_jpeg(quality: int = QUALITY) -> Callable[[Picture], bytes]:
    """Return what makes a JPEG file of a picture (H, W, 3) RGB."""
    if not 1 <= quality <= 100:
        raise ValueError(f"a JPEG has a quality of 1 to 100, got {quality}")

    def encode(rgb: Picture) -> bytes:
        done, data = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), (cv2.IMWRITE_JPEG_QUALITY, quality))
        if not done:
            raise BadMessage(f"OpenCV made no JPEG of a picture of shape {rgb.shape}")
        return data.tobytes()

    return encode


def from_jpeg(data: bytes) -> Picture:
    """Return the picture (H, W, 3) RGB in a JPEG file; raises BadMessage, before anything too large fills memory."""
    height_px, width_px = _size(data)
    if not (0 < height_px <= MAX_SIDE_PX and 0 < width_px <= MAX_SIDE_PX):
        raise BadMessage(f"a JPEG of {width_px}x{height_px} px: each side has 1 to {MAX_SIDE_PX}")
    try:
        bgr = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise BadMessage(f"OpenCV cannot read {len(data)} bytes as JPEG: {error}") from error
    if bgr is None:  # pyright: ignore[reportUnnecessaryComparison]  # OpenCV's own stubs forget it
        raise BadMessage(f"OpenCV cannot read {len(data)} bytes as JPEG")
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def _size(data: bytes) -> tuple[int, int]:
    """Return (height, width) as the file's own header says."""
    at = 2
    while data[:2] == b"\xff\xd8" and at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker in _FRAME_STARTS:
            return int.from_bytes(data[at + 5 : at + 7]), int.from_bytes(data[at + 7 : at + 9])
        at += 2 if marker in _BARE else 2 + int.from_bytes(data[at + 2 : at + 4])
    raise BadMessage(f"{len(data)} bytes are no JPEG: they name no size")
