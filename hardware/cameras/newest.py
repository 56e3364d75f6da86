"""NewestCamera: one thread that keeps the newest picture of a source, and finds the source again when it is lost.

Whoever reads never waits for a camera, and never gets an old picture for a new one.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, replace
from typing import Protocol, Self

import numpy as np

from bridge.clock import MonotonicClock
from bridge.errors import StaleFrame
from bridge.ports import Clock, Frame, Intrinsics
from hardware.errors import CameraError, RecordingOver, SettingRefused

#: Pictures that the statistics are made of: some seconds of most cameras.
_WINDOW = 200
#: How long a lost camera is left alone before it is looked for again, the first time and at most.
_FIRST_REST_S, _LONGEST_REST_S = 0.1, 1.0


class FrameSource(Protocol):
    """A camera as its driver has it. Used by one thread at a time."""

    @property
    def name(self) -> str:
        """What it is, such as uvc:0: for errors."""
        ...

    def open(self) -> None:
        """Take hold of the camera, its settings verified; raises CameraMissing, SettingRefused or CameraLost."""
        ...

    def grab(self) -> Frame | None:
        """Wait for the next picture and return it, or None where none has come for a moment.

        Raises CameraLost where none will come any more until it is opened again, RecordingOver where none is left.
        """
        ...

    def missing(self) -> str:
        """Say why no picture comes, as far as an open camera knows; empty where nothing is missing."""
        ...

    def close(self) -> None:
        """Give the camera back; calling it twice, or before it was opened, is harmless."""
        ...


class CalibratedSource:
    """A source whose frames carry the geometry that was measured, not what the camera says of itself, or nothing."""

    def __init__(self, source: FrameSource, lens: Intrinsics) -> None:
        self.name = source.name
        self._source, self._lens = source, lens

    def open(self) -> None:
        """Open the source."""
        self._source.open()

    def grab(self) -> Frame | None:
        """Return the source's next picture; raises SettingRefused where it has not the size that was calibrated."""
        frame = self._source.grab()
        if frame is None:
            return None
        lens, (height_px, width_px) = self._lens, frame.rgb.shape[:2]
        if (lens.width_px, lens.height_px) != (width_px, height_px):
            raise SettingRefused(
                f"{self.name}, calibrated at {lens.width_px}x{lens.height_px} px, gives {width_px}x{height_px} px: "
                "ask for the size that it was calibrated at, or calibrate it at this one (`tandem calibrate camera`)"
            )
        return replace(frame, intrinsics=lens)

    def missing(self) -> str:
        """Return what the source says."""
        return self._source.missing()

    def close(self) -> None:
        """Close the source."""
        self._source.close()


@dataclass(frozen=True, slots=True)
class CameraStatistics:
    """How a camera has done lately: over its newest 200 pictures. None where fewer than two have come.

    Latency is from capture to where a reader can have the picture; how exactly capture is known is the source's.
    """

    pictures: int
    lost: int
    """How often it was lost and had to be looked for again."""
    width_px: int = 0
    height_px: int = 0
    has_depth: bool = False
    rate_hz: float | None = None
    gap_p95_ms: float | None = None
    """95 of 100 pictures came no longer than this after the one before."""
    latency_p50_ms: float | None = None
    latency_p95_ms: float | None = None


