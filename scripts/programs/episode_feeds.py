"""What a run hands to its recording while it goes: attempts as they begin, and a camera's pictures."""

from __future__ import annotations

import threading
import time

import cv2

from bridge.episode import EpisodeWriter
from bridge.episode_format import Level
from bridge.errors import StaleFrame
from bridge.loop import LoopStep
from bridge.ports import Camera
from scripts.programs.robot_run import Watcher

#: Pictures a second: enough to see what happened, 0.2 MB/s of a 640x480 camera.
PICTURES_HZ = 5.0
_JPEG_QUALITY = 80
_MAX_AGE_S = 0.5


def watch_attempts(watcher: Watcher, writer: EpisodeWriter) -> None:
    """Have every period recorded, and what is waited for and which attempt begins, beside whoever else looks on."""
    onward, on_waiting = watcher.onward, watcher.on_waiting

    def record(step: LoopStep) -> None:
        writer.record(step)
        if onward is not None:
            onward(step)

    def wait(missing: str) -> None:
        writer.event("waiting", missing, Level.WARNING)
        if on_waiting is not None:
            on_waiting(missing)

    watcher.onward, watcher.on_waiting = record, wait
    watcher.on_attempt = lambda number: writer.event("attempt", f"attempt {number} begins")


class PictureFeed:
    """Hands a camera's pictures to a recording, a few a second, compressed in a thread of its own."""

    def __init__(self, camera: Camera, writer: EpisodeWriter) -> None:
        self._camera = camera
        self._writer = writer
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="picture feed", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop; the camera stays its owner's."""
        self._stop.set()
        self._thread.join(timeout=2.0)

    def _run(self) -> None:
        last_seq: int | None = None
        due_s = time.monotonic()
        while not self._stop.is_set():
            try:
                frame = self._camera.read(_MAX_AGE_S)
            except StaleFrame:  # whoever needs to see says so: here it is a picture less
                pass
            else:
                if frame.seq != last_seq:
                    last_seq = frame.seq
                    bgr = cv2.cvtColor(frame.rgb, cv2.COLOR_RGB2BGR)
                    done, jpeg = cv2.imencode(".jpg", bgr, (cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY))
                    if done:
                        self._writer.frame(frame.name, frame.stamp_ns, jpeg.tobytes())
            due_s = max(due_s + 1.0 / PICTURES_HZ, time.monotonic())
            self._stop.wait(due_s - time.monotonic())
