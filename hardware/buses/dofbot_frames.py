"""Frames of the Dofbot-SE's USB serial protocol, built and parsed by pure functions. 115200 baud, 8N1.

    request   FF FC LEN CMD  DATA... CHK        reply   FF FB LEN TYPE DATA... CHK

LEN counts LEN, CMD, DATA and CHK. CHK is the low byte of the sum from LEN to the last DATA byte. Words are big-endian.
Commands are the co-processor's registers. Ref: KNDG01001/Dofbot-Serial_i2c Arm_Lib.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from hardware.buses.dofbot_registers import (
    SERVO_IDS,
    Register,
    any_servo,
    beep_byte,
    lamp_bytes,
    middle_servo,
    move_time_word,
    own_servo,
    six_words,
    ticks_word,
)

BAUD = 115200

_REQUEST, _REPLY = b"\xff\xfc", b"\xff\xfb"
_LONGEST = 32


class ReplyType(IntEnum):
    """What the board may say."""

    VERSION = 0x01  # number
    SERVO = 0x0A  # position, 0x30 + servo id; position 0: the servo does not answer
    OFFSET = 0x0B  # a word: how far a stored middle is from the factory's
    COUNT = 0x22
    SPEECH = 0x2A
    STATE = 0x33  # a MiddleStatus


#: LEN of the replies whose layout is known; another length is no such reply.
_REPLY_LENGTHS = {ReplyType.VERSION: 4, ReplyType.SERVO: 6, ReplyType.OFFSET: 5, ReplyType.STATE: 4}


def request(command: int, data: bytes = b"") -> bytes:
    """Return the frame of a command."""
    body = bytes((len(data) + 3, command)) + data
    return _REQUEST + body + bytes((sum(body) & 0xFF,))


def move_one(servo_id: int, ticks: int, duration_s: float) -> bytes:
    """Return the frame that sends one of the six servos to a count."""
    return request(Register.MOVE_ONE + own_servo(servo_id), ticks_word(ticks) + move_time_word(duration_s))


def move_any(servo_id: int, ticks: int, duration_s: float) -> bytes:
    """Return the frame that sends a servo of any id to a count."""
    return request(Register.MOVE_ANY, bytes((any_servo(servo_id),)) + ticks_word(ticks) + move_time_word(duration_s))


def move_all(ticks: int, duration_s: float) -> bytes:
    """Return the frame that sends every servo to one count. The vendor's carries a byte too many for its length."""
    return request(Register.MOVE_ALL, ticks_word(ticks) + move_time_word(duration_s))


def move_six(ticks: Sequence[int], duration_s: float) -> bytes:
    """Return the frame that sends servos 1 to 6 to their counts in one common time."""
    return request(Register.MOVE_SIX, six_words(ticks) + move_time_word(duration_s))


def read_one(servo_id: int) -> bytes:
    """Return the frame that asks for one servo's position."""
    return request(Register.READ_ONE + own_servo(servo_id))


def torque(on: bool) -> bytes:
    """Return the frame that switches every servo's torque."""
    return request(Register.TORQUE, bytes((int(on),)))


def lamp(red: int, green: int, blue: int) -> bytes:
    """Return the frame that colours the board's lamp."""
    return request(Register.RGB, lamp_bytes(red, green, blue))


def buzzer(duration_s: float | None) -> bytes:
    """Return the frame that sounds the buzzer: for up to 5 s, for ever (None), or no more (0)."""
    return request(Register.BUZZER, beep_byte(duration_s))


def store_middle(servo_id: int) -> bytes:
    """Return the frame that makes where a servo stands its middle; 0: every servo's factory middle."""
    return request(Register.STORE_MIDDLE, middle_servo(servo_id))


def middle_status() -> bytes:
    """Return the frame that asks what became of the last stored middle."""
    return request(Register.MIDDLE_STATUS)


def version() -> bytes:
    """Return the frame that asks for the firmware's version: moves nothing."""
    return request(Register.VERSION)


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply whose checksum holds."""

    kind: int
    data: bytes

    def servo(self) -> tuple[int, int] | None:
        """Return (servo id, ticks) of a position reply, or None when it is another reply or names no servo."""
        if self.kind != ReplyType.SERVO or len(self.data) != 3:
            return None
        servo_id = self.data[2] - Register.READ_ONE
        return (servo_id, int.from_bytes(self.data[:2], "big")) if servo_id in SERVO_IDS else None

    def number(self) -> int:
        """Return the data as one number: a version, a status, an offset (signed)."""
        return int.from_bytes(self.data, "big", signed=self.kind == ReplyType.OFFSET)


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
