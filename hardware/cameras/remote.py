"""RemoteCamera: the newest frame of a picture stream on this machine; FrameSender: the other end of it.

Both ends share one monotonic clock, so a frame's stamp needs no translation. Nothing queues: the socket keeps one
message, the newest.
"""

from __future__ import annotations

import threading

import zmq

from bridge.clock import MonotonicClock
from bridge.errors import BadMessage, StaleFrame
from bridge.frames import MAX_FRAME_BYTES, decode_frame, encode_frame
from bridge.link import check_endpoint
from bridge.ports import Clock, Frame


class FrameSender:
    """Publishes frames on an ipc or loopback endpoint; a subscriber that is slow or gone costs nothing."""

    def __init__(self, endpoint: str) -> None:
        """Bind at once; raises EndpointRefused."""
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PUB)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.SNDHWM, 1)
        self._socket.bind(check_endpoint(endpoint))

    def send(self, frame: Frame) -> None:
        """Publish one frame; never waits."""
        self._socket.send(encode_frame(frame), zmq.NOBLOCK)

    def close(self) -> None:
        """Close the socket; calling it twice is harmless."""
        self._socket.close(0)
        self._context.term()


class RemoteCamera:
    """A Camera behind a FrameSender. May be read from several threads; never waits."""

    def __init__(self, endpoint: str, clock: Clock | None = None) -> None:
        self.endpoint = check_endpoint(endpoint)
        self.corrupt = 0
        """Messages that were no picture; they are dropped."""
        self._clock = clock or MonotonicClock()
        self._lock = threading.Lock()
        self._newest: Frame | None = None
        self._closed = False
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        for option, value in ((zmq.LINGER, 0), (zmq.CONFLATE, 1), (zmq.MAXMSGSIZE, MAX_FRAME_BYTES)):
            self._socket.setsockopt(option, value)
        self._socket.setsockopt(zmq.SUBSCRIBE, b"")
        self._socket.connect(self.endpoint)

    def read(self, max_age_s: float) -> Frame:
        """Return the newest frame at once; raises StaleFrame where none has come or it is older than `max_age_s`."""
        with self._lock:
            if self._closed:
                raise StaleFrame(f"the camera at {self.endpoint} was closed")
            self._receive()
            frame = self._newest
        if frame is None:
            raise StaleFrame(f"no picture has come from {self.endpoint}: is the camera's process running?")
        age_s = (self._clock.now_ns() - frame.stamp_ns) * 1e-9
        if age_s > max_age_s:
            raise StaleFrame(
                f"the newest picture from {self.endpoint} is {age_s:.2f} s old, at most {max_age_s:.2f} s are accepted"
            )
        return frame

    def close(self) -> None:
        """Close the socket; calling it twice is harmless."""
        with self._lock:
            self._closed = True
            self._socket.close(0)
            self._context.term()

    def _receive(self) -> None:
        try:
            data = self._socket.recv(zmq.NOBLOCK)
        except zmq.Again:
            return
        try:
            frame = decode_frame(data)
        except BadMessage:
            self.corrupt += 1
            return
        self._newest = frame
