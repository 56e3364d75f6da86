"""WitnessedBus: a servo bus that tells a witness what has passed on it, whoever sent it.

The servos come first: a write has gone out before the witness hears of it, and one that failed it never hears of.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from hardware.servo_bus import BusHealth, Reading, ServoBus, ServoVitals


class BusWitness(Protocol):
    """Whoever wants to know what passes on a bus. Every method must return at once; called from any thread."""

    def wrote(self, servo_ids: Sequence[int], ticks: Sequence[int], duration_s: float) -> None:
        """Hear that these servos were sent to these counts, to arrive after `duration_s`."""
        ...

    def switched(self, torque_on: bool) -> None:
        """Hear that every servo's torque was switched."""
        ...

    def read(self, reading: Reading) -> None:
        """Hear where a servo said that it is."""
        ...


class WitnessedBus:
    """A `ServoBus` that is another one, with a witness; closing it closes the other."""

    def __init__(self, bus: ServoBus, witness: BusWitness) -> None:
        self._bus, self._witness = bus, witness

    @property
    def port(self) -> str:
        """As the bus."""
        return self._bus.port

    @property
    def servo_ids(self) -> tuple[int, ...]:
        """As the bus."""
        return self._bus.servo_ids

    @property
    def ticks_range(self) -> tuple[int, int]:
        """As the bus."""
        return self._bus.ticks_range

    def ping(self, servo_id: int) -> bool:
        """As the bus."""
        return self._bus.ping(servo_id)

    def find_others(self, servo_ids: Sequence[int]) -> list[int]:
        """As the bus."""
        return self._bus.find_others(servo_ids)

    def read_ticks(self, servo_id: int) -> Reading:
        """As the bus; the witness hears of it."""
        reading = self._bus.read_ticks(servo_id)
        self._witness.read(reading)
        return reading

    def read_vitals(self, servo_id: int) -> ServoVitals:
        """As the bus."""
        return self._bus.read_vitals(servo_id)

    def write_ticks(self, ticks: Sequence[int], duration_s: float) -> None:
        """As the bus; the witness hears of it."""
        self._bus.write_ticks(ticks, duration_s)
        self._witness.wrote(self._bus.servo_ids, ticks, duration_s)

    def write_one(self, servo_id: int, ticks: int, duration_s: float) -> None:
        """As the bus; the witness hears of it."""
        self._bus.write_one(servo_id, ticks, duration_s)
        self._witness.wrote((servo_id,), (ticks,), duration_s)

    def set_torque(self, on: bool) -> None:
        """As the bus; the witness hears of it."""
        self._bus.set_torque(on)
        self._witness.switched(on)

    def read_health(self) -> BusHealth:
        """As the bus."""
        return self._bus.read_health()

    def close(self) -> None:
        """As the bus."""
        self._bus.close()
