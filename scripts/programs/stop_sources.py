"""Where an emergency stop may come from on the arm's own computer: the keyboard of its terminal, and a button."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from bridge.errors import CommandRefused
from bridge.server import RobotServer
from hardware.stop_button import StopButton, stop_button
from scripts.keyboard import Keyboard, NoTerminal, keyboard

_STOP_KEY, _CLEAR_KEY = " ", "c"


@dataclass(frozen=True, slots=True)
class StopSources:
    """What is there of them."""

    keys: Keyboard | None
    button: StopButton | None


@contextmanager
def stop_sources(gpio: int | None) -> Generator[StopSources]:
    """Listen to the terminal, where there is one, and to the button of a GPIO number; raises ButtonFailed.

    A program in the background leaves the keys to the shell: the kernel halts whoever reads them from there. Ctrl-Z
    halts nobody: an arm whose server stands still has no watchdog.
    """
    with ExitStack() as stack:
        stack.callback(signal.signal, signal.SIGTSTP, signal.signal(signal.SIGTSTP, signal.SIG_IGN))
        button = stack.enter_context(stop_button(gpio)) if gpio is not None else None
        keys = stack.enter_context(keyboard((_STOP_KEY,))) if sys.stdin.isatty() and _in_front() else None
        yield StopSources(keys, button)


def _in_front() -> bool:
    """Whether no other program has our terminal; one that is not ours to control has no front."""
    try:
        return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except OSError:
        return True


def pass_on(stops: StopSources, server: RobotServer, tell: Callable[[str], None]) -> None:
    """Stop the arm, or clear the stop, if somebody has asked for it since the last look; waits for nothing."""
    if stops.button is not None and stops.button.pressed() and not server.stopped:
        server.stop("the stop button")
    if stops.keys is None:
        return
    try:
        key = stops.keys.read(0.0)
    except NoTerminal:  # closed, and the arm is still served
        return
    if key == _STOP_KEY:
        server.stop("the keyboard")
    elif key == _CLEAR_KEY:
        try:
            server.clear("the keyboard")
        except CommandRefused as error:
            tell(f"not cleared: {error}")
