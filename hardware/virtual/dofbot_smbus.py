"""DofbotSmbusBoard: a Dofbot board on a virtual I2C bus, with the co-processor's registers, waits and buttons."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from bridge.ports import Clock
from calibration.actuator import ActuatorModel
from hardware.virtual.dofbot_mcu import FIRMWARE, DofbotMcu
from hardware.virtual.i2c_wire import I2cWire
from hardware.virtual.plant import Plant
from hardware.virtual.servo_rack import ServoManners

I2C_ADDRESS = 0x15


@dataclass(frozen=True, slots=True)
class SmbusManners:
    """How the co-processor behaves on the bus.

    A result that is fetched too early, or after another write came between, is the register's old one, or 0: harsher
    than anything known of the real one. Ref: the vendor's library waits 3 ms before it fetches.
    """

    ready_s: tuple[float, float] = (0.0015, 0.0028)
    stale: bool = False
    servos: ServoManners = field(default_factory=ServoManners)


class DofbotSmbusBoard:
    """The board. `wire.open` is what a driver opens instead of /dev/i2c-1; `wire.run_in_thread` keeps it moving."""

    def __init__(
        self,
        plant: Plant,
        rng: np.random.Generator,
        clock: Clock,
        actuator: ActuatorModel | None = None,
        manners: SmbusManners | None = None,
        torque_on: bool = False,
    ) -> None:
        self.plant = plant
        self.manners = manners or SmbusManners()
        #: The ids of the servos that are not there.
        self.absent_servos: set[int] = set()
        self.mcu = DofbotMcu(plant, clock.now_ns(), actuator, torque_on, self.manners.servos, self.absent_servos)
        self.rack = self.mcu.rack
        self.wire = I2cWire(self, I2C_ADDRESS, clock)
        self._rng = rng
        self._results: dict[int, bytes] = {}
        self._asked: tuple[int, bytes, int] | None = None

    @property
    def torque_on(self) -> tuple[bool, ...]:
        """Each servo's torque."""
        return self.rack.torque_on

    def press_k1(self) -> None:
        """Press K1: the torque comes on and the arm centres."""
        with self.wire.hold() as now_ns:
            self.mcu.press_k1(now_ns)

    def press_k2(self) -> None:
        """Press K2: every torque goes."""
        with self.wire.hold() as now_ns:
            self.mcu.press_k2(now_ns)

    # The chip at the end of the wire ---------------------------------------------------------------
    def write(self, register: int, data: bytes, now_ns: int) -> None:
        """Take a write: a request for a result, or a command."""
        self._asked = None
        if register in (0x01, 0x1B) or 0x31 <= register <= 0x38:
            ready_ns = now_ns + round(self._rng.uniform(*self.manners.ready_s) * 1e9)
            self._asked = (register, data, ready_ns)
        else:
            self.mcu.write(register, data, now_ns)

    def read(self, register: int, count: int, now_ns: int) -> bytes:
        """Give the result of the last request, where it is this register's and ready."""
        if self._asked is not None and self._asked[0] == register and now_ns >= self._asked[2]:
            self._results[register] = self._result(register, self._asked[1])
        elif not self.manners.stale:
            return bytes(count)
        return self._results.get(register, b"")[:count].ljust(count, b"\0")

    def advance(self, now_ns: int) -> None:
        """Move the servos on to `now_ns`."""
        self.rack.advance(now_ns)

    def _result(self, register: int, data: bytes) -> bytes:
        match register, len(data):
            case (0x01, 1):
                return bytes((FIRMWARE,))
            case (0x1B, 1):
                return bytes((self.mcu.middle_status,))
            case (0x37, 1):
                return self.mcu.position_ticks(data[0]).to_bytes(2, "big")
            case (0x38, 1):
                return bytes((self.mcu.ping(data[0]),))
            case (r, _) if 0x31 <= r <= 0x36:
                return self.mcu.position_ticks(r - 0x30).to_bytes(2, "big")
            case _:
                return b"\0\0"
