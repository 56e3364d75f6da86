"""Frames of the Feetech STS3215 bus servo (SO-100, SO-101), built and read by pure functions. 1,000,000 baud, 8N1.

    request   FF FF ID LEN INS PARAMS... CHK        reply   FF FF ID LEN STATUS PARAMS... CHK

LEN counts INS or STATUS, PARAMS and CHK: two more than the parameters. CHK is the low byte of ~(ID + ... + PARAMS).
Words are little-endian, negative numbers are a magnitude with a sign bit.
Ref: huggingface/lerobot src/lerobot/motors/feetech/tables.py; feetech-servo-sdk 1.0.0 (scservo_sdk).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum, IntFlag

from hardware.buses.chain_frames import BROADCAST_ID, FrameShape
from hardware.errors import BadCommand

BAUD = 1_000_000
SHAPE = FrameShape(header=b"\xff\xff", uncounted=4, lengths=(2, 250))
MAX_SERVO_ID = 0xFC
MIN_TICKS, MAX_TICKS = 0, 4095  # one turn
MAX_SPEED_TICKS_S = 0x7FFF  # the register's sign bit is its 16th
MAX_OFFSET_TICKS = 2047

_POSITION_SIGN_BIT, _OFFSET_SIGN_BIT, _CURRENT_SIGN_BIT = 15, 11, 15


class Instruction(IntEnum):
    """What the host may say. Ref: scservo_sdk, protocol_packet_handler."""

    PING = 1
    READ = 2  # address, count
    WRITE = 3  # address, data; answered unless broadcast
    REG_WRITE = 4  # as WRITE, but waits for ACTION
    ACTION = 5
    SYNC_READ = 0x82  # address, count, ids; each servo answers in turn. The older SCS series cannot
    SYNC_WRITE = 0x83  # address, count, then id and data of each servo; nobody answers


class Register(IntEnum):
    """Addresses, their size and unit in comments. Up to Homing_Offset and Mode they survive power-down.

    Ref: huggingface/lerobot tables.py; Feetech's STS memory table (wiki.aifitlab.com, wiki.juxitech.com).
    """

    MODEL = 3  # word; 777 is the STS3215
    ID = 5  # byte
    BAUD_CODE = 6  # byte; 0 to 4 are 1,000,000 500,000 250,000 128,000 115,200
    RETURN_DELAY = 7  # byte, 2 us
    MAX_TEMPERATURE = 13  # byte, degrees C
    MAX_VOLTAGE = 14  # byte, 0.1 V
    MIN_VOLTAGE = 15  # byte, 0.1 V
    HOMING_OFFSET = 31  # word, sign bit 11; the position told is the shaft's less this
    MODE = 33  # byte; 0 position
    TORQUE_ENABLE = 40  # byte; after power-up 1. Ref: PickNikRobotics/moveit_pro_example_ws#930
    ACCELERATION = 41  # byte, 100 ticks/s^2; 0 no limit
    GOAL_POSITION = 42  # word, sign bit 15
    GOAL_TIME = 44  # word; without effect on a move to a position: the vendor's own library always writes 0
    GOAL_VELOCITY = 46  # word, ticks/s as it leaves the factory; 0 as fast as it goes
    TORQUE_LIMIT = 48  # word, 0.1 %
    LOCK = 55  # byte; 0 opens the registers that survive power-down
    PRESENT_POSITION = 56  # word, sign bit 15
    PRESENT_VELOCITY = 58  # word, sign bit 15
    PRESENT_LOAD = 60  # word, 0.1 %, sign bit 10
    PRESENT_VOLTAGE = 62  # byte, 0.1 V
    PRESENT_TEMPERATURE = 63  # byte, degrees C
    STATUS = 65  # byte, as in every reply
    MOVING = 66  # byte
    PRESENT_CURRENT = 69  # word, 6.5 mA, sign bit 15


class Status(IntFlag):
    """What a servo says of itself in every reply. Ref: scservo_sdk; Feetech's STS memory table."""

    VOLTAGE = 1
    ANGLE = 2  # the sensor of the shaft
    HEAT = 4
    CURRENT = 8
    OVERLOAD = 32


#: Milliampere a count. Ref: Feetech's STS memory table, Present_Current.
MA_PER_COUNT = 6.5


