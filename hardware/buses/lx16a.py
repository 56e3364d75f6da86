"""Lx16aBus: a chain of Hiwonder / LewanSoul LX-16A servos behind a half-duplex serial adapter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from bridge.ports import Clock
from hardware.buses import lx16a_frames as frames
from hardware.buses.chain_frames import LIKELY_IDS
from hardware.buses.half_duplex import Answer, HalfDuplex, HalfDuplexSettings
from hardware.buses.lx16a_frames import Command
from hardware.errors import BadChecksum, BadCommand, NoReply, Overheated, Stalled, Undervoltage
from hardware.servo_bus import BusHealth, Reading, ServoVitals

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Limits:
    """When a servo protects itself, as it says of itself."""

    hottest_c: int
    lowest_mv: int
    highest_mv: int


class Lx16aBus:
    """A ServoBus of LX-16A servos; opens the port for itself alone.

    Counts are 0 to 1000 over 240 degrees. The servos run each move themselves in the time they are given. Every servo
    is written to by a frame of its own, 0.9 ms apart. A write waits for an answer that may be on the wire, since
    speaking over it would spoil both: 2 ms, and 10 ms where a servo does not answer.
    """

    def __init__(
        self,
        port: str,
        servo_ids: Sequence[int] = (1, 2, 3, 4, 5, 6),
        clock: Clock | None = None,
        settings: HalfDuplexSettings | None = None,
    ) -> None:
        """Open the port; raises PortMissing, PortBusy, PortError or BusLost. Moves nothing."""
        self._servo_ids = tuple(servo_ids)
        self._limits: dict[int, _Limits] = {}
        self._torque_asked: bool | None = None
        probe = frames.request(frames.MAX_SERVO_ID, Command.ID_READ)
        self._line = HalfDuplex(port, frames.BAUD, frames.SHAPE, probe, clock, settings)

    @property
    def port(self) -> str:
        """The name of the port."""
        return self._line.name

    @property
    def servo_ids(self) -> tuple[int, ...]:
        """The ids that `write_ticks` addresses, in its order."""
        return self._servo_ids

    @property
    def ticks_range(self) -> tuple[int, int]:
        """The lowest and the highest count that a servo takes."""
        return frames.MIN_TICKS, frames.MAX_TICKS

    @property
    def adapter_echoes(self) -> bool:
        """Whether the adapter gives back what is sent."""
        return self._line.adapter_echoes

    def ping(self, servo_id: int) -> bool:
        """Return whether a servo tells its id; raises BusLost."""
        try:
            self._read(servo_id, Command.ID_READ, 1, frames.unsigned)
        except (NoReply, BadChecksum):
            return False
        return True

    def find_others(self, servo_ids: Sequence[int]) -> list[int]:
        """Return which of the first dozen ids answer besides these, each asked once; raises BusLost."""
        others = [i for i in LIKELY_IDS if i not in servo_ids]
        return [i for i in others if self._line.hears(*self._question(i, Command.ID_READ, 1, frames.unsigned))]

    def read_ticks(self, servo_id: int) -> Reading:
        """Read one servo's position; raises NoReply, BadChecksum or BusLost after the bounded retries.

        A servo that was turned by hand may stand outside `ticks_range`.
        """
        answer = self._read(servo_id, Command.POS_READ, 2, frames.signed)
        return Reading(servo_id, answer.value, answer.requested_ns, answer.received_ns)

    def read_vitals(self, servo_id: int) -> ServoVitals:
        """Read one servo's temperature and voltage; it does not measure its current.

        It has no status to read either, but it tells the limits at which it unloads itself, and whether it has. Raises
        Overheated or Undervoltage outside the servo's own limits, and Stalled where it has let go by itself within
        them; otherwise as `read_ticks`.
        """
        limits = self._limits_of(servo_id)
        celsius = self._read(servo_id, Command.TEMP_READ, 1, frames.unsigned).value
        millivolts = self._read(servo_id, Command.VIN_READ, 2, frames.unsigned).value
        loaded = self._read(servo_id, Command.LOAD_OR_UNLOAD_READ, 1, frames.unsigned).value
        who = f"{self.port}: servo {servo_id}"
        if celsius >= limits.hottest_c:
            raise Overheated(f"{who} is at {celsius} degrees C, its limit is {limits.hottest_c}: let it cool down")
        if not limits.lowest_mv <= millivolts <= limits.highest_mv:
            allowed = f"{limits.lowest_mv / 1000} to {limits.highest_mv / 1000} V"
            raise Undervoltage(f"{who} is supplied with {millivolts / 1000} V, it needs {allowed}: check the supply")
        if self._torque_asked and not loaded:
            raise Stalled(f"{who} has let go by itself: something is in its way, or it carries too much")
        return ServoVitals(temperature_c=float(celsius), voltage_v=millivolts / 1000)

    def write_ticks(self, ticks: Sequence[int], duration_s: float) -> None:
        """Send every servo to its count, to arrive together; raises BadCommand or BusLost."""
        if len(ticks) != len(self._servo_ids):
            raise BadCommand(f"expected {len(self._servo_ids)} counts, got {len(ticks)}")
        pairs = zip(self._servo_ids, ticks, strict=True)
        self._line.tell([frames.move(servo_id, t, duration_s) for servo_id, t in pairs])

    def write_one(self, servo_id: int, ticks: int, duration_s: float) -> None:
        """Send one servo to its count; raises BadCommand or BusLost."""
        self._line.tell([frames.move(servo_id, ticks, duration_s)])

    def set_torque(self, on: bool) -> None:
        """Switch every servo's torque; raises BusLost."""
        for _ in range(self._line.settings.torque_repeats):
            self._line.tell([frames.torque(servo_id, on) for servo_id in self._servo_ids])
        self._torque_asked = on

    def assign_id(self, servo_id: int, new_id: int) -> None:
        """Give one servo another id for good; no other servo may carry either. Raises BadCommand or BusLost."""
        self._line.tell([frames.assign_id(servo_id, new_id)])

    def read_offset(self, servo_id: int) -> int:
        """Return by how many counts one servo's zero is shifted; raises as `read_ticks`."""
        return self._read(servo_id, Command.ANGLE_OFFSET_READ, 1, frames.signed).value

    def write_offset(self, servo_id: int, ticks: int) -> None:
        """Shift one servo's zero for good, which moves it where torque is on; raises BadCommand or BusLost."""
        self._line.tell([frames.adjust_offset(servo_id, ticks), frames.keep_offset(servo_id)])

    def read_health(self) -> BusHealth:
        """Return the counters at once; nothing is sent."""
        return self._line.read_health()

    def close(self) -> None:
        """Give the port back; the servos keep what they do. Calling it twice is harmless."""
        self._line.close()

    def __enter__(self) -> Lx16aBus:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self, servo_id: int, command: Command, count: int, value_of: Callable[[bytes], T]) -> Answer[T]:
        return self._line.ask(*self._question(servo_id, command, count, value_of), f"servo {servo_id}")

    @staticmethod
    def _question(
        servo_id: int, command: Command, count: int, value_of: Callable[[bytes], T]
    ) -> tuple[bytes, Callable[[bytes], T | None]]:
        """Return the frame that asks, and what makes something of the answer."""

        def take(frame: bytes) -> T | None:
            params = frames.params_of(frame, servo_id, command, count)
            return None if params is None else value_of(params)

        return frames.request(servo_id, command), take

    def _limits_of(self, servo_id: int) -> _Limits:
        if servo_id not in self._limits:
            hottest_c = self._read(servo_id, Command.TEMP_MAX_LIMIT_READ, 1, frames.unsigned).value
            volts = self._read(servo_id, Command.VIN_LIMIT_READ, 4, bytes).value
            self._limits[servo_id] = _Limits(hottest_c, frames.unsigned(volts[:2]), frames.unsigned(volts[2:]))
        return self._limits[servo_id]
