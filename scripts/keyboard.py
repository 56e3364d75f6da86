"""Single keys from a terminal, arrows and Esc told apart."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import termios
import tty
from collections.abc import Generator

from hardware.errors import PortError

ESCAPE = "\x1b"
_ARROWS = {b"[A": "up", b"[B": "down", b"[C": "right", b"[D": "left"}
_SEQUENCE_S = 0.03


class NoTerminal(PortError):
    """Standard input is no terminal, so nobody could stop the arm."""


class Keyboard:
    """Reads keys as they are pressed. Keys that stop overtake the others, and a held key leaves nothing behind."""

    def __init__(self, fd: int, stops: tuple[str, ...]) -> None:
        """`stops` are the keys that overtake whatever was pressed before them and make it void."""
        self._fd, self._stops = fd, stops
        self._waiting: list[str] = []
        self._unread = b""

    def read(self, timeout_s: float) -> str:
        """Return the next key ('up', 'down', 'left', 'right', or its character), or '' when none came in time.

        Repeats of one key that piled up meanwhile count once: what a held key asked for ends with its release.
        """
        key = self._next(0.0 if self._waiting else timeout_s)
        while key:
            self._waiting.append(key)
            key = self._next(0.0)
        if stop := next((k for k in self._waiting if k in self._stops), ""):
            self._waiting.clear()
            return stop
        if not self._waiting:
            return ""
        first = self._waiting.pop(0)
        while self._waiting and self._waiting[0] == first:
            self._waiting.pop(0)
        return first

    def forget(self) -> None:
        """Drop the keys that are waiting."""
        self._waiting.clear()
        self._unread = b""
        termios.tcflush(self._fd, termios.TCIFLUSH)

    def _next(self, timeout_s: float) -> str:
        first = self._byte(timeout_s)
        if first != ESCAPE.encode():
            return first.decode("ascii", errors="ignore")
        rest = self._byte(_SEQUENCE_S)
        if rest != b"[":
            self._unread = rest  # a key of its own, and it may be the one that stops the arm
            return ESCAPE
        return _ARROWS.get(rest + self._byte(_SEQUENCE_S), ESCAPE)

    def _byte(self, timeout_s: float) -> bytes:
        if self._unread:
            kept, self._unread = self._unread, b""
            return kept
        ready, _, _ = select.select([self._fd], [], [], timeout_s)
        if not ready:
            return b""
        try:
            data = os.read(self._fd, 1)
        except OSError as error:  # a pseudo-terminal whose other end was closed
            raise NoTerminal(f"the terminal has gone: {error.strerror}") from error
        if not data:
            raise NoTerminal("the terminal has gone")
        return data


@contextlib.contextmanager
def keyboard(stops: tuple[str, ...]) -> Generator[Keyboard]:
    """Give single keys for as long as the context lasts; raises NoTerminal. Ctrl-C still interrupts."""
    if not sys.stdin.isatty():
        raise NoTerminal("this needs a keyboard: run it in a terminal, with standard input not redirected")
    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    tty.setcbreak(fd)
    try:
        yield Keyboard(fd, stops)
    finally:
        termios.tcsetattr(fd, termios.TCSANOW, before)  # not when all is printed: a halted terminal prints nothing
