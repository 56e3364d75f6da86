from __future__ import annotations

import time

import pytest

from bridge.clock import MonotonicClock
from hardware.buses.half_duplex import HalfDuplexSettings
from hardware.errors import NoReply, Overheated, ServoAlarm, Stalled, Undervoltage
from tests.hardware.sts_bench import UPRIGHT_TICKS, nominal_calibration, open_bench
from tests.hardware.test_half_duplex import stands, wait_until
from urdf.description import ArmDescription

CLOCK = MonotonicClock()
QUICK = HalfDuplexSettings(reply_timeout_s=0.1, quiet_s=0.05, echo_wait_s=0.1)


def test_all_servos_are_read_by_one_request() -> None:
    with open_bench(CLOCK) as (board, bus):
        board.wire.heard.clear()
        readings = bus.read_all_ticks()
        assert [(r.servo_id, r.ticks) for r in readings] == list(enumerate(UPRIGHT_TICKS, start=1))
        assert [r.code for r in board.wire.heard] == [0x82]
        assert board.wire.heard[0].params == bytes([56, 2, 1, 2, 3, 4, 5, 6])
        received = [r.received_ns for r in readings]
        assert received == sorted(received)
        assert bus.read_health().reads_ok == 6


@pytest.mark.parametrize("stops", [False, True])
def test_who_does_not_answer_the_common_request_is_asked_alone(stops: bool) -> None:
    with open_bench(CLOCK, settings=QUICK) as (board, bus):
        board.sync_read_stops = stops
        board.faults.silent_servos.add(3)
        with pytest.raises(NoReply, match="servo 3"):
            bus.read_all_ticks()
        board.faults.silent_servos.clear()
        board.faults.corrupt_replies = 1
        assert [r.ticks for r in bus.read_all_ticks()] == list(UPRIGHT_TICKS)
        assert board.wire.heard[-1].code == 2


def test_all_servos_are_written_to_by_one_frame_with_the_speeds_that_make_them_arrive_together() -> None:
    with open_bench(CLOCK) as (board, bus):
        bus.read_all_ticks()
        bus.write_ticks([t + d for t, d in zip(UPRIGHT_TICKS, (100, -100, 50, 400, 0, 10), strict=True)], 0.5)
        wait_until(lambda: board.wire.heard[-1].code == 0x83)
        frame = board.wire.heard[-1]
        assert frame.params[:2] == bytes([41, 7])
        fields = [frame.params[i : i + 8] for i in range(2, len(frame.params), 8)]
        assert fields[0].hex(" ") == "01 fe 64 08 00 00 c8 00"  # acceleration 254, to 2148, no time, 200 ticks/s
        assert [int.from_bytes(f[6:8], "little") for f in fields] == [200, 200, 100, 800, 50, 50]


def test_a_stream_of_targets_is_followed_at_its_own_speed() -> None:
    with open_bench(CLOCK) as (board, bus):
        bus.read_all_ticks()
        start_ns = CLOCK.now_ns()
        for step in range(1, 13):
            bus.write_ticks([t + 20 * step for t in UPRIGHT_TICKS], 0.05)
            CLOCK.sleep_until(start_ns + step * 50_000_000)
        speeds = [int.from_bytes(r.params[8:10], "little") for r in board.wire.heard if r.code == 0x83]
        assert speeds[0] == 400
        assert sorted(speeds)[6] == pytest.approx(400, rel=0.1)
        wait_until(lambda: stands(board) == [t + 240 for t in UPRIGHT_TICKS], 3.0)


def test_the_same_target_again_keeps_its_speed_so_that_the_servo_makes_up_its_lag() -> None:
    with open_bench(CLOCK) as (board, bus):
        bus.read_all_ticks()
        for _ in range(2):
            bus.write_one(1, UPRIGHT_TICKS[0] + 100, 0.1)
            time.sleep(0.15)
        bus.write_one(1, UPRIGHT_TICKS[0] + 101, 0.1)
        wait_until(lambda: sum(r.code == 0x83 for r in list(board.wire.heard)) == 3)
        speeds = [int.from_bytes(r.params[8:10], "little") for r in board.wire.heard if r.code == 0x83]
        assert speeds == [1000, 1000, 50]


def test_a_servo_that_was_never_read_is_sent_slowly() -> None:
    with open_bench(CLOCK) as (board, bus):
        bus.write_one(1, 3000, 0.05)
        wait_until(lambda: len(board.wire.heard) > 0 and board.wire.heard[-1].code == 0x83)
        assert int.from_bytes(board.wire.heard[-1].params[8:10], "little") == 200


def test_a_servo_moved_without_torque_is_sent_from_where_it_was_read() -> None:
    with open_bench(CLOCK) as (board, bus):
        bus.read_all_ticks()
        bus.write_ticks(UPRIGHT_TICKS, 0.1)
        bus.set_torque(False)
        wait_until(lambda: stands(board)[1] > 2500)
        lying = [r.ticks for r in bus.read_all_ticks()]
        bus.write_ticks(lying, 0.1)
        bus.set_torque(True)
        bus.write_ticks([*lying[:1], lying[1] - 100, *lying[2:]], 0.5)
        wait_until(lambda: sum(r.code == 0x83 and r.params[0] == 41 for r in list(board.wire.heard)) == 3)
        assert int.from_bytes(board.wire.heard[-1].params[16:18], "little") == pytest.approx(200, abs=60)


