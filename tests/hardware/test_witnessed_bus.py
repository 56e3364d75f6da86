"""The witness of a bus hears what went over the wire, and nothing that did not."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from bridge.clock import MonotonicClock
from hardware.errors import BusLost
from hardware.servo_bus import Reading
from hardware.virtual.plant import UPRIGHT_TICKS
from hardware.witnessed_bus import WitnessedBus
from tests.bridge.benches import eventually
from tests.hardware.dofbot_serial_bench import open_bench

TARGET = tuple(round(t) + 10 for t in UPRIGHT_TICKS)


class Notes:
    """Writes down what it hears."""

    def __init__(self) -> None:
        self.writes: list[tuple[tuple[int, ...], tuple[int, ...], float]] = []
        self.torque: list[bool] = []
        self.readings: list[Reading] = []

    def wrote(self, servo_ids: Sequence[int], ticks: Sequence[int], duration_s: float) -> None:
        self.writes.append((tuple(servo_ids), tuple(ticks), duration_s))

    def switched(self, torque_on: bool) -> None:
        self.torque.append(torque_on)

    def read(self, reading: Reading) -> None:
        self.readings.append(reading)


def test_the_witness_hears_what_went_over_the_wire() -> None:
    clock, notes = MonotonicClock(), Notes()
    with open_bench(clock) as (board, bus):
        witnessed = WitnessedBus(bus, notes)
        assert (witnessed.port, witnessed.servo_ids) == (board.port, (1, 2, 3, 4, 5, 6))
        assert witnessed.ticks_range == bus.ticks_range
        witnessed.write_ticks(TARGET, 0.1)
        witnessed.write_one(3, 1600, 0.05)
        witnessed.set_torque(False)
        reading = witnessed.read_ticks(2)
        assert notes.writes == [((1, 2, 3, 4, 5, 6), TARGET, 0.1), ((3,), (1600,), 0.05)]
        assert notes.torque == [False]
        assert notes.readings == [reading]
        assert eventually(lambda: {0x1D, 0x13, 0x1A} <= {f.command for f in board.heard})
        assert witnessed.read_health() == bus.read_health()


def test_a_write_that_failed_was_not_sent() -> None:
    clock, notes = MonotonicClock(), Notes()
    with open_bench(clock) as (board, bus):
        witnessed = WitnessedBus(bus, notes)
        board.close()
        assert eventually(lambda: _is_lost(witnessed))
        heard = len(notes.writes)
        with pytest.raises(BusLost):
            witnessed.write_ticks(TARGET, 0.1)
        with pytest.raises(BusLost):
            witnessed.set_torque(True)
        assert len(notes.writes) == heard
        assert notes.torque == []


def _is_lost(bus: WitnessedBus) -> bool:
    try:
        bus.write_ticks(TARGET, 0.1)
    except BusLost:
        return True
    return False
