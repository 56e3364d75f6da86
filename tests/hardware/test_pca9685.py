from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from bridge.clock import MonotonicClock
from hardware.buses.pca9685 import Pca9685Bus, Pca9685Settings
from hardware.errors import BadCommand, BusLost, NotMeasured, PortError
from hardware.virtual.pca9685_smbus import Pca9685Board
from hardware.virtual.plant import FreePlant
from tests.hardware.hand_clock import HandClock
from tests.hardware.pca9685_bench import IDS, SAGGED, UPRIGHT, nominal_calibration, open_bench
from urdf.description import load_arm

SIX = [307, 300, 310, 320, 330, 200]


class Stage:
    """A board and a bus on a clock turned by hand."""

    def __init__(self, servo_ids: Sequence[int] = IDS, servos: int = 6) -> None:
        self.clock = HandClock()
        start, sagged = ((pose * 3)[:servos] for pose in (UPRIGHT, SAGGED))
        self.plant = FreePlant(self.clock, start, sagged_ticks=sagged)
        self.board = Pca9685Board(self.plant, self.clock)
        self.bus = self.open(servo_ids)

    def open(self, servo_ids: Sequence[int] = IDS, settings: Pca9685Settings | None = None) -> Pca9685Bus:
        return Pca9685Bus("/dev/i2c-1", servo_ids, self.clock, settings, self.board.wire.open)

    def run(self, duration_s: float, step_s: float = 1 / 240) -> None:
        for _ in range(round(duration_s / step_s)):
            self.clock.turn(step_s)
            self.board.wire.step(self.clock.now_ns())

    def wrote(self) -> list[tuple[int, str]]:
        return [(w.register, w.data.hex(" ").upper()) for w in self.board.wire.writes]

    def positions(self) -> list[int]:
        return [round(v) for v in self.plant.positions_ticks()]


@pytest.fixture
def stage() -> Stage:
    stage = Stage()
    stage.board.wire.writes.clear()
    return stage


def test_the_frequency_is_set_in_sleep_and_every_channel_is_silent_before() -> None:
    stage = Stage()
    assert stage.wrote() == [(0xFD, "10"), (0x00, "10"), (0xFE, "79"), (0x00, "00"), (0x00, "A0")]
    assert stage.board.registers[0xFE] == 121
    mode, restart = list(stage.board.wire.writes)[3:]
    assert restart.stamp_ns - mode.stamp_ns >= 5_000_000
    assert stage.board.torque_on == (False,) * 6


def test_a_pulse_of_1500_us_is_307_counts() -> None:
    settings = Pca9685Settings()
    assert (settings.ticks(0.0015), settings.prescale) == (307, 121)
    assert Stage().bus.ticks_range == (102, 512)


def test_counts_are_the_twelve_bit_end_of_a_pulse_that_begins_with_the_period(stage: Stage) -> None:
    stage.bus.set_torque(True)
    assert stage.wrote() == []  # no count is known, so no servo is given a pulse
    stage.bus.write_one(1, 307, 1.0)
    assert stage.wrote() == [(0x06, "00 00 33 01")]
    stage.bus.write_ticks([307] * 5 + [512], 1.0)
    assert stage.wrote()[1] == (0x06, "00 00 33 01 " * 5 + "00 00 00 02")
    assert stage.board.pulse_s(0, stage.clock.now_ns()) == pytest.approx(0.0015, abs=3e-6)


def test_sixteen_servos_take_two_writes_and_strangers_one_each() -> None:
    stage = Stage(range(1, 17), servos=16)
    stage.bus.set_torque(True)
    stage.board.wire.writes.clear()
    stage.bus.write_ticks([300] * 16, 1.0)
    assert [(r, len(b.split())) for r, b in stage.wrote()] == [(0x06, 32), (0x26, 32)]
    apart = stage.open((9, 2))
    stage.board.wire.writes.clear()
    apart.write_ticks([310, 290], 1.0)
    assert stage.wrote() == [(0x0A, "00 00 22 01"), (0x26, "00 00 36 01")]


