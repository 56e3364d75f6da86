from __future__ import annotations

import multiprocessing
import os
import random
import subprocess
import sys
import threading
import time
import tty
from multiprocessing.queues import SimpleQueue
from pathlib import Path

import pytest

from bridge.clock import MonotonicClock
from hardware.buses.dofbot_registers import MiddleStatus, StoredMiddle
from hardware.buses.dofbot_serial import DofbotSerialBus, SerialSettings
from hardware.errors import BadChecksum, BadCommand, BusLost, NoReply, PortBusy, PortMissing, WrongServo
from hardware.servo_bus import find_servos
from hardware.virtual.dofbot_board import BoardFaults, DofbotBoard
from hardware.virtual.plant import FreePlant
from tests.hardware.conftest import FAST
from tests.hardware.dofbot_serial_bench import open_bench


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
    give_up_s = time.monotonic() + 5.0
    while board.is_open and time.monotonic() < give_up_s:
        time.sleep(0.005)
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
    assert time.monotonic_ns() - written_ns < 15e6
    reader.join(1.0)
    frame = board.heard[-1]
    assert frame.command == 0x1D
    assert (frame.stamp_ns - written_ns) * 1e-6 < 25  # a read that was 20 ms old takes 30 ms more at the least
    assert readings == [2000]
    assert bus.read_health().retries == 0


def test_a_dropped_reply_is_asked_again_and_counted(bus: DofbotSerialBus, board: DofbotBoard) -> None:
    board.faults.drop_replies = 2
    assert bus.read_ticks(1).ticks == 2000
    health = bus.read_health()
    assert (health.retries, health.timeouts, health.reads_ok) == (2, 2, 1)


def test_a_board_that_is_slow_to_begin_loses_no_servo(bus: DofbotSerialBus, board: DofbotBoard) -> None:
    board.faults.drop_replies = 3  # all tries of the first servo, as a machine that has something else to do
    assert [r.servo_id for r in find_servos(bus, bus.servo_ids)] == list(bus.servo_ids)


def test_a_servo_that_stays_silent_is_named_alone(bus: DofbotSerialBus, board: DofbotBoard) -> None:
    board.faults.absent_servos.add(1)
    with pytest.raises(WrongServo, match="servo 1 does not answer") as caught:
        find_servos(bus, bus.servo_ids)
    assert caught.value.missing == (1,)


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


def test_reads_open_a_lost_port_again_and_wake_the_board_and_nothing_moves(
    tmp_path: Path, clock: MonotonicClock
) -> None:
    with open_bench(clock, link=tmp_path / "ttyDofbot") as (board, bus):
        bus.write_one(1, 2200, 0.3)
        time.sleep(0.1)
        board.unplug()
        with pytest.raises(BusLost):
            bus.read_ticks(1)
        board.heard.clear()
        time.sleep(0.5)
        with pytest.raises(BusLost, match="opening it again failed: there is no serial port"):
            bus.read_ticks(1)
        board.replug()
        started_s = time.monotonic()
        for _ in range(2):  # too soon after the last try, and writes never open anything
            with pytest.raises(BusLost):
                bus.ping(1)
            with pytest.raises(BusLost):
                bus.write_ticks([2000] * 6, 0.1)
        assert time.monotonic() - started_s < 0.2
        time.sleep(0.5)
        assert bus.read_ticks(1).ticks == 2200  # the servos went on to the last target
        assert [(f.command, f.swallowed) for f in board.heard] == [(0x01, True), (0x31, False)]
        assert bus.read_health().reconnects == 1
        assert bus.read_health().retries == 0
        bus.write_one(1, 2100, 0.1)
        time.sleep(0.4)
        assert bus.read_ticks(1).ticks == 2100


def test_a_closed_bus_opens_nothing_again(tmp_path: Path, clock: MonotonicClock) -> None:
    with open_bench(clock, link=tmp_path / "ttyDofbot") as (board, bus):
        board.unplug()
        with pytest.raises(BusLost):
            bus.read_ticks(1)
        bus.close()
        board.replug()
        time.sleep(0.55)
        with pytest.raises(BusLost):
            bus.read_ticks(1)
        assert bus.read_health().reconnects == 0


