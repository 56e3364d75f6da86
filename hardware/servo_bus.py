"""ServoBus: what every servo protocol offers, in raw counts only. Radians begin at ServoCalibration."""

from __future__ import annotations

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


class ServoBus(Protocol):
    """A chain of position servos behind one port. Every method may be called from any thread."""

    @property
    def port(self) -> str:
        """The name of the port, for messages."""
        ...

    @property
    def servo_ids(self) -> tuple[int, ...]:
        """The ids that `write_ticks` addresses, in its order."""
        ...

    def ping(self, servo_id: int) -> bool:
        """Return whether a servo answers, after the bounded retries of a read; raises BusLost."""
        ...

    def read_ticks(self, servo_id: int) -> Reading:
        """Read one servo's position, in bounded time: at most (1 + retries) timeouts.

        A reading is that servo's own and passed its checksum. Raises NoReply, BadChecksum or BusLost.
        """
        ...

    def write_ticks(self, ticks: Sequence[int], duration_s: float) -> None:
        """Send every servo to its count, to arrive after `duration_s`. At most once, unacknowledged.

        Returns when the bytes are with the operating system; never waits for a pending read, which it overtakes on
        the wire. Servos do not confirm: only a later reading shows that the arm moved. Raises BusLost.
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


def find_servos(bus: ServoBus, servo_ids: Sequence[int]) -> list[Reading]:
    """Read every expected servo, in order; raises one WrongServo that names all missing and unexpected ids."""
    readings: list[Reading] = []
    missing: list[int] = []
    for servo_id in servo_ids:
        try:
            readings.append(bus.read_ticks(servo_id))
        except (NoReply, BadChecksum):
            missing.append(servo_id)
    unexpected = [i for i in bus.servo_ids if i not in servo_ids and bus.ping(i)]
    if missing or unexpected:
        raise WrongServo(missing, unexpected, bus.port)
    return readings
