"""CameraBlockSource: keeps up with one camera and always knows the newest place of the block, however that is found."""

from __future__ import annotations

import threading
from typing import Protocol

import numpy as np

from bridge.clock import MonotonicClock
from bridge.errors import StaleFrame
from bridge.ports import BlockSighting, Camera, Clock, Frame
from perception.errors import PerceptionError
from urdf.description import Rig
from urdf.pose import Array, Pose

#: A picture waits this long at most before it is looked at; asking for one costs 1 us.
_POLL_NS = 2_000_000


class BlockLocator(Protocol):
    """Whoever finds the block in a picture: by its markers, its colour, its shape in depth, or as it was taught."""

    @property
    def name(self) -> str:
        """By what, in a word or two: it stands in errors."""
        ...

    def locate(self, frame: Frame) -> BlockSighting:
        """Return where the block is, with a covariance and the frame's stamp; raises PerceptionError."""
        ...

    def settle(self) -> None:
        """Do what could wait until the sighting of the last picture was out."""
        ...


def sighting_in_base(
    rig: Rig, desk_from_block: Pose, covariance: Array, stamp_ns: int, marker_ids: tuple[int, ...] = ()
) -> BlockSighting:
    """Return a place in the desk frame, with its covariance (6, 6), as a sighting in the frame of the arm's base."""
    base_from_desk = rig.desk_from_base.inverse()
    turn = np.kron(np.eye(2), base_from_desk.rotation)
    return BlockSighting(base_from_desk @ desk_from_block, stamp_ns, marker_ids, turn @ covariance @ turn.T)


class CameraBlockSource:
    """A BlockSource around a camera. Only the newest frame is processed; a sighting bears that frame's stamp.

    `own_thread` False: nothing is looked at until somebody asks. On a simulated clock a thread that looks a hundred
    times a second would have a hundred turns a second, each of which waits for the operating system to wake it.
    """

    def __init__(
        self,
        camera: Camera,
        locator: BlockLocator,
        max_frame_age_s: float = 0.5,
        clock: Clock | None = None,
        own_thread: bool = True,
    ) -> None:
        self.locator = locator
        self._camera, self._max_frame_age_s = camera, max_frame_age_s
        self._clock = clock or MonotonicClock()
        self._lock = threading.Lock()
        self._sighting: BlockSighting | None = None
        self._missing = "no picture yet"
        self._failure: BaseException | None = None
        self._last_seq: int | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        if own_thread:
            self._thread = threading.Thread(target=self._run, name=f"block by {locator.name}", daemon=True)
            self._thread.start()

    def read_block(self) -> BlockSighting | None:
        """Return the newest sighting, None when the block has never been seen; its age is the caller's to judge."""
        if self._thread is None:
            self._look()
        self._check()
        with self._lock:
            return self._sighting

    def missing(self) -> str:
        """Say in words what the newest picture lacks, or that there is none; empty where the block was found in it."""
        self._check()
        with self._lock:
            return self._missing

    def close(self) -> None:
        """Stop looking; the camera stays its owner's. Calling it twice is harmless."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=2.0)

    def process(self, frame: Frame) -> BlockSighting | None:
        """Locate the block in one frame and remember it; return None, with the reason in `missing`, where it is not."""
        try:
            sighting, reason = self.locator.locate(frame), ""
        except PerceptionError as error:
            sighting, reason = None, str(error)
        with self._lock:
            self._missing = reason
            self._sighting = sighting or self._sighting
        self.locator.settle()
        return sighting

    def _look(self) -> None:
        try:
            frame = self._camera.read(self._max_frame_age_s)
        except StaleFrame as error:
            with self._lock:
                self._missing = f"no fresh picture: {error}"
            return
        if frame.seq != self._last_seq:
            self.process(frame)
            self._last_seq = frame.seq

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._look()
                self._clock.sleep_until(self._clock.now_ns() + _POLL_NS)
        except BaseException as error:  # a dead thread must not look like a block that stands still
            self._failure = error
            raise

    def _check(self) -> None:
        if self._failure is not None:
            raise PerceptionError(
                f"the search for the block by {self.locator.name} stopped: {self._failure}"
            ) from self._failure
