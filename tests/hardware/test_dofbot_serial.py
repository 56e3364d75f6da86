from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
import time
from multiprocessing.queues import SimpleQueue
from pathlib import Path

import pytest

from bridge.clock import MonotonicClock
from hardware.buses.dofbot_serial import DofbotSerialBus, SerialSettings
from hardware.errors import BadChecksum, BadCommand, BusLost, NoReply, PortBusy, PortMissing
from hardware.virtual.dofbot_board import BoardFaults, DofbotBoard
from hardware.virtual.plant import FreePlant
from tests.hardware.conftest import FAST


def heard(board: DofbotBoard, command: int) -> list[bytes]:
    return [f.data for f in board.heard if f.command == command and not f.swallowed]


def test_the_board_swallows_a_harmless_frame_and_the_first_real_read_succeeds(
    bus: DofbotSerialBus, board: DofbotBoard
) -> None:
    assert bus.read_ticks(3).ticks == 2000
    first = board.heard[0]
    assert first.swallowed
    assert first.command == 0x01  # a version request moves nothing
    health = bus.read_health()
    assert (health.retries, health.timeouts, health.garbage_bytes) == (0, 0, 0)


def test_opening_again_wakes_the_board_again(bus: DofbotSerialBus, board: DofbotBoard, clock: MonotonicClock) -> None:
    bus.close()
    time.sleep(0.05)
    with DofbotSerialBus(board.port, clock, FAST) as again:
        assert again.read_ticks(6).ticks == 900
        assert again.read_health().retries == 0
    assert sum(f.swallowed for f in board.heard) == 2


def test_each_servo_reads_its_own_position_and_takes_50_to_80_ms(bus: DofbotSerialBus, plant: FreePlant) -> None:
    for servo_id in bus.servo_ids:
        reading = bus.read_ticks(servo_id)
        assert reading.servo_id == servo_id
        assert reading.ticks == plant.positions_ticks()[servo_id - 1]
        assert 0.050 <= (reading.received_ns - reading.requested_ns) * 1e-9 < 0.12


def test_six_servos_move_to_their_counts(bus: DofbotSerialBus, board: DofbotBoard, plant: FreePlant) -> None:
    bus.write_ticks([2000, 2000, 2000, 2000, 1487, 900], 0.05)
    bus.set_torque(True)
    bus.write_ticks([2050, 1950, 2030, 1970, 1500, 1000], 0.2)
    time.sleep(0.5)
    assert plant.positions_ticks().tolist() == [2050, 1950, 2030, 1970, 1500, 1000]
    assert heard(board, 0x1D)[-1] == bytes.fromhex("0802 079E 07EE 07B2 05DC 03E8 00C8")


def test_a_write_overtakes_a_pending_read_on_the_wire(bus: DofbotSerialBus, board: DofbotBoard) -> None:
    readings: list[int] = []
    reader = threading.Thread(target=lambda: readings.append(bus.read_ticks(2).ticks))
    reader.start()
    time.sleep(0.02)
    assert reader.is_alive()  # the board needs at least 50 ms
    written_ns = time.monotonic_ns()
    bus.write_ticks([2010, 2000, 2000, 2000, 1487, 900], 0.5)
    assert time.monotonic_ns() - written_ns < 5e6
    time.sleep(0.012)
    assert reader.is_alive()
    frame = board.heard[-1]
    assert frame.command == 0x1D
    assert (frame.stamp_ns - written_ns) * 1e-6 < 10
    reader.join(1.0)
    assert readings == [2000]
    assert bus.read_health().retries == 0


def test_a_dropped_reply_is_asked_again_and_counted(bus: DofbotSerialBus, board: DofbotBoard) -> None:
    board.faults.drop_replies = 2
    assert bus.read_ticks(1).ticks == 2000
    health = bus.read_health()
    assert (health.retries, health.timeouts, health.reads_ok) == (2, 2, 1)


def test_a_corrupt_reply_is_asked_again_and_counted(bus: DofbotSerialBus, board: DofbotBoard) -> None:
    board.faults.corrupt_replies = 1
    assert bus.read_ticks(1).ticks == 2000
    health = bus.read_health()
    assert (health.retries, health.bad_checksums) == (1, 1)


