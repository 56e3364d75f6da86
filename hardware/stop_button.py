"""A stop button on the Raspberry Pi's GPIO: a contact to ground that opens when it is pressed.

A normally closed contact is what makes it honest: a cut cable and a pressed button look the same. The pin is pulled up,
so an open contact reads high. gpiozero (the extra `gpio`) calls back on the edge, within a millisecond or so.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager

from hardware.gpio_contact import gpio_contact


class StopButton:
    """Remembers that the contact was open, however shortly; `is_open` tells whether it is."""

    def __init__(self, is_open: Callable[[], bool]) -> None:
        self._pressed, self._is_open = threading.Event(), is_open

    def note(self) -> None:
        """Take note of an open contact; called from gpiozero's thread."""
        self._pressed.set()

    def pressed(self) -> bool:
        """Return whether the contact has been open since the last look, or is."""
        was = self._pressed.is_set()
        if was:
            self._pressed.clear()
        return was or self._is_open()


@contextmanager
def stop_button(gpio: int) -> Generator[StopButton]:
    """Watch the button of a GPIO number (BCM) for as long as the context lasts; raises ButtonFailed."""
    with gpio_contact(gpio, "a stop button") as contact:
        seen = StopButton(lambda: not contact.is_pressed)  # gpiozero's word for a closed contact
        contact.when_released = seen.note
        yield seen
