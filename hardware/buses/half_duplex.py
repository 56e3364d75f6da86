"""HalfDuplex: questions and answers on one wire that the host and all the servos share.

Whoever speaks while a servo answers spoils the answer and is not heard. So a write waits while an answer may be on
the wire: 2 ms with servos that answer, `quiet_s` with one that does not. Once no servo can be speaking any more, the
write goes out although the read still waits for bytes that a slow adapter holds back (a USB adapter's latency timer:
16 ms unless set lower. Ref: DynamixelSDK, port_handler).
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from bridge.clock import MonotonicClock
from bridge.ports import Clock
from hardware.buses.chain_frames import FrameParser, FrameShape
from hardware.buses.serial_port import SerialPort
from hardware.buses.turn import Turn
from hardware.errors import BadChecksum, BusLost, NoReply
from hardware.servo_bus import BusHealth

T = TypeVar("T")
_BITS_PER_BYTE = 10  # 8N1: start, eight, stop
#: How long somebody is listened for who is not expected: what `reply_timeout_s` is unless told otherwise.
_BRIEF_S = 0.030


@dataclass(frozen=True, slots=True)
class HalfDuplexSettings:
    """Times and counts of the drivers of such buses."""

    reply_timeout_s: float = 0.030
    """Time to wait for one reply: 2 ms on the wire, 16 ms in the adapter, the rest for a busy machine."""
    read_retries: int = 2
    """How often a read is asked again."""
    quiet_s: float = 0.010
    """After a request, how long a servo may still be speaking. All of ours are done after 5 ms."""
    echo_wait_s: float = 0.050
    """After opening, how long to wait for one's own bytes, to learn whether the adapter echoes."""
    torque_repeats: int = 2
    """How often a torque command is sent."""


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """What a reply meant, and when it was asked for and received (monotonic ns)."""

    value: T
    requested_ns: int
    received_ns: int


class _Hearing(Generic[T]):
    """What comes while one waits for `count` answers: what `take` makes something of, and strange frames."""

    def __init__(self, take: Callable[[bytes], T | None], count: int) -> None:
        self._take, self._count = take, count
        self.taken: list[tuple[T, int]] = []
        self.strangers: list[bytes] = []

    @property
    def is_done(self) -> bool:
        return len(self.taken) >= self._count

    def add(self, frame: bytes, now_ns: int) -> None:
        value = None if self.is_done else self._take(frame)
        if value is None:
            self.strangers.append(frame)
        else:
            self.taken.append((value, now_ns))


