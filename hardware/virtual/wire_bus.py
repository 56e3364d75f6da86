"""The Dofbot's serial bus on a wire inside one process: the same driver and the same bytes, on a simulated clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from bridge.ports import Clock
from hardware.buses.dofbot_frames import ReplyParser
from hardware.buses.dofbot_line import Answer, Awaited, DofbotLine, answered_number
from hardware.buses.dofbot_serial import DofbotSerialBus
from hardware.errors import BusLost
from hardware.virtual.wire_bytes import Wire


class WaitingClock(Clock, Protocol):
    """A clock that knows how to wait for something else than a time."""

    def wait_for(self, happened: Callable[[], bool], deadline_ns: int) -> bool:
        """Return once `happened`, or at the deadline; whether it did."""
        ...


class WireLine(DofbotLine):
    """A DofbotLine on a wire: no port, no reader thread; who asks waits on the clock and reads for himself."""

    def __init__(self, wire: Wire, clock: WaitingClock, parser: ReplyParser) -> None:
        self._wire, self._waiting, self._parser = wire, clock, parser
        self._port, self._lost, self._closing = wire.name, "", False
        self.frames_sent = self.late_replies = 0

    def write(self, frame: bytes) -> None:
        """Send a frame; raises BusLost once closed."""
        if self._closing:
            raise BusLost(f"{self._port}: the wire has been closed")
        self._wire.host_send(frame)
        self.frames_sent += 1

    def ask(self, frame: bytes, awaited: Awaited, timeout_s: float) -> Answer | None:
        """Send a frame and wait for its reply; None on timeout."""
        requested_ns = self._waiting.now_ns()
        deadline_ns = requested_ns + round(timeout_s * 1e9)
        self.write(frame)
        while self._waiting.wait_for(self._has_news, deadline_ns):
            if self._closing:
                raise BusLost(f"{self._port}: the wire has been closed")
            for reply in self._parser.feed(self._wire.host_receive()):
                number = answered_number(reply, awaited)
                if number is not None:
                    return Answer(number, requested_ns, self._waiting.now_ns())
                self.late_replies += 1
        return None

    def close(self) -> None:
        """Say nothing any more."""
        self._closing = True

    def _has_news(self) -> bool:
        return self._wire.has_news or self._closing


class WiredDofbotBus(DofbotSerialBus):
    """The Dofbot's serial bus on a wire instead of a port."""

    def __init__(self, wire: Wire, clock: WaitingClock) -> None:
        self._wire, self._waiting = wire, clock
        super().__init__(wire.name, clock)

    def _open_line(self) -> DofbotLine:
        return WireLine(self._wire, self._waiting, self._parser)