def test_torque_off_is_the_full_off_bit_and_on_gives_the_last_counts_again(stage: Stage) -> None:
    stage.bus.write_ticks(list(UPRIGHT), 0.1)
    assert stage.wrote() == []
    stage.bus.set_torque(True)
    stage.run(0.2)
    assert stage.positions() == list(UPRIGHT)
    stage.board.wire.writes.clear()
    stage.bus.set_torque(False)
    assert stage.wrote() == [(0x09 + 4 * c, "10") for c in range(6)]
    stage.run(1.0)
    assert stage.positions() == list(SAGGED)
    stage.bus.write_one(1, 320, 0.1)
    stage.run(0.5)
    assert stage.positions()[0] == 307  # kept, not given
    stage.bus.set_torque(True)
    stage.run(1.0)
    assert stage.positions() == [320, *UPRIGHT[1:]]


def test_a_servo_runs_to_its_count_as_fast_as_it_can_whatever_the_duration(stage: Stage) -> None:
    stage.bus.set_torque(True)
    stage.bus.write_ticks([512] + [307] * 5, 60.0)
    stage.run(0.6)  # 90 deg at 200 deg a second
    assert stage.positions()[0] == 512


def test_nothing_is_measured_and_a_ping_asks_the_chip(stage: Stage) -> None:
    with pytest.raises(NotMeasured, match="servo 3 stands is not known"):
        stage.bus.read_ticks(3)
    with pytest.raises(NotMeasured):
        stage.bus.read_vitals(3)
    assert stage.bus.ping(3)
    assert not stage.bus.ping(7)
    stage.board.wire.faults.nacks = 3
    assert not stage.bus.ping(3)
    assert stage.bus.ping(3)


@pytest.mark.parametrize(
    "call",
    [
        lambda bus: bus.write_ticks([307] * 5 + [513], 1.0),
        lambda bus: bus.write_ticks([307] * 5 + [101], 1.0),
        lambda bus: bus.write_ticks([307] * 5, 1.0),
        lambda bus: bus.write_ticks([307] * 6, float("nan")),
        lambda bus: bus.write_one(1, 307, 0.0),
        lambda bus: bus.write_one(7, 307, 1.0),
    ],
)
def test_what_no_servo_takes_is_refused(stage: Stage, call: Callable[[Pca9685Bus], object]) -> None:
    stage.bus.set_torque(True)
    with pytest.raises(BadCommand):
        call(stage.bus)
    assert stage.wrote() == []


@pytest.mark.parametrize("ids", [(), (1, 1), (0, 1), (16, 17)])
def test_ids_that_are_no_channels_are_refused(ids: tuple[int, ...]) -> None:
    with pytest.raises(BadCommand, match="1 to 16"):
        Stage(ids)


# Opening again -------------------------------------------------------------------------------------
def test_a_second_process_takes_over_the_pulses_and_changes_none(stage: Stage) -> None:
    stage.bus.set_torque(True)
    stage.bus.write_ticks(SIX, 0.1)
    stage.run(1.0)
    stage.bus.close()
    stage.board.wire.writes.clear()
    again = stage.open()
    assert stage.wrote() == [(0x00, "20")]
    stage.run(0.5)
    assert stage.positions() == SIX
    again.write_one(1, 320, 0.1)  # the torque is known to be on
    stage.run(0.5)
    assert stage.positions()[0] == 320


def test_pulses_at_another_frequency_are_left_alone_and_named(stage: Stage) -> None:
    stage.bus.set_torque(True)
    stage.bus.write_ticks(SIX, 0.1)
    stage.board.wire.writes.clear()
    with pytest.raises(PortError, match="channels 0, 1, 2, 3, 4, 5 at prescale 121, not 101"):
        stage.open(settings=replace(Pca9685Settings(), frequency_hz=60.0))
    assert stage.wrote() == []


