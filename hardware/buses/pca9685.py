"""Pca9685Bus: hobby servos on a PCA9685, a chip that gives each of 16 channels a pulse and hears nothing back.

Counts are the pulse's length in 4096ths of the period: 307 of them at 50 Hz are 1500 us. The servo with id n hangs on
channel n - 1.
Ref: NXP PCA9685 data sheet; adafruit/Adafruit_CircuitPython_PCA9685 adafruit_pca9685.py.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from bridge.clock import MonotonicClock
from bridge.ports import Clock
from hardware.buses.i2c_chip import ChipSettings, I2cChip, OpenBus, SmBus, open_smbus
from hardware.errors import BadCommand, NotMeasured, PortError
from hardware.servo_bus import BusHealth, Reading, ServoVitals

CHANNEL_COUNT = 16
STEPS = 4096
OSCILLATOR_HZ = 25e6
#: Channels whose four bytes fit into one SMBus block of 32.
_CHANNELS_A_WRITE = 8


class Register(IntEnum):
    """Registers of the chip. A channel has four bytes: when the pulse begins (low, high) and when it ends."""

    MODE1 = 0x00
    CHANNEL0 = 0x06
    CHANNEL0_ON_HIGH = 0x07
    CHANNEL0_OFF_LOW = 0x08
    CHANNEL0_OFF_HIGH = 0x09
    ALL_OFF_HIGH = 0xFD
    PRESCALE = 0xFE


class Mode1(IntEnum):
    """Bits of MODE1."""

    RESTART = 0x80
    AUTO_INCREMENT = 0x20
    SLEEP = 0x10


#: In the high byte of a pulse's end: no pulse at all. In that of its beginning: no end.
FULL = 0x10


@dataclass(frozen=True, slots=True)
class Pca9685Settings:
    """What is connected to the chip."""

    address: int = 0x40
    frequency_hz: float = 50.0
    pulse_s: tuple[float, float] = (0.0005, 0.0025)
    """The shortest and the longest pulse that the servos take; many take 1 to 2 ms only, see their sheet."""
    wake_s: float = 0.005
    """The oscillator needs 0.5 ms after a sleep; Adafruit's driver waits 5."""
    chip: ChipSettings = field(default_factory=ChipSettings)

    @property
    def prescale(self) -> int:
        """The divider of the oscillator that gives the frequency: 121 for 50 Hz."""
        return max(3, math.floor(OSCILLATOR_HZ / STEPS / self.frequency_hz + 0.5) - 1)

    def ticks(self, pulse_s: float) -> int:
        """Return the count of a pulse of some length: 307 for 1500 us at 50 Hz."""
        return math.floor(pulse_s * self.frequency_hz * STEPS + 0.5)


def ask_chip(port: str, clock: Clock, open_bus: OpenBus = open_smbus) -> None:
    """Ask a chip at the usual address for one register, which changes nothing; raises PortError or BusLost."""
    settings = Pca9685Settings()

    def greet(bus: SmBus) -> None:
        bus.read_byte_data(settings.address, Register.MODE1)

    I2cChip(port, settings.address, "PCA9685", clock, greet, settings.chip, open_bus).close()