class HalfDuplex:
    """One port of one protocol. `tell` and `ask` may be called from any thread.

    `probe` is a request that no servo can answer with the same bytes and that moves nothing. Opening the port sends
    it once: if it comes back, the adapter echoes, and from then on one's own frames are dropped as they come back.
    """

    def __init__(
        self,
        port: str,
        baud: int,
        shape: FrameShape,
        probe: bytes,
        clock: Clock | None = None,
        settings: HalfDuplexSettings | None = None,
    ) -> None:
        """Open the port; raises PortMissing, PortBusy, PortError or BusLost."""
        self.settings = settings or HalfDuplexSettings()
        self.clock: Clock = clock or MonotonicClock()
        self._parser = FrameParser(shape)
        self._probe = probe
        self._byte_ns = round(_BITS_PER_BYTE * 1e9 / baud)
        self._turn = Turn()
        self._reading = threading.Lock()
        self._echoes = False
        self._owed: deque[bytes] = deque(maxlen=64)
        self._wire_free_ns = 0
        self._frames_sent = self._reads_ok = self._retries = self._timeouts = self._late_replies = 0
        self._closing = False
        self._port = SerialPort(port, baud)
        try:
            self._learn_echo()
        except BusLost:
            self._port.close()
            raise

    @property
    def name(self) -> str:
        """The name of the port."""
        return self._port.name

    @property
    def adapter_echoes(self) -> bool:
        """Whether the adapter gave back the probe when the port was last opened."""
        return self._echoes

    def tell(self, frames: Sequence[bytes]) -> None:
        """Send frames that nobody answers, at most once. Waits at most `quiet_s` for a servo to finish speaking.

        Returns when the bytes are with the operating system. Raises BusLost.
        """
        opening = self._port.openings
        self._port.check()
        with self._turn.urgent():
            if self._port.openings != opening:
                raise BusLost(f"{self.name}: the port was lost before this could be sent")
            self._send(frames)

    def ask(self, request: bytes, take: Callable[[bytes], T | None], whom: str) -> Answer[T]:
        """Send a request until `take` makes something of a frame that comes, at most 1 + `read_retries` times.

        Raises BadChecksum where spoilt frames came, NoReply where none or only strange ones came, or BusLost. A lost
        port is opened again first, at most twice a second.
        """
        with self._reading:
            self._reopen_if_lost()
            bad_before, strangers = self._parser.bad_checksums, list[bytes]()
            for attempt in range(1 + self.settings.read_retries):
                self._retries += attempt > 0
                hearing = _Hearing(take, 1)
                if answers := self._exchange(request, hearing):
                    return answers[0]
                strangers += hearing.strangers
            bad = self._parser.bad_checksums > bad_before
        tries = f"in {1 + self.settings.read_retries} tries of {self.settings.reply_timeout_s} s"
        if bad:
            raise BadChecksum(f"{self.name}: replies of {whom} had bad checksums {tries}: check the cable")
        others = sorted({frame[2] for frame in strangers})
        instead = f", but the wrong reply came, from {', '.join(f'servo {i}' for i in others)}" if others else ""
        raise NoReply(f"{self.name}: {whom} did not answer {tries}{instead}: check its cable, its id and the supply")

    def collect(self, request: bytes, take: Callable[[bytes], T | None], count: int) -> list[Answer[T]]:
        """Send a request once and return what `take` makes of the frames that come within one timeout, up to `count`.

        Raises BusLost.
        """
        with self._reading:
            self._reopen_if_lost()
            return self._exchange(request, _Hearing(take, count))

    def hears(self, request: bytes, take: Callable[[bytes], T | None]) -> bool:
        """Send a request once and return whether `take` makes something of what comes soon; raises BusLost."""
        with self._reading:
            self._reopen_if_lost()
            return bool(self._exchange(request, _Hearing(take, 1), _BRIEF_S))

    def read_health(self) -> BusHealth:
        """Return the counters at once; nothing is sent."""
        return BusHealth(
            frames_sent=self._frames_sent,
            reads_ok=self._reads_ok,
            retries=self._retries,
            timeouts=self._timeouts,
            bad_checksums=self._parser.bad_checksums,
            late_replies=self._late_replies,
            garbage_bytes=self._parser.garbage_bytes,
            reconnects=self._port.openings - 1,
        )

    def close(self) -> None:
        """Give the port back once no read is under way; calling it twice is harmless."""
        self._closing = True
        with self._reading, self._turn.urgent():
            self._port.close()

    # On the wire -----------------------------------------------------------------------------------
    def _send(self, frames: Sequence[bytes]) -> int:
        """Write frames; return when (monotonic ns) the last of their bytes will have gone over the wire."""
        data = b"".join(frames)
        start_ns = max(self._wire_free_ns, time.monotonic_ns())
        self._port.write(data)
        self._wire_free_ns = start_ns + len(data) * self._byte_ns
        self._frames_sent += len(frames)
        if self._echoes:
            self._owed.extend(frames)
        return self._wire_free_ns

    def _exchange(self, request: bytes, hearing: _Hearing[T], timeout_s: float | None = None) -> list[Answer[T]]:
        with self._turn.patient():
            if self._closing:
                raise BusLost(f"{self.name}: the port has been closed")
            self._drop_stale()
            requested_ns = self.clock.now_ns()
            sent_ns = self._send([request])
            wait_s = self.settings.reply_timeout_s if timeout_s is None else timeout_s
            deadline_ns = sent_ns + round(wait_s * 1e9)
            self._listen(hearing, min(sent_ns + round(self.settings.quiet_s * 1e9), deadline_ns))
        self._listen(hearing, deadline_ns)
        self._reads_ok += len(hearing.taken)
        self._timeouts += not hearing.is_done
        self._late_replies += len(hearing.strangers)
        return [Answer(value, requested_ns, received_ns) for value, received_ns in hearing.taken]

    def _listen(self, hearing: _Hearing[T], deadline_ns: int) -> None:
        """Hear until there are enough answers or the deadline has passed, even on a line that is never silent."""
        while not hearing.is_done:
            data = self._port.receive(deadline_ns)
            if not data:
                return
            now_ns = self.clock.now_ns()
            for frame in self._parser.feed(data):
                if not self._is_echo(frame):
                    hearing.add(frame, now_ns)
            if time.monotonic_ns() >= deadline_ns:
                return

    def _drop_stale(self) -> None:
        """Forget what came since the last exchange: no answer to the next request can be among it."""
        until_ns = time.monotonic_ns() + round(self.settings.quiet_s * 1e9)
        while (data := self._port.receive(0)) and time.monotonic_ns() < until_ns:
            self._late_replies += sum(not self._is_echo(frame) for frame in self._parser.feed(data))
        self._late_replies += sum(not self._is_echo(frame) for frame in self._parser.give_up())
        if time.monotonic_ns() > self._wire_free_ns + self.settings.echo_wait_s * 1e9:
            self._owed.clear()

    def _is_echo(self, frame: bytes) -> bool:
        """Return whether this is one of our own frames come back; echoes come in the order of the frames."""
        if not self._echoes or frame not in self._owed:
            return False
        while self._owed.popleft() != frame:
            pass
        return True

    def _learn_echo(self) -> None:
        """Find out whether the adapter echoes. Guessing at each reply would go wrong: some replies are requests' twins.

        A Feetech servo whose supply is too low answers a ping with the ping's own bytes.
        """
        self._echoes = False
        self._drop_stale()
        sent_ns = self._send([self._probe])
        wait_ns = sent_ns + round(self.settings.echo_wait_s * 1e9)
        hearing = _Hearing(lambda frame: frame if frame == self._probe else None, 1)
        self._listen(hearing, wait_ns)
        self._echoes = hearing.is_done

    def _reopen_if_lost(self) -> None:
        if not self._port.is_lost:
            return
        with self._turn.patient():
            self._port.reopen()
            self._owed.clear()
            self._learn_echo()
