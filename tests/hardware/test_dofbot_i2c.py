from __future__ import annotations

import errno
import os
import random
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from bridge.clock import MonotonicClock
from hardware.buses.dofbot_i2c import DofbotI2cBus, DofbotI2cSettings
from hardware.buses.dofbot_registers import MiddleStatus
from hardware.errors import (
    BadChecksum,
    BadCommand,
    BusError,
    BusLost,
    NoReply,
    NotMeasured,
    PortError,
    PortMissing,
    WrongServo,
)
from hardware.servo_bus import find_servos
from hardware.virtual.dofbot_smbus import DofbotSmbusBoard, SmbusManners
from hardware.virtual.i2c_wire import WireFaults
from hardware.virtual.plant import UPRIGHT_TICKS, FreePlant
from tests.hardware.dofbot_i2c_bench import open_bench
from tests.hardware.hand_clock import HandClock

UNIT = [2000, 2000, 2000, 2000, 1487, 900]


class Stage:
    """A board and its bus on a clock turned by hand: no test waits."""

    def __init__(self, manners: SmbusManners | None = None, settings: DofbotI2cSettings | None = None) -> None:
        self.clock = HandClock()
        self.plant = FreePlant(self.clock)
        self.board = DofbotSmbusBoard(self.plant, np.random.default_rng(3), self.clock, None, manners, torque_on=True)
        self.bus = DofbotI2cBus("/dev/i2c-1", self.clock, settings, self.board.wire.open)

    def run(self, duration_s: float, step_s: float = 1 / 240) -> None:
        for _ in range(round(duration_s / step_s)):
            self.clock.turn(step_s)
            self.board.wire.step(self.clock.now_ns())

    def wrote(self) -> list[tuple[int, str]]:
        return [(w.register, w.data.hex(" ").upper()) for w in self.board.wire.writes]


@pytest.fixture
def stage() -> Stage:
    stage = Stage()
    stage.board.wire.writes.clear()
    return stage


# The bytes -----------------------------------------------------------------------------------------
def test_six_servos_the_move_time_first(stage: Stage) -> None:
    stage.bus.write_ticks([2000, 2000, 2000, 2000, 1486, 1266], 1.0)
    assert stage.wrote() == [(0x1E, "03 E8"), (0x1D, "07 D0 07 D0 07 D0 07 D0 05 CE 04 F2")]
    stage.bus.write_ticks([900, 3100, 2550, 900, 3700, 3100], 1.0)
    assert stage.wrote()[3] == (0x1D, "03 84 0C 1C 09 F6 03 84 0E 74 0C 1C")


def test_every_other_command_as_the_sheet_has_it(stage: Stage) -> None:
    bus = stage.bus
    bus.write_one(1, 2000, 1.0)
    bus.write_any(250, 2000, 1.0)
    bus.write_all(2000, 1.0)
    bus.set_torque(False)
    bus.set_lamp(255, 0, 16)
    bus.sound(0.3)
    bus.sound(None)
    bus.sound(0)
    assert stage.wrote() == [
        (0x11, "07 D0 03 E8"),
        (0x19, "FA 07 D0 03 E8"),
        (0x17, "07 D0 03 E8"),
        (0x1A, "00"),
        (0x1A, "00"),
        (0x02, "FF 00 10"),
        (0x06, "03"),
        (0x06, "FF"),
        (0x06, "00"),
    ]


def test_a_read_is_asked_for_waited_for_and_fetched_high_byte_first(stage: Stage) -> None:
    reading = stage.bus.read_ticks(5)
    assert (reading.servo_id, reading.ticks) == (5, 1487)
    assert stage.wrote() == [(0x35, "00")]
    assert 0.005 <= (reading.received_ns - reading.requested_ns) * 1e-9 < 0.007


def test_ping_and_version(stage: Stage) -> None:
    stage.board.absent_servos.add(4)
    assert [stage.bus.ping(i) for i in (1, 4, 200)] == [True, False, False]
    assert stage.wrote()[0] == (0x38, "01")
    assert stage.bus.read_version() == 7


def test_opening_asks_for_the_version_and_nothing_else() -> None:
    assert Stage().wrote() == [(0x01, "01")]


