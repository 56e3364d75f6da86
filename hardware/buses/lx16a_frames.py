"""Frames of the Hiwonder / LewanSoul LX-16A bus servo, built and read by pure functions. 115200 baud, 8N1.

    55 55 ID LEN CMD PARAMS... CHK

LEN counts LEN, CMD, PARAMS and CHK: three more than the parameters. CHK is the low byte of ~(ID + ... + PARAMS).
Words are little-endian. A servo answers reads, with the read's own command number, and nothing else.
Ref: maximkulkin/lewansoul-lx16a lewansoul_lx16a.py; ethanlipson/PyLX-16A lx16a.py.
"""

from __future__ import annotations

import math
from enum import IntEnum

from hardware.buses.chain_frames import FrameShape
from hardware.errors import BadCommand

BAUD = 115200
#: LEN of the longest frame: a move's two words. Ref: as above.
SHAPE = FrameShape(header=b"\x55\x55", uncounted=3, lengths=(3, 7))
MAX_SERVO_ID = 0xFD
MIN_TICKS, MAX_TICKS = 0, 1000  # 0 to 240 deg
MAX_MOVE_MS = 30_000
MAX_OFFSET_TICKS = 125


class Command(IntEnum):
    """What the host may say. Ref: maximkulkin/lewansoul-lx16a; in comments, parameters and units."""

    MOVE_TIME_WRITE = 1  # position 0..1000, time 0..30000 ms; 0 is as fast as it goes
    MOVE_TIME_READ = 2
    MOVE_TIME_WAIT_WRITE = 7  # as 1, but waits for MOVE_START
    MOVE_TIME_WAIT_READ = 8
    MOVE_START = 11
    MOVE_STOP = 12
    ID_WRITE = 13
    ID_READ = 14
    ANGLE_OFFSET_ADJUST = 17  # -125..125 ticks, signed; lost at power-down
    ANGLE_OFFSET_WRITE = 18  # keeps the adjusted offset
    ANGLE_OFFSET_READ = 19
    ANGLE_LIMIT_WRITE = 20
    ANGLE_LIMIT_READ = 21
    VIN_LIMIT_WRITE = 22  # 4500..12000 mV, lowest and highest
    VIN_LIMIT_READ = 23
    TEMP_MAX_LIMIT_WRITE = 24  # 50..100 degrees C
    TEMP_MAX_LIMIT_READ = 25
    TEMP_READ = 26  # degrees C
    VIN_READ = 27  # mV
    POS_READ = 28  # signed: a servo turned by hand stands outside 0..1000 too
    SERVO_OR_MOTOR_MODE_WRITE = 29
    SERVO_OR_MOTOR_MODE_READ = 30
    LOAD_OR_UNLOAD_WRITE = 31  # 0 no torque, 1 torque
    LOAD_OR_UNLOAD_READ = 32
    LED_CTRL_WRITE = 33
    LED_CTRL_READ = 34
    LED_ERROR_WRITE = 35  # which faults the lamp shows: 1 temperature, 2 voltage, 4 stall
    LED_ERROR_READ = 36


def request(servo_id: int, command: int, params: bytes = b"") -> bytes:
    """Return the frame of a command to one servo, or to all with 0xFE."""
    if not 0 <= servo_id <= MAX_SERVO_ID + 1:
        raise BadCommand(f"an LX-16A has an id from 0 to {MAX_SERVO_ID}, got {servo_id}")
    return SHAPE.seal(servo_id, bytes((command,)) + params)


def move(servo_id: int, ticks: int, duration_s: float) -> bytes:
    """Return the frame that sends one servo to a count."""
    if not MIN_TICKS <= ticks <= MAX_TICKS:
        raise BadCommand(f"an LX-16A takes {MIN_TICKS} to {MAX_TICKS} ticks, got {ticks}")
    if not math.isfinite(duration_s) or not 0 < duration_s <= MAX_MOVE_MS / 1000:
        raise BadCommand(f"a move takes more than 0 and at most {MAX_MOVE_MS / 1000} s, got {duration_s}")
    move_ms = max(1, math.floor(1000 * duration_s + 0.5))
    return request(servo_id, Command.MOVE_TIME_WRITE, _word(ticks) + _word(move_ms))


def torque(servo_id: int, on: bool) -> bytes:
    """Return the frame that switches one servo's torque."""
    return request(servo_id, Command.LOAD_OR_UNLOAD_WRITE, bytes((int(on),)))


def assign_id(servo_id: int, new_id: int) -> bytes:
    """Return the frame that gives one servo another id; the servo keeps it."""
    if not 0 <= new_id <= MAX_SERVO_ID:
        raise BadCommand(f"an LX-16A has an id from 0 to {MAX_SERVO_ID}, got {new_id}")
    return request(servo_id, Command.ID_WRITE, bytes((new_id,)))


def adjust_offset(servo_id: int, ticks: int) -> bytes:
    """Return the frame that shifts one servo's counts until power-down; `keep_offset` makes it last."""
    if abs(ticks) > MAX_OFFSET_TICKS:
        raise BadCommand(f"an LX-16A's offset is at most {MAX_OFFSET_TICKS} ticks either way, got {ticks}")
    return request(servo_id, Command.ANGLE_OFFSET_ADJUST, bytes((ticks & 0xFF,)))


def keep_offset(servo_id: int) -> bytes:
    """Return the frame that makes one servo's present offset last."""
    return request(servo_id, Command.ANGLE_OFFSET_WRITE)


def params_of(frame: bytes, servo_id: int, command: Command, count: int) -> bytes | None:
    """Return the `count` parameters of one servo's reply to a read; None when the frame is anything else."""
    is_it = frame[2] == servo_id and frame[4] == command and len(frame) == 6 + count
    return frame[5:-1] if is_it else None


def unsigned(data: bytes) -> int:
    """Return a word as it is."""
    return int.from_bytes(data, "little")


def signed(data: bytes) -> int:
    """Return a byte or a word in two's complement."""
    return int.from_bytes(data, "little", signed=True)


def _word(value: int) -> bytes:
    return value.to_bytes(2, "little")
