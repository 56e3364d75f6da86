"""Film: watches an arm's camera while a policy runs, and keeps the pictures of the first attempts that succeed."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from types import TracebackType

import cv2
import numpy as np

from bridge.errors import StaleFrame
from bridge.loop import LoopStep
from bridge.ports import Camera, Clock
from scripts.programs.footage import Footage, Image, PhaseMarks
from scripts.programs.robot_run import AttemptRecord

_POLL_NS = 15_000_000
_MAX_AGE_S = 1.0
#: The camera's look at the lifted block stays on film this long.
TAIL_S = 0.8


@dataclass(frozen=True, slots=True)
class Take:
    """One attempt that succeeded: what was written down about it, and its film."""

    record: AttemptRecord
    footage: Footage


class Film:
    """A context that films. Hand `on_step` to the control loop and every finished attempt to `on_attempt`."""

    def __init__(self, camera: Camera, clock: Clock, wanted: int, size_px: tuple[int, int]) -> None:
        self.takes: list[Take] = []
        self._camera, self._clock, self._wanted, self._size_px = camera, clock, wanted, size_px
        self._frames: list[tuple[float, Image]] = []
        self._marks = PhaseMarks()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="film", daemon=True)

    def __enter__(self) -> Film:
        """Begin to watch."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop watching. The camera stays its owner's."""
        self._stop.set()
        self._thread.join(timeout=2.0)

    def on_step(self, step: LoopStep) -> None:
        """Take in one control period."""
        self._marks.note(step, self._clock.now_ns() * 1e-9)

    def on_attempt(self, record: AttemptRecord) -> None:
        """Keep the film of the attempt that has just ended where it succeeded, and begin a new one."""
        marks, self._marks = self._marks, PhaseMarks()
        with self._lock:
            frames, self._frames = self._frames, []
        if record.success and marks.complete and not self._has_enough:
            moments = marks.moments_s()
            kept = [(t, p) for t, p in frames if moments[0] <= t <= moments[-1] + TAIL_S]
            if kept:
                self.takes.append(Take(record, Footage(marks, tuple(t for t, _ in kept), tuple(p for _, p in kept))))
        if self._has_enough:
            self._stop.set()

    @property
    def _has_enough(self) -> bool:
        return len(self.takes) >= self._wanted

    def _watch(self) -> None:
        last_seq: int | None = None
        while not self._stop.is_set():
            try:
                frame = self._camera.read(_MAX_AGE_S)
            except StaleFrame:  # a gap on the film; the run itself has eyes of its own
                self._clock.sleep_until(self._clock.now_ns() + _POLL_NS)
                continue
            if frame.seq != last_seq:
                last_seq = frame.seq
                picture = np.asarray(cv2.resize(frame.rgb, self._size_px, interpolation=cv2.INTER_AREA), dtype=np.uint8)
                with self._lock:
                    self._frames.append((frame.stamp_ns * 1e-9, picture))
            self._clock.sleep_until(self._clock.now_ns() + _POLL_NS)