# What cannot be ------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "call",
    [
        lambda bus: bus.write_ticks([2000] * 5 + [95], 1.0),
        lambda bus: bus.write_ticks([2000] * 5, 1.0),
        lambda bus: bus.write_ticks([2000] * 6, float("nan")),
        lambda bus: bus.write_one(7, 2000, 1.0),
        lambda bus: bus.write_any(0, 2000, 1.0),
        lambda bus: bus.write_all(4001, 1.0),
        lambda bus: bus.read_ticks(0),
        lambda bus: bus.ping(251),
        lambda bus: bus.set_lamp(256, 0, 0),
        lambda bus: bus.sound(5.1),
        lambda bus: bus.store_middle(7),
    ],
)
def test_what_no_servo_takes_puts_nothing_on_the_wire(stage: Stage, call: Callable[[DofbotI2cBus], object]) -> None:
    with pytest.raises(BadCommand):
        call(stage.bus)
    assert stage.wrote() == []


def test_the_board_does_not_tell_how_its_servos_are(stage: Stage) -> None:
    with pytest.raises(NotMeasured):
        stage.bus.read_vitals(1)


# The servos move -----------------------------------------------------------------------------------
def test_servos_arrive_after_the_move_time_and_read_what_they_were_told(stage: Stage) -> None:
    target = [2050, 1950, 2030, 1970, 1500, 1000]
    stage.bus.write_ticks(target, 0.2)
    stage.run(0.1)
    assert stage.plant.positions_ticks()[0] < 2050
    stage.run(0.3)
    assert [stage.bus.read_ticks(i).ticks for i in stage.bus.servo_ids] == target


def test_torque_off_drops_a_raised_arm_and_k1_raises_it_unasked(stage: Stage) -> None:
    stage.bus.set_torque(False)
    stage.run(1.5)
    assert stage.bus.read_ticks(2).ticks == 2900
    stage.board.press_k1()
    stage.run(1.5)
    assert [stage.bus.read_ticks(i).ticks for i in stage.bus.servo_ids] == [2000, 2000, 2000, 2000, 1486, 3100]
    stage.board.press_k2()
    assert stage.board.torque_on == (False,) * 6


def test_a_stored_middle_shifts_the_counts(stage: Stage) -> None:
    stage.bus.write_one(1, 2100, 0.1)
    stage.run(0.5)
    assert stage.bus.store_middle(1).status is MiddleStatus.STORED
    assert (stage.board.wire.writes[-2].register, stage.board.wire.writes[-2].data) == (0x1C, b"\x01")
    assert (stage.board.wire.writes[-1].register, stage.board.wire.writes[-1].data) == (0x1B, b"\x01")
    assert stage.bus.read_ticks(1).ticks == 2000
    stage.bus.write_one(1, 2000, 0.1)
    stage.run(0.5)
    assert stage.plant.positions_ticks()[0] == pytest.approx(2100)
    assert stage.bus.store_middle(6).status is MiddleStatus.OUT_OF_RANGE  # open, 2200 counts from its middle
    assert stage.bus.store_middle(0).status is MiddleStatus.STORED
    assert stage.bus.read_ticks(1).ticks == 2100


def test_a_middle_of_an_absent_servo_is_given_up_after_a_second_and_a_half(stage: Stage) -> None:
    stage.board.absent_servos.add(3)
    started_ns = stage.clock.now_ns()
    assert stage.bus.store_middle(3).status is MiddleStatus.NOT_SET
    assert 1.3 < (stage.clock.now_ns() - started_ns) * 1e-9 < 1.6


# Faults --------------------------------------------------------------------------------------------
def test_a_servo_that_answers_0_is_asked_again_and_then_named(stage: Stage) -> None:
    stage.board.absent_servos.add(5)
    with pytest.raises(NoReply, match=r"servo 5 gave no position in 3 tries.*12 V"):
        stage.bus.read_ticks(5)
    health = stage.bus.read_health()
    assert (health.retries, health.timeouts, health.reads_ok) == (2, 3, 0)
    with pytest.raises(WrongServo, match="servo 5 does not answer"):
        find_servos(stage.bus, stage.bus.servo_ids)


@pytest.mark.parametrize("fault", ["nacks", "zero_words", "swapped_words"])
def test_one_bad_exchange_is_tried_again_and_counted(stage: Stage, fault: str) -> None:
    setattr(stage.board.wire.faults, fault, 2)
    assert stage.bus.read_ticks(1).ticks == 2000
    health = stage.bus.read_health()
    assert (health.retries, health.reads_ok) == (2, 1)
    assert (health.timeouts, health.bad_checksums) == ((0, 2) if fault == "swapped_words" else (2, 0))


