"""DofbotLine: one opening of the Dofbot-SE's serial port. Frames go out at once; replies go to whoever awaits them.

Writes have a lock of their own that no wait for a reply ever holds, and a reader thread hands replies over, matched by
type and servo id. A line that is lost stays lost: opening the port again makes a new one.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

import serial

from bridge.ports import Clock
from hardware.buses.dofbot_frames import BAUD, Reply, ReplyParser, ReplyType
from hardware.errors import BusLost, port_error

#: A frame that stops for longer than this will not be completed.
_GAP_S = 0.05


@dataclass(frozen=True, slots=True)
class Awaited:
    """What reply is waited for; the servo where it names one."""

    kind: ReplyType
    servo_id: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """The number in a reply, when it was asked for and when it came."""

    number: int
    requested_ns: int
    received_ns: int


class DofbotLine:
    """The port, opened for this process alone, and its reader thread. Raises PortError when it cannot be opened."""

    def __init__(self, port: str, clock: Clock, parser: ReplyParser, write_timeout_s: float) -> None:
        self._port, self._clock, self._parser = port, clock, parser
        self._write_lock = threading.Lock()
        self._arrived = threading.Condition()
        self._awaited: Awaited | None = None
        self._answer: tuple[int, int] | None = None
        self._lost = ""
        self._closing = False
        self.frames_sent = self.late_replies = 0
        self._serial = _open(port, write_timeout_s)
        self._reader = threading.Thread(target=self._receive, name=f"reader {port}", daemon=True)
        self._reader.start()

    @property
    def lost(self) -> str:
        """Why the line is lost; empty while it is not."""
        return self._lost

    def write(self, frame: bytes) -> None:
        """Send a frame; raises BusLost."""
        with self._write_lock:
            if self._lost or self._closing:
                raise BusLost(f"{self._port}: {self._lost or 'the port has been closed'}")
            try:
                self._serial.write(frame)
            except (serial.SerialException, OSError) as error:
                self._lose(str(error))
                raise BusLost(f"{self._port}: {self._lost}") from error
            self.frames_sent += 1

    def ask(self, frame: bytes, awaited: Awaited, timeout_s: float) -> Answer | None:
        """Send a frame and wait for its reply; None on timeout. A late reply to an earlier try counts.

        One caller at a time. Raises BusLost as soon as the line is lost.
        """
        with self._arrived:
            self._awaited, self._answer = awaited, None
        requested_ns = self._clock.now_ns()
        self.write(frame)
        with self._arrived:
            self._arrived.wait_for(lambda: self._answer is not None or self._lost, timeout_s)
            answer, self._awaited, self._answer = self._answer, None, None
        if answer is not None:
            return Answer(answer[0], requested_ns, answer[1])
        if self._lost:
            raise BusLost(f"{self._port}: {self._lost}")
        return None

    def close(self) -> None:
        """Give the port back; the servos keep what they do. Calling it twice is harmless."""
        if self._closing:
            return
        self._closing = True
        self._serial.cancel_read()
        if threading.current_thread() is not self._reader:
            self._reader.join(timeout=1.0)
        self._serial.close()

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

    def _hand_over(self, reply: Reply) -> None:
        now_ns = self._clock.now_ns()
        with self._arrived:
            waits = self._awaited is not None and self._answer is None
            number = answered_number(reply, self._awaited) if waits and self._awaited is not None else None
            if number is None:
                self.late_replies += 1
            else:
                self._answer = (number, now_ns)
                self._arrived.notify_all()


def answered_number(reply: Reply, awaited: Awaited) -> int | None:
    """Return the number in a reply if it is the one awaited."""
    if reply.kind != awaited.kind:
        return None
    if reply.kind != ReplyType.SERVO:
        return reply.number()
    position = reply.servo()
    return position[1] if position is not None and position[0] == awaited.servo_id else None


def _open(port: str, write_timeout_s: float) -> serial.Serial:
    try:
        return serial.Serial(port, baudrate=BAUD, timeout=_GAP_S, write_timeout=write_timeout_s, exclusive=True)
    except OSError as error:  # SerialException is an OSError
        raise port_error(port, error) from error
