"""The board's end of the Dofbot-SE serial frames, written independently of the driver so that neither hides the other.

heard   FF FC LEN CMD  DATA... CHK        said   FF FB LEN TYPE DATA... CHK
"""

from __future__ import annotations

from dataclasses import dataclass, field

LOWEST_LEN, HIGHEST_LEN = 3, 0x14


@dataclass(frozen=True, slots=True)
class HeardFrame:
    """A command as it came over the wire, and when."""

    stamp_ns: int
    command: int
    data: bytes
    swallowed: bool = False


def position_reply(servo_id: int, ticks: int) -> bytes:
    """Return the reply to a read: the position and the read command's own number, as the vendor's library expects."""
    high, low, tail = ticks >> 8 & 0xFF, ticks & 0xFF, 0x30 + servo_id
    return bytes((0xFF, 0xFB, 0x06, 0x0A, high, low, tail, (0x06 + 0x0A + high + low + tail) % 256))


def number_reply(kind: int, number: int) -> bytes:
    """Return a reply of one byte: a version, a state."""
    return bytes((0xFF, 0xFB, 0x04, kind, number, (0x04 + kind + number) % 256))


def offset_reply(ticks: int) -> bytes:
    """Return the reply to a stored middle: its offset, signed."""
    high, low = ticks >> 8 & 0xFF, ticks & 0xFF
    return bytes((0xFF, 0xFB, 0x05, 0x0B, high, low, (0x05 + 0x0B + high + low) % 256))


def spoil(frame: bytes) -> bytes:
    """Return the frame with a wrong checksum."""
    return frame[:-1] + bytes(((frame[-1] + 0x55) % 256,))


def misname(frame: bytes) -> bytes:
    """Return a position's frame as the servo after it would have said it, sum and all; others as they are."""
    if frame[3] != 0x0A:
        return frame
    return position_reply((frame[6] - 0x30) % 6 + 1, frame[4] << 8 | frame[5])


@dataclass(slots=True)
class CommandScanner:
    """Finds commands in what the host sends; after garbage it finds its footing at the next sound frame."""

    bytes_lost: int = 0
    bad_checksums: int = 0
    _held: bytes = field(default=b"")

    def scan(self, data: bytes) -> list[tuple[int, bytes]]:
        """Return (command, data) of every sound frame completed by `data`."""
        stream, found = self._held + data, list[tuple[int, bytes]]()
        at = 0
        while at < len(stream):
            head = stream[at : at + 3]
            if head[:1] != b"\xff" or (len(head) > 1 and head[1] != 0xFC):
                at, self.bytes_lost = at + 1, self.bytes_lost + 1
            elif len(head) < 3:
                break
            elif not LOWEST_LEN <= head[2] <= HIGHEST_LEN:
                at, self.bytes_lost = at + 1, self.bytes_lost + 1
            elif at + 2 + head[2] > len(stream):
                break
            else:
                body = stream[at + 2 : at + 2 + head[2]]
                if sum(body[:-1]) % 256 == body[-1]:
                    found.append((body[1], body[2:-1]))
                    at += 2 + head[2]
                else:
                    self.bad_checksums += 1
                    at, self.bytes_lost = at + 1, self.bytes_lost + 1
        self._held = stream[at:]
        return found

    def forget(self) -> None:
        """Drop an unfinished frame: the port was closed."""
        self._held = b""
