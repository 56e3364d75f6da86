"""The stop button, and the pedal, on gpiozero's own mock pins: pressed, and with a cable cut."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

import pytest

from hardware.gpio_contact import ButtonFailed
from hardware.pedal import foot_pedal
from hardware.stop_button import stop_button

if TYPE_CHECKING:
    from gpiozero.pins.mock import MockPin

gpiozero = pytest.importorskip("gpiozero")
mock = pytest.importorskip("gpiozero.pins.mock")


@pytest.fixture
def pin() -> Generator[MockPin]:
    """A contact that is closed to ground: not pressed."""
    before = gpiozero.Device.pin_factory
    factory = gpiozero.Device.pin_factory = mock.MockFactory()
    contact = factory.pin(17)
    contact.drive_low()
    yield contact
    factory.close()
    gpiozero.Device.pin_factory = before


def test_an_untouched_button_stops_nothing(pin: MockPin) -> None:
    with stop_button(17) as button:
        pin.drive_low()
        button.pressed()  # a mock pin is pulled up until somebody drives it
        assert not button.pressed()
        pin.drive_low()
        assert not button.pressed()


def test_a_press_is_remembered_until_it_is_asked_for_however_short_it_was(pin: MockPin) -> None:
    with stop_button(17) as button:
        pin.drive_low()
        button.pressed()
        pin.drive_high()
        pin.drive_low()
        assert button.pressed()
        assert not button.pressed()


def test_a_button_that_is_held_in_stays_pressed_however_often_it_is_asked_for(pin: MockPin) -> None:
    with stop_button(17) as button:
        pin.drive_high()
        assert [button.pressed() for _ in range(3)] == [True] * 3
        pin.drive_low()
        button.pressed()
        assert not button.pressed()


def test_a_cable_that_is_cut_already_counts_as_pressed(pin: MockPin) -> None:
    pin.drive_high()
    with stop_button(17) as button:
        assert button.pressed()


def test_a_pedal_is_held_while_its_contact_is_closed_and_not_where_its_cable_is_cut(pin: MockPin) -> None:
    with foot_pedal(17) as trodden:
        assert not trodden()  # a mock pin is pulled up until somebody drives it: no cable
        pin.drive_low()
        assert trodden()
        pin.drive_high()
        assert not trodden()


def test_without_pins_the_button_fails_loudly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPIOZERO_PIN_FACTORY", "lgpio")  # none on this machine
    before, gpiozero.Device.pin_factory = gpiozero.Device.pin_factory, None
    try:
        with pytest.raises(ButtonFailed, match="GPIO 17"), stop_button(17):
            pass
    finally:
        gpiozero.Device.pin_factory = before
