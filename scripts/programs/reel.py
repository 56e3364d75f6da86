"""Reel: the frames of a film of any length in little memory, and the file that is made of them, whole or not at all."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from calibration.artifacts import write_atomic
from scripts.programs.footage import Image
from scripts.programs.gif import write_gif
from urdf.errors import ArmError

SUFFIXES = (".gif", ".mp4")
#: A GIF that is larger is made smaller: pages are slow enough.
MAX_GIF_BYTES = 3_000_000
_MOST_FRAMES = 600
#: What is tried until a GIF is small enough: its size, and which share of its frames it keeps (one of so many).
_SMALLER = ((1.0, 1), (1.0, 2), (0.75, 2), (0.75, 3), (0.6, 3), (0.5, 4), (0.4, 6))


def check_suffix(path: Path) -> None:
    """Raise ArmError unless the file's name ends as a film that can be written."""
    if path.suffix.lower() not in SUFFIXES:
        raise ArmError(f"--out {path}: a film ends in one of {', '.join(SUFFIXES)}")


class Reel:
    """Keeps frames compressed. Of a long film only every second is kept, then every fourth: it still runs in time."""

    def __init__(self, frames_per_s: float) -> None:
        self._full_rate = frames_per_s
        self._frames: list[bytes] = []
        self._every = 1
        self._seen = 0

    def __len__(self) -> int:
        """Return how many frames are kept."""
        return len(self._frames)

    @property
    def frames_per_s(self) -> float:
        """The rate at which the kept frames run in time."""
        return self._full_rate / self._every

    def add(self, frame: Image) -> None:
        """Take in one frame (H, W, 3) uint8; all have the same size."""
        if self._seen % self._every == 0:
            whole, data = cv2.imencode(".png", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, 1])
            assert whole
            self._frames.append(data.tobytes())
        self._seen += 1
        if len(self._frames) > _MOST_FRAMES:
            self._frames = self._frames[::2]
            self._every *= 2

    def frame(self, place: int, scale: float = 1.0) -> Image:
        """Return one of the kept frames."""
        picture = cv2.imdecode(np.frombuffer(self._frames[place], dtype=np.uint8), cv2.IMREAD_COLOR)
        assert picture is not None
        if scale != 1.0:
            picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), dtype=np.uint8)

    def write(self, path: Path, on_try: Callable[[str], None]) -> None:
        """Write a GIF of at most 3 MB or an MP4, as the name says; raises ArmError. `on_try` hears what is done."""
        check_suffix(path)
        with tempfile.TemporaryDirectory() as folder:
            temporary = Path(folder) / f"film{path.suffix.lower()}"
            if temporary.suffix == ".mp4":
                on_try("writing the film")
                self._write_mp4(temporary)
            else:
                self._write_gif(temporary, on_try)
            write_atomic(path, temporary.read_bytes())

    def _write_gif(self, path: Path, on_try: Callable[[str], None]) -> None:
        for scale, keep in _SMALLER:
            on_try(f"writing the film at {100 * scale:.0f} % of its size, {self.frames_per_s / keep:.3g} frames/s")
            frames = [self.frame(k, scale) for k in range(0, len(self._frames), keep)]
            write_gif(path, frames, self.frames_per_s / keep)
            if path.stat().st_size <= MAX_GIF_BYTES:
                return

    def _write_mp4(self, path: Path) -> None:
        height, width = (side - side % 2 for side in self.frame(0).shape[:2])
        # VP9: the one modern codec that OpenCV's wheels can write and every browser can show.
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"vp09"), self.frames_per_s, (width, height))
        if not writer.isOpened():
            raise ArmError("this build of OpenCV cannot write MP4: name a .gif")
        for k in range(len(self._frames)):
            writer.write(cv2.cvtColor(self.frame(k), cv2.COLOR_RGB2BGR)[:height, :width])
        writer.release()
