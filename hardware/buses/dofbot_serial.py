"""DofbotSerialBus: the Dofbot-SE's servo board behind a USB serial port.

The board's manners, all met here: it swallows the first command after the port is opened, it takes 50 to 80 ms to read
one servo, and it executes a write at once even while it is reading. So a write never waits for a read.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from bridge.clock import MonotonicClock
from bridge.ports import Clock
from hardware.buses import dofbot_frames as frames
from hardware.buses.dofbot_frames import ReplyType
from hardware.buses.dofbot_line import Answer, Awaited, DofbotLine
from hardware.buses.dofbot_registers import MAX_TICKS, MIN_TICKS, SERVO_IDS, MiddleStatus, StoredMiddle
from hardware.errors import BadChecksum, BusLost, NoReply, NotMeasured, PortError
from hardware.servo_bus import BusHealth, Reading, ServoVitals

#: The outcome of storing a middle must be asked for within 1.5 s. Ref: i2c_register_map.xlsx, register 0x1B.
_MIDDLE_S, _MIDDLE_STEP_S = 1.5, 0.2


@dataclass(frozen=True, slots=True)
class SerialSettings:
    """Times and counts of the driver."""

    reply_timeout_s: float = 0.2
    """Time to wait for one reply; the board needs 0.05 to 0.08 s."""
    read_retries: int = 2
    """How often a read is asked again."""
    wake_s: float = 0.5
    """Pause after the first, swallowed command. Ref: nahyud546/dofbot-se notes."""
    write_timeout_s: float = 0.5
    """A port that takes no bytes for this long is lost. Ours may be a busy machine: pyserial looks at the clock after
    the bytes have gone, so a process that was put aside for as long would lose a healthy port."""
    torque_repeats: int = 2
    """How often a torque command is sent."""
    reopen_s: float = 0.5
    """A lost port is opened again no sooner than this after the last try."""


class DofbotSerialBus:
    """A ServoBus over the vendor's serial frames; opens the port for itself alone."""

    def __init__(self, port: str, clock: Clock | None = None, settings: SerialSettings | None = None) -> None:
        """Open the port and let the board swallow a frame; raises PortError or BusLost."""
        self._port = port
        self._clock: Clock = clock or MonotonicClock()
        self._settings = settings or SerialSettings()
        self._read_lock = threading.Lock()
        self._swap_lock = threading.Lock()
        self._closed = False
        self._parser = frames.ReplyParser()
        self._reads_ok = self._retries = self._timeouts = self._reconnects = 0
        self._frames_before = self._late_before = 0
        self._opened_ns = self._clock.now_ns()
        self._line = self._wake()

    @property
    def port(self) -> str:
        """The name of the port."""
        return self._port

    @property
    def servo_ids(self) -> tuple[int, ...]:
        """The ids that `write_ticks` addresses, in its order."""
        return SERVO_IDS

    @property
    def ticks_range(self) -> tuple[int, int]:
        """The lowest and the highest count that a servo takes."""
        return MIN_TICKS, MAX_TICKS

    def ping(self, servo_id: int) -> bool:
        """Return whether a servo answers a read: the serial protocol has no ping whose reply is known."""
        try:
            self.read_ticks(servo_id)
        except (NoReply, BadChecksum):
            return False
        return True

    def find_others(self, servo_ids: Sequence[int]) -> list[int]:
        """Return which of the board's other servos answer; raises BusLost."""
        return [i for i in SERVO_IDS if i not in servo_ids and self.ping(i)]

    def read_ticks(self, servo_id: int) -> Reading:
        """Read one servo's position; raises NoReply, BadChecksum or BusLost after the bounded retries.

        A lost port is opened and woken again first, which takes the wake's half second and moves nothing.
        """
        request = frames.read_one(servo_id)
        answer = self._ask(request, Awaited(ReplyType.SERVO, servo_id), f"servo {servo_id}", "position")
        return Reading(servo_id, answer.number, answer.requested_ns, answer.received_ns)

    def read_vitals(self, servo_id: int) -> ServoVitals:
        """Raise NotMeasured: the board passes neither temperature nor voltage nor current on."""
        raise NotMeasured(f"{self._port}: this board does not tell how its servos are")

    def read_version(self) -> int:
        """Read the firmware's number; raises as `read_ticks`."""
        return self._ask(frames.version(), Awaited(ReplyType.VERSION), "the board", "version").number

    def write_ticks(self, ticks: Sequence[int], duration_s: float) -> None:
        """Send the six servos to their counts; never waits for a read; raises BadCommand or BusLost."""
        self._write(frames.move_six(ticks, duration_s))

    def write_one(self, servo_id: int, ticks: int, duration_s: float) -> None:
        """Send one servo to its count; raises BadCommand or BusLost."""
        self._write(frames.move_one(servo_id, ticks, duration_s))

    def write_any(self, servo_id: int, ticks: int, duration_s: float) -> None:
        """Send a servo of any id, 1 to 250, to a count; raises BadCommand or BusLost."""
        self._write(frames.move_any(servo_id, ticks, duration_s))

    def set_torque(self, on: bool) -> None:
        """Switch every servo's torque; raises BusLost."""
        for _ in range(self._settings.torque_repeats):
            self._write(frames.torque(on))

    def set_lamp(self, red: int, green: int, blue: int) -> None:
        """Colour the board's lamp, 0 to 255 each; raises BadCommand or BusLost."""
        self._write(frames.lamp(red, green, blue))

    def sound(self, duration_s: float | None) -> None:
        """Sound the buzzer for up to 5 s, for ever (None), or no more (0); raises BadCommand or BusLost."""
        self._write(frames.buzzer(duration_s))

    def store_middle(self, servo_id: int) -> StoredMiddle:
        """Make where a servo stands now its middle (0: every servo's factory middle), and return what became of it.

        Every later count of that servo shifts: calibrate again. Waits up to 1.5 s; raises as `read_ticks`. The offset
        is None where the board did not tell it at once.
        """
        status_by_ns = self._clock.now_ns() + round(_MIDDLE_S * 1e9)
        offset = self._try(frames.store_middle(servo_id), Awaited(ReplyType.OFFSET))
        request, awaited = frames.middle_status(), Awaited(ReplyType.STATE)
        while True:
            status = self._ask(request, awaited, "the board", "status of the middle", lowest=0, highest=2).number
            step_ns = self._clock.now_ns() + round(_MIDDLE_STEP_S * 1e9)
            if status != MiddleStatus.NOT_SET or step_ns >= status_by_ns:
                return StoredMiddle(MiddleStatus(status), None if offset is None else offset.number)
            self._clock.sleep_until(step_ns)

    def read_health(self) -> BusHealth:
        """Return the counters at once; nothing is sent."""
        with self._swap_lock:
            return BusHealth(
                frames_sent=self._frames_before + self._line.frames_sent,
                reads_ok=self._reads_ok,
                retries=self._retries,
                timeouts=self._timeouts,
                bad_checksums=self._parser.bad_checksums,
                late_replies=self._late_before + self._line.late_replies,
                garbage_bytes=self._parser.garbage_bytes,
                reconnects=self._reconnects,
            )

    def close(self) -> None:
        """Give the port back; the servos keep what they do. Calling it twice is harmless."""
        with self._swap_lock:
            self._closed = True
        self._line.close()

    def __enter__(self) -> DofbotSerialBus:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _wake(self) -> DofbotLine:
        """Open the port, let the board swallow a frame that moves nothing, then forget whatever it said meanwhile."""
        line = self._open_line()
        try:
            line.write(frames.version())
        except BusLost:
            line.close()
            raise
        self._clock.sleep_until(self._clock.now_ns() + round(self._settings.wake_s * 1e9))
        line.late_replies = 0
        return line

    def _open_line(self) -> DofbotLine:
        return DofbotLine(self._port, self._clock, self._parser, self._settings.write_timeout_s)

    def _write(self, frame: bytes) -> None:
        self._line.write(frame)

    def _try(self, request: bytes, awaited: Awaited) -> Answer | None:
        """Ask once; None on timeout."""
        with self._read_lock:
            return self._live_line().ask(request, awaited, self._settings.reply_timeout_s)

    def _ask(
        self, request: bytes, awaited: Awaited, who: str, what: str, lowest: int = 1, highest: int = 0xFFFF
    ) -> Answer:
        """Ask until a number within bounds comes: a position of 0 is none. Raises NoReply, BadChecksum or BusLost."""
        with self._read_lock:
            line = self._live_line()
            bad_before = self._parser.bad_checksums
            for attempt in range(1 + self._settings.read_retries):
                self._retries += attempt > 0
                answer = line.ask(request, awaited, self._settings.reply_timeout_s)
                if answer is None:
                    self._timeouts += 1
                elif lowest <= answer.number <= highest:
                    self._reads_ok += 1
                    return answer
        tries = f"in {1 + self._settings.read_retries} tries of {self._settings.reply_timeout_s} s"
        if self._parser.bad_checksums > bad_before:
            raise BadChecksum(f"{self._port}: replies of {who} had bad checksums {tries}: check the cable")
        raise NoReply(f"{self._port}: {who} gave no {what} {tries}: check its cable and the 12 V supply")

    def _live_line(self) -> DofbotLine:
        """Return the line, opened again if it was lost and the last try is long enough ago; raises BusLost."""
        lost = self._line.lost
        now_ns = self._clock.now_ns()
        if not lost or self._closed:
            return self._line
        if now_ns - self._opened_ns < self._settings.reopen_s * 1e9:
            raise BusLost(f"{self._port}: {lost}")
        self._opened_ns = now_ns
        self._line.close()  # the port is exclusive, and its reader is the parser's only one
        self._parser.clear()
        try:
            line = self._wake()
        except (PortError, BusLost) as error:
            raise BusLost(f"{self._port}: {lost}; opening it again failed: {error}") from error
        with self._swap_lock:
            self._frames_before += self._line.frames_sent
            self._late_before += self._line.late_replies
            self._line, closed = line, self._closed
            self._reconnects += 1
        if closed:
            line.close()
        return line