def test_words_that_stay_impossible_are_a_named_error(stage: Stage) -> None:
    stage.board.wire.faults.swapped_words = WireFaults.FOREVER
    with pytest.raises(BadChecksum, match="servo 1 gave an impossible position"):
        stage.bus.read_ticks(1)


@pytest.mark.parametrize("stale", [False, True])
def test_a_fetch_before_its_time_gives_zero_or_an_old_count(stale: bool) -> None:
    hasty = DofbotI2cSettings(read_wait_s=0.0005)
    stage = Stage(SmbusManners(stale=stale), hasty)
    if stale:
        patient = DofbotI2cBus("/dev/i2c-1", stage.clock, None, stage.board.wire.open)
        assert patient.read_ticks(1).ticks == 2000
        stage.bus.write_one(1, 2500, 0.1)
        stage.run(1.0)
        assert stage.bus.read_ticks(1).ticks == 2000  # the register's old count
        assert patient.read_ticks(1).ticks == 2500
    else:
        with pytest.raises(NoReply):
            stage.bus.read_ticks(1)


def test_a_write_that_is_not_acknowledged_is_written_again(stage: Stage) -> None:
    stage.board.wire.faults.nacks = 2
    stage.bus.write_one(1, 2000, 1.0)
    assert stage.wrote() == [(0x11, "07 D0 03 E8")]
    assert stage.bus.read_health().retries == 2


def test_a_bus_without_a_board_is_lost_at_once_for_writes_and_after_nine_tries_for_reads(stage: Stage) -> None:
    stage.board.wire.unplug()
    for _ in range(2):
        with pytest.raises(NoReply):
            stage.bus.read_ticks(1)
    with pytest.raises(BusLost, match=r"does not acknowledge, errno 121.*i2cdetect -y 1"):
        stage.bus.read_ticks(1)
    other = Stage()
    other.board.wire.unplug()
    with pytest.raises(BusLost, match="3 writes in a row failed"):
        other.bus.write_ticks(UNIT, 0.1)


def test_a_lost_bus_refuses_writes_at_once_and_queues_none(stage: Stage) -> None:
    stage.board.wire.unplug()
    with pytest.raises(BusLost):
        stage.bus.write_ticks(UNIT, 0.1)
    stage.board.wire.replug()
    stage.clock.turn(10.0)
    before_ns = stage.clock.now_ns()
    with pytest.raises(BusLost):
        stage.bus.write_ticks([2100] * 4 + [1500, 1000], 0.1)
    with pytest.raises(BusLost):
        stage.bus.set_torque(False)
    assert stage.clock.now_ns() == before_ns
    assert stage.wrote() == []


def test_reads_find_the_board_again_at_most_twice_a_second_and_move_nothing(stage: Stage) -> None:
    stage.board.wire.unplug(adapter=True)
    with pytest.raises(BusLost, match="adapter is gone"):
        stage.bus.read_ticks(1)
    stage.clock.turn(0.6)
    with pytest.raises(BusLost, match="there is no I2C bus"):
        stage.bus.read_ticks(1)
    stage.board.wire.replug()
    with pytest.raises(BusLost):  # too soon
        stage.bus.ping(1)
    opened = stage.board.wire.opened
    stage.clock.turn(0.6)
    assert stage.bus.read_ticks(1).ticks == 2000
    assert stage.board.wire.opened == opened + 1
    assert stage.wrote() == [(0x01, "01"), (0x31, "00")]
    assert stage.bus.read_health().reconnects == 1
    stage.bus.write_one(1, 2010, 0.1)


def test_unplugged_in_mid_move_the_servos_finish_it_and_a_new_opening_leaves_them(stage: Stage) -> None:
    stage.bus.write_one(1, 2300, 0.5)
    stage.run(0.2)
    stage.board.wire.unplug()
    with pytest.raises(BusLost):
        stage.bus.write_one(1, 1900, 0.5)
    stage.run(1.0)
    stage.board.wire.replug()
    assert stage.bus.read_ticks(1).ticks == 2300
    stage.run(1.0)
    assert stage.plant.positions_ticks()[0] == pytest.approx(2300)


def test_no_board_at_opening_names_what_to_look_at() -> None:
    clock = HandClock()
    board = DofbotSmbusBoard(FreePlant(clock), np.random.default_rng(3), clock)
    board.wire.unplug()
    with pytest.raises(BusLost, match="no Dofbot board answers at 0x15"):
        DofbotI2cBus("/dev/i2c-1", clock, None, board.wire.open)


