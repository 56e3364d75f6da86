"""FaultLatch: what has gone wrong with an arm and stays wrong until somebody clears it, and whether the arm stands."""

from __future__ import annotations

import threading

from hardware.errors import HardwareError


class FaultLatch:
    """Whoever commands the arm holds `lock` meanwhile, so that a fault is never overtaken by a command."""

    def __init__(self) -> None:
        """Begin without a fault, with an arm that stands."""
        self.lock = threading.RLock()
        self.reason = ""
        """The first fault, in words; empty where there is none."""
        self.adrift = False
        """Whether nobody can know where the arm stands or what moves it: then not even a hold is written."""
        self.holding = True
        """Whether the arm stands still because somebody, or something, said so."""
        self.stops = 0
        """How often it was stopped: whoever leads it slowly gives up when this grows."""

    def latch(self, why: HardwareError, adrift: bool = False) -> None:
        """Latch a fault; the first one keeps its words."""
        with self.lock:
            self.reason = self.reason or f"{type(why).__name__}: {why}"
            self.adrift = self.adrift or adrift
            self.holding = True
            self.stops += adrift

    def stop(self) -> None:
        """Take note that the arm is stopped, or let go."""
        with self.lock:
            self.holding = True
            self.stops += 1

    def clear(self) -> None:
        """Forget the fault: the arm has been found, and stands."""
        with self.lock:
            self.adrift, self.holding, self.reason = False, True, ""
