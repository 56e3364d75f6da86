"""Jogger on every bus: the real drivers in front of virtual boards."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest

from bridge.clock import MonotonicClock
from hardware.errors import BadCommand
from hardware.jog import Jogger
from hardware.servo_bus import ServoBus, find_servos
from hardware.virtual.plant import FreePlant
from hardware.virtual.servo_rack import ServoRack
from tests.bridge.benches import eventually
from tests.hardware import dofbot_i2c_bench, dofbot_serial_bench, lx16a_bench, pca9685_bench, sts_bench


@dataclass(frozen=True)
class Jogged:
    """A bus, the servos behind it, and the step, the largest step and the lead that its counts give."""

    bus: ServoBus
    rack: ServoRack
    step: int
    most: int
    lead: int

    @property
    def positions(self) -> np.ndarray:
        return self.rack.positions_ticks()


@pytest.fixture(params=["dofbot-serial", "dofbot-i2c", "lx16a", "sts"])
def jogged(request: pytest.FixtureRequest) -> Iterator[Jogged]:
    clock = MonotonicClock()
    with contextlib.ExitStack() as stack:
        match request.param:
            case "dofbot-serial":
                board, bus = stack.enter_context(dofbot_serial_bench.open_bench(clock))
                yield Jogged(bus, board.rack, 10, 25, 50)
            case "dofbot-i2c":
                board, bus = stack.enter_context(dofbot_i2c_bench.open_bench(clock))
                yield Jogged(bus, board.rack, 10, 25, 50)
            case "lx16a":
                board, bus = stack.enter_context(lx16a_bench.open_bench(clock))
                yield Jogged(bus, board.rack, 3, 6, 13)
            case _:
                board, bus = stack.enter_context(sts_bench.open_bench(clock))
                yield Jogged(bus, board.rack, 10, 26, 52)


def test_the_arm_is_held_where_it_stands_and_a_step_moves_one_servo(jogged: Jogged) -> None:
    before = jogged.positions
    jogger = Jogger(jogged.bus, MonotonicClock())
    assert eventually(lambda: all(jogged.rack.torque_on))
    assert np.abs(jogged.positions - before).max() <= 1
    for _ in range(3):
        assert jogger.step(2, +1)
        jogger.refresh(2)
    wanted = before + np.array([0, 3 * jogged.step, 0, 0, 0, 0])
    assert eventually(lambda: np.abs(jogged.positions - wanted).max() <= 2), jogged.positions
    jogger.refresh(2)
    assert jogger.readings[2].ticks == pytest.approx(wanted[1], abs=3)
    jogger.release()
    assert eventually(lambda: not any(jogged.rack.torque_on))
    assert not jogger.step(2, +1)


def test_a_servo_that_does_not_follow_is_not_led_further_ahead(jogged: Jogged) -> None:
    jogger = Jogger(jogged.bus, MonotonicClock(), jogged.most)
    assert isinstance(jogged.rack.plant, FreePlant)
    jogged.rack.plant.blocked[2] = True
    stands = jogger.readings[3].ticks
    while jogger.step(3, +1):
        jogger.refresh(3)
        assert abs((jogger.target_ticks(3) or 0) - stands) <= jogged.lead + 2
    assert (jogger.target_ticks(3) or 0) - stands >= jogged.lead - jogged.most
    assert jogger.step(3, -1)  # back is always allowed


def test_the_ends_of_the_range_are_the_buss_own(jogged: Jogged) -> None:
    _, highest = jogged.bus.ticks_range
    find_servos(jogged.bus, jogged.bus.servo_ids)
    jogged.bus.write_one(6, highest - 2, 0.1)
    assert eventually(lambda: float(jogged.positions[5]) > highest - 3, 10.0)
    jogger = Jogger(jogged.bus, MonotonicClock(), 1)
    assert highest - 4 <= (jogger.target_ticks(6) or 0) <= highest - 1
    for _ in range(6):
        jogger.step(6, +1)
        jogger.refresh(6)
    assert jogger.target_ticks(6) == highest
    assert not jogger.step(6, +1)


def test_a_step_is_at_most_two_degrees_of_a_dofbots_range(jogged: Jogged) -> None:
    with pytest.raises(BadCommand, match=f"1 to {jogged.most} ticks"):
        Jogger(jogged.bus, MonotonicClock(), jogged.most + 1)
    assert Jogger(jogged.bus, MonotonicClock()).step_ticks == jogged.step


# Servos that cannot be read ------------------------------------------------------------------------
def test_a_servo_that_cannot_be_read_moves_only_once_it_has_been_started_and_then_by_small_steps() -> None:
    clock = MonotonicClock()
    lying = (400, 350, 200, 307, 307, 110)
    with pca9685_bench.open_bench(clock, lying) as (board, bus):
        jogger = Jogger(bus, clock)
        assert jogger.is_blind
        assert not jogger.step(1, +1)
        assert jogger.target_ticks(1) is None
        assert not any(board.torque_on)  # nothing has been sent
        assert jogger.start(1)
        assert jogger.target_ticks(1) == 307  # 1500 us at 50 Hz
        assert eventually(lambda: abs(float(board.rack.positions_ticks()[0]) - 307) < 1)
        assert board.torque_on == (True, *[False] * 5)
        for _ in range(3):
            assert jogger.step(1, +1)
        assert eventually(lambda: abs(float(board.rack.positions_ticks()[0]) - 310) < 1)
        jogger.hold()
        assert board.torque_on == (True, *[False] * 5)
        assert not jogger.start(1)  # it is under way: the middle would be a jump now


def test_pulses_that_were_ended_do_not_come_back_by_themselves() -> None:
    clock = MonotonicClock()
    with pca9685_bench.open_bench(clock) as (board, bus):
        jogger = Jogger(bus, clock)
        jogger.start(1)
        assert eventually(lambda: board.torque_on[0])
        jogger.release()
        assert eventually(lambda: not any(board.torque_on))
        assert not jogger.start(2)  # servo 1 would jump back, unasked
        assert not jogger.step(1, +1)
        jogger.hold()
        time.sleep(0.1)
        assert not any(board.torque_on)
