"""Parking: the slow walk to the rest pose of an arm that nobody leads any more, while the server goes on listening."""

from __future__ import annotations

import threading
from collections.abc import Callable

from bridge.ports import RelaxingRobot
from urdf.pose import Array


class Parking:
    """One walk at a time, in a thread of its own. Whoever wants the arm ends it."""

    def __init__(self, robot: RelaxingRobot, rest_rad: Array) -> None:
        self._robot, self._rest_rad = robot, rest_rad
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self, on_failure: Callable[[str], None]) -> None:
        """Walk to the rest pose and stay there with the torque on; `on_failure` hears why not, from that thread."""
        self.end()
        self._stop.clear()
        self._thread = threading.Thread(target=self._walk, args=(on_failure,), name="parking", daemon=True)
        self._thread.start()

    @property
    def walking(self) -> bool:
        """Whether the arm is on its way."""
        return self._thread is not None and self._thread.is_alive()

    def interrupt(self) -> bool:
        """Ask the walk to stop, and return at once whether there was one: it may still write a step or two."""
        self._stop.set()
        return self._thread is not None

    def end(self) -> None:
        """Stop on the way; returns when the walk writes no more."""
        if self.interrupt() and self._thread is not None:
            self._thread.join()
            self._thread = None

    def _walk(self, on_failure: Callable[[str], None]) -> None:
        try:
            self._robot.park(self._rest_rad, self._stop.is_set)
        except Exception as error:  # the arm holds, and serving goes on
            if not self._stop.is_set():  # who ended the walk knows that it ended
                on_failure(str(error))