def test_a_chip_that_lost_its_supply_comes_back_silent_and_the_servos_limp(stage: Stage) -> None:
    stage.bus.set_torque(True)
    stage.bus.write_ticks(SIX, 0.1)
    stage.board.wire.unplug()
    stage.board.power_cycle()
    with pytest.raises(BusLost, match="no PCA9685 answers at 0x40"):
        stage.bus.write_ticks(SIX, 0.1)
    stage.board.wire.replug()
    stage.clock.turn(1.0)
    with pytest.raises(BusLost):
        stage.bus.set_torque(True)  # a lost bus stays lost for writes
    assert stage.bus.ping(1)
    assert stage.bus.read_health().reconnects == 1
    stage.run(1.0)
    assert stage.board.torque_on == (False,) * 6
    stage.bus.write_ticks(SIX, 0.1)
    stage.run(0.5)
    assert stage.board.torque_on == (False,) * 6
    stage.bus.set_torque(True)
    stage.run(1.0)
    assert stage.positions() == SIX


def test_unplugged_wires_leave_the_chip_pulsing(stage: Stage) -> None:
    stage.bus.set_torque(True)
    stage.bus.write_ticks(SIX, 0.1)
    stage.run(1.0)
    stage.board.wire.unplug()
    stage.run(1.0)
    assert stage.positions() == SIX


def test_a_virtual_chip_takes_a_prescale_in_sleep_only(stage: Stage) -> None:
    bus = stage.board.wire.open("/dev/i2c-1")
    bus.write_byte_data(0x40, 0xFE, 50)
    assert bus.read_byte_data(0x40, 0xFE) == 121


def test_the_bench_moves_a_dofbot_in_radians() -> None:
    arm, clock = load_arm("dofbot"), MonotonicClock()
    calibration = nominal_calibration(arm)
    with open_bench(clock, calibration.to_ticks(np.zeros(6))) as (board, bus):
        target = np.array([0.3, -0.2, 0.1, 0.2, -0.3, -0.5])
        bus.write_ticks(calibration.to_ticks(np.zeros(6)), 0.1)
        bus.set_torque(True)
        bus.write_ticks(calibration.to_ticks(target), 0.1)
        clock.sleep_until(clock.now_ns() + 600_000_000)
        assert calibration.to_rad(board.plant.positions_ticks()) == pytest.approx(target, abs=0.008)


class RandomBus:
    """An SMBus that answers whatever comes to mind, or fails in any way that Linux knows."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.is_calm = True

    def open(self, _port: str) -> RandomBus:
        return self

    def read_byte_data(self, i2c_addr: int, register: int, /) -> int:
        self._fail()
        return 0x11 if self.is_calm else self._rng.getrandbits(8)

    def read_word_data(self, i2c_addr: int, register: int, /) -> int:
        raise AssertionError("this driver reads bytes")

    def write_i2c_block_data(self, i2c_addr: int, register: int, data: Sequence[int], /) -> None:
        assert len(data) <= 32
        self._fail()

    def close(self) -> None:
        pass

    def _fail(self) -> None:
        if not self.is_calm and self._rng.random() < 0.1:
            code = self._rng.choice(list(errno.errorcode))
            raise OSError(code, os.strerror(code))


def test_no_reply_whatever_leaves_the_named_errors_or_bounded_time() -> None:
    rounds = 100_000 if os.environ.get("TANDEM_DEEP") else 5_000
    rng, clock = random.Random(5), HandClock()
    wild = RandomBus(rng)
    bus = Pca9685Bus("/dev/i2c-1", IDS, clock, None, wild.open)
    wild.is_calm = False
    calls: list[Callable[[], object]] = [
        lambda: bus.ping(1 + rng.randrange(16)),
        lambda: bus.write_ticks(SIX, 0.1),
        lambda: bus.set_torque(rng.random() < 0.5),
    ]
    lost = 0
    for _ in range(rounds):
        started_ns = clock.now_ns()
        try:
            rng.choice(calls)()
        except BusLost:
            lost += 1
        assert clock.now_ns() - started_ns < 0.05e9
        clock.turn(rng.choice([0.0, 0.01, 0.6]))
    assert 0 < lost < rounds
    assert bus.read_health().reconnects > 10
