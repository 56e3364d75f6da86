"""A camera process in this one: whoever opens its endpoint sees one frame again and again."""

from __future__ import annotations

import threading

from bridge.clock import MonotonicClock
from bridge.ports import Frame
from hardware.cameras.remote import FrameSender


class Sending:
    """A camera process: sends one frame again and again, stamped anew."""

    def __init__(self, endpoint: str, frame: Frame) -> None:
        self._sender, self._frame, self._stop = FrameSender(endpoint), frame, threading.Event()
        self._thread = threading.Thread(target=self._send, daemon=True)
        self._thread.start()

    def _send(self) -> None:
        seq = 0
        while not self._stop.wait(0.05):
            seq += 1
            f = self._frame
            self._sender.send(Frame(f.name, seq, MonotonicClock().now_ns(), f.rgb, f.intrinsics, f.depth_m))

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._sender.close()
