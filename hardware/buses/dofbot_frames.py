"""Frames of the Dofbot-SE's USB serial protocol, built and parsed by pure functions. 115200 baud, 8N1.

    request   FF FC LEN CMD  DATA... CHK        reply   FF FB LEN TYPE DATA... CHK

LEN counts LEN, CMD, DATA and CHK. CHK is the low byte of the sum from LEN to the last DATA byte. Words are big-endian.
Ref: KNDG01001/Dofbot-Serial_i2c Arm_Lib.py; register numbers as in the vendor's i2c_register_map.xlsx.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from hardware.errors import BadCommand

BAUD = 115200
SERVO_IDS = (1, 2, 3, 4, 5, 6)
MIN_TICKS, MAX_TICKS = 96, 4000  # Ref: i2c_register_map.xlsx, registers 0x11-0x16
MIN_MOVE_MS, MAX_MOVE_MS = 20, 0xFFFF  # Ref: Practitioner108/dofbot_sci_ws dofbot_control; a word

_REQUEST, _REPLY = b"\xff\xfc", b"\xff\xfb"
_LONGEST = 32


class Command(IntEnum):
    """What the host may say. The vendor's array call sends six positions to 0x1E, a time register: 0x1D is meant."""

    VERSION = 0x01
    MOVE_ONE = 0x10  # + servo id 1..6: position, move time
    TORQUE = 0x1A  # 0 off, 1 on, all servos
    MOVE_SIX = 0x1D  # six positions, then one move time for all
    READ_ONE = 0x30  # + servo id 1..6


class ReplyType(IntEnum):
    """What the board may say."""

    VERSION = 0x01  # number
    SERVO = 0x0A  # position, 0x30 + servo id; position 0: the servo does not answer
    OFFSET = 0x0B
    COUNT = 0x22
    SPEECH = 0x2A
    STATE = 0x33


#: LEN of the replies whose layout is known; another length is no such reply.
_REPLY_LENGTHS = {ReplyType.VERSION: 4, ReplyType.SERVO: 6}


def request(command: int, data: bytes = b"") -> bytes:
    """Return the frame of a command."""
    body = bytes((len(data) + 3, command)) + data
    return _REQUEST + body + bytes((sum(body) & 0xFF,))


def _word(value: int) -> bytes:
    return value.to_bytes(2, "big")


def _ticks(value: int) -> bytes:
    if not MIN_TICKS <= value <= MAX_TICKS:
        raise BadCommand(f"a servo takes {MIN_TICKS} to {MAX_TICKS} ticks, got {value}")
    return _word(value)


def _servo(servo_id: int) -> int:
    if servo_id not in SERVO_IDS:
        raise BadCommand(f"this board drives servos {SERVO_IDS}, got {servo_id}")
    return servo_id


def _move_time(duration_s: float) -> bytes:
    if not math.isfinite(duration_s) or not 0 < duration_s <= MAX_MOVE_MS / 1000:
        raise BadCommand(f"a move takes more than 0 and at most {MAX_MOVE_MS / 1000} s, got {duration_s}")
    return _word(max(MIN_MOVE_MS, math.floor(1000 * duration_s + 0.5)))


def move_one(servo_id: int, ticks: int, duration_s: float) -> bytes:
    """Return the frame that sends one servo to a count."""
    return request(Command.MOVE_ONE + _servo(servo_id), _ticks(ticks) + _move_time(duration_s))


def move_six(ticks: Sequence[int], duration_s: float) -> bytes:
    """Return the frame that sends servos 1 to 6 to their counts in one common time."""
    if len(ticks) != len(SERVO_IDS):
        raise BadCommand(f"expected {len(SERVO_IDS)} counts, got {len(ticks)}")
    return request(Command.MOVE_SIX, b"".join(_ticks(t) for t in ticks) + _move_time(duration_s))


def read_one(servo_id: int) -> bytes:
    """Return the frame that asks for one servo's position."""
    return request(Command.READ_ONE + _servo(servo_id))


def torque(on: bool) -> bytes:
    """Return the frame that switches every servo's torque."""
    return request(Command.TORQUE, bytes((int(on),)))


def version() -> bytes:
    """Return the frame that asks for the firmware's version: moves nothing."""
    return request(Command.VERSION)


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply whose checksum holds."""

    kind: int
    data: bytes

    def servo(self) -> tuple[int, int] | None:
        """Return (servo id, ticks) of a position reply, or None when it is another reply or names no servo."""
        if self.kind != ReplyType.SERVO or len(self.data) != 3:
            return None
        servo_id = self.data[2] - Command.READ_ONE
        return (servo_id, int.from_bytes(self.data[:2], "big")) if servo_id in SERVO_IDS else None


class ReplyParser:
    """Finds replies in a byte stream, whatever surrounds them; never raises. Counts what it had to throw away."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.bad_checksums = 0
        self.garbage_bytes = 0

    @property
    def is_waiting(self) -> bool:
        """Whether a frame has begun and not ended."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> list[Reply]:
        """Return the replies completed by `data`."""
        self._buffer += data
        replies: list[Reply] = []
        while True:
            self._skip_to_header()
            length = self._frame_length()
            if length is None:
                return replies
            if length == 0 or not self._is_sound(length):
                self._drop(1)
                continue
            replies.append(Reply(self._buffer[3], bytes(self._buffer[4 : 1 + length])))
            del self._buffer[: 2 + length]

    def give_up(self) -> list[Reply]:
        """Treat an unfinished frame as garbage, since nothing followed; return what was hidden behind its head."""
        if not self._buffer:
            return []
        self._drop(1)
        return self.feed(b"")

    def clear(self) -> None:
        """Forget everything received so far."""
        self.garbage_bytes += len(self._buffer)
        self._buffer.clear()

    def _drop(self, count: int) -> None:
        self.garbage_bytes += count
        del self._buffer[:count]

    def _skip_to_header(self) -> None:
        start = self._buffer.find(_REPLY)
        if start < 0:
            start = len(self._buffer) - (1 if self._buffer.endswith(_REPLY[:1]) else 0)
        self._drop(start)

    def _frame_length(self) -> int | None:
        """Return LEN of the frame at the start, 0 when it cannot be one, None when more bytes are needed."""
        if len(self._buffer) < 4:
            return None if len(self._buffer) < 3 or 3 <= self._buffer[2] <= _LONGEST else 0
        length, kind = self._buffer[2], self._buffer[3]
        known = {int(k): v for k, v in _REPLY_LENGTHS.items()}.get(kind)
        if not 3 <= length <= _LONGEST or (known is not None and known != length):
            return 0
        return length if len(self._buffer) >= 2 + length else None

    def _is_sound(self, length: int) -> bool:
        sound = sum(self._buffer[2 : 1 + length]) & 0xFF == self._buffer[1 + length]
        self.bad_checksums += not sound
        return sound
