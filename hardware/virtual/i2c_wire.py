"""I2cWire: a virtual I2C bus with one chip on it. `open` gives what smbus2.SMBus would, with bus time and faults."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Protocol

from bridge.ports import Clock
from hardware.errors import HardwareError

#: Seconds per byte at 100 kHz: eight bits and the acknowledgement.
BYTE_S = 90e-6
_LONGEST_BLOCK = 32


class WiredChip(Protocol):
    """The chip at the far end, called with the bus held and the time of the last bit."""

    def write(self, register: int, data: bytes, now_ns: int) -> None:
        """Take bytes into a register."""
        ...

    def read(self, register: int, count: int, now_ns: int) -> bytes:
        """Give bytes from a register."""
        ...

    def advance(self, now_ns: int) -> None:
        """Move on to `now_ns`."""
        ...


@dataclass(frozen=True, slots=True)
class WireWrite:
    """A write as it went over the wire, and when its last bit did."""

    stamp_ns: int
    register: int
    data: bytes


@dataclass(slots=True)
class WireFaults:
    """Faults on request: how many more times each happens; `FOREVER` until cleared."""

    FOREVER = 1 << 60

    nacks: int = 0
    """Nothing acknowledges: errno 121."""
    zero_words: int = 0
    swapped_words: int = 0
    short_words: int = 0
    """The chip lets go after the first byte; the second is read as FF."""

    def clear(self) -> None:
        """End every fault."""
        self.nacks = self.zero_words = self.swapped_words = self.short_words = 0


class I2cWire:
    """The bus. Like the kernel's, it lets one transaction pass at a time, and each takes its time."""

    def __init__(self, chip: WiredChip, address: int, clock: Clock) -> None:
        self.faults = WireFaults()
        self.writes: deque[WireWrite] = deque(maxlen=20_000)
        self.opened = 0
        self._chip, self._address, self._clock = chip, address, clock
        self._held = threading.Lock()
        self._chip_there = self._adapter_there = True

    def open(self, port: str) -> VirtualSmbus:
        """Return an open bus; raises OSError where the adapter is unplugged."""
        if not self._adapter_there:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), port)
        self.opened += 1
        return VirtualSmbus(self)

    def unplug(self, adapter: bool = False) -> None:
        """Pull the chip's wires, or the whole adapter."""
        self._chip_there, self._adapter_there = False, not adapter

    def replug(self) -> None:
        """Plug everything in again. A bus opened before the adapter was pulled stays dead."""
        self._chip_there = self._adapter_there = True

    def step(self, now_ns: int) -> None:
        """Let the chip and what hangs on it move on to `now_ns`."""
        with self._held:
            self._chip.advance(now_ns)

    @contextlib.contextmanager
    def hold(self) -> Generator[int]:
        """Keep every transaction out, and say what time it is: to press a button."""
        with self._held:
            now_ns = self._clock.now_ns()
            self._chip.advance(now_ns)
            yield now_ns

    @contextlib.contextmanager
    def run_in_thread(self, period_s: float = 1 / 240) -> Generator[None]:
        """Step in a thread of its own for as long as the context lasts; its errors surface at the end."""
        stop = threading.Event()
        failures: list[Exception] = []

        def loop() -> None:
            try:
                while not stop.wait(period_s):
                    self.step(self._clock.now_ns())
            except Exception as error:  # surfaces in the thread that owns the board
                failures.append(error)

        thread = threading.Thread(target=loop, name="virtual I2C board", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(timeout=2.0)
            if failures:
                raise HardwareError(f"the virtual board failed: {failures[0]!r}") from failures[0]

    def write(self, address: int, register: int, data: bytes) -> None:
        """Pass a write on, after the time its bytes take; raises OSError."""
        with self._held:
            now_ns = self._pass(address, 2 + len(data))
            self.writes.append(WireWrite(now_ns, register, data))
            self._chip.write(register, data, now_ns)

    def read(self, address: int, register: int, count: int) -> bytes:
        """Pass a read on, after the time its bytes take; raises OSError."""
        with self._held:
            data = self._chip.read(register, count, self._pass(address, 3 + count))
        if count == 2:
            for name, spoilt in (
                ("zero_words", b"\0\0"),
                ("swapped_words", data[::-1]),
                ("short_words", data[:1] + b"\xff"),
            ):
                left: int = getattr(self.faults, name)
                if left > 0:
                    setattr(self.faults, name, left - 1)
                    return spoilt
        return data

    def _pass(self, address: int, byte_count: int) -> int:
        if not self._adapter_there:
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        silent = self.faults.nacks > 0
        self.faults.nacks -= silent
        silent = silent or not self._chip_there or address != self._address
        self._clock.sleep_until(self._clock.now_ns() + round((1 if silent else byte_count) * BYTE_S * 1e9))
        now_ns = self._clock.now_ns()
        self._chip.advance(now_ns)
        if silent:
            raise OSError(errno.EREMOTEIO, os.strerror(errno.EREMOTEIO))
        return now_ns


class VirtualSmbus:
    """What the drivers know as an SMBus. Ref: smbus2.SMBus, same methods, same errors."""

    def __init__(self, wire: I2cWire) -> None:
        self._wire: I2cWire | None = wire

    def read_byte_data(self, i2c_addr: int, register: int) -> int:
        """Return a byte of a register."""
        return self._open_wire().read(i2c_addr, register, 1)[0]

    def read_word_data(self, i2c_addr: int, register: int) -> int:
        """Return two bytes of a register, the first one low."""
        return int.from_bytes(self._open_wire().read(i2c_addr, register, 2), "little")

    def write_byte_data(self, i2c_addr: int, register: int, value: int) -> None:
        """Write a byte to a register."""
        self._open_wire().write(i2c_addr, register, bytes((value,)))

    def write_i2c_block_data(self, i2c_addr: int, register: int, data: Sequence[int]) -> None:
        """Write up to 32 bytes to a register."""
        if len(data) > _LONGEST_BLOCK:
            raise ValueError(f"Data length cannot exceed {_LONGEST_BLOCK} bytes")
        self._open_wire().write(i2c_addr, register, bytes(data))

    def close(self) -> None:
        """Give the bus back."""
        self._wire = None

    def _open_wire(self) -> I2cWire:
        if self._wire is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return self._wire
