"""What a robot server is asked to do, and what it has seen."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from bridge.keys import KeyRing
from bridge.stop_latch import StopLatch
from bridge.watchdog import WatchdogLimits


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """What a server does besides answering. `keys`: let in who has one of these, and nobody else."""

    watchdog: WatchdogLimits = field(default_factory=WatchdogLimits)
    #: Whether an emergency stop lets go of the arm instead of holding it: a raised arm falls.
    stop_torque_off: bool = False
    keys: KeyRing | None = None
    #: Where an emergency stop is written down, so that a server that is started again still knows it.
    latch: StopLatch | None = None


class ServerStatistics(msgspec.Struct):
    """What a server has seen since it started."""

    accepted: int = 0
    superseded: int = 0
    stale: int = 0
    duplicate: int = 0
    refused: int = 0
    corrupt: int = 0
    holds: int = 0
    stops: int = 0
    late: int = 0
    watchdog_holds: int = 0
    own_holds: int = 0
    parkings: int = 0
    sessions: int = 0
    strangers: int = 0

    def in_words(self) -> str:
        """Return it as a line for people; what did not happen is left out."""
        rest = (
            (self.superseded, "superseded"),
            (self.stale, "stale"),
            (self.duplicate, "duplicate"),
            (self.refused, "refused"),
            (self.late, "times late"),
            (self.corrupt, "corrupt messages"),
            (self.holds, "holds asked for"),
            (self.watchdog_holds, "holds by the watchdog"),
            (self.own_holds, "holds for the server's own lateness"),
            (self.stops, "emergency stops"),
            (self.strangers, "strangers refused"),
        )
        told = ", ".join(f"{what}: {count}" for count, what in rest if count)
        return f"{self.sessions} sessions, {self.accepted} commands accepted" + (f"; {told}" if told else "")
