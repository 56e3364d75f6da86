"""BlockTracker: keeps up with a camera in the background and always knows the newest place of the block."""

from __future__ import annotations

import threading

import numpy as np

from bridge.clock import MonotonicClock
from bridge.errors import StaleFrame
from bridge.ports import BlockSighting, Camera, Clock, Frame
from calibration.boards import BLOCK, desk_from_board, see_markers
from perception.errors import PerceptionError
from perception.locate import CameraFilter, fix_camera, locate_block
from urdf.description import Rig
from urdf.pose import Array

_BOARD_AGE_S = 2.0  # the camera stands still, so a board hidden by the arm for a moment is no loss
_POLL_NS = 2_000_000  # a picture waits this long at most before it is looked at; asking for one costs 1 us


class BlockTracker:
    """A BlockSource around a camera. Only the newest frame is processed; a sighting bears that frame's stamp."""

    def __init__(self, camera: Camera, rig: Rig, max_frame_age_s: float = 0.5, clock: Clock | None = None) -> None:
        self._camera = camera
        self._desk_from_board = desk_from_board(rig)
        self._base_from_desk = rig.desk_from_base.inverse()
        self._max_frame_age_s = max_frame_age_s
        self._clock = clock or MonotonicClock()
        self._filter = CameraFilter()
        self._camera_covariance: Array | None = None
        self._lock = threading.Lock()
        self._sighting: BlockSighting | None = None
        self._missing = "no picture yet"
        self._failure: BaseException | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="block tracker", daemon=True)
        self._thread.start()

    def read_block(self) -> BlockSighting | None:
        """Return the newest sighting, None when the block has never been seen; its age is the caller's to judge."""
        self._check()
        with self._lock:
            return self._sighting

    def missing(self) -> str:
        """Say in words what the newest picture lacks: the picture itself, the board or the block; empty if nothing."""
        self._check()
        with self._lock:
            return self._missing

    def close(self) -> None:
        """Stop the thread; the camera stays its owner's. Calling it twice is harmless."""
        self._stop.set()
        self._thread.join(timeout=2.0)

    def process(self, frame: Frame) -> BlockSighting | None:
        """Locate the block in one frame and remember it; return None, with the reason in `missing`, where it is not."""
        try:
            sighting = self._locate(frame)
            reason = ""
        except PerceptionError as error:
            sighting, reason = None, str(error)
        with self._lock:
            self._missing = reason
            self._sighting = sighting or self._sighting
        return sighting

    def _locate(self, frame: Frame) -> BlockSighting:
        # The board has corners enough; the block has few, so every edge of its prints counts.
        seen_px, fits = see_markers(frame.rgb, frame.intrinsics, BLOCK.ids)
        try:
            camera = fix_camera(seen_px, frame.intrinsics, self._desk_from_board)
            desk_from_camera = self._filter.add(camera.desk_from_camera, frame.stamp_ns)
            self._camera_covariance = camera.covariance
        except PerceptionError:
            if self._filter.age_s(frame.stamp_ns) > _BOARD_AGE_S:
                raise
            desk_from_camera = self._filter.pose()
        fix = locate_block(seen_px, frame.intrinsics, desk_from_camera, fits, self._camera_covariance)
        turn = np.kron(np.eye(2), self._base_from_desk.rotation)
        return BlockSighting(
            self._base_from_desk @ fix.desk_from_block,
            frame.stamp_ns,
            fix.marker_ids,
            turn @ fix.covariance @ turn.T,
        )

    def _run(self) -> None:
        last_seq: int | None = None
        try:
            while not self._stop.is_set():
                try:
                    frame = self._camera.read(self._max_frame_age_s)
                except StaleFrame as error:
                    with self._lock:
                        self._missing = f"no fresh picture: {error}"
                else:
                    if frame.seq != last_seq:
                        self.process(frame)
                        last_seq = frame.seq
                self._clock.sleep_until(self._clock.now_ns() + _POLL_NS)
        except BaseException as error:  # a dead thread must not look like a block that stands still
            self._failure = error
            raise

    def _check(self) -> None:
        if self._failure is not None:
            raise PerceptionError(f"the block tracker stopped: {self._failure}") from self._failure
