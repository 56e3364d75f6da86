"""I2cChip: one chip on an I2C bus, with its errors named, counted and bounded, and opened again after a loss.

One lock holds a write together with the read of its result. Commands go before reads, so a command waits for the one
exchange that is under way and for no other.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import threading
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bridge.ports import Clock
from hardware.errors import BusLost, PortBusy, PortError, PortMissing

#: Sets how long the kernel waits for an adapter, in steps of 10 ms. Ref: Linux include/uapi/linux/i2c-dev.h.
_I2C_TIMEOUT = 0x0702
_KERNEL_TIMEOUT_STEPS = 3
#: The adapter itself has gone, not only the chip. Ref: Linux Documentation/i2c/fault-codes.rst, and USB adapters.
_GONE = frozenset({errno.ENODEV, errno.EBADF, errno.ENOENT, errno.ESHUTDOWN})
#: What the usual failures mean; the chip's silence is 121 on the Pi and 6 elsewhere. Ref: the same.
_MEANINGS = {
    errno.EREMOTEIO: "the chip does not acknowledge",
    errno.ENXIO: "the chip does not acknowledge",
    errno.ETIMEDOUT: "the bus is held low",
    errno.EAGAIN: "another master has taken the bus",
}


class SmBus(Protocol):
    """What the drivers use of smbus2.SMBus. Every call raises OSError."""

    def read_byte_data(self, i2c_addr: int, register: int, /) -> int:
        """Return a byte of a register."""
        ...

    def read_word_data(self, i2c_addr: int, register: int, /) -> int:
        """Return two bytes of a register, the first one low."""
        ...

    def write_i2c_block_data(self, i2c_addr: int, register: int, data: Sequence[int], /) -> None:
        """Write up to 32 bytes to a register."""
        ...

    def close(self) -> None:
        """Give the bus back."""
        ...


OpenBus = Callable[[str], SmBus]


def open_smbus(port: str) -> SmBus:
    """Open /dev/i2c-N; raises OSError. The kernel ends what the adapter does not within 30 ms."""
    from smbus2 import SMBus

    bus = SMBus(port)
    if bus.fd is not None:
        with contextlib.suppress(OSError):  # an adapter that cannot be told keeps its own timeout, 1 s as a rule
            fcntl.ioctl(bus.fd, _I2C_TIMEOUT, _KERNEL_TIMEOUT_STEPS)
    return bus


@dataclass(frozen=True, slots=True)
class ChipSettings:
    """Times and counts of an I2C driver."""

    retries: int = 2
    """How often an exchange is tried again."""
    pause_s: float = 0.001
    """Pause before a command is tried again."""
    failures_until_lost: int = 9
    """Tries that fail in a row, reads and writes together, before the chip counts as lost: three whole exchanges."""
    reopen_s: float = 0.5
    """A lost chip is looked for again no sooner than this after the last try."""


@dataclass(slots=True)
class ChipCounters:
    """What has happened since the chip was opened."""

    writes: int = 0
    retries: int = 0
    failures: int = 0
    reconnects: int = 0


class I2cChip:
    """The chip at one address. `greet` is run at every opening: it makes sure of the chip and must move nothing."""

    def __init__(
        self,
        port: str,
        address: int,
        name: str,
        clock: Clock,
        greet: Callable[[SmBus], None],
        settings: ChipSettings,
        open_bus: OpenBus = open_smbus,
    ) -> None:
        """Open the bus and greet the chip; raises PortError, or BusLost when no such chip answers."""
        self.port, self.counters = port, ChipCounters()
        self._address, self._name, self._clock = address, name, clock
        self._greet, self._settings, self._open_bus = greet, settings, open_bus
        self._turn = threading.Condition()
        self._busy = False
        self._commands_waiting = 0
        self._failed_in_a_row = 0
        self._lost = ""
        self._closed = False
        self._opened_ns = clock.now_ns()
        self._bus = self._open()

    def write(self, *messages: tuple[int, bytes]) -> None:
        """Write (register, data) one after the other, nothing between them; raises BusLost.

        All are written again when one is not acknowledged, at most `retries` times, within a few milliseconds.
        """
        self.check_alive()
        with self._take_turn(command=True):
            self.check_alive()
            why = ""
            for attempt in range(1 + self._settings.retries):
                if attempt:
                    self.counters.retries += 1
                    self._sleep(self._settings.pause_s)
                why = self._write_once(messages)
                if not why:
                    return
                if self._lost:
                    break
            self._lost = self._lost or f"{1 + self._settings.retries} writes in a row failed ({why}): {self._advice()}"
            raise BusLost(f"{self.port}: {self._lost}")

    def ask(self, register: int, data: bytes, wait_s: float, size: int) -> tuple[int, int, int] | None:
        """Write a request, wait, read a byte or a word: (value, asked ns, received ns), or None where it failed.

        One try, without a request where `data` is empty; a word's first byte is the high one. The first call half a
        second after a loss opens the bus again. Raises BusLost.
        """
        if self._lost:
            self._reopen()
        with self._take_turn(command=False):
            self.check_alive()
            asked_ns = self._clock.now_ns()
            try:
                if data:
                    self._bus.write_i2c_block_data(self._address, register, list(data))
                    self.counters.writes += 1
                    self._sleep(wait_s)
                value = self._read(register, size)
            except OSError as error:
                self._note_failure(error)
                self.check_alive()
                return None
            self._failed_in_a_row = 0
            return value, asked_ns, self._clock.now_ns()

    def check_alive(self) -> None:
        """Raise BusLost where the chip is lost or closed."""
        if self._closed:
            raise BusLost(f"{self.port}: the port has been closed")
        if self._lost:
            raise BusLost(f"{self.port}: {self._lost}")

    def close(self) -> None:
        """Give the bus back, after the exchange under way. Calling it twice is harmless."""
        with self._take_turn(command=True):
            if not self._closed:
                self._closed = True
                self._bus.close()

    def _write_once(self, messages: Sequence[tuple[int, bytes]]) -> str:
        """Write every message; return what went wrong, empty for nothing."""
        try:
            for register, data in messages:
                self._bus.write_i2c_block_data(self._address, register, list(data))
                self.counters.writes += 1
        except OSError as error:
            self._note_failure(error)
            return _meaning(error)
        self._failed_in_a_row = 0
        return ""

    # Turns -----------------------------------------------------------------------------------------
    @contextlib.contextmanager
    def _take_turn(self, command: bool) -> Generator[None]:
        """Hold the chip for one exchange; a read lets every waiting command go first."""
        with self._turn:
            self._commands_waiting += command
            self._turn.wait_for(lambda: not self._busy and (command or not self._commands_waiting))
            self._commands_waiting -= command
            self._busy = True
        try:
            yield
        finally:
            with self._turn:
                self._busy = False
                self._turn.notify_all()

    def _sleep(self, duration_s: float) -> None:
        self._clock.sleep_until(self._clock.now_ns() + round(duration_s * 1e9))

    def _read(self, register: int, size: int) -> int:
        if size == 1:
            return self._bus.read_byte_data(self._address, register)
        word = self._bus.read_word_data(self._address, register)  # SMBus words are little-endian, the chip's are not
        return (word & 0xFF) << 8 | word >> 8 & 0xFF

    # Losing and finding ----------------------------------------------------------------------------
    def _note_failure(self, error: OSError) -> None:
        self.counters.failures += 1
        self._failed_in_a_row += 1
        if error.errno in _GONE:
            self._lost = f"the I2C adapter is gone ({error}): check its cable"
        elif self._failed_in_a_row >= self._settings.failures_until_lost:
            self._lost = f"{self._failed_in_a_row} exchanges in a row failed ({_meaning(error)}): {self._advice()}"

    def _advice(self) -> str:
        return (
            f"no {self._name} answers at 0x{self._address:02X}: check the four wires and the board's supply, and look "
            f"with `i2cdetect -y {self.port.rpartition('-')[2]}`"
        )

    def _open(self) -> SmBus:
        try:
            bus = self._open_bus(self.port)
        except OSError as error:
            raise i2c_port_error(self.port, error) from error
        try:
            self._greet(bus)
        except OSError as error:
            bus.close()
            raise BusLost(f"{self.port}: {_meaning(error)}: {self._advice()}") from error
        except PortError:
            bus.close()
            raise
        return bus

    def _reopen(self) -> None:
        """Open the bus again, if the last try is long enough ago; raises BusLost."""
        with self._take_turn(command=False):
            now_ns = self._clock.now_ns()
            if self._closed or not self._lost:
                return
            if now_ns - self._opened_ns < self._settings.reopen_s * 1e9:
                raise BusLost(f"{self.port}: {self._lost}")
            self._opened_ns = now_ns
            with contextlib.suppress(OSError):  # its adapter may be gone
                self._bus.close()
            try:
                self._bus = self._open()
            except (PortError, BusLost) as error:
                raise BusLost(f"{self.port}: {self._lost}; opening it again failed: {error}") from error
            self._lost, self._failed_in_a_row = "", 0
            self.counters.reconnects += 1


def _meaning(error: OSError) -> str:
    meaning = _MEANINGS.get(error.errno or 0)
    return f"{meaning}, errno {error.errno}" if meaning else str(error)


def i2c_port_error(port: str, error: OSError) -> PortError:
    """Return the named error of an I2C bus that could not be opened."""
    if error.errno == errno.ENOENT:
        found = ", ".join(sorted(str(p) for p in Path("/dev").glob("i2c-*"))) or "none"
        advice = "switch I2C on with `sudo raspi-config nonint do_i2c 0` and start the Pi again"
        return PortMissing(f"there is no I2C bus {port}; buses found: {found}; {advice}")
    if error.errno in (errno.EACCES, errno.EPERM):
        advice = "join its group with `sudo usermod -aG i2c $USER` and log in again"
        return PortMissing(f"the I2C bus {port} may not be opened by this user (uid {os.getuid()}): {advice}")
    if error.errno == errno.EBUSY:
        return PortBusy(f"the I2C bus {port} is busy ({error}): a kernel driver holds it; see `lsmod`")
    return PortError(f"cannot open the I2C bus {port}: {error}; it must be an I2C adapter, as a rule /dev/i2c-1")
