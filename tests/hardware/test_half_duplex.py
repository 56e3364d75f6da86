"""What both kinds of servo chains must do, over a real pty: the same tests, the faults one by one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest

from bridge.clock import MonotonicClock
from hardware.buses.half_duplex import HalfDuplexSettings
from hardware.buses.lx16a import Lx16aBus
from hardware.buses.sts import StsBus
from hardware.buses.turn import Turn
from hardware.errors import BadChecksum, BadCommand, BusError, BusLost, NoReply, PortBusy, WrongServo
from hardware.servo_bus import find_servos
from hardware.virtual.chain_wire import ChainFaults
from hardware.virtual.lx16a_board import Lx16aBoard
from hardware.virtual.sts_board import StsBoard
from tests.hardware import lx16a_bench, sts_bench
from tests.hardware.lx16a_bench import PATIENT

Board = Lx16aBoard | StsBoard
Bus = Lx16aBus | StsBus
CLOCK = MonotonicClock()


@dataclass(frozen=True)
class Kind:
    """One of the two protocols; what is asked of it is the same."""

    open_bench: Callable[..., AbstractContextManager[tuple[Board, Bus]]]
    ticks: tuple[int, ...]
    read_code: int
    reply_s: float
    """From the request's first byte to the reply's last, without the return delay."""


KINDS = {
    "lx16a": Kind(lx16a_bench.open_bench, lx16a_bench.UPRIGHT_TICKS, 28, 14 * 10 / 115200),
    "sts": Kind(sts_bench.open_bench, sts_bench.UPRIGHT_TICKS, 2, 16 * 10 / 1_000_000),
}
QUICK = HalfDuplexSettings(reply_timeout_s=0.1, quiet_s=0.05, echo_wait_s=0.1)


@pytest.fixture(params=["lx16a", "sts"])
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


def wait_until(condition: Callable[[], bool], limit_s: float = 5.0) -> None:
    start_s = time.monotonic()
    while not condition():
        assert time.monotonic() - start_s < limit_s, "waited in vain"
        time.sleep(0.005)


def stands(board: Board) -> list[int]:
    return board.rack.positions_ticks().round().astype(int).tolist()


def reads_again(bus: Bus, limit_s: float = 5.0) -> None:
    """Read until the port is back."""
    start_s = time.monotonic()
    while True:
        try:
            bus.read_ticks(1)
            return
        except BusLost:
            assert time.monotonic() - start_s < limit_s, "the port did not come back"
            time.sleep(0.02)


def read_in_thread(bus: Bus, servo_id: int) -> tuple[threading.Thread, list[type[BusError]]]:
    """Start reading one servo; return the thread and, once it has ended, what it raised."""
    failures: list[type[BusError]] = []

    def read() -> None:
        try:
            bus.read_ticks(servo_id)
        except BusError as error:
            failures.append(type(error))

    thread = threading.Thread(target=read)
    thread.start()
    return thread, failures


def test_each_servo_reads_its_own_position_and_takes_its_time_on_the_wire(kind: Kind) -> None:
    with kind.open_bench(CLOCK) as (_, bus):
        took_s = list[float]()
        for servo_id, ticks in zip(bus.servo_ids, kind.ticks, strict=True):
            reading = bus.read_ticks(servo_id)
            assert (reading.servo_id, reading.ticks) == (servo_id, ticks)
            took_s.append((reading.received_ns - reading.requested_ns) * 1e-9)
        # Exactly: tests of the wire, by a clock held by hand. Here whoever asks may be kept from noting when it asked.
        assert max(took_s) > 0.9 * (kind.reply_s + 0.0005)
        health = bus.read_health()
        assert (health.reads_ok, health.retries, health.timeouts, health.late_replies) == (6, 0, 0, 0)


def test_opening_moves_nothing_and_changes_no_torque(kind: Kind) -> None:
    for torque_on in (False, True):
        with kind.open_bench(CLOCK, torque_on=torque_on) as (board, bus):
            assert bus.ping(1)
            assert board.rack.torque_on == (torque_on,) * 6
            assert board.rack.target_ticks.tolist() == list(kind.ticks)


def test_servos_go_where_they_are_sent_and_arrive_together(kind: Kind) -> None:
    with kind.open_bench(CLOCK) as (board, bus):
        find_servos(bus, bus.servo_ids)
        goal = [t + d for t, d in zip(kind.ticks, (60, -60, 30, 20, -10, 40), strict=True)]
        bus.write_ticks(goal, 0.4)
        time.sleep(0.2)
        part = [(p - t) / (g - t) for p, t, g in zip(board.rack.positions_ticks(), kind.ticks, goal, strict=True)]
        assert all(0.0 < p < 1.0 for p in part)
        wait_until(lambda: stands(board) == goal)
        bus.write_one(3, kind.ticks[2], 0.1)
        goal[2] = kind.ticks[2]
        wait_until(lambda: stands(board) == goal)
        assert bus.read_ticks(2).ticks == goal[1]


def test_torque_is_switched_and_said_more_than_once(kind: Kind) -> None:
    with kind.open_bench(CLOCK, torque_on=True) as (board, bus):
        before = len(board.wire.heard)
        bus.set_torque(False)
        wait_until(lambda: not any(board.rack.torque_on))
        bus.ping(1)
        assert len(board.wire.heard) - before > 2
        bus.set_torque(True)
        wait_until(lambda: all(board.rack.torque_on))


def test_a_silent_servo_is_a_named_error_in_bounded_time_and_the_others_answer(kind: Kind) -> None:
    with kind.open_bench(CLOCK, settings=QUICK) as (board, bus):
        board.faults.silent_servos.add(2)
        started_s = time.monotonic()
        with pytest.raises(NoReply, match=r"servo 2 did not answer in 3 tries"):
            bus.read_ticks(2)
        assert 0.29 < time.monotonic() - started_s < 1.0
        assert not bus.ping(2)
        assert bus.ping(3)
        assert (bus.read_health().timeouts, bus.read_health().retries) == (6, 4)


def test_every_missing_and_every_unexpected_servo_is_named_at_once(kind: Kind) -> None:
    with kind.open_bench(CLOCK, settings=QUICK) as (board, bus):
        board.faults.silent_servos |= {2, 5}
        with pytest.raises(WrongServo) as caught:
            find_servos(bus, (1, 2, 3, 4, 5))
        assert (caught.value.missing, caught.value.unexpected) == ((2, 5), (6,))


def test_a_servo_that_answers_to_an_id_that_nobody_addresses_is_named(kind: Kind) -> None:
    with kind.open_bench(CLOCK, settings=QUICK) as (_, bus):
        bus.assign_id(3, 9)
        with pytest.raises(WrongServo, match=r"servo 3 does not answer; servo 9 answers") as caught:
            find_servos(bus, bus.servo_ids)
        assert (caught.value.missing, caught.value.unexpected) == ((3,), (9,))


def test_a_lost_reply_is_asked_again_and_counted(kind: Kind) -> None:
    with kind.open_bench(CLOCK, settings=QUICK) as (board, bus):
        board.faults.drop_replies = 2
        assert bus.read_ticks(1).ticks == kind.ticks[0]
        health = bus.read_health()
        assert (health.retries, health.timeouts, health.reads_ok) == (2, 2, 1)


def test_a_corrupt_reply_is_asked_again_and_replies_that_stay_corrupt_are_a_named_error(kind: Kind) -> None:
    with kind.open_bench(CLOCK, settings=QUICK) as (board, bus):
        board.faults.corrupt_replies = 1
        assert bus.read_ticks(1).ticks == kind.ticks[0]
        assert (bus.read_health().retries, bus.read_health().bad_checksums) == (1, 1)
        board.faults.corrupt_replies = ChainFaults.FOREVER
        with pytest.raises(BadChecksum, match="servo 4"):
            bus.read_ticks(4)
        board.faults.clear()
        assert bus.read_ticks(4).ticks == kind.ticks[3]


def test_a_reply_of_another_servo_is_never_taken_for_the_answer(kind: Kind) -> None:
    with kind.open_bench(CLOCK, settings=QUICK) as (board, bus):
        board.faults.wrong_id_replies = 1
        assert bus.read_ticks(6).servo_id == 6
        assert (bus.read_health().retries, bus.read_health().late_replies) == (1, 1)
        board.faults.wrong_id_replies = ChainFaults.FOREVER
        with pytest.raises(NoReply, match=r"servo 1 did not answer .* from servo 9"):
            bus.read_ticks(1)


def test_a_reply_cut_in_two_is_put_together(kind: Kind) -> None:
    with kind.open_bench(CLOCK) as (board, bus):
        board.faults.split_replies = 5
        for servo_id in bus.servo_ids:
            assert bus.read_ticks(servo_id).ticks == kind.ticks[servo_id - 1]
        assert (bus.read_health().retries, bus.read_health().garbage_bytes) == (0, 0)


def test_the_rest_of_a_reply_that_comes_too_late_spoils_nothing(kind: Kind) -> None:
    with kind.open_bench(CLOCK, settings=QUICK) as (board, bus):
        board.faults.split_replies, board.faults.split_gap_s = 1, 0.15
        assert bus.read_ticks(1).ticks == kind.ticks[0]
        time.sleep(0.2)
        assert bus.read_ticks(6).ticks == kind.ticks[5]
        assert bus.read_health().retries == 1


def test_a_reply_that_comes_too_late_is_no_answer_to_the_next_question(kind: Kind) -> None:
    impatient = HalfDuplexSettings(reply_timeout_s=0.1, read_retries=0, quiet_s=0.02)
    with kind.open_bench(CLOCK, settings=impatient) as (board, bus):
        board.faults.split_replies, board.faults.split_gap_s = 1, 0.15
        with pytest.raises(NoReply):
            bus.read_ticks(1)
        board.rack.aim(0, kind.ticks[0] + 50, 0.01, CLOCK.now_ns())
        time.sleep(0.2)
        assert bus.read_ticks(1).ticks == kind.ticks[0] + 50
        assert bus.read_health().late_replies == 1


def test_a_write_that_waits_is_refused_where_the_port_is_lost_and_found_meanwhile(kind: Kind, tmp_path: Path) -> None:
    with kind.open_bench(CLOCK, link=tmp_path / "ttyUSB0") as (board, bus):
        line, failures = bus._line, list[BusError]()

        def write() -> None:
            try:
                bus.write_ticks([t + 50 for t in kind.ticks], 0.1)
            except BusError as error:
                failures.append(error)

        writer = threading.Thread(target=write)
        with line._turn.patient():  # as while a servo speaks
            writer.start()
            wait_until(lambda: line._turn._urgent == 1)
            board.pty.unplug()
            with pytest.raises(BusLost):
                line._port.receive(time.monotonic_ns() + 2_000_000_000)
            board.pty.plug_in()
            time.sleep(0.5)
            line._port.reopen()
        writer.join(2.0)
        assert [type(f) for f in failures] == [BusLost]
        assert bus.read_ticks(1).ticks == kind.ticks[0]
        assert board.rack.target_ticks.tolist() == list(kind.ticks)


def test_an_adapter_that_echoes_is_known_and_its_echo_dropped(kind: Kind) -> None:
    with kind.open_bench(CLOCK, settings=QUICK, echo=True) as (board, bus):
        assert bus.adapter_echoes
        for step in range(1, 6):
            bus.write_ticks([t + step for t in kind.ticks], 0.02)
            assert find_servos(bus, bus.servo_ids)
        wait_until(lambda: stands(board) == [t + 5 for t in kind.ticks])
        health = bus.read_health()
        assert (health.retries, health.late_replies, health.garbage_bytes) == (0, 0, 0)
        assert not bus.ping(7)  # only its own request comes back
    with kind.open_bench(CLOCK) as (_, bus):
        assert not bus.adapter_echoes


def test_reads_and_writes_of_many_threads_never_speak_over_a_servo(kind: Kind) -> None:
    with kind.open_bench(CLOCK) as (board, bus):
        stop = threading.Event()

        def write() -> None:
            while not stop.is_set():
                bus.write_ticks(kind.ticks, 0.05)
                time.sleep(0.002)

        threads = [threading.Thread(target=write) for _ in range(2)]
        for thread in threads:
            thread.start()
        for turn in range(100):
            assert bus.read_ticks(1 + turn % 6).ticks == kind.ticks[turn % 6]
        stop.set()
        for thread in threads:
            thread.join(2.0)
        assert board.wire.collisions == 0
        assert bus.read_health().retries == 0


def test_a_write_waits_for_an_answer_under_way_and_for_no_servo_that_is_silent(kind: Kind) -> None:
    patient = HalfDuplexSettings(reply_timeout_s=1.0, read_retries=0, quiet_s=0.02)
    with kind.open_bench(CLOCK, settings=patient) as (board, bus):
        board.faults.silent_servos.add(4)
        reader, failures = read_in_thread(bus, 4)
        wait_until(lambda: len(board.wire.heard) > 0 and board.wire.heard[-1].servo_id == 4)
        started_s = time.monotonic()
        bus.write_ticks(kind.ticks, 0.1)
        assert time.monotonic() - started_s < 0.3
        assert reader.is_alive()  # it still waits for bytes that the adapter may hold
        reader.join(5.0)
        assert failures == [NoReply]


def test_a_pulled_plug_ends_a_pending_read_at_once_and_writes_are_refused_not_queued(
    kind: Kind, tmp_path: Path
) -> None:
    slow = HalfDuplexSettings(reply_timeout_s=2.0, quiet_s=0.02)
    with kind.open_bench(CLOCK, settings=slow, link=tmp_path / "ttyUSB0") as (board, bus):
        board.faults.silent_servos.add(1)
        threading.Timer(0.05, board.pty.unplug).start()
        started_s = time.monotonic()
        with pytest.raises(BusLost, match="USB cable"):
            bus.read_ticks(1)
        assert time.monotonic() - started_s < 1.0
        for _ in range(20):
            with pytest.raises(BusLost):
                bus.write_ticks([t + 50 for t in kind.ticks], 0.1)
        board.faults.clear()
        board.pty.plug_in()
        with pytest.raises(BusLost):
            bus.set_torque(False)  # only reading opens it again
        heard = len(board.wire.heard)
        reads_again(bus)
        assert bus.read_health().reconnects == 1
        assert all(board.rack.torque_on)
        assert board.rack.target_ticks.tolist() == list(kind.ticks)
        assert {r.code for r in list(board.wire.heard)[heard:]} <= {2, 14, 28}  # reads, whichever the protocol
        bus.write_ticks([t + 10 for t in kind.ticks], 0.05)
        wait_until(lambda: stands(board) == [t + 10 for t in kind.ticks])


def test_a_plug_out_for_longer_fails_fast_all_the_while(kind: Kind, tmp_path: Path) -> None:
    with kind.open_bench(CLOCK, link=tmp_path / "ttyUSB0") as (board, bus):
        board.pty.unplug()
        started_s = time.monotonic()
        tries = 0
        while time.monotonic() - started_s < 1.2:
            tries += 1
            for call in (lambda: bus.read_ticks(1), lambda: bus.ping(2), lambda: bus.write_one(1, kind.ticks[0], 0.1)):
                with pytest.raises(BusLost):
                    call()
        assert tries > 20
        board.pty.plug_in()
        reads_again(bus)
        assert bus.ping(2)


def test_a_port_lost_mid_move_comes_back_and_the_arm_has_finished_its_move_alone(kind: Kind, tmp_path: Path) -> None:
    with kind.open_bench(CLOCK, link=tmp_path / "ttyUSB0") as (board, bus):
        find_servos(bus, bus.servo_ids)
        goal = [t + 40 for t in kind.ticks]
        bus.write_ticks(goal, 0.3)
        wait_until(lambda: board.rack.positions_ticks()[0] > kind.ticks[0] + 5)
        board.pty.unplug()
        with pytest.raises(BusLost):
            bus.read_ticks(1)
        wait_until(lambda: stands(board) == goal)
        board.pty.plug_in()
        reads_again(bus)
        assert [r.ticks for r in find_servos(bus, bus.servo_ids)] == goal


def test_the_same_port_cannot_be_opened_twice(kind: Kind) -> None:
    with kind.open_bench(CLOCK) as (board, bus):
        with pytest.raises(PortBusy):
            type(bus)(board.port)
        assert bus.read_ticks(1).ticks == kind.ticks[0]


def test_a_refused_command_puts_nothing_on_the_wire(kind: Kind) -> None:
    with kind.open_bench(CLOCK) as (board, bus):
        bus.ping(1)
        before = len(board.wire.heard)
        for ticks, duration_s in ([*kind.ticks[:5], -1], 0.1), (kind.ticks, 0.0), (kind.ticks[:5], 0.1):
            with pytest.raises(BadCommand):
                bus.write_ticks(ticks, duration_s)
        with pytest.raises(BadCommand):
            bus.write_one(1, 5000, 0.1)
        time.sleep(0.05)
        assert len(board.wire.heard) == before


def test_a_closed_bus_says_so_to_readers_and_writers(kind: Kind) -> None:
    with kind.open_bench(CLOCK, settings=PATIENT) as (board, bus):
        board.faults.silent_servos.add(1)
        reader, failures = read_in_thread(bus, 1)
        wait_until(lambda: len(board.wire.heard) > 0 and board.wire.heard[-1].code == kind.read_code)
        bus.close()
        bus.close()
        reader.join(3.0)
        assert failures == [BusLost]
        with pytest.raises(BusLost, match="closed"):
            bus.set_torque(False)
        with pytest.raises(BusLost, match="closed"):
            bus.read_ticks(1)


def test_health_costs_nothing_on_the_wire(kind: Kind) -> None:
    with kind.open_bench(CLOCK) as (board, bus):
        bus.ping(1)
        before = len(board.wire.heard)
        assert bus.read_health().frames_sent == before
        assert len(board.wire.heard) == before


def test_the_urgent_go_before_those_who_have_waited_longer() -> None:
    turn, order = Turn(), list[str]()

    def take(rank: str) -> None:
        with turn.urgent() if rank == "urgent" else turn.patient():
            order.append(rank)

    threads = [threading.Thread(target=take, args=(rank,)) for rank in ("patient", "patient", "urgent", "urgent")]
    with turn.patient():
        for thread in threads:
            thread.start()
            time.sleep(0.02)
    for thread in threads:
        thread.join(2.0)
    assert order == ["urgent", "urgent", "patient", "patient"]
