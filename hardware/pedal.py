"""A foot pedal on the Raspberry Pi's GPIO as a deadman: a contact to ground that is closed while it is trodden on.

A normally open contact is what makes it honest: a cut cable and a foot that is lifted look the same.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

from hardware.gpio_contact import gpio_contact


@contextmanager
def foot_pedal(gpio: int) -> Generator[Callable[[], bool]]:
    """Give what tells whether the pedal at a GPIO number (BCM) is trodden on now; raises ButtonFailed."""
    with gpio_contact(gpio, "a pedal") as contact:
        yield lambda: bool(contact.is_pressed)
