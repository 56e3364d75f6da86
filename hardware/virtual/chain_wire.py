"""ChainWire: the one wire of servos that answer by themselves, and its time: one speaks, every byte takes its while.

Written independently of the drivers, so that neither hides the other's mistakes:

    H H ID LEN CODE... CHK        ID + LEN + CODE... + CHK = 0xFF in its low byte
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from hardware.virtual.pty_port import PtyPort

_BITS = 10
#: A servo that hears nothing for so long takes what comes next for a new frame.
_GAP_NS = 10_000_000


@dataclass(frozen=True, slots=True)
class HeardRequest:
    """A sound frame of the host's, and when its last byte had gone over the wire."""

    stamp_ns: int
    servo_id: int
    code: int
    params: bytes


@dataclass(slots=True)
class ChainFaults:
    """Faults on request: how many more times each happens; `FOREVER` until cleared."""

    FOREVER = 1 << 60

    drop_replies: int = 0
    corrupt_replies: int = 0
    wrong_id_replies: int = 0
    split_replies: int = 0
    split_gap_s: float = 0.004
    silent_servos: set[int] = field(default_factory=set[int])
    echo: bool = False
    """The adapter joins both directions on one wire, so that the host hears itself."""

    def clear(self) -> None:
        """End every fault."""
        self.drop_replies = self.corrupt_replies = self.wrong_id_replies = self.split_replies = 0
        self.silent_servos.clear()
        self.echo = False


class RequestScanner:
    """Hears one byte at a time, as a servo does; after garbage it finds its footing at the next header."""

    def __init__(self, head: int, uncounted: int) -> None:
        self._head, self._uncounted = head, uncounted
        self._held: list[int] = []
        self.bad_checksums = 0

    def hear(self, byte: int) -> tuple[int, int, bytes] | None:
        """Return (id, code, parameters) where this byte completes a sound frame."""
        held = self._held
        held.append(byte)
        place = len(held)
        if (place <= 2 and byte != self._head) or (place == 4 and byte < 5 - self._uncounted + 1):
            held.clear()
        elif place == 3 and byte == 0xFF:
            held.pop()  # one header byte more
        elif place > 4 and place == held[3] + self._uncounted:
            self._held = []
            if sum(held[2:]) % 256 == 0xFF:
                return held[2], held[4], bytes(held[5:-1])
            self.bad_checksums += 1
        return None

    def forget(self) -> None:
        """Drop an unfinished frame."""
        self._held = []


@dataclass(slots=True)
class _Speech:
    start_ns: int
    end_ns: int
    data: bytes
    is_reply: bool


class ChainWire:
    """One half-duplex wire behind a port. Requests are heard, and replies reach the host, once they are over it."""

    def __init__(self, pty: PtyPort, baud: int, head: int, uncounted: int, faults: ChainFaults) -> None:
        self.heard: deque[HeardRequest] = deque(maxlen=20_000)
        self.replies_sent = self.collisions = 0
        self._pty, self._faults = pty, faults
        self._head, self._uncounted = head, uncounted
        self._byte_ns = round(_BITS * 1e9 / baud)
        self._scanner = RequestScanner(head, uncounted)
        self._host_free_ns = 0
        self._coming: deque[HeardRequest] = deque()
        self._speeches: list[_Speech] = []

    def hear(self, now_ns: int) -> list[HeardRequest]:
        """Return the requests whose last byte is over the wire by now, in their order."""
        self._send(now_ns)
        data = self._pty.receive()
        if data is None:
            self._forget()
        elif data:
            self._take_in(data, now_ns)
        due: list[HeardRequest] = []
        while self._coming and self._coming[0].stamp_ns <= now_ns:
            due.append(self._coming.popleft())
        self.heard.extend(due)
        return due

    def reply(self, servo_id: int, body: bytes, start_ns: int) -> int:
        """Let a servo say `body` (code or status, parameters) from `start_ns` on; return when it has finished."""
        faults = self._faults
        if servo_id in faults.silent_servos:
            return start_ns
        end_ns = start_ns + (len(body) + 5) * self._byte_ns
        if faults.drop_replies > 0:
            faults.drop_replies -= 1
            return end_ns
        if faults.wrong_id_replies > 0:
            faults.wrong_id_replies -= 1
            servo_id += 8
        frame = self._frame(servo_id, body)
        if faults.corrupt_replies > 0:
            faults.corrupt_replies -= 1
            frame = frame[:-1] + bytes((frame[-1] ^ 0x55,))
        self.replies_sent += 1
        if faults.split_replies <= 0:
            self._speeches.append(_Speech(start_ns, end_ns, frame, True))
            return end_ns
        faults.split_replies -= 1
        half, gap_ns = len(frame) // 2, round(faults.split_gap_s * 1e9)
        middle_ns = start_ns + half * self._byte_ns
        self._speeches.append(_Speech(start_ns, middle_ns, frame[:half], True))
        self._speeches.append(_Speech(middle_ns + gap_ns, end_ns + gap_ns, frame[half:], True))
        return end_ns + gap_ns

    def finish(self, now_ns: int) -> int | None:
        """Hand over the replies that are over the wire by now; return when something next happens on it."""
        self._send(now_ns)
        times = [s.end_ns for s in self._speeches] + [r.stamp_ns for r in self._coming]
        return min(times, default=None)

    def _frame(self, servo_id: int, body: bytes) -> bytes:
        told = [servo_id, len(body) + 5 - self._uncounted, *body]
        return bytes((self._head, self._head, *told, 0xFF - sum(told) % 256))

    def _take_in(self, data: bytes, now_ns: int) -> None:
        start_ns = max(now_ns, self._host_free_ns)
        if start_ns - self._host_free_ns > _GAP_NS:
            self._scanner.forget()
        end_ns = self._host_free_ns = start_ns + len(data) * self._byte_ns
        if self._faults.echo:
            self._speeches.append(_Speech(start_ns, end_ns, data, False))
        if self._collides(start_ns, end_ns):
            self._scanner.forget()
            return
        for place, byte in enumerate(data, start=1):
            if request := self._scanner.hear(byte):
                self._coming.append(HeardRequest(start_ns + place * self._byte_ns, *request))

    def _collides(self, start_ns: int, end_ns: int) -> bool:
        """Return whether the host speaks into a reply; both are spoilt."""
        struck = [s for s in self._speeches if s.is_reply and s.start_ns < end_ns and s.end_ns > start_ns]
        for speech in struck:
            speech.data = bytes(byte & 0xA5 for byte in speech.data)
        self.collisions += bool(struck)
        return bool(struck)

    def _send(self, now_ns: int) -> None:
        self._speeches.sort(key=lambda s: s.end_ns)
        while self._speeches and self._speeches[0].end_ns <= now_ns:
            self._pty.send(self._speeches.pop(0).data)

    def _forget(self) -> None:
        self._scanner.forget()
        self._coming.clear()
        self._speeches.clear()