class NewestCamera:
    """A Camera around a source. May be read from several threads; reading never waits."""

    def __init__(self, source: FrameSource, clock: Clock | None = None, open_now: bool = True) -> None:
        """Open the source at once, so that what is wrong with it is raised here, unless it may come later."""
        self.name = source.name
        self._source = source
        self._clock = clock or MonotonicClock()
        self._news = threading.Condition()
        self._newest: Frame | None = None
        self._pictures = self._lost = 0
        self._times_ns: deque[tuple[int, int]] = deque(maxlen=_WINDOW)  # captured, here
        self._trouble = ""
        self._failure: BaseException | None = None
        self._stop = threading.Event()
        if open_now:
            try:
                source.open()
            except BaseException:
                source.close()
                raise
        self._thread = threading.Thread(target=self._run, args=(open_now,), name=f"camera {source.name}", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        """Return the camera."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def read(self, max_age_s: float) -> Frame:
        """Return the newest frame at once; raises StaleFrame where none has come or it is older than `max_age_s`."""
        with self._news:
            self._check()
            frame, trouble = self._newest, self._trouble
        if frame is None:
            raise StaleFrame(f"no picture has come from {self.name}" + (f": {trouble}" if trouble else " yet"))
        age_s = (self._clock.now_ns() - frame.stamp_ns) * 1e-9
        if age_s > max_age_s:
            raise StaleFrame(
                f"the newest picture from {self.name} is {age_s:.2f} s old, at most {max_age_s:.2f} s are accepted"
                + (f": {trouble}" if trouble else "")
            )
        return frame

    def wait(self, timeout_s: float, after: Frame | None = None) -> Frame:
        """Return the newest frame as soon as it is another than `after`; raises StaleFrame where none comes in time."""
        with self._news:
            self._news.wait_for(lambda: self._is_over() or self._newest is not after, timeout_s)
            self._check()
            if self._newest is None or self._newest is after:
                why = self._trouble or "the camera is there, and silent"
                raise StaleFrame(f"no picture came from {self.name} within {timeout_s:g} s: {why}")
            return self._newest

    def statistics(self) -> CameraStatistics:
        """Return how the camera has done lately."""
        with self._news:
            times_ns, frame, pictures, lost = list(self._times_ns), self._newest, self._pictures, self._lost
        if frame is None:
            return CameraStatistics(pictures, lost)
        size = frame.intrinsics.width_px, frame.intrinsics.height_px, frame.depth_m is not None
        if len(times_ns) < 2:
            return CameraStatistics(pictures, lost, *size)
        captured_ns, here_ns = np.asarray(times_ns, dtype=np.int64).T
        gaps_ms, late_ms = np.diff(captured_ns) * 1e-6, (here_ns - captured_ns) * 1e-6
        span_s = max(float(captured_ns[-1] - captured_ns[0]) * 1e-9, 1e-9)
        return CameraStatistics(
            pictures, lost, *size,
            rate_hz=(len(times_ns) - 1) / span_s,
            gap_p95_ms=float(np.quantile(gaps_ms, 0.95)),
            latency_p50_ms=float(np.quantile(late_ms, 0.5)),
            latency_p95_ms=float(np.quantile(late_ms, 0.95)),
        )  # fmt: skip

    @property
    def trouble(self) -> str:
        """Why there is no fresh picture, in words; empty where there is one."""
        with self._news:
            return self._trouble

    def close(self) -> None:
        """Give the camera back; calling it twice is harmless."""
        self._stop.set()
        with self._news:
            self._news.notify_all()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout=2.0)

    def _is_over(self) -> bool:
        return self._stop.is_set() or self._failure is not None

    def _check(self) -> None:
        if self._stop.is_set():
            raise StaleFrame(f"the camera at {self.name} was closed")
        if self._failure is not None:
            raise CameraError(f"the thread of camera {self.name} ended: {self._failure}") from self._failure

    def _run(self, is_open: bool) -> None:
        rest_s = _FIRST_REST_S
        try:
            while not self._stop.is_set():
                try:
                    if not is_open:
                        self._source.open()
                        is_open = True
                    if self._take(self._source.grab()):
                        rest_s = _FIRST_REST_S
                except RecordingOver as over:
                    self._lament(str(over))
                    break
                except CameraError as error:
                    self._source.close()
                    self._lost += is_open
                    is_open = False
                    self._lament(str(error))
                    self._stop.wait(rest_s)
                    rest_s = min(2 * rest_s, _LONGEST_REST_S)
        except BaseException as error:  # a dead thread must not look like a camera that is merely late
            with self._news:
                self._failure = error
                self._news.notify_all()
            raise
        finally:
            self._source.close()

    def _take(self, frame: Frame | None) -> bool:
        if frame is None:
            self._lament(self._source.missing() or self._trouble)  # what was wrong is, until a picture comes
            return False
        with self._news:
            if self._newest is not None and frame.stamp_ns < self._newest.stamp_ns:
                self._times_ns.clear()  # a recording that begins again, or a sender that was started anew
            self._newest, self._trouble = frame, ""
            self._pictures += 1
            self._times_ns.append((frame.stamp_ns, self._clock.now_ns()))
            self._news.notify_all()
        return True

    def _lament(self, trouble: str) -> None:
        with self._news:
            self._trouble = trouble