def request(servo_id: int, instruction: Instruction, params: bytes = b"") -> bytes:
    """Return the frame of an instruction to one servo, or to all with 0xFE."""
    if not (0 <= servo_id <= MAX_SERVO_ID or servo_id == BROADCAST_ID):
        raise BadCommand(f"an STS servo has an id from 0 to {MAX_SERVO_ID}, got {servo_id}")
    return SHAPE.seal(servo_id, bytes((instruction,)) + params)


def ping(servo_id: int) -> bytes:
    """Return the frame that asks whether a servo is there."""
    return request(servo_id, Instruction.PING)


def probe() -> bytes:
    """Return a frame that moves nothing and that nobody answers: a read of an id that no servo may have."""
    return SHAPE.seal(MAX_SERVO_ID + 1, bytes((Instruction.READ, Register.ID, 1)))


def read(servo_id: int, address: int, count: int) -> bytes:
    """Return the frame that asks one servo for `count` bytes from `address`."""
    return request(servo_id, Instruction.READ, bytes((address, count)))


def write(servo_id: int, address: int, data: bytes) -> bytes:
    """Return the frame that writes bytes from `address` on."""
    return request(servo_id, Instruction.WRITE, bytes((address,)) + data)


def sync_read(servo_ids: Sequence[int], address: int, count: int) -> bytes:
    """Return the frame that asks several servos for the same bytes; they answer one after the other."""
    return request(BROADCAST_ID, Instruction.SYNC_READ, bytes((address, count, *servo_ids)))


def sync_write(data_by_id: Mapping[int, bytes], address: int) -> bytes:
    """Return the frame that writes equally many bytes to several servos, all at the same instant."""
    (count,) = {len(data) for data in data_by_id.values()}
    parts = b"".join(bytes((servo_id,)) + data for servo_id, data in data_by_id.items())
    return request(BROADCAST_ID, Instruction.SYNC_WRITE, bytes((address, count)) + parts)


def position_bytes(ticks: int) -> bytes:
    """Return a goal position of one turn."""
    if not MIN_TICKS <= ticks <= MAX_TICKS:
        raise BadCommand(f"an STS3215 takes {MIN_TICKS} to {MAX_TICKS} ticks, got {ticks}")
    return word(ticks)


def goal_bytes(ticks: int, speed_ticks_s: int, acceleration: int) -> bytes:
    """Return the seven bytes from ACCELERATION to GOAL_VELOCITY: acceleration, position, no time, speed."""
    if not 1 <= speed_ticks_s <= MAX_SPEED_TICKS_S:
        raise BadCommand(f"a move has a speed of 1 to {MAX_SPEED_TICKS_S} ticks/s, got {speed_ticks_s}")
    return bytes((acceleration,)) + position_bytes(ticks) + word(0) + word(speed_ticks_s)


def offset_bytes(ticks: int) -> bytes:
    """Return a homing offset."""
    if abs(ticks) > MAX_OFFSET_TICKS:
        raise BadCommand(f"an STS3215's offset is at most {MAX_OFFSET_TICKS} ticks either way, got {ticks}")
    return word(abs(ticks) | (ticks < 0) << _OFFSET_SIGN_BIT)


def reply_of(frame: bytes, servo_id: int, count: int) -> tuple[Status, bytes] | None:
    """Return (status, parameters) of one servo's reply with `count` parameters; None when it is anything else."""
    if frame[2] != servo_id or len(frame) != 6 + count:
        return None
    return Status(frame[4]), frame[5:-1]


def word(value: int) -> bytes:
    """Return two bytes."""
    return value.to_bytes(2, "little")


def position_of(data: bytes) -> int:
    """Return a position from its two bytes; several turns may make it negative."""
    return _signed(data, _POSITION_SIGN_BIT)


def offset_of(data: bytes) -> int:
    """Return a homing offset from its two bytes."""
    return _signed(data, _OFFSET_SIGN_BIT)


def current_ma_of(data: bytes) -> float:
    """Return a current from its two bytes."""
    return _signed(data, _CURRENT_SIGN_BIT) * MA_PER_COUNT


def _signed(data: bytes, sign_bit: int) -> int:
    value = int.from_bytes(data, "little")
    magnitude = value & ((1 << sign_bit) - 1)
    return -magnitude if value >> sign_bit & 1 else magnitude
