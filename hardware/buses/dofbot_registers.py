"""The Dofbot's co-processor: its registers, and the bytes that go into them, whether over I2C or in a serial frame.

Behind it sit six bus servos on a half-duplex UART. Words are big-endian. Nothing but the reads answers.
Ref: Practitioner108/dofbot_sci_ws i2c_register_map.xlsx; vendor library V0.0.5 (paulkamani9/office-items-loan-robot
Arm_Lib.py), and, independent of it, hansonhqma/baymax driver.py: in agreement.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from hardware.errors import BadCommand

SERVO_IDS = (1, 2, 3, 4, 5, 6)
ANY_IDS = range(1, 251)
MIN_TICKS, MAX_TICKS = 96, 4000  # Ref: i2c_register_map.xlsx, registers 0x11-0x16
MIN_MOVE_MS, MAX_MOVE_MS = 20, 0xFFFF  # Ref: Practitioner108/dofbot_sci_ws dofbot_control; a word
#: What a ping answers for a servo in order; 0: no servo; anything else: its own error.
PING_OK = 0xDA
#: The buzzer's longest beep that ends by itself, in steps of 0.1 s, and the value that never ends.
MAX_BEEPS, BEEP_ON = 50, 0xFF


class Register(IntEnum):
    """Numbers of the registers; over serial they are the commands. The data to write stands beside them."""

    VERSION = 0x01  # I2C: write 1, read a byte; serial: no data, replies
    RGB = 0x02  # red, green, blue
    K1_MODE = 0x03  # 0: the K1 button centres the arm, 1: learning
    HOST_BOARD = 0x04  # 5 Raspberry Pi, 6 Jetson Nano
    REBOOT = 0x05  # 1: the co-processor starts again, for about 200 ms
    BUZZER = 0x06  # 0 off, 1 to 50 tenths of a second, 0xFF on
    MOVE_ONE = 0x10  # + servo id 1..6: position, move time
    MOVE_ALL = 0x17  # position, move time: one target for every servo
    SET_EVERY_ID = 0x18  # id: gives it to EVERY connected servo; no driver of ours writes it
    MOVE_ANY = 0x19  # id 1..250, position, move time
    TORQUE = 0x1A  # 0 off, 1 on, all servos
    MIDDLE_STATUS = 0x1B  # I2C: write 1, read a byte within 1.5 s; serial: no data, replies
    STORE_MIDDLE = 0x1C  # servo id: where it stands now is its middle; 0: every servo's factory middle
    MOVE_SIX = 0x1D  # six positions; I2C: MOVE_TIME first; serial: then the move time for all
    MOVE_TIME = 0x1E  # move time of MOVE_SIX. The vendor's serial array call sends its positions here: 0x1D is meant
    READ_ONE = 0x30  # + servo id 1..6; I2C: write anything, wait, read a word; 0: the servo does not answer
    READ_ANY = 0x37  # id 1..250; otherwise as READ_ONE
    PING = 0x38  # id 1..250; I2C: wait, read a byte


class MiddleStatus(IntEnum):
    """What became of storing a middle. Ref: vendor library, Arm_serial_servo_write_offset_state."""

    NOT_SET = 0  # no servo of that id, or still at it
    STORED = 1  # in the servo's flash
    OUT_OF_RANGE = 2  # further than 400 counts (servo 5: 300) from the factory middle


@dataclass(frozen=True, slots=True)
class StoredMiddle:
    """The outcome of storing a middle; the offset in counts where the board tells it."""

    status: MiddleStatus
    offset_ticks: int | None = None


def word(value: int) -> bytes:
    """Return a word as the board wants it."""
    return value.to_bytes(2, "big")


def ticks_word(ticks: int) -> bytes:
    """Return a position; raises BadCommand where no servo takes it."""
    if not MIN_TICKS <= ticks <= MAX_TICKS:
        raise BadCommand(f"a servo takes {MIN_TICKS} to {MAX_TICKS} ticks, got {ticks}")
    return word(ticks)


def move_time_word(duration_s: float) -> bytes:
    """Return a move time, never below what the board keeps, so never 0, "as fast as it can"; raises BadCommand."""
    if not math.isfinite(duration_s) or not 0 < duration_s <= MAX_MOVE_MS / 1000:
        raise BadCommand(f"a move takes more than 0 and at most {MAX_MOVE_MS / 1000} s, got {duration_s}")
    return word(max(MIN_MOVE_MS, math.floor(1000 * duration_s + 0.5)))


def own_servo(servo_id: int) -> int:
    """Return the id of one of the arm's six servos; raises BadCommand."""
    if servo_id not in SERVO_IDS:
        raise BadCommand(f"this board drives servos {SERVO_IDS}, got {servo_id}")
    return servo_id


def any_servo(servo_id: int) -> int:
    """Return an id that a servo can have; raises BadCommand."""
    if servo_id not in ANY_IDS:
        raise BadCommand(f"a servo's id is {ANY_IDS.start} to {ANY_IDS.stop - 1}, got {servo_id}")
    return servo_id


def middle_servo(servo_id: int) -> bytes:
    """Return the data of STORE_MIDDLE: one of the six servos, or 0 for everyone's factory middle; raises BadCommand."""
    return bytes((own_servo(servo_id) if servo_id else 0,))


def six_words(ticks: Sequence[int]) -> bytes:
    """Return the positions of servos 1 to 6; raises BadCommand."""
    if len(ticks) != len(SERVO_IDS):
        raise BadCommand(f"expected {len(SERVO_IDS)} counts, got {len(ticks)}")
    return b"".join(ticks_word(t) for t in ticks)


def lamp_bytes(red: int, green: int, blue: int) -> bytes:
    """Return a colour; raises BadCommand."""
    if not all(0 <= v <= 255 for v in (red, green, blue)):
        raise BadCommand(f"a colour is three numbers from 0 to 255, got {(red, green, blue)}")
    return bytes((red, green, blue))


def beep_byte(duration_s: float | None) -> bytes:
    """Return a beep of 0.1 to 5 s, silence for 0, or a tone that does not end for None; raises BadCommand."""
    if duration_s is None:
        return bytes((BEEP_ON,))
    if not (math.isfinite(duration_s) and 0 <= duration_s <= MAX_BEEPS / 10):
        raise BadCommand(f"a beep lasts 0 (off) to {MAX_BEEPS / 10} s, got {duration_s}")
    return bytes((math.ceil(duration_s * 10 - 1e-9),))