def test_replies_that_stay_corrupt_are_a_named_error(bus: DofbotSerialBus, board: DofbotBoard) -> None:
    board.faults.corrupt_replies = BoardFaults.FOREVER
    with pytest.raises(BadChecksum, match="servo 4"):
        bus.read_ticks(4)
    board.faults.clear()
    assert bus.read_ticks(4).ticks == 2000


def test_a_silent_board_is_a_named_error_in_bounded_time(bus: DofbotSerialBus, board: DofbotBoard) -> None:
    board.faults.ignore_frames = BoardFaults.FOREVER
    started_s = time.monotonic()
    with pytest.raises(NoReply, match="servo 2"):
        bus.read_ticks(2)
    assert 0.55 < time.monotonic() - started_s < 0.8  # three tries of 0.2 s
    assert not bus.ping(2)


def test_an_absent_servo_answers_zero_which_is_no_position(bus: DofbotSerialBus, board: DofbotBoard) -> None:
    board.faults.absent_servos.add(5)
    with pytest.raises(NoReply, match="servo 5"):
        bus.read_ticks(5)
    assert not bus.ping(5)
    assert bus.ping(4)


def test_a_late_reply_of_another_servo_is_not_taken_for_the_answer(board: DofbotBoard, clock: MonotonicClock) -> None:
    impatient = SerialSettings(wake_s=0.05, reply_timeout_s=0.03, read_retries=0)
    with DofbotSerialBus(board.port, clock, impatient) as bus:
        with pytest.raises(NoReply):
            bus.read_ticks(6)  # its reply, 900, comes while servo 1 is being asked
        with pytest.raises(NoReply):
            bus.read_ticks(1)
        time.sleep(0.2)
        assert bus.read_health().late_replies == 2


def test_a_pulled_plug_ends_a_pending_read_at_once(bus: DofbotSerialBus, board: DofbotBoard) -> None:
    threading.Timer(0.02, board.close).start()
    started_s = time.monotonic()
    with pytest.raises(BusLost, match="USB cable"):
        bus.read_ticks(1)
    assert time.monotonic() - started_s < 0.2
    with pytest.raises(BusLost):
        bus.write_ticks([2000] * 6, 0.1)


def test_a_refused_count_puts_nothing_on_the_wire(bus: DofbotSerialBus, board: DofbotBoard) -> None:
    with pytest.raises(BadCommand):
        bus.write_ticks([2000] * 5 + [50], 0.1)
    time.sleep(0.02)
    assert not heard(board, 0x1D)


def test_a_closed_bus_says_so(bus: DofbotSerialBus) -> None:
    bus.close()
    bus.close()
    with pytest.raises(BusLost, match="closed"):
        bus.set_torque(False)


def test_a_missing_port_names_itself(tmp_path: Path) -> None:
    with pytest.raises(PortMissing, match="ttyNone"):
        DofbotSerialBus(str(tmp_path / "ttyNone"))


def _refusal_for_nobody(port: str, answers: SimpleQueue[str]) -> None:
    if os.geteuid() == 0:  # root may open every port
        os.setuid(65534)
    try:
        DofbotSerialBus(port)
    except PortMissing as error:
        answers.put(str(error))


def test_a_port_without_permission_names_the_group_to_join(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        folder.chmod(0o755)
    port = tmp_path / "ttyUSB0"
    port.touch(mode=0o000)
    context = multiprocessing.get_context("fork")
    answers: SimpleQueue[str] = context.SimpleQueue()
    child = context.Process(target=_refusal_for_nobody, args=(str(port), answers))
    child.start()
    child.join(5.0)
    assert not answers.empty()
    message = answers.get()
    assert "ttyUSB0" in message
    assert f"usermod -aG {port.group()}" in message


def test_a_port_that_another_process_holds_names_the_process(board: DofbotBoard) -> None:
    script = (
        f"import serial, sys; s = serial.Serial({board.port!r}, exclusive=True); print('open', flush=True); s.read(1)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline().strip() == "open"
            with pytest.raises(PortBusy, match=rf"python.*pid {holder.pid}"):
                DofbotSerialBus(board.port, settings=FAST)
        finally:
            holder.kill()


def test_the_same_port_cannot_be_opened_twice(bus: DofbotSerialBus, board: DofbotBoard) -> None:
    with pytest.raises(PortBusy):
        DofbotSerialBus(board.port, settings=FAST)
    assert bus.read_ticks(1).ticks == 2000  # and the first owner keeps working