def test_vitals_are_read_at_once() -> None:
    with open_bench(CLOCK) as (board, bus):
        board.temperature_c[4], board.supply_v, board.current_ma[4] = 44, 7.1, -325.0
        board.wire.heard.clear()
        vitals = bus.read_vitals(4)
        assert (vitals.temperature_c, vitals.voltage_v, vitals.current_ma) == (44.0, 7.1, -325.0)
        assert len(board.wire.heard) == 1


@pytest.mark.parametrize(
    ("bits", "error", "words"),
    [
        (1, Undervoltage, "7.4 V"),
        (2, ServoAlarm, "sensor"),
        (4, Overheated, "too hot"),
        (8, Stalled, "overloaded"),
        (32, Stalled, "overloaded"),
        (37, Overheated, "too hot"),
    ],
)
def test_what_a_servo_says_of_itself_is_a_named_error_and_its_position_is_read_all_the_same(
    bits: int, error: type[ServoAlarm], words: str
) -> None:
    with open_bench(CLOCK) as (board, bus):
        board.status[5] = bits
        with pytest.raises(error, match=f"servo 5 says .*{words}") as caught:
            bus.read_vitals(5)
        assert type(caught.value) is error
        assert bus.read_ticks(5).ticks == UPRIGHT_TICKS[4]
        assert bus.ping(5)
        assert bus.read_vitals(4).voltage_v == 7.4


def test_a_hot_servo_and_a_low_supply_say_so_themselves() -> None:
    with open_bench(CLOCK) as (board, bus):
        board.temperature_c[2] = 71
        with pytest.raises(Overheated, match=r"71\.0 degrees"):
            bus.read_vitals(2)
        wait_until(lambda: not board.rack.torque_on[1])
        board.supply_v = 3.6
        with pytest.raises(Undervoltage, match=r"3\.6 V"):
            bus.read_vitals(1)


def test_a_badly_supplied_servo_answers_a_ping_with_the_pings_own_bytes_and_is_there() -> None:
    for echo in (False, True):
        with open_bench(CLOCK, settings=QUICK, echo=echo) as (board, bus):
            board.status[1] = 1
            assert bus.ping(1)
            board.faults.silent_servos.add(1)
            assert not bus.ping(1)


def test_a_late_reply_to_another_question_is_not_taken_for_a_position() -> None:
    impatient = HalfDuplexSettings(reply_timeout_s=0.1, read_retries=0, quiet_s=0.02, echo_wait_s=0.1)
    with open_bench(CLOCK, settings=impatient) as (board, bus):
        board.faults.split_replies, board.faults.split_gap_s = 1, 0.12
        with pytest.raises(NoReply):
            bus.read_vitals(1)
        assert bus.read_ticks(1).ticks == UPRIGHT_TICKS[0]


def test_the_torque_is_on_when_the_supply_comes_and_opening_the_bus_leaves_it_on() -> None:
    with open_bench(CLOCK) as (board, bus):
        assert bus.ping(1)
        assert all(board.rack.torque_on)
        assert all(board.register(i, 40) == 1 for i in bus.servo_ids)


def test_a_position_below_zero_is_read_as_such() -> None:
    with open_bench(CLOCK) as (board, bus):
        board.rack.aim(0, -10, 0.05, CLOCK.now_ns())
        wait_until(lambda: stands(board)[0] == -10)
        assert bus.read_ticks(1).ticks == -10


def test_an_offset_is_subtracted_and_lasts() -> None:
    with open_bench(CLOCK) as (board, bus):
        bus.write_offset(2, -300)
        assert bus.read_offset(2) == -300
        assert board.register(2, 31, 2) == 0x0800 | 300
        assert bus.read_ticks(2).ticks == UPRIGHT_TICKS[1] + 300
        board.restart(CLOCK.now_ns())
        assert bus.read_offset(2) == -300
        assert board.register(2, 55) == 1  # locked again


def test_a_servo_takes_a_new_id_and_keeps_it() -> None:
    with open_bench(CLOCK) as (board, bus):
        bus.assign_id(6, 9)
        board.restart(CLOCK.now_ns())
        assert bus.ping(9)
        assert bus.read_ticks(9).ticks == UPRIGHT_TICKS[5]
        assert board.register(9, 55) == 1


def test_the_nominal_calibration_puts_home_where_the_servos_stand(dofbot: ArmDescription) -> None:
    calibration = nominal_calibration(dofbot)
    assert calibration.to_ticks([0.0, 0.0, 0.0, 0.0, 0.0, -1.57]) == (2048, 2048, 2048, 2048, 2048, 1000)


def test_one_request_for_all_is_quicker_than_six() -> None:
    with open_bench(CLOCK) as (_, bus):
        alone, together = list[float](), list[float]()
        for _ in range(20):
            start_s = time.perf_counter()
            for servo_id in bus.servo_ids:
                bus.read_ticks(servo_id)
            middle_s = time.perf_counter()
            bus.read_all_ticks()
            alone.append(middle_s - start_s)
            together.append(time.perf_counter() - middle_s)
        assert min(together) < min(alone)
