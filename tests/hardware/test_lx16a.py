from __future__ import annotations

import time

import pytest

from bridge.clock import MonotonicClock
from calibration.servo import ServoCalibration
from hardware.errors import BadCommand, Overheated, Stalled, Undervoltage
from hardware.servo_bus import ServoVitals
from tests.hardware.lx16a_bench import UPRIGHT_TICKS, nominal_calibration, open_bench
from tests.hardware.test_half_duplex import stands, wait_until
from urdf.description import ArmDescription

CLOCK = MonotonicClock()


def test_a_write_is_one_move_for_each_servo_with_the_time_in_milliseconds() -> None:
    with open_bench(CLOCK) as (board, bus):
        bus.write_ticks([510, 511, 512, 513, 514, 115], 0.25)
        wait_until(lambda: sum(r.code == 1 for r in list(board.wire.heard)) == 6)
        moves = [(r.servo_id, r.params.hex(" ")) for r in board.wire.heard if r.code == 1]
        assert moves[0] == (1, "fe 01 fa 00")
        assert moves[5] == (6, "73 00 fa 00")
        stamps = [r.stamp_ns for r in board.wire.heard if r.code == 1]
        assert (stamps[5] - stamps[0]) * 1e-9 == pytest.approx(50 * 10 / 115200, rel=1e-3)  # 50 bytes later


def test_a_move_takes_at_most_30_seconds() -> None:
    with open_bench(CLOCK) as (board, bus):
        with pytest.raises(BadCommand, match=r"30\.0 s"):
            bus.write_one(1, 500, 30.01)
        bus.write_one(1, 500, 30.0)
        wait_until(lambda: any(r.code == 1 for r in list(board.wire.heard)))
        assert board.wire.heard[-1].params == bytes.fromhex("F4 01 30 75")


def test_temperature_and_voltage_are_read_and_the_limits_only_once() -> None:
    with open_bench(CLOCK) as (board, bus):
        board.temperature_c[3], board.supply_v = 41, 6.75
        for _ in range(2):
            assert bus.read_vitals(3) == ServoVitals(temperature_c=41.0, voltage_v=6.75)
        codes = [r.code for r in board.wire.heard if r.servo_id == 3]
        assert codes == [25, 23, 26, 27, 32, 26, 27, 32]


def test_a_hot_servo_is_named_and_has_let_go() -> None:
    with open_bench(CLOCK) as (board, bus):
        board.temperature_c[2] = 86
        with pytest.raises(Overheated, match="servo 2 is at 86 degrees C, its limit is 85"):
            bus.read_vitals(2)
        wait_until(lambda: not board.rack.torque_on[1])
        assert bus.read_vitals(1).temperature_c == 35.0


@pytest.mark.parametrize("supply_v", [4.2, 12.6])
def test_a_supply_outside_a_servos_limits_is_named(supply_v: float) -> None:
    with open_bench(CLOCK) as (board, bus):
        board.supply_v = supply_v
        with pytest.raises(Undervoltage, match=rf"{supply_v} V, it needs 4\.5 to 12\.0 V"):
            bus.read_vitals(1)


def test_a_servo_that_has_let_go_by_itself_is_stalled_and_one_that_was_told_to_is_not() -> None:
    with open_bench(CLOCK, torque_on=False) as (board, bus):
        assert bus.read_vitals(2).voltage_v == 7.4
        bus.set_torque(True)
        assert bus.read_vitals(2).voltage_v == 7.4
        board.rack.set_torque(False, CLOCK.now_ns(), 1)
        with pytest.raises(Stalled, match="servo 2"):
            bus.read_vitals(2)
        bus.set_torque(False)
        assert bus.read_vitals(2).voltage_v == 7.4


def test_a_servo_turned_by_hand_may_stand_below_zero() -> None:
    with open_bench(CLOCK) as (board, bus):
        board.rack.aim(0, -10, 0.05, CLOCK.now_ns())
        wait_until(lambda: stands(board)[0] == -10)
        assert bus.read_ticks(1).ticks == -10


def test_an_offset_is_signed_shifts_the_counts_and_lasts() -> None:
    with open_bench(CLOCK) as (board, bus):
        bus.write_offset(1, -20)
        assert bus.read_offset(1) == -20
        assert bus.read_ticks(1).ticks == 520
        board.restart(CLOCK.now_ns())
        assert bus.read_offset(1) == -20


def test_a_servo_takes_a_new_id() -> None:
    with open_bench(CLOCK) as (_, bus):
        bus.assign_id(6, 9)
        assert bus.ping(9)
        assert bus.read_ticks(9).ticks == UPRIGHT_TICKS[5]


def test_the_nominal_calibration_puts_home_where_the_servos_stand(dofbot: ArmDescription) -> None:
    calibration: ServoCalibration = nominal_calibration(dofbot)
    assert calibration.to_ticks([0.0, 0.0, 0.0, 0.0, 0.0, -1.57]) == (500, 500, 500, 500, 500, 99)


def test_six_reads_take_less_than_a_control_period() -> None:
    with open_bench(CLOCK) as (_, bus):
        rounds: list[float] = []
        for _ in range(10):
            start_s = time.perf_counter()
            for servo_id in bus.servo_ids:
                bus.read_ticks(servo_id)
            rounds.append(time.perf_counter() - start_s)
        assert min(rounds) < 0.05
