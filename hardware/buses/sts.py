"""StsBus: a chain of Feetech STS3215 servos (SO-100, SO-101) behind a half-duplex serial adapter."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

from bridge.ports import Clock
from hardware.buses import sts_frames as frames
from hardware.buses.chain_frames import LIKELY_IDS
from hardware.buses.half_duplex import HalfDuplex, HalfDuplexSettings
from hardware.buses.sts_frames import Register, Status
from hardware.buses.sts_pace import Pace
from hardware.errors import BadChecksum, BadCommand, BusLost, NoReply, Overheated, ServoAlarm, Stalled, Undervoltage
from hardware.servo_bus import BusHealth, Reading, ServoVitals

#: A reply carries no address. So each read of ours asks for another number of bytes: the late reply to one is never
#: taken for the answer to another.
_POSITION_BYTES, _OFFSET_BYTES, _VITALS_BYTES = 2, 3, 9
_LONGEST_MOVE_S = 60.0


@dataclass(frozen=True, slots=True)
class StsSettings:
    """What the driver is to do with these servos."""

    line: HalfDuplexSettings = field(default_factory=HalfDuplexSettings)
    baud: int = frames.BAUD
    acceleration: int = 254
    """In 100 ticks/s^2, the highest. Ref: huggingface/lerobot, which writes the same."""


class StsBus:
    """A ServoBus of STS3215 servos; opens the port for itself alone.

    Counts are 0 to 4095 over one turn. All servos are written to by one frame that nobody answers, and take it at the
    same instant; a servo takes a target and a speed, so the driver keeps account of where each has been told to be.
    A write waits for an answer that may be on the wire, since speaking over it would spoil both: 1 ms, 4 ms after
    `read_all_ticks`, and 10 ms where a servo does not answer. The servos power up with their torque on.
    """

    def __init__(
        self,
        port: str,
        servo_ids: Sequence[int] = (1, 2, 3, 4, 5, 6),
        clock: Clock | None = None,
        settings: StsSettings | None = None,
    ) -> None:
        """Open the port; raises PortMissing, PortBusy, PortError or BusLost. Moves nothing."""
        self._settings = settings or StsSettings()
        self._servo_ids = tuple(servo_ids)
        self._pace = Pace()
        self._pacing = threading.Lock()
        self._line = HalfDuplex(port, self._settings.baud, frames.SHAPE, frames.probe(), clock, self._settings.line)

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
        """Return whether a servo answers, whatever it says of itself; raises BusLost."""
        try:
            self._ask(servo_id, frames.ping(servo_id), 0)
        except (NoReply, BadChecksum):
            return False
        return True

    def find_others(self, servo_ids: Sequence[int]) -> list[int]:
        """Return which of the first dozen ids answer besides these, each asked once; raises BusLost."""
        others = [i for i in LIKELY_IDS if i not in servo_ids]
        return [i for i in others if self._line.hears(frames.ping(i), partial(frames.reply_of, servo_id=i, count=0))]

    def read_ticks(self, servo_id: int) -> Reading:
        """Read one servo's position; raises NoReply, BadChecksum or BusLost after the bounded retries."""
        request = frames.read(servo_id, Register.PRESENT_POSITION, _POSITION_BYTES)
        answer = self._line.ask(request, lambda f: frames.reply_of(f, servo_id, _POSITION_BYTES), f"servo {servo_id}")
        reading = Reading(servo_id, frames.position_of(answer.value[1]), answer.requested_ns, answer.received_ns)
        self._note([reading])
        return reading

    def read_all_ticks(self) -> list[Reading]:
        """Read every servo's position by one request, in the order of `servo_ids`; who is missing is asked alone.

        Raises NoReply, BadChecksum or BusLost, in at most 2 + retries timeouts for the first that is missing.
        """
        waiting = set(self._servo_ids)

        def take(frame: bytes) -> tuple[int, int] | None:
            reply = frames.reply_of(frame, frame[2], _POSITION_BYTES)
            if reply is None or frame[2] not in waiting:
                return None
            waiting.remove(frame[2])
            return frame[2], frames.position_of(reply[1])

        request = frames.sync_read(self._servo_ids, Register.PRESENT_POSITION, _POSITION_BYTES)
        answers = self._line.collect(request, take, len(self._servo_ids))
        found = {a.value[0]: Reading(*a.value, a.requested_ns, a.received_ns) for a in answers}
        self._note(found.values())
        return [found.get(servo_id) or self.read_ticks(servo_id) for servo_id in self._servo_ids]

    def read_vitals(self, servo_id: int) -> ServoVitals:
        """Read one servo's temperature, voltage and current.

        Raises Overheated, Stalled (overload or too much current), Undervoltage (too low or too high) or, for its
        sensor, ServoAlarm where its status says so; otherwise as `read_ticks`.
        """
        status, data = self._ask(
            servo_id, frames.read(servo_id, Register.PRESENT_VOLTAGE, _VITALS_BYTES), _VITALS_BYTES
        )
        vitals = ServoVitals(
            temperature_c=float(data[Register.PRESENT_TEMPERATURE - Register.PRESENT_VOLTAGE]),
            voltage_v=data[0] / 10,
            current_ma=frames.current_ma_of(data[-2:]),
        )
        self._check(servo_id, status | Status(data[Register.STATUS - Register.PRESENT_VOLTAGE]), vitals)
        return vitals

    def write_ticks(self, ticks: Sequence[int], duration_s: float) -> None:
        """Send every servo to its count, to arrive together; raises BadCommand or BusLost."""
        if len(ticks) != len(self._servo_ids):
            raise BadCommand(f"expected {len(self._servo_ids)} counts, got {len(ticks)}")
        self._move(dict(zip(self._servo_ids, ticks, strict=True)), duration_s)

    def write_one(self, servo_id: int, ticks: int, duration_s: float) -> None:
        """Send one servo to its count; raises BadCommand or BusLost."""
        self._move({servo_id: ticks}, duration_s)

    def set_torque(self, on: bool) -> None:
        """Switch every servo's torque; raises BusLost."""
        frame = frames.sync_write(dict.fromkeys(self._servo_ids, bytes((int(on),))), Register.TORQUE_ENABLE)
        for _ in range(self._line.settings.torque_repeats):
            self._line.tell([frame])
        with self._pacing:
            self._pace.torque(on)

    def assign_id(self, servo_id: int, new_id: int) -> None:
        """Give one servo another id for good; no other servo may carry either. Raises as `read_ticks`."""
        frames.ping(new_id)  # refused before anything is sent
        self._write(servo_id, Register.LOCK, b"\x00")
        # The servo may acknowledge with either id: who answers to the new one tells.
        self._line.collect(frames.write(servo_id, Register.ID, bytes((new_id,))), lambda f: f, 1)
        self._write(new_id, Register.LOCK, b"\x01")

    def read_offset(self, servo_id: int) -> int:
        """Return what one servo subtracts from its shaft's position; raises as `read_ticks`."""
        _, data = self._ask(servo_id, frames.read(servo_id, Register.HOMING_OFFSET, _OFFSET_BYTES), _OFFSET_BYTES)
        return frames.offset_of(data[:2])

    def write_offset(self, servo_id: int, ticks: int) -> None:
        """Make one servo subtract `ticks` for good, which moves it where torque is on; raises as `read_ticks`."""
        data = frames.offset_bytes(ticks)
        self._write(servo_id, Register.LOCK, b"\x00")
        self._write(servo_id, Register.HOMING_OFFSET, data)
        self._write(servo_id, Register.LOCK, b"\x01")

    def read_health(self) -> BusHealth:
        """Return the counters at once; nothing is sent."""
        return self._line.read_health()

    def close(self) -> None:
        """Give the port back; the servos keep what they do. Calling it twice is harmless."""
        self._line.close()

    def __enter__(self) -> StsBus:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, servo_id: int, request: bytes, count: int) -> tuple[Status, bytes]:
        return self._line.ask(request, lambda f: frames.reply_of(f, servo_id, count), f"servo {servo_id}").value

    def _write(self, servo_id: int, address: Register, data: bytes) -> None:
        """Write to one servo and wait for it to acknowledge: for what survives power-down, which takes it a while."""
        self._ask(servo_id, frames.write(servo_id, address, data), 0)

    def _note(self, readings: Iterable[Reading]) -> None:
        with self._pacing:
            for reading in readings:
                self._pace.read(reading.servo_id, reading.ticks)

    def _move(self, ticks_by_id: dict[int, int], duration_s: float) -> None:
        if not math.isfinite(duration_s) or not 0 < duration_s <= _LONGEST_MOVE_S:
            raise BadCommand(f"a move takes more than 0 and at most {_LONGEST_MOVE_S} s, got {duration_s}")
        for ticks in ticks_by_id.values():
            frames.position_bytes(ticks)  # refused before anything is planned
        acceleration = self._settings.acceleration
        with self._pacing:  # to the end, so that what was planned last goes out last
            now_ns = self._line.clock.now_ns()
            speeds = {i: self._pace.plan(i, ticks, duration_s, now_ns) for i, ticks in ticks_by_id.items()}
            goals = {i: frames.goal_bytes(ticks, speeds[i], acceleration) for i, ticks in ticks_by_id.items()}
            try:
                self._line.tell([frames.sync_write(goals, Register.ACCELERATION)])
            except BusLost:
                self._pace.forget()
                raise

    def _check(self, servo_id: int, status: Status, vitals: ServoVitals) -> None:
        """Raise what a servo's status says, the most pressing first."""
        who = f"{self.port}: servo {servo_id}"
        if Status.HEAT in status:
            raise Overheated(f"{who} says that it is too hot, at {vitals.temperature_c} degrees C: let it cool down")
        if status & (Status.OVERLOAD | Status.CURRENT):
            raise Stalled(f"{who} says that it is overloaded, at {vitals.current_ma} mA: something is in its way")
        if Status.VOLTAGE in status:
            raise Undervoltage(f"{who} says that {vitals.voltage_v} V is not its voltage: check the supply")
        if Status.ANGLE in status:
            raise ServoAlarm(f"{who} says that the sensor of its shaft fails: it does not know where it stands")
