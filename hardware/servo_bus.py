"""ServoBus: what every servo protocol offers, in raw counts only. Radians begin at ServoCalibration."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from hardware.errors import BadChecksum, NoReply, WrongServo


@dataclass(frozen=True, slots=True)
class Reading:
    """One position read back from a servo, and when it was asked for and received (monotonic ns)."""

    servo_id: int
    ticks: int
    requested_ns: int
    received_ns: int


@dataclass(frozen=True, slots=True)
class BusHealth:
    """Counters since the bus was opened."""

    frames_sent: int
    reads_ok: int
    retries: int
    timeouts: int
    bad_checksums: int
    late_replies: int
    garbage_bytes: int
    #: How often the port was opened again after it had been lost.
    reconnects: int = 0


@dataclass(frozen=True, slots=True)
class ServoVitals:
    """What a servo says of itself; None where its protocol does not tell."""

    temperature_c: float | None = None
    voltage_v: float | None = None
    current_ma: float | None = None


class ServoBus(Protocol):
    """A chain of position servos behind one port. Every method may be called from any thread.

    A port that is lost stays lost for writes, which raise BusLost at once and are never queued. Reads and pings try to
    open it again, at most twice a second; opening it moves nothing and changes no torque.
    """

    @property
    def port(self) -> str:
        """The name of the port, for messages."""
        ...

    @property
    def servo_ids(self) -> tuple[int, ...]:
        """The ids that `write_ticks` addresses, in its order."""
        ...

    @property
    def ticks_range(self) -> tuple[int, int]:
        """The lowest and the highest count that a servo of this bus takes."""
        ...

    def ping(self, servo_id: int) -> bool:
        """Return whether a servo answers, after the bounded retries of a read; raises BusLost."""
        ...

    def find_others(self, servo_ids: Sequence[int]) -> list[int]:
        """Return which servos answer besides these: of those that a board has, or among a chain's first dozen ids.

        Each is asked briefly, and on a chain once. Raises BusLost.
        """
        ...

    def read_ticks(self, servo_id: int) -> Reading:
        """Read one servo's position, in bounded time: at most (1 + retries) timeouts.

        A reading is that servo's own and passed its checksum. Raises NoReply, BadChecksum or BusLost, and NotMeasured
        where the servos of this bus do not tell.
        """
        ...

    def read_vitals(self, servo_id: int) -> ServoVitals:
        """Read one servo's temperature, voltage and current, as far as it tells, in bounded time.

        Raises Overheated, Stalled or Undervoltage where the servo's own status says so; NotMeasured where the protocol
        tells nothing; otherwise as `read_ticks`.
        """
        ...

    def write_ticks(self, ticks: Sequence[int], duration_s: float) -> None:
        """Send every servo to its count, to arrive after `duration_s`. At most once, unacknowledged.

        Returns when the bytes are with the operating system; never waits for a pending read, which it overtakes on
        the wire (half duplex: at most until the servo that may be speaking has had its 10 ms). Servos do not confirm:
        only a later reading shows that the arm moved. Raises BusLost.
        """
        ...

    def write_one(self, servo_id: int, ticks: int, duration_s: float) -> None:
        """Send one servo to its count; otherwise as `write_ticks`."""
        ...

    def set_torque(self, on: bool) -> None:
        """Switch every servo's torque. Sent more than once, since nothing confirms it and repeating it is harmless.

        Servos hold their last target when torque comes on: write the present position first. Raises BusLost.
        """
        ...

    def read_health(self) -> BusHealth:
        """Return the counters at once; nothing is sent."""
        ...

    def close(self) -> None:
        """Give the port back without moving or releasing the servos; calling it twice is harmless."""
        ...


def find_servos(bus: ServoBus, servo_ids: Sequence[int], alone: bool = True) -> list[Reading]:
    """Read every expected servo, in order; raises one WrongServo that names all missing and unexpected ids.

    Others are none of its business where these need not be `alone`. A servo that is silent is asked again when all have
    been asked: a board, or a busy machine, may be slow to begin.
    """
    readings: dict[int, Reading] = {}
    for servo_id in (*servo_ids, *servo_ids):
        if servo_id not in readings:
            with contextlib.suppress(NoReply, BadChecksum):
                readings[servo_id] = bus.read_ticks(servo_id)
    missing = [i for i in servo_ids if i not in readings]
    unexpected = bus.find_others(servo_ids) if alone else []
    if missing or unexpected:
        raise WrongServo(missing, unexpected, bus.port)
    return [readings[i] for i in servo_ids]
