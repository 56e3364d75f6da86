"""NewestCamera around sources that are slow, lost and found again, over, or broken."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from bridge.errors import StaleFrame
from bridge.ports import Frame, Intrinsics
from hardware.cameras.newest import NewestCamera
from hardware.errors import CameraError, CameraLost, CameraMissing, RecordingOver

INTRINSICS = Intrinsics.unknown(4, 2)


class ByHand:
    """A source whose pictures, and whose faults, are given by hand; its driver takes one call at a time."""

    name = "by hand"

    def __init__(self) -> None:
        self.faults: dict[str, Exception] = {}
        self.reason = ""
        self.opened = self.closed = 0
        self._given: list[Frame] = []
        self._more = threading.Semaphore(0)
        self._busy = threading.Lock()

    def give(self, seq: int, age_s: float = 0.0) -> None:
        stamp_ns = time.monotonic_ns() - round(age_s * 1e9)
        self._given.append(Frame(self.name, seq, stamp_ns, np.zeros((2, 4, 3), dtype=np.uint8), INTRINSICS))
        self._more.release()

    def fail(self, where: str, error: Exception) -> None:
        self.faults[where] = error

    def open(self) -> None:
        self.opened += 1
        self._one_at_a_time("open")

    def grab(self) -> Frame | None:
        self._one_at_a_time("grab")
        return self._given.pop(0) if self._more.acquire(timeout=0.02) else None

    def missing(self) -> str:
        return self.reason

    def close(self) -> None:
        self.closed += 1

    def _one_at_a_time(self, where: str) -> None:
        assert self._busy.acquire(blocking=False)
        try:
            if where in self.faults:
                raise self.faults[where]
        finally:
            self._busy.release()


def until(what: Callable[[], bool]) -> bool:
    end = time.monotonic() + 10.0
    while not what() and time.monotonic() < end:
        time.sleep(0.005)
    return what()


def test_the_newest_of_many_is_read_and_reading_never_waits() -> None:
    source = ByHand()
    with NewestCamera(source) as camera:
        for seq in range(1, 6):
            source.give(seq)
        assert until(lambda: camera.statistics().pictures == 5)
        started = time.monotonic()
        assert camera.read(10.0).seq == 5
        assert time.monotonic() - started < 0.05


def test_a_frame_is_stale_by_its_age_and_by_nothing_else() -> None:
    source = ByHand()
    with NewestCamera(source) as camera:
        source.give(1, age_s=2.0)
        camera.wait(10.0)
        assert camera.read(30.0).seq == 1
        with pytest.raises(StaleFrame, match=r"by hand is 2\.\d\d s old, at most 0\.50 s"):
            camera.read(0.5)


def test_who_waits_gets_the_next_picture_and_not_the_same_once_more() -> None:
    source = ByHand()
    with NewestCamera(source) as camera:
        source.give(1)
        first = camera.wait(10.0)
        with pytest.raises(StaleFrame, match=r"within 0\.1 s: the camera is there, and silent"):
            camera.wait(0.1, after=first)
        threading.Timer(0.1, source.give, (2,)).start()
        assert camera.wait(10.0, after=first).seq == 2


def test_a_camera_that_is_not_there_is_told_at_once_and_is_given_back() -> None:
    source = ByHand()
    source.fail("open", CameraMissing("there is no /dev/video7"))
    with pytest.raises(CameraMissing, match="video7"):
        NewestCamera(source)
    assert source.closed == 1


def test_an_unplugged_camera_is_named_and_found_again_when_it_is_back() -> None:
    source = ByHand()
    with NewestCamera(source) as camera:
        source.give(1)
        camera.wait(10.0)
        source.fail("open", CameraMissing("there is no /dev/video0"))
        source.fail("grab", CameraLost("/dev/video0 was unplugged"))
        assert until(lambda: "there is no" in camera.trouble)
        with pytest.raises(StaleFrame, match="there is no /dev/video0"):
            camera.read(0.0)
        source.faults.clear()
        source.give(2)
        assert until(lambda: camera.statistics().pictures == 2)
        assert (camera.read(10.0).seq, camera.trouble, camera.statistics().lost) == (2, "", 1)
    assert source.closed >= source.opened - 1  # whatever was opened was closed


def test_a_source_that_knows_why_nothing_comes_is_quoted() -> None:
    source = ByHand()
    source.reason = "its lens cap is on"
    with NewestCamera(source) as camera:
        assert until(lambda: camera.trouble != "")
        with pytest.raises(StaleFrame, match="no picture has come from by hand: its lens cap is on"):
            camera.read(1.0)


def test_a_recording_that_is_over_leaves_its_last_picture_and_says_so() -> None:
    source = ByHand()
    with NewestCamera(source) as camera:
        source.give(1)
        frame = camera.wait(10.0)
        source.fail("grab", RecordingOver("the recording is over after 1 pictures"))
        assert until(lambda: camera.trouble != "")
        assert camera.read(60.0) is frame
        with pytest.raises(StaleFrame, match="is over"):
            camera.wait(0.05, after=frame)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_driver_that_breaks_is_an_error_and_no_camera_that_is_late() -> None:
    source = ByHand()
    source.fail("grab", ZeroDivisionError("a defect"))
    with NewestCamera(source) as camera:
        with pytest.raises(CameraError, match="ended: a defect"):
            camera.wait(10.0)
        with pytest.raises(CameraError, match="ended: a defect"):
            camera.read(10.0)


def test_a_closed_camera_says_so() -> None:
    source = ByHand()
    camera = NewestCamera(source)
    camera.close()
    camera.close()
    with pytest.raises(StaleFrame, match="closed"):
        camera.read(1.0)
    assert until(lambda: source.closed == 1)


def test_statistics_are_of_stamps_and_arrivals() -> None:
    source = ByHand()
    with NewestCamera(source) as camera:
        assert camera.statistics().rate_hz is None
        for seq in range(10):
            source.give(seq, age_s=1.0 - 0.1 * seq)  # ten a second, the oldest a second late
        assert until(lambda: camera.statistics().pictures == 10)
        found = camera.statistics()
    assert (found.width_px, found.height_px, found.has_depth, found.lost) == (4, 2, False, 0)
    assert found.rate_hz == pytest.approx(10.0, rel=0.2)
    assert found.gap_p95_ms == pytest.approx(100.0, rel=0.4)
    assert found.latency_p50_ms == pytest.approx(550.0, abs=200.0)
    assert found.latency_p95_ms is not None
    assert found.latency_p95_ms > 800.0
