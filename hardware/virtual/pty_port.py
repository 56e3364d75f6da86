"""PtyPort: the far end of a serial cable, for any virtual board: a raw pseudo-terminal that can be pulled out and back.

A board asks `receive` for what the host has sent, answers with `send`, and is stepped by `run_in_thread`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import threading
import tty
from collections.abc import Generator
from pathlib import Path
from typing import Protocol

from bridge.ports import Clock
from hardware.errors import HardwareError


class PtyPort:
    """One port. `name` is what a driver opens; `link` gives it a name that survives unplugging.

    Every method may be called from any thread, so that a test can pull the plug while the board runs.
    """

    def __init__(self, link: Path | None = None) -> None:
        self._link = link
        self._lock = threading.Lock()
        self._master = -1
        self._is_open = False
        self.name = ""
        self.plug_in()

    @property
    def is_plugged(self) -> bool:
        """Whether the cable is in."""
        return self._master >= 0

    @property
    def is_open(self) -> bool:
        """Whether somebody has had the port open when it was last listened to."""
        return self._is_open

    def receive(self) -> bytes | None:
        """Return what the host has sent since, at once; None when nobody has the port open."""
        with self._lock:
            if self._master < 0:
                return None
            try:
                data = os.read(self._master, 4096)
            except BlockingIOError:
                data = b""
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
                self._is_open = False
                return None
            self._is_open = True
            return data

    def send(self, data: bytes) -> bool:
        """Hand bytes to the host; return whether it could take them: nobody reads, and a real UART drops them too."""
        with self._lock:
            if self._master < 0 or not self._is_open:
                return False
            with contextlib.suppress(BlockingIOError):
                os.write(self._master, data)
                return True
            return False

    def wait(self, timeout_s: float, stop: threading.Event) -> None:
        """Wait for bytes, for `stop` where there is no host, and at most `timeout_s`."""
        if not self._is_open:  # a hung-up pty is always readable
            stop.wait(timeout_s)
            return
        with contextlib.suppress(OSError, ValueError):  # the plug was pulled meanwhile
            select.select([self._master], [], [], timeout_s)

    def unplug(self) -> None:
        """Pull the plug: whoever has the port open loses it. Pulling it twice is harmless."""
        with self._lock:
            if self._master < 0:
                return
            master, self._master, self._is_open = self._master, -1, False
            os.close(master)
        if self._link is not None and self._link.is_symlink():
            self._link.unlink()

    def plug_in(self) -> None:
        """Put the plug in again: under the same name where there is a link, under a new one otherwise."""
        with self._lock:
            if self._master < 0:
                self._master, self.name = open_pty(self._link)


class Stepped(Protocol):
    """A board that an outer loop steps."""

    @property
    def pty(self) -> PtyPort:
        """Its port."""
        ...

    def step(self, now_ns: int) -> int | None:
        """Do everything up to `now_ns`, never waiting; return when it next has something to do, if it knows."""
        ...


@contextlib.contextmanager
def run_in_thread(board: Stepped, clock: Clock, period_s: float = 1 / 240) -> Generator[None]:
    """Step a board in a thread of its own for as long as the context lasts; its errors surface at the end."""
    stop = threading.Event()
    failures: list[BaseException] = []

    def loop() -> None:
        due_ns: int | None = None
        try:
            while not stop.is_set():
                wait_s = period_s if due_ns is None else min(period_s, max(0.0, (due_ns - clock.now_ns()) * 1e-9))
                board.pty.wait(wait_s, stop)
                due_ns = board.step(clock.now_ns())
        except Exception as error:  # surfaces in the thread that owns the board
            failures.append(error)

    thread = threading.Thread(target=loop, name="virtual board", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=2.0)
        if failures:
            raise HardwareError(f"the virtual board failed: {failures[0]!r}") from failures[0]


def open_pty(link: Path | None) -> tuple[int, str]:
    """Return (master fd, name of the port), raw and closed at the far end, so that an opening can be noticed."""
    master, slave = os.openpty()
    tty.setraw(slave)
    name = os.ttyname(slave)
    os.close(slave)
    os.set_blocking(master, False)
    if link is None:
        return master, name
    link.parent.mkdir(parents=True, exist_ok=True)
    temporary = link.with_name(f".{link.name}.{os.getpid()}")
    temporary.symlink_to(name)
    os.replace(temporary, link)
    return master, str(link)