def test_version_lamp_buzzer_and_any_servo(bus: DofbotSerialBus, board: DofbotBoard) -> None:
    assert bus.read_version() == 7
    bus.set_lamp(255, 0, 16)
    bus.sound(0.5)
    bus.write_any(6, 1000, 0.1)
    time.sleep(0.05)
    assert heard(board, 0x02) == [bytes((255, 0, 16))]
    assert heard(board, 0x06) == [b"\x05"]
    assert heard(board, 0x19) == [bytes.fromhex("06 03E8 0064")]
    with pytest.raises(BadCommand):
        bus.write_any(0, 1000, 0.1)


def test_a_stored_middle_tells_its_status_and_its_offset(bus: DofbotSerialBus, board: DofbotBoard) -> None:
    bus.write_one(1, 2100, 0.05)
    time.sleep(0.3)
    assert bus.store_middle(1) == StoredMiddle(MiddleStatus.STORED, -100)
    assert bus.read_ticks(1).ticks == 2000
    assert bus.store_middle(6).status is MiddleStatus.OUT_OF_RANGE
    assert bus.store_middle(0) == StoredMiddle(MiddleStatus.STORED, None)


class Babbler:
    """The far end of a pty: answers each request with something like a reply, or not at all like one."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self._master, slave = os.openpty()
        tty.setraw(slave)
        self.port = os.ttyname(slave)
        self._slave, self.replies = slave, 0
        self._thread = threading.Thread(target=self._babble, daemon=True)
        self._thread.start()

    def close(self) -> None:
        os.close(self._slave)
        self._thread.join(1.0)
        os.close(self._master)

    def _babble(self) -> None:
        while True:
            try:
                heard = os.read(self._master, 256)
                os.write(self._master, self._reply(heard))
            except OSError:  # the last one at the other end has closed
                return
            self.replies += 1

    def _reply(self, heard: bytes) -> bytes:
        rng = self._rng
        body = bytes((6, 0x0A)) + rng.randbytes(2) + bytes((heard[3] if len(heard) > 3 else 0x31,))
        sound = b"\xff\xfb" + body + bytes((sum(body) & 0xFF,))
        cut, at = rng.randrange(9), rng.randrange(8)
        return rng.choice(
            [
                sound,
                heard,  # an echo
                heard + sound,
                sound[:cut],
                sound[:at] + rng.randbytes(1) + sound[at + 1 :],
                sound[cut:] + sound,
                rng.randbytes(rng.randrange(40)),
                b"\xff\xfb" + rng.randbytes(rng.randrange(8)),
            ]
        )


@pytest.mark.timeout(3600)  # all 100,000 of them take six minutes
def test_no_reply_whatever_leaves_the_named_errors_or_bounded_time(clock: MonotonicClock) -> None:
    wanted = 100_000 if os.environ.get("TANDEM_DEEP") else 400
    babbler = Babbler(5)
    brisk = SerialSettings(wake_s=0.01, reply_timeout_s=0.004)
    seen: set[str] = set()
    with DofbotSerialBus(babbler.port, clock, brisk) as bus:
        calls = [lambda: bus.read_ticks(2), lambda: bus.read_ticks(5), lambda: bus.ping(1), bus.read_version]
        for k in range(4 * wanted):  # a late answer may serve two requests
            started_s = time.monotonic()
            try:
                seen.add(type(calls[k % 4]()).__name__)
            except (NoReply, BadChecksum) as error:
                seen.add(type(error).__name__)
            assert time.monotonic() - started_s < 2.0  # 12 ms and whatever a busy machine adds
            if babbler.replies >= wanted:
                break
        assert babbler.replies >= wanted
        assert bus.read_health().garbage_bytes > 0
    babbler.close()
    assert {"Reading", "bool", "NoReply", "BadChecksum"} <= seen


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
    for folder in (tmp_path, *tmp_path.parents):
        if folder.name.startswith("pytest-of-") or "pytest-of-" in str(folder.parent):
            folder.chmod(0o755)  # nobody may look inside otherwise
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
