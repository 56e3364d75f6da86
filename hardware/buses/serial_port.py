"""SerialPort: a serial port that this process has for itself, and that may be unplugged and plugged in again."""

from __future__ import annotations

import select
import time

import serial

from hardware.errors import BusLost, PortError, port_error

#: A lost port is looked for again at most this often.
_REOPEN_S = 0.5
#: A port that takes no bytes for this long is lost. Ours may be a busy machine: pyserial looks at the clock after the
#: bytes have gone, so a process that was put aside for as long would lose a healthy port.
_WRITE_TIMEOUT_S = 0.5


class SerialPort:
    """Bytes out, bytes in until a deadline. One thread may write while another receives; no more than that.

    A port that fails once is lost until `reopen`: everything raises BusLost at once, and nothing is kept for later.
    """

    def __init__(self, name: str, baud: int) -> None:
        """Open it; raises PortMissing, PortBusy or PortError."""
        self.name = name
        self.openings = 1
        """How often the port has been opened: what was meant for an earlier opening is not for this one."""
        self._baud = baud
        self._lost = ""
        self._closed = False
        self._tried_ns = time.monotonic_ns()
        self._serial = _open(name, baud)

    @property
    def is_lost(self) -> bool:
        """Whether the port has failed and has not been opened again."""
        return bool(self._lost)

    def check(self) -> None:
        """Raise BusLost where the port is lost or closed."""
        if self._closed:
            raise BusLost(f"{self.name}: the port has been closed")
        if self._lost:
            raise BusLost(f"{self.name}: the port is gone ({self._lost}): check the USB cable")

    def write(self, data: bytes) -> None:
        """Hand bytes to the operating system; raises BusLost."""
        self.check()
        try:
            self._serial.write(data)
        except OSError as error:  # SerialException is an OSError
            self._lose(error)

    def receive(self, deadline_ns: int) -> bytes:
        """Return what has come as soon as something has; nothing once `deadline_ns` (monotonic) has passed.

        Raises BusLost.
        """
        self.check()
        left_s = max(0.0, (deadline_ns - time.monotonic_ns()) * 1e-9)
        try:
            ready, _, _ = select.select([self._serial.fileno()], [], [], left_s)
            return self._serial.read(max(1, self._serial.in_waiting)) if ready else b""
        except (OSError, TypeError, ValueError) as error:  # the last two: closed meanwhile
            self._lose(error)
            return b""

    def reopen(self) -> None:
        """Open a lost port again; raises BusLost where that fails, and untried where it was tried a moment ago."""
        now_ns = time.monotonic_ns()
        if self._closed or now_ns - self._tried_ns < _REOPEN_S * 1e9:
            self.check()
            return
        self._tried_ns = now_ns
        self._serial.close()
        try:
            self._serial = _open(self.name, self._baud)
        except PortError as error:
            raise BusLost(f"{self.name}: the port is gone: {error}") from error
        self._lost = ""
        self.openings += 1

    def close(self) -> None:
        """Give the port back; closing it twice is harmless."""
        self._closed = True
        self._serial.close()

    def _lose(self, error: Exception) -> None:
        self._lost = self._lost or str(error)
        try:
            self.check()
        except BusLost as lost:
            raise lost from error


def _open(name: str, baud: int) -> serial.Serial:
    try:
        return serial.Serial(name, baudrate=baud, timeout=0, write_timeout=_WRITE_TIMEOUT_S, exclusive=True)
    except OSError as error:
        raise port_error(name, error) from error
