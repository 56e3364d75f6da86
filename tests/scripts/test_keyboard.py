"""Single keys from a real pseudo-terminal."""

from __future__ import annotations

import os
import pty
import tty
from collections.abc import Generator

import pytest

from scripts.keyboard import ESCAPE, Keyboard, NoTerminal

Terminal = tuple[Keyboard, int]


@pytest.fixture
def terminal() -> Generator[Terminal]:
    """A keyboard on which the space bar stops, and where to type."""
    person, program = pty.openpty()
    tty.setcbreak(program)
    yield Keyboard(program, (" ",)), person
    os.close(person)
    os.close(program)


def test_a_stop_right_behind_escape_is_not_taken_for_the_rest_of_an_arrow(terminal: Terminal) -> None:
    keys, person = terminal
    os.write(person, b"\x1b ")
    assert keys.read(1.0) == " "
    assert keys.read(0.0) == ""


def test_a_terminal_whose_other_end_was_closed_is_told_as_gone(terminal: Terminal) -> None:
    keys, person = terminal
    other = os.open(os.devnull, os.O_RDONLY)
    os.dup2(other, person)
    os.close(other)
    with pytest.raises(NoTerminal, match="gone"):
        keys.read(1.0)


def test_keys_behind_escape_come_in_their_turn(terminal: Terminal) -> None:
    keys, person = terminal
    os.write(person, b"\x1bc\x1b[A\x1b")
    assert [keys.read(1.0) for _ in range(4)] == [ESCAPE, "c", "up", ESCAPE]
