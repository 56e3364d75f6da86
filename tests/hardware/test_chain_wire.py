"""The virtual chains by themselves: raw bytes at the far end of their pty, and a clock held by hand."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from hardware.virtual.chain_wire import RequestScanner
from hardware.virtual.lx16a_board import Lx16aBoard
from hardware.virtual.plant import FreePlant
from hardware.virtual.sts_board import StsBoard
from tests.hardware import lx16a_bench, sts_bench

LX_READ_1 = bytes.fromhex("55 55 01 03 1C DF")
LX_AT_500 = bytes.fromhex("55 55 01 05 1C F4 01 E8")
LX_BYTE_NS = round(10e9 / 115200)
STS_READ_1 = bytes.fromhex("FF FF 01 04 02 38 02 BE")
STS_AT_2048 = bytes.fromhex("FF FF 01 04 00 00 08 F2")
STS_READ_ALL = bytes.fromhex("FF FF FE 06 82 38 02 01 02 3C")
STEP_NS = 10_000


class Stage:
    """A board, its clock and the host's end of its pty."""

    def __init__(self, board: str) -> None:
        self.time_ns = 1_000_000_000
        bench = lx16a_bench if board == "lx16a" else sts_bench
        plant = FreePlant(self, start_ticks=bench.UPRIGHT_TICKS, sagged_ticks=bench.SAGGED_TICKS)
        self.lx = Lx16aBoard(plant, self.time_ns, torque_on=True)
        self.sts = StsBoard(plant, self.time_ns)
        self.board = self.lx if board == "lx16a" else self.sts
        self.fd = os.open(self.board.port, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        self.board.step(self.time_ns)

    def now_ns(self) -> int:
        return self.time_ns

    def sleep_until(self, deadline_ns: int) -> None:
        self.run(deadline_ns - self.time_ns)

    def run(self, duration_ns: int, step_ns: int = STEP_NS) -> None:
        end_ns = self.time_ns + duration_ns
        while self.time_ns < end_ns:
            self.time_ns = min(end_ns, self.time_ns + step_ns)
            self.board.step(self.time_ns)

    def say(self, frame: bytes) -> None:
        os.write(self.fd, frame)
        self.board.step(self.time_ns)

    def framed(self, body: str) -> bytes:
        data = bytes.fromhex(body)
        head = b"\x55\x55" if self.board is self.lx else b"\xff\xff"
        return head + data + bytes([255 - sum(data) % 256])

    def hear(self) -> bytes:
        try:
            return os.read(self.fd, 4096)
        except BlockingIOError:
            return b""

    def answer_ns(self, limit_ns: int = 20_000_000) -> int:
        """Return how long it takes from now until something is heard."""
        start_ns = self.time_ns
        while not (heard := self.hear()):
            self.run(STEP_NS)
            assert self.time_ns - start_ns < limit_ns
        self.heard = heard
        return self.time_ns - start_ns

    def close(self) -> None:
        os.close(self.fd)
        self.lx.close()
        self.sts.close()


@pytest.fixture
def lx() -> Iterator[Stage]:
    stage = Stage("lx16a")
    yield stage
    stage.close()


@pytest.fixture
def sts() -> Iterator[Stage]:
    stage = Stage("sts")
    yield stage
    stage.close()


def test_an_lx_servo_answers_when_both_frames_are_over_the_wire(lx: Stage) -> None:
    lx.say(LX_READ_1)
    took_ns = lx.answer_ns()
    assert lx.heard == LX_AT_500
    assert took_ns == pytest.approx((6 + 8) * LX_BYTE_NS + 500_000, abs=STEP_NS)


def test_an_sts_servo_answers_within_a_tenth_of_that_and_its_return_delay_is_a_register(sts: Stage) -> None:
    sts.say(STS_READ_1)
    assert sts.answer_ns() == pytest.approx(16 * 10_000 + 500_000, abs=STEP_NS)
    assert sts.heard == STS_AT_2048
    sts.say(sts.framed("01 04 03 07 00"))  # no return delay
    sts.answer_ns()
    sts.say(STS_READ_1)
    assert sts.answer_ns() == pytest.approx(16 * 10_000, abs=STEP_NS)


def test_a_request_behind_other_frames_waits_for_them_on_the_wire(lx: Stage) -> None:
    move = bytes.fromhex("55 55 01 07 01 F4 01 E8 03 16")
    lx.say(move * 6)
    lx.say(LX_READ_1)
    assert lx.answer_ns() == pytest.approx((60 + 6 + 8) * LX_BYTE_NS + 500_000, abs=STEP_NS)
    assert [r.stamp_ns - 1_000_000_000 for r in lx.board.wire.heard] == [
        *(10 * n * LX_BYTE_NS for n in range(1, 7)),
        66 * LX_BYTE_NS,
    ]


def test_whoever_speaks_into_a_reply_spoils_it_and_is_not_heard(lx: Stage) -> None:
    lx.say(LX_READ_1)
    lx.run(6 * LX_BYTE_NS + 700_000)
    lx.say(bytes.fromhex("55 55 01 04 1F 00 DB"))
    lx.run(5_000_000)
    assert lx.hear() != LX_AT_500
    assert lx.board.wire.collisions == 1
    assert lx.board.rack.torque_on[0]


def test_servos_answer_a_sync_read_one_after_the_other(sts: Stage) -> None:
    sts.say(STS_READ_ALL)
    took_ns = sts.answer_ns()
    assert sts.heard == STS_AT_2048
    assert took_ns == pytest.approx(10 * 10_000 + 500_000 + 80_000, abs=STEP_NS)
    assert sts.answer_ns() == pytest.approx(500_000 + 80_000, abs=STEP_NS)
    assert sts.heard == bytes.fromhex("FF FF 02 04 00 00 08 F1")


@pytest.mark.parametrize("stops", [False, True])
def test_behind_a_silent_servo_the_others_answer_or_not(sts: Stage, stops: bool) -> None:
    sts.sts.sync_read_stops = stops
    sts.board.faults.silent_servos.add(1)
    sts.say(STS_READ_ALL)
    sts.run(5_000_000)
    assert sts.hear() == (b"" if stops else bytes.fromhex("FF FF 02 04 00 00 08 F1"))


def test_a_sync_write_moves_servos_at_the_speed_it_carries_and_nobody_answers(sts: Stage) -> None:
    sts.say(sts.framed("FE 14 83 29 07 01 FE 64 08 00 00 E8 03 02 FE 64 08 00 00 F4 01"))  # to 2148: 1000, 500 ticks/s
    sts.run(20_000_000 + 320_000 + 60_000_000)
    moved = sts.board.rack.positions_ticks() - 2048
    assert moved[0] == pytest.approx(60, abs=2)
    assert moved[1] == pytest.approx(30, abs=2)
    sts.run(200_000_000, 1_000_000)
    assert (sts.board.rack.positions_ticks() - 2048)[:3].round().tolist() == [100, 100, 0]
    assert sts.hear() == b""


def test_an_sts_write_to_one_servo_is_answered_and_a_broadcast_is_not(sts: Stage) -> None:
    sts.say(bytes.fromhex("FF FF 01 04 03 28 00 CF"))
    sts.run(2_000_000)
    assert sts.hear() == bytes.fromhex("FF FF 01 02 00 FC")
    assert sts.board.rack.torque_on == (False, True, True, True, True, True)
    sts.say(sts.framed("FE 04 03 28 00"))
    sts.run(2_000_000)
    assert sts.hear() == b""
    assert not any(sts.board.rack.torque_on)


def test_sts_servos_power_up_with_torque_where_they_stand(sts: Stage) -> None:
    sts.say(sts.framed("FE 04 03 28 00"))
    sts.run(500_000_000, 5_000_000)
    fallen = sts.board.rack.positions_ticks()
    assert fallen[1] > 2300
    sts.board.restart(sts.time_ns)
    sts.run(500_000_000, 5_000_000)
    assert sts.board.rack.positions_ticks().tolist() == pytest.approx(fallen.tolist(), abs=1.0)
    assert all(sts.board.rack.torque_on)


def test_what_an_sts_servo_keeps_must_be_unlocked_first(sts: Stage) -> None:
    sts.say(sts.framed("01 05 03 1F 64 00"))  # an offset of 100, while locked
    sts.run(2_000_000)
    assert sts.sts.register(1, 31, 2) == 100
    sts.board.restart(sts.time_ns)
    assert sts.sts.register(1, 31, 2) == 0
    for body in ("01 04 03 37 00", "01 05 03 1F 64 00", "01 04 03 37 01"):
        sts.say(sts.framed(body))
        sts.run(2_000_000)
    sts.board.restart(sts.time_ns)
    assert sts.sts.register(1, 31, 2) == 100


def test_lx_moves_wait_for_their_start_and_stop_where_they_are(lx: Stage) -> None:
    lx.say(lx.framed("02 07 07 58 02 F4 01"))  # servo 2 to 600 in 500 ms, later
    lx.run(300_000_000, 1_000_000)
    assert lx.board.rack.positions_ticks()[1] == pytest.approx(500)
    lx.say(lx.framed("FE 03 0B"))
    lx.run(270_000_000, 1_000_000)
    assert lx.board.rack.positions_ticks()[1] == pytest.approx(550, abs=1)
    lx.say(lx.framed("02 03 0C"))
    lx.run(400_000_000, 1_000_000)
    assert lx.board.rack.positions_ticks()[1] == pytest.approx(552, abs=4)  # a dead time is 4 counts


def test_a_bad_checksum_does_nothing(lx: Stage) -> None:
    lx.say(bytes.fromhex("55 55 01 07 01 F4 01 E8 03 17"))
    lx.run(5_000_000)
    assert not lx.board.wire.heard


def test_one_header_byte_more_is_no_id(sts: Stage) -> None:
    sts.say(b"\xff" + STS_READ_1)
    sts.answer_ns()
    assert sts.heard == STS_AT_2048


@pytest.mark.parametrize(("head", "uncounted", "frame"), [(0x55, 3, LX_READ_1), (0xFF, 4, STS_READ_1)])
def test_the_scanner_finds_its_footing_after_garbage(head: int, uncounted: int, frame: bytes) -> None:
    scanner = RequestScanner(head, uncounted)
    for noise in (b"\x00\x01\x02", bytes([head, 0]), bytes([head, head, 1, 0]), frame[:-1] + b"\x00"):
        found = [r for byte in noise + frame if (r := scanner.hear(byte))]
        assert [(r[0], r[1]) for r in found] == [(frame[2], frame[4])]
