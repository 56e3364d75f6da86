"""A contact between a GPIO pin of the Raspberry Pi and ground. gpiozero comes with the extra `gpio`."""

from __future__ import annotations

import warnings
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hardware.errors import HardwareError

if TYPE_CHECKING:
    from gpiozero import Button


class ButtonFailed(HardwareError):
    """A contact cannot be watched."""


@contextmanager
def gpio_contact(gpio: int, what: str) -> Generator[Button]:
    """Watch a contact at a GPIO number (BCM), pulled up: `is_pressed` while it is closed; raises ButtonFailed.

    `what` it is, such as "a stop button", stands in the error.
    """
    try:
        from gpiozero import Button
        from gpiozero.exc import GPIOZeroError
    except ImportError as error:
        raise ButtonFailed(f"{what} needs the extra gpio: pip install 'tandem-arm[gpio]'") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # gpiozero tells of each library that it has tried; the error is the last
            contact = Button(gpio, pull_up=True)
    except (GPIOZeroError, OSError, ImportError) as error:
        needs = "it needs the pins of a Raspberry Pi"
        raise ButtonFailed(f"cannot watch {what} on GPIO {gpio}, {needs}: {error}") from error
    with contact:
        yield contact
