"""DofbotMcu: what the Dofbot's co-processor does with a register, however the host reached it, and with its buttons.

Written independently of the driver's register table, so that neither hides the other.
Ref: Practitioner108/dofbot_sci_ws i2c_register_map.xlsx and the board's silk.
"""

from __future__ import annotations

import math
from collections.abc import Set

import numpy as np

from calibration.actuator import ActuatorModel
from hardware.virtual.plant import SERVO_COUNT, Plant
from hardware.virtual.servo_rack import ServoManners, ServoRack
from urdf.pose import Array

#: Counts per radian of the servo's own shaft; the fifth servo's scale is its own. Ref: Arm_Lib.py.
TICKS_PER_RAD: Array = np.array([2200 / math.pi] * 4 + [3320 / math.radians(270)] + [2200 / math.pi])
LOWEST_TICKS, HIGHEST_TICKS = 96, 4000
FIRMWARE = 7
#: Where a servo's middle is when it leaves the factory, and how far from there another may be stored. Ref: 0x1C.
MIDDLE_TICKS = (2000, 2000, 2000, 2000, 1486, 3100)
MIDDLE_REACH_TICKS = (400, 400, 400, 400, 300, 400)
PING_FINE, PING_NOBODY = 0xDA, 0x00
#: How long K1's move to the middle takes: our guess, no source names it.
_K1_MOVE_S = 1.0


class DofbotMcu:
    """The co-processor with its rack of six servos. `absent` are the ids of the servos that are not there just now."""

    def __init__(
        self,
        plant: Plant,
        now_ns: int,
        actuator: ActuatorModel | None = None,
        torque_on: bool = False,
        manners: ServoManners | None = None,
        absent: Set[int] = frozenset(),
    ) -> None:
        self.rack = ServoRack(plant, now_ns, TICKS_PER_RAD, actuator, torque_on, manners)
        self.unknown_commands = 0
        #: Outcome of the last stored middle: 0 none, 1 stored, 2 out of range.
        self.middle_status = 0
        #: Counts that each servo adds to where it stands, since its middle was stored.
        self.middle_offset = [0] * SERVO_COUNT
        self._absent = absent
        self._move_ms = 0

    # Registers -------------------------------------------------------------------------------------
    def write(self, register: int, data: bytes, now_ns: int) -> None:
        """Do what a write asks for. MOVE_SIX may carry its move time behind it, as over serial."""
        words = [int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data) - 1, 2)]
        match register, len(data):
            case (0x1A, 1):
                self.rack.set_torque(data[0] != 0, now_ns)
            case (0x1E, 2):
                self._move_ms = words[0]
            case (0x1D, 12):
                self._move(dict(enumerate(words)), self._move_ms, now_ns)
            case (0x1D, 14):
                self._move(dict(enumerate(words[:6])), words[6], now_ns)
            case (0x17, 4):
                self._move(dict.fromkeys(range(SERVO_COUNT), words[0]), words[1], now_ns)
            case (r, 4) if 0x11 <= r <= 0x16:
                self._move({r - 0x11: words[0]}, words[1], now_ns)
            case (0x19, 5):
                words = [int.from_bytes(data[i : i + 2], "big") for i in (1, 3)]
                self._move({data[0] - 1: words[0]} if 1 <= data[0] <= SERVO_COUNT else {}, words[1], now_ns)
            case (0x1C, 1):
                self._store_middle(data[0])
            case (0x02, 3) | (0x06, 1) | (0x03, 1) | (0x04, 1):
                pass  # lamp, buzzer, what K1 does, what the host is
            case _:
                self.unknown_commands += 1

    def position_ticks(self, servo_id: int) -> int:
        """Return what a servo reads, 0 where none answers."""
        if not self.answers(servo_id):
            return 0
        return max(1, self.rack.reading_ticks(servo_id - 1) + self.middle_offset[servo_id - 1])

    def ping(self, servo_id: int) -> int:
        """Return what a ping answers."""
        return PING_FINE if self.answers(servo_id) else PING_NOBODY

    def answers(self, servo_id: int) -> bool:
        """Return whether there is such a servo."""
        return 1 <= servo_id <= SERVO_COUNT and servo_id not in self._absent

    # Buttons ---------------------------------------------------------------------------------------
    def press_k1(self, now_ns: int) -> None:
        """Switch the torque on and centre the arm, whatever the host wants."""
        self.rack.set_torque(True, now_ns)
        self._move(dict(enumerate(MIDDLE_TICKS)), round(_K1_MOVE_S * 1000), now_ns)

    def press_k2(self, now_ns: int) -> None:
        """Emergency stop: switch every torque off."""
        self.rack.set_torque(False, now_ns)

    # Servos ----------------------------------------------------------------------------------------
    def _move(self, targets: dict[int, int], move_ms: int, now_ns: int) -> None:
        """Aim the servos that are there at the counts they take."""
        taken = {i: t - self.middle_offset[i] for i, t in targets.items() if LOWEST_TICKS <= t <= HIGHEST_TICKS}
        aims = {i: t for i, t in taken.items() if i + 1 not in self._absent}
        if len(taken) == SERVO_COUNT:
            before = self.rack.target_ticks
            self.rack.aim_all([aims.get(i, float(before[i])) for i in range(SERVO_COUNT)], move_ms / 1000, now_ns)
            return
        for index, ticks in aims.items():
            self.rack.aim(index, ticks, move_ms / 1000, now_ns)

    def _store_middle(self, servo_id: int) -> None:
        if servo_id == 0:
            self.middle_offset = [0] * SERVO_COUNT
            self.middle_status = 1
        elif not self.answers(servo_id):
            self.middle_status = 0
        else:
            index = servo_id - 1
            offset = MIDDLE_TICKS[index] - self.rack.reading_ticks(index)
            fits = abs(offset) <= MIDDLE_REACH_TICKS[index]
            self.middle_status = 1 if fits else 2
            if fits:
                self.middle_offset[index] = offset
