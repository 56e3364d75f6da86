"""Pictures as an MP4 and back, with PyAV: as LeRobot's loader wants them, or without loss."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.error import FFmpegError
from numpy.typing import NDArray

from bridge.errors import BadEpisode

Pictures = NDArray[np.uint8]
#: Every second picture stands alone, so that any one is found quickly. Ref: LeRobot encodes with the same distance.
_KEY_EVERY = 2
_QUALITY = "18"


class VideoWriter:
    """Writes pictures (C, H, W), uint8, one after the other; grey ones as colour."""

    def __init__(self, path: Path, rate: Fraction, height_px: int, width_px: int, lossless: bool) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._rate, self._count = rate, 0
        self._container = av.open(str(path), "w")
        codec, crf = ("libx264rgb", "0") if lossless else ("libx264", _QUALITY)
        options = {"g": str(_KEY_EVERY), "crf": crf, "bf": "0"}
        self._stream = self._container.add_stream(codec, rate=rate, options=options)
        self._stream.height, self._stream.width = height_px, width_px
        even = height_px % 2 == 0 and width_px % 2 == 0
        self._stream.pix_fmt = "rgb24" if lossless else "yuv420p" if even else "yuv444p"
        self._stream.time_base = 1 / rate

    @property
    def pixel_format(self) -> str:
        """How a pixel is written."""
        return str(self._stream.pix_fmt)

    def add(self, pictures: Pictures) -> None:
        """Write pictures (n, C, H, W)."""
        for picture in pictures:
            colour = np.repeat(picture, 3, axis=0) if len(picture) == 1 else picture
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(colour.transpose(1, 2, 0)), format="rgb24")
            frame.pts, frame.time_base = self._count, 1 / self._rate
            self._count += 1
            self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Write what is left."""
        self._container.mux(self._stream.encode())
        self._container.close()


def read_video(path: Path, channels: int) -> Iterator[Pictures]:
    """Give the pictures (C, H, W) of a video in order; raises BadEpisode where it is none."""
    try:
        with av.open(str(path)) as container:
            for frame in container.decode(video=0):
                picture = np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8).transpose(2, 0, 1)
                yield picture if channels == 3 else picture[:1]
    except (FFmpegError, IndexError) as error:
        raise BadEpisode(f"{path} is no video that can be read: {error}") from error
