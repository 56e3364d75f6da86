"""Pca9685Board: a PCA9685 on a virtual I2C bus, hobby servos on its first channels.

Written from the NXP data sheet: registers, sleep and restart, the prescale that is taken in sleep only.
"""

from __future__ import annotations

import math

import numpy as np

from bridge.ports import Clock
from calibration.actuator import SERVO_SPEED_RAD_S, ActuatorModel
from hardware.virtual.i2c_wire import I2cWire
from hardware.virtual.plant import Plant
from hardware.virtual.servo_rack import ServoManners, ServoRack

I2C_ADDRESS = 0x40
#: A hobby servo's 180 degrees over 500 to 2500 us, in the counts of a 50 Hz period.
TICKS_PER_RAD = 4096 * 0.002 / 0.020 / math.pi
_SHORTEST, _LONGEST = 4096 * 0.0005 / 0.020, 4096 * 0.0025 / 0.020
#: A servo measures its pulse once a period.
_DEAD_TIME_S = 0.020
_OSCILLATOR_START_NS = 500_000


class Pca9685Board:
    """The chip and its servos. `wire.open` is what a driver opens; `wire.run_in_thread` keeps it moving."""

    def __init__(self, plant: Plant, clock: Clock, actuator: ActuatorModel | None = None) -> None:
        """Power the chip up: asleep, silent, 200 Hz."""
        self.plant = plant
        count = len(plant.positions_ticks())
        model = actuator or ActuatorModel((SERVO_SPEED_RAD_S,) * count, _DEAD_TIME_S, 0.0, 0.001)
        untiring = ServoManners(stall_s=math.inf)  # the cheap ones burn instead
        self.rack = ServoRack(plant, clock.now_ns(), np.full(count, TICKS_PER_RAD), model, False, untiring)
        self.wire = I2cWire(self, I2C_ADDRESS, clock)
        self.registers = bytearray(256)
        self.power_cycle()

    @property
    def torque_on(self) -> tuple[bool, ...]:
        """Each servo's torque: whether it gets a pulse."""
        return self.rack.torque_on

    def power_cycle(self) -> None:
        """Take the chip's supply away and give it back."""
        self.registers[:] = bytes(256)
        self.registers[0x00], self.registers[0x01], self.registers[0xFE] = 0x11, 0x04, 0x1E
        self.registers[0x09:0x46:4] = b"\x10" * 16
        self._runs_from_ns = 0

    def pulse_s(self, channel: int, now_ns: int) -> float:
        """Return the length of a channel's pulse, 0 for none."""
        mode = self.registers[0x00]
        if mode & 0x90 or now_ns < self._runs_from_ns:  # asleep, or woken without a restart
            return 0.0
        low_on, high_on, low_off, high_off = self.registers[0x06 + 4 * channel : 0x0A + 4 * channel]
        if high_off & 0x10:
            return 0.0
        count = ((high_off & 0x0F) << 8 | low_off) - ((high_on & 0x0F) << 8 | low_on)
        return count % 4096 * (self.registers[0xFE] + 1) / 25e6

    # The chip at the end of the wire ---------------------------------------------------------------
    def write(self, register: int, data: bytes, now_ns: int) -> None:
        """Take bytes; without auto-increment all go into one register."""
        increments = self.registers[0x00] & 0x20
        for value in data:
            self._set(register, value, now_ns)
            register = (register + 1) % 256 if increments else register
        self._drive(now_ns)

    def read(self, register: int, count: int, now_ns: int) -> bytes:
        """Give bytes of consecutive registers."""
        return bytes(self.registers[register : register + count]).ljust(count, b"\0")

    def advance(self, now_ns: int) -> None:
        """Move the servos on to `now_ns`."""
        self._drive(now_ns)
        self.rack.advance(now_ns)

    def _set(self, register: int, value: int, now_ns: int) -> None:
        if register == 0x00:
            self._set_mode(value, now_ns)
        elif register == 0xFE:
            if self.registers[0x00] & 0x10:
                self.registers[0xFE] = max(3, value)
        elif 0xFA <= register <= 0xFD:
            for channel in range(16):
                self.registers[0x06 + 4 * channel + register - 0xFA] = value
        else:
            self.registers[register] = value

    def _set_mode(self, value: int, now_ns: int) -> None:
        """Sleep stops running pulses and sets RESTART; writing it as 1, once awake, lets them go on."""
        before = self.registers[0x00]
        pending = before & 0x80
        if value & 0x10 and not before & 0x10 and any(self.pulse_s(c, now_ns) for c in range(16)):
            pending = 0x80
        if not value & 0x10 and before & 0x10:
            self._runs_from_ns = now_ns + _OSCILLATOR_START_NS
        if value & 0x80 and not value & 0x10 and now_ns >= self._runs_from_ns:
            pending = 0
        self.registers[0x00] = value & 0x7F | pending

    def _drive(self, now_ns: int) -> None:
        """Let each servo follow its pulse, as far as its own stops; without one it goes limp."""
        for index in range(self.rack.servo_count):
            pulse_s = self.pulse_s(index, now_ns)
            if pulse_s <= 0:
                if self.rack.torque_on[index]:
                    self.rack.set_torque(False, now_ns, index)
                continue
            ticks = min(max(pulse_s / 0.020 * 4096, _SHORTEST), _LONGEST)
            if abs(ticks - float(self.rack.target_ticks[index])) > 1e-6:
                self.rack.aim(index, ticks, 0.0, now_ns)
            if not self.rack.torque_on[index]:
                self.rack.set_torque(True, now_ns, index)
