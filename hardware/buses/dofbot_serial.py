"""DofbotSerialBus: the Dofbot-SE's servo board behind a USB serial port.

The board's manners, all met here: it swallows the first command after the port is opened, it takes 50 to 80 ms to read
one servo, and it executes a write at once even while it is reading. So writes go out under a lock of their own that no
read ever holds, and a reader thread hands replies to whoever waits, matched by type and servo id.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import serial

from bridge.clock import MonotonicClock
from bridge.ports import Clock
from hardware.buses import dofbot_frames as frames
from hardware.errors import BadChecksum, BusLost, NoReply, NotMeasured, port_error
from hardware.servo_bus import BusHealth, Reading, ServoVitals

#: A frame that stops for longer than this will not be completed.
_GAP_S = 0.05


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


class DofbotSerialBus:
    """A ServoBus over the vendor's serial frames; opens the port for itself alone."""

    def __init__(self, port: str, clock: Clock | None = None, settings: SerialSettings | None = None) -> None:
        self._port = port
        self._clock: Clock = clock or MonotonicClock()
        self._settings = settings or SerialSettings()
        self._write_lock = threading.Lock()
        self._read_lock = threading.Lock()
        self._arrived = threading.Condition()
        self._awaited: int | None = None
        self._answer: tuple[int, int] | None = None
        self._lost: str = ""
        self._closing = False
        self._parser = frames.ReplyParser()
        self._frames_sent = self._reads_ok = self._retries = self._timeouts = self._late_replies = 0
        self._serial = _open(port, self._settings)
        self._reader = threading.Thread(target=self._receive, name=f"reader {port}", daemon=True)
        self._reader.start()
        try:
            self._wake()
        except BusLost:
            self.close()
            raise

    @property
    def port(self) -> str:
        """The name of the port."""
        return self._port

    @property
    def servo_ids(self) -> tuple[int, ...]:
        """The ids that `write_ticks` addresses, in its order."""
        return frames.SERVO_IDS

    @property
    def ticks_range(self) -> tuple[int, int]:
        """The lowest and the highest count that a servo takes."""
        return frames.MIN_TICKS, frames.MAX_TICKS

    def ping(self, servo_id: int) -> bool:
        """Return whether a servo answers a read: the serial protocol has no ping whose reply is known."""
        try:
            self.read_ticks(servo_id)
        except (NoReply, BadChecksum):
            return False
        return True

    def read_ticks(self, servo_id: int) -> Reading:
        """Read one servo's position; raises NoReply, BadChecksum or BusLost after the bounded retries."""
        request = frames.read_one(servo_id)
        with self._read_lock:
            bad_before = self._parser.bad_checksums
            for attempt in range(1 + self._settings.read_retries):
                self._retries += attempt > 0
                reading = self._ask(request, servo_id)
                if reading is None:
                    self._timeouts += 1
                elif reading.ticks > 0:
                    self._reads_ok += 1
                    return reading
        tries = f"in {1 + self._settings.read_retries} tries of {self._settings.reply_timeout_s} s"
        if self._parser.bad_checksums > bad_before:
            raise BadChecksum(f"{self._port}: replies of servo {servo_id} had bad checksums {tries}: check the cable")
        raise NoReply(f"{self._port}: servo {servo_id} gave no position {tries}: check its cable and the 12 V supply")

    def read_vitals(self, servo_id: int) -> ServoVitals:
        """Raise NotMeasured: the board passes neither temperature nor voltage nor current on."""
        raise NotMeasured(f"{self._port}: this board does not tell how its servos are")

    def write_ticks(self, ticks: Sequence[int], duration_s: float) -> None:
        """Send the six servos to their counts; never waits for a read; raises BadCommand or BusLost."""
        self._write(frames.move_six(ticks, duration_s))

    def write_one(self, servo_id: int, ticks: int, duration_s: float) -> None:
        """Send one servo to its count; raises BadCommand or BusLost."""
        self._write(frames.move_one(servo_id, ticks, duration_s))

    def set_torque(self, on: bool) -> None:
        """Switch every servo's torque; raises BusLost."""
        for _ in range(self._settings.torque_repeats):
            self._write(frames.torque(on))

    def read_health(self) -> BusHealth:
        """Return the counters at once; nothing is sent."""
        return BusHealth(
            frames_sent=self._frames_sent,
            reads_ok=self._reads_ok,
            retries=self._retries,
            timeouts=self._timeouts,
            bad_checksums=self._parser.bad_checksums,
            late_replies=self._late_replies,
            garbage_bytes=self._parser.garbage_bytes,
        )

    def close(self) -> None:
        """Give the port back; the servos keep what they do. Calling it twice is harmless."""
        if self._closing:
            return
        self._closing = True
        self._serial.cancel_read()
        if threading.current_thread() is not self._reader:
            self._reader.join(timeout=1.0)
        self._serial.close()

    def __enter__(self) -> DofbotSerialBus:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _wake(self) -> None:
        """Let the board swallow a frame that moves nothing, then forget whatever it said meanwhile."""
        self._write(frames.version())
        self._clock.sleep_until(self._clock.now_ns() + round(self._settings.wake_s * 1e9))
        with self._arrived:
            self._late_replies = 0

    def _ask(self, request: bytes, servo_id: int) -> Reading | None:
        """Send one read and wait for that servo's reply; None on timeout. A late reply to an earlier try counts."""
        with self._arrived:
            self._awaited, self._answer = servo_id, None
        requested_ns = self._clock.now_ns()
        self._write(request)
        with self._arrived:
            self._arrived.wait_for(lambda: self._answer is not None or self._lost, self._settings.reply_timeout_s)
            answer, self._awaited, self._answer = self._answer, None, None
        if answer is not None:
            return Reading(servo_id, answer[0], requested_ns, answer[1])
        if self._lost:
            raise BusLost(f"{self._port}: {self._lost}")
        return None

    def _write(self, frame: bytes) -> None:
        with self._write_lock:
            if self._lost or self._closing:
                raise BusLost(f"{self._port}: {self._lost or 'the port has been closed'}")
            try:
                self._serial.write(frame)
            except (serial.SerialException, OSError) as error:
                self._lose(str(error))
                raise BusLost(f"{self._port}: cannot write: {error}: is the cable plugged in?") from error
            self._frames_sent += 1

    def _lose(self, why: str) -> None:
        with self._arrived:
            self._lost = self._lost or f"the port is gone ({why}): check the USB cable and connect again"
            self._arrived.notify_all()

    def _receive(self) -> None:
        while not self._closing:
            try:
                data = self._serial.read(1)
                data += self._serial.read(self._serial.in_waiting) if data else b""
            except (serial.SerialException, OSError, TypeError) as error:  # TypeError: closed while reading
                if not self._closing:
                    self._lose(str(error))
                return
            for reply in self._parser.feed(data) if data else self._parser.give_up():
                self._hand_over(reply)

    def _hand_over(self, reply: frames.Reply) -> None:
        position = reply.servo()
        now_ns = self._clock.now_ns()
        with self._arrived:
            if position is not None and position[0] == self._awaited and self._answer is None:
                self._answer = (position[1], now_ns)
                self._arrived.notify_all()
            else:
                self._late_replies += 1


def _open(port: str, settings: SerialSettings) -> serial.Serial:
    try:
        return serial.Serial(
            port,
            baudrate=frames.BAUD,
            timeout=_GAP_S,
            write_timeout=settings.write_timeout_s,
            exclusive=True,
        )
    except OSError as error:  # SerialException is an OSError
        raise port_error(port, error) from error