class Pca9685Bus:
    """A ServoBus in open loop: nothing tells where the servos are, whether they are powered, or whether they exist.

    Positions and vitals raise NotMeasured; `ping` asks the chip, not the servo. The chip knows no move time: a servo
    jumps to each count as fast as it can, so speed is the business of whoever streams the counts. That holds when the
    torque comes on, too: the servo jumps to the last count written, wherever it stands.
    Torque off is no pulse at all; most servos then go limp. Counts written meanwhile are kept for when it comes on.
    After opening the torque is on where the chip already gave pulses, and its counts are known; else it is off.
    The chip acknowledges every byte, so a command is delivered or raises BusLost.
    """

    def __init__(
        self,
        port: str,
        servo_ids: Sequence[int],
        clock: Clock | None = None,
        settings: Pca9685Settings | None = None,
        open_bus: OpenBus = open_smbus,
    ) -> None:
        """Open the bus and set the chip up without changing any pulse; raises PortError, BusLost or BadCommand."""
        ids = tuple(servo_ids)
        if not ids or len(set(ids)) != len(ids) or not all(1 <= i <= CHANNEL_COUNT for i in ids):
            raise BadCommand(f"servos on a PCA9685 have distinct ids from 1 to {CHANNEL_COUNT}, got {ids}")
        self._servo_ids = ids
        self._settings = settings or Pca9685Settings()
        self._clock: Clock = clock or MonotonicClock()
        self._counts: dict[int, int] = {}
        self._torque_on = False
        self._write_lock = threading.Lock()
        address = self._settings.address
        self._chip = I2cChip(port, address, "PCA9685", self._clock, self._set_up, self._settings.chip, open_bus)

    @property
    def port(self) -> str:
        """The name of the I2C bus."""
        return self._chip.port

    @property
    def servo_ids(self) -> tuple[int, ...]:
        """The ids that `write_ticks` addresses, in its order."""
        return self._servo_ids

    @property
    def ticks_range(self) -> tuple[int, int]:
        """The lowest and the highest count that a servo takes."""
        shortest, longest = self._settings.pulse_s
        return self._settings.ticks(shortest), self._settings.ticks(longest)

    def ping(self, servo_id: int) -> bool:
        """Return whether the chip answers, for a servo it has a channel for; raises BusLost. No servo is asked."""
        tries = range(1 + self._settings.chip.retries)
        return servo_id in self._servo_ids and any(self._chip.ask(Register.MODE1, b"", 0.0, 1) for _ in tries)

    def find_others(self, servo_ids: Sequence[int]) -> list[int]:
        """Return none: no servo is heard, so none is known."""
        return []

    def read_ticks(self, servo_id: int) -> Reading:
        """Raise NotMeasured: a pulse has no answer."""
        raise NotMeasured(f"{self.port}: a PCA9685 only gives pulses; where servo {servo_id} stands is not known")

    def read_vitals(self, servo_id: int) -> ServoVitals:
        """Raise NotMeasured: a pulse has no answer."""
        raise NotMeasured(f"{self.port}: a PCA9685 only gives pulses; how servo {servo_id} is cannot be known")

    def write_ticks(self, ticks: Sequence[int], duration_s: float) -> None:
        """Give every servo its pulse, neighbouring channels at one stroke; `duration_s` is checked and has no effect.

        Raises BadCommand or BusLost.
        """
        if len(ticks) != len(self._servo_ids):
            raise BadCommand(f"expected {len(self._servo_ids)} counts, got {len(ticks)}")
        self._aim(dict(zip(self._servo_ids, ticks, strict=True)), duration_s)

    def write_one(self, servo_id: int, ticks: int, duration_s: float) -> None:
        """Give one servo its pulse; otherwise as `write_ticks`."""
        if servo_id not in self._servo_ids:
            raise BadCommand(f"this bus drives servos {self._servo_ids}, got {servo_id}")
        self._aim({servo_id: ticks}, duration_s)

    def set_torque(self, on: bool) -> None:
        """End every pulse, or give each servo the pulse last written again; raises BusLost.

        A servo for which no count is known yet stays without a pulse until one is written.
        """
        with self._write_lock:
            if on:
                self._emit(self._counts)
            else:
                self._chip.write(*((Register.CHANNEL0_OFF_HIGH + 4 * (i - 1), bytes((FULL,))) for i in self._servo_ids))
            self._torque_on = on

    def read_health(self) -> BusHealth:
        """Return the counters at once; nothing is sent."""
        counters = self._chip.counters
        return BusHealth(
            frames_sent=counters.writes,
            reads_ok=0,
            retries=counters.retries,
            timeouts=counters.failures,
            bad_checksums=0,
            late_replies=0,
            garbage_bytes=0,
            reconnects=counters.reconnects,
        )

    def close(self) -> None:
        """Give the bus back; the chip goes on giving its pulses. Calling it twice is harmless."""
        self._chip.close()

    def __enter__(self) -> Pca9685Bus:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _aim(self, counts: dict[int, int], duration_s: float) -> None:
        lowest, highest = self.ticks_range
        for count in counts.values():
            if not lowest <= count <= highest:
                raise BadCommand(f"a servo takes {lowest} to {highest} ticks, got {count}")
        if not (math.isfinite(duration_s) and duration_s > 0):
            raise BadCommand(f"a move takes more than 0 s, got {duration_s}")
        with self._write_lock:
            self._chip.check_alive()
            if self._torque_on:
                self._emit(counts)
            self._counts.update(counts)

    def _emit(self, counts: dict[int, int]) -> None:
        """Write pulses, neighbouring channels together; each begins with the period."""
        messages: list[tuple[int, bytes]] = []
        for servo_id in sorted(counts):
            register = Register.CHANNEL0 + 4 * (servo_id - 1)
            pulse = b"\0\0" + counts[servo_id].to_bytes(2, "little")
            if (
                messages
                and register == messages[-1][0] + len(messages[-1][1]) < messages[-1][0] + 4 * _CHANNELS_A_WRITE
            ):
                messages[-1] = (messages[-1][0], messages[-1][1] + pulse)
            else:
                messages.append((register, pulse))
        if messages:
            self._chip.write(*messages)

    # Setting up ------------------------------------------------------------------------------------
    def _set_up(self, bus: SmBus) -> None:
        """Give the chip its frequency if nothing moves by that; take over the pulses of one that runs already."""
        address, prescale = self._settings.address, self._settings.prescale
        mode = bus.read_byte_data(address, Register.MODE1)
        if not mode & Mode1.SLEEP:
            found = bus.read_byte_data(address, Register.PRESCALE)
            ours = found == prescale
            asked = self._servo_ids if ours else range(1, CHANNEL_COUNT + 1)
            pulses = {i: count for i in asked if (count := _pulse(bus, address, i - 1))}
            if ours:
                self._counts.update(pulses)
                self._torque_on = bool(pulses)
                kept = mode & ~Mode1.RESTART | Mode1.AUTO_INCREMENT
                bus.write_i2c_block_data(address, Register.MODE1, [kept])
                return
            if pulses:
                channels = ", ".join(str(i - 1) for i in pulses)
                raise PortError(
                    f"another program has set up the PCA9685 at 0x{address:02X}, which pulses on channels {channels} "
                    f"at prescale {found}, not {prescale}: end it, support the arm, and switch the supply off"
                )
        self._wake(bus)

    def _wake(self, bus: SmBus) -> None:
        """Set the frequency, which the chip takes only in its sleep, with every channel silent."""
        address = self._settings.address
        bus.write_i2c_block_data(address, Register.ALL_OFF_HIGH, [FULL])
        bus.write_i2c_block_data(address, Register.MODE1, [Mode1.SLEEP])
        bus.write_i2c_block_data(address, Register.PRESCALE, [self._settings.prescale])
        bus.write_i2c_block_data(address, Register.MODE1, [0])
        self._clock.sleep_until(self._clock.now_ns() + round(self._settings.wake_s * 1e9))
        bus.write_i2c_block_data(address, Register.MODE1, [Mode1.RESTART | Mode1.AUTO_INCREMENT])
        self._torque_on = False


def _pulse(bus: SmBus, address: int, channel: int) -> int:
    """Return the count of the pulse that a channel gives, 0 for none."""
    low_on, high_on, low_off, high_off = (
        bus.read_byte_data(address, register + 4 * channel)
        for register in range(Register.CHANNEL0, Register.CHANNEL0_OFF_HIGH + 1)
    )
    if (high_off | high_on) & FULL:
        return 0
    return ((high_off << 8 | low_off) - (high_on << 8 | low_on)) % STEPS