def test_a_port_that_is_missing_or_no_i2c_bus_says_so(tmp_path: Path) -> None:
    with pytest.raises(PortMissing, match="raspi-config"):
        DofbotI2cBus(str(tmp_path / "i2c-9"))
    with pytest.raises(PortError, match="must be an I2C adapter"):
        DofbotI2cBus(os.devnull)


def test_a_closed_bus_says_so(stage: Stage) -> None:
    stage.bus.close()
    stage.bus.close()
    for call in (lambda: stage.bus.set_torque(False), lambda: stage.bus.read_ticks(1)):
        with pytest.raises(BusLost, match="closed"):
            call()


# Threads -------------------------------------------------------------------------------------------
def test_moves_never_come_between_a_request_and_its_result_and_wait_for_one_exchange_only() -> None:
    clock = MonotonicClock()
    patient = SmbusManners(ready_s=(0.0015, 0.0028))
    with open_bench(clock, UPRIGHT_TICKS, patient) as (board, bus):
        stop, failures, waits = threading.Event(), list[BusError](), list[float]()

        def read_on() -> None:
            while not stop.is_set():
                for servo_id in bus.servo_ids:
                    try:
                        bus.read_ticks(servo_id)
                    except BusError as error:
                        failures.append(error)

        readers = [threading.Thread(target=read_on) for _ in range(3)]
        for reader in readers:
            reader.start()
        for _ in range(60):
            started_s = time.monotonic()
            bus.write_ticks(UNIT, 0.05)
            waits.append(time.monotonic() - started_s)
            time.sleep(0.01)
        stop.set()
        for reader in readers:
            reader.join(2.0)
        health = bus.read_health()
        assert not failures
        assert health.retries == 0  # an interleaved write would have cost the board's answer
        assert health.reads_ok > 60
        assert sorted(waits)[30] < 0.02  # 7 ms for one exchange, 1.7 ms for the move; the machine may be busy
        order = [w.register for w in board.wire.writes]
        assert all(order[i + 1] == 0x1D for i, r in enumerate(order) if r == 0x1E)


class RandomBus:
    """An SMBus that answers whatever comes to mind, or fails in any way that Linux knows."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.calls = 0

    def open(self, _port: str) -> RandomBus:
        return self

    def read_byte_data(self, i2c_addr: int, register: int, /) -> int:
        return self._answer(8)

    def read_word_data(self, i2c_addr: int, register: int, /) -> int:
        return self._answer(16)

    def write_i2c_block_data(self, i2c_addr: int, register: int, data: Sequence[int], /) -> None:
        self._answer(1)

    def close(self) -> None:
        pass

    def _answer(self, bits: int) -> int:
        self.calls += 1
        if self.calls > 2 and self._rng.random() < 0.3:
            code = self._rng.choice(list(errno.errorcode))
            raise OSError(code, os.strerror(code))
        return self._rng.choice([0, self._rng.getrandbits(bits), (1 << bits) - 1, self._rng.getrandbits(bits) & 0x0F])


def test_no_reply_whatever_leaves_the_named_errors_or_bounded_time() -> None:
    rounds = 100_000 if os.environ.get("TANDEM_DEEP") else 5_000
    rng, clock = random.Random(5), HandClock()
    bus = DofbotI2cBus("/dev/i2c-1", clock, None, RandomBus(rng).open)
    calls: list[Callable[[], object]] = [
        lambda: bus.read_ticks(1 + rng.randrange(6)),
        lambda: bus.ping(1 + rng.randrange(250)),
        bus.read_version,
        lambda: bus.write_ticks(UNIT, 0.1),
        lambda: bus.set_torque(True),
        lambda: bus.store_middle(1),
    ]
    seen: set[str] = set()
    for _ in range(rounds):
        started_ns = clock.now_ns()
        try:
            result = rng.choice(calls)()
        except (NoReply, BadChecksum, BusLost) as error:
            seen.add(type(error).__name__)
        else:
            seen.add(type(result).__name__)
        assert clock.now_ns() - started_ns < 1.7e9
        clock.turn(rng.choice([0.0, 0.01, 0.6]))
    assert seen == {"NoReply", "BadChecksum", "BusLost", "Reading", "bool", "int", "NoneType", "StoredMiddle"}
    assert bus.read_health().reconnects > 10
