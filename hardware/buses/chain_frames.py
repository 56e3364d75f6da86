"""Frames of servo chains whose servos answer by themselves: what LX-16A and Feetech have in common.

    H H ID LEN BODY... CHK        CHK = low byte of ~(ID + LEN + BODY)

The two differ in the header byte and in what LEN counts. Requests and replies have the same shape, so a parser finds
both: an adapter that joins transmitter and receiver on one wire lets the host hear itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

BROADCAST_ID = 0xFE
#: A servo that answers to another id than expected has one of the first few: new ones have 1.
LIKELY_IDS = range(1, 13)


@dataclass(frozen=True, slots=True)
class FrameShape:
    """What tells one protocol's frames from another's."""

    header: bytes
    #: Bytes of a frame that its LEN does not count.
    uncounted: int
    #: The smallest and the largest LEN.
    lengths: tuple[int, int]

    def seal(self, servo_id: int, body: bytes) -> bytes:
        """Return the frame that carries `body` to or from a servo."""
        covered = bytes((servo_id, len(body) + 5 - self.uncounted)) + body
        return self.header + covered + bytes((checksum(covered),))


def checksum(covered: bytes | bytearray) -> int:
    """Return the checksum of the bytes from ID to the last parameter."""
    return ~sum(covered) & 0xFF


class FrameParser:
    """Finds frames in a byte stream, whatever surrounds them; never raises. Counts what it had to throw away."""

    def __init__(self, shape: FrameShape) -> None:
        self._shape = shape
        self._buffer = bytearray()
        self.bad_checksums = 0
        self.garbage_bytes = 0

    @property
    def is_waiting(self) -> bool:
        """Whether a frame has begun and not ended."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> Sequence[bytes]:
        """Return the whole, sound frames completed by `data`."""
        self._buffer += data
        found: list[bytes] = []
        while True:
            self._skip_to_header()
            size = self._frame_size()
            if size is None:
                return found
            if size == 0 or not self._is_sound(size):
                self._drop(1)
                continue
            found.append(bytes(self._buffer[:size]))
            del self._buffer[:size]

    def give_up(self) -> Sequence[bytes]:
        """Treat an unfinished frame as garbage, since nothing followed; return what was hidden behind its head."""
        found: list[bytes] = []
        while self._buffer:
            self._drop(1)
            found += self.feed(b"")
        return found

    def _drop(self, count: int) -> None:
        self.garbage_bytes += count
        del self._buffer[:count]

    def _skip_to_header(self) -> None:
        start = self._buffer.find(self._shape.header)
        if start < 0:
            start = len(self._buffer) - (1 if self._buffer.endswith(self._shape.header[:1]) else 0)
        self._drop(start)

    def _frame_size(self) -> int | None:
        """Return the size of the frame at the start, 0 when it cannot be one, None when more bytes are needed."""
        if len(self._buffer) < 4:
            return 0 if len(self._buffer) == 3 and self._buffer[2] > BROADCAST_ID else None
        shortest, longest = self._shape.lengths
        if self._buffer[2] > BROADCAST_ID or not shortest <= self._buffer[3] <= longest:
            return 0
        size = self._buffer[3] + self._shape.uncounted
        return size if len(self._buffer) >= size else None

    def _is_sound(self, size: int) -> bool:
        sound = checksum(self._buffer[2 : size - 1]) == self._buffer[size - 1]
        self.bad_checksums += not sound
        return sound
