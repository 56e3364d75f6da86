from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.actuator import SERVO_SPEED_RAD_S, ActuatorModel
from hardware.virtual.dofbot_board import BoardFaults, DofbotBoard
from hardware.virtual.dofbot_mcu import TICKS_PER_RAD
from hardware.virtual.dofbot_wire import CommandScanner
from hardware.virtual.plant import SAGGED_TICKS, FreePlant

READ_1 = bytes.fromhex("FF FC 03 31 34")
VERSION = bytes.fromhex("FF FC 03 01 04")
TORQUE_ON = bytes.fromhex("FF FC 04 1A 01 1F")
TORQUE_OFF = bytes.fromhex("FF FC 04 1A 00 1E")
SIX = bytes.fromhex("FF FC 11 1D 07 D0 07 D0 07 D0 07 D0 05 CE 04 F2 03 E8 3E")


def framed(body: str) -> bytes:
    data = bytes.fromhex(body)
    return b"\xff\xfc" + data + bytes([sum(data) % 256])


class Stage:
    """A board, a hand-driven clock, and raw bytes at the far end of its pty."""

    def __init__(self, torque_on: bool = True, link: Path | None = None, actuator: ActuatorModel | None = None) -> None:
        self.time_ns = 1_000_000_000
        self.plant = FreePlant(self)
        self.board = DofbotBoard(
            self.plant, np.random.default_rng(3), self.time_ns, actuator, torque_on=torque_on, link=link
        )
        self.fd = -1

    def now_ns(self) -> int:
        return self.time_ns

    def sleep_until(self, deadline_ns: int) -> None:
        self.run((deadline_ns - self.time_ns) * 1e-9)

    def open(self) -> None:
        self.fd = os.open(self.board.port, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        self.board.step(self.time_ns)

    def run(self, duration_s: float, step_s: float = 1 / 240) -> None:
        for _ in range(round(duration_s / step_s)):
            self.time_ns += round(step_s * 1e9)
            self.board.step(self.time_ns)

    def say(self, data: bytes) -> None:
        os.write(self.fd, data)
        self.run(1 / 240)

    def hear(self) -> bytes:
        try:
            return os.read(self.fd, 4096)
        except BlockingIOError:
            return b""

    def shut(self) -> None:
        os.close(self.fd)
        self.fd = -1
        self.run(2 / 240)


@pytest.fixture
def stage() -> Iterator[Stage]:
    stage = Stage()
    stage.open()
    stage.say(VERSION)
    yield stage
    if stage.fd >= 0:
        os.close(stage.fd)
    stage.board.close()


def test_the_first_command_after_opening_is_swallowed_and_only_the_first() -> None:
    stage = Stage()
    stage.open()
    stage.say(READ_1 + READ_1)
    stage.run(0.2)
    assert stage.hear() == bytes.fromhex("FF FB 06 0A 07 D0 31 18")
    stage.shut()
    stage.open()
    stage.say(READ_1)
    stage.run(0.2)
    assert stage.hear() == b""
    assert [f.swallowed for f in stage.board.heard] == [True, False, True]
    stage.shut()
    stage.board.close()


def test_a_read_takes_50_to_80_ms_and_reads_queue_up(stage: Stage) -> None:
    stage.say(READ_1 + framed("03 36"))
    stage.run(0.045)
    assert stage.hear() == b""
    stage.run(0.040)
    assert stage.hear()[4:7] == bytes.fromhex("07 D0 31")
    stage.run(0.085)
    assert stage.hear()[4:7] == bytes.fromhex("03 84 36")


def test_a_write_is_executed_while_a_read_is_pending(stage: Stage) -> None:
    stage.say(READ_1)
    stage.say(SIX)
    stage.run(0.03)
    assert stage.hear() == b""
    assert stage.board.heard[-1].command == 0x1D
    stage.run(1.2)
    assert stage.plant.positions_ticks().round(6).tolist() == [2000, 2000, 2000, 2000, 1486, 1266]


def test_the_gears_play_and_the_reading_comes_in_steps_where_the_model_says_so() -> None:
    gap, step = 20 / TICKS_PER_RAD, 8 / TICKS_PER_RAD
    stage = Stage(
        actuator=ActuatorModel((SERVO_SPEED_RAD_S,) * 6, backlash_rad=tuple(gap), readback_rad=tuple(step)),
    )
    stage.open()
    stage.say(VERSION)
    stage.say(framed("07 11 0834 00C8"))  # servo 1 to 2100 in 200 ms
    stage.run(0.5)
    assert stage.board.setpoint_ticks[0] == pytest.approx(2100)
    assert stage.plant.positions_ticks()[0] == pytest.approx(2090)  # half a gap behind
    stage.hear()
    stage.say(READ_1)
    stage.run(0.1)
    assert int.from_bytes(stage.hear()[4:6], "big") == 2088  # the nearest multiple of 8
    stage.say(framed("07 11 0822 00C8"))  # 18 counts back: inside the gap
    stage.run(0.5)
    assert stage.plant.positions_ticks()[0] == pytest.approx(2090)
    stage.shut()
    stage.board.close()


def test_one_move_time_holds_for_all_six_and_the_last_servo_starts_12_ms_late(stage: Stage) -> None:
    stage.say(framed("11 1D 0834 0834 0834 0834 0633 03E8 03E8"))  # everything 100 counts on, in 1000 ms
    stage.run(0.5)
    moved = stage.plant.positions_ticks() - [2000, 2000, 2000, 2000, 1487, 900]
    assert moved[0] - moved[5] == pytest.approx(1.2, abs=0.05)  # 12 ms at 100 counts a second
    stage.run(0.7)
    assert stage.plant.positions_ticks().round(6).tolist() == [2100, 2100, 2100, 2100, 1587, 1000]


def test_a_servo_is_no_faster_than_200_degrees_a_second(stage: Stage) -> None:
    stage.say(framed("07 11 0384 0001"))  # servo 1 from 90 deg to 0 deg in 1 ms
    stage.run(0.08 + 0.2)
    degrees = (2000 - stage.plant.positions_ticks()[0]) * 180 / 2200
    assert degrees == pytest.approx(40, abs=2)


def test_a_board_finds_its_footing_after_garbage(stage: Stage) -> None:
    stage.say(b"\x00\xff\xff\xfc\x30garbage\xff\xfc\x07" + READ_1 * 3)
    stage.run(0.3)
    assert stage.hear().count(b"\xff\xfb\x06\x0a") >= 2


def test_a_frame_with_a_bad_checksum_does_nothing(stage: Stage) -> None:
    stage.say(SIX[:-1] + b"\x00")
    stage.run(1.3)
    assert stage.plant.positions_ticks()[5] == 900
    assert stage.board.heard[-1].command == 0x01


def test_a_count_out_of_range_moves_nothing(stage: Stage) -> None:
    stage.say(framed("07 11 0FA1 0064"))  # 4001
    stage.run(0.5)
    assert stage.plant.positions_ticks()[0] == 2000


def test_a_raised_arm_falls_when_its_torque_goes(stage: Stage) -> None:
    stage.say(TORQUE_OFF)
    assert stage.board.torque_on == (False,) * 6
    stage.run(2.0)
    assert stage.plant.positions_ticks().tolist() == list(SAGGED_TICKS)


def test_torque_on_pulls_to_the_last_target_as_fast_as_it_can(stage: Stage) -> None:
    stage.say(TORQUE_OFF)
    stage.run(2.0)
    stage.say(TORQUE_ON)
    stage.run(0.6)
    assert stage.plant.positions_ticks().round(6).tolist() == [2000, 2000, 2000, 2000, 1487, 900]


def test_the_gripper_stops_on_contact_and_after_3_s_of_pressing_its_torque_is_cut(stage: Stage) -> None:
    stage.plant.gripper_stop_ticks = 2000
    stage.say(framed("07 16 0898 0064"))  # servo 6 to 2200: 200 counts into the block
    stage.run(1.0)
    assert stage.plant.positions_ticks()[5] == 2000
    assert stage.board.torque_on[5]
    stage.run(3.2)
    assert stage.board.stalled_servos == (6,)
    assert stage.board.torque_on == (True,) * 5 + (False,)
    stage.say(TORQUE_ON)
    assert stage.board.torque_on == (True,) * 6


def test_a_light_squeeze_never_trips_the_protection(stage: Stage) -> None:
    stage.plant.gripper_stop_ticks = 2000
    stage.say(framed("07 16 0802 0064"))  # 2050: 50 counts of squeeze
    stage.run(10.0)
    assert stage.board.stalled_servos == ()


def test_a_blocked_arm_joint_stalls_too(stage: Stage) -> None:
    stage.plant.blocked[1] = True
    stage.say(framed("07 12 0708 0064"))
    stage.run(3.6)
    assert stage.board.stalled_servos == (2,)


@pytest.mark.parametrize("name", ["drop_replies", "corrupt_replies", "ignore_frames"])
def test_faults_last_for_their_number_and_no_longer(stage: Stage, name: str) -> None:
    setattr(stage.board.faults, name, 1)
    stage.say(READ_1)
    stage.run(0.2)
    spoiled = stage.hear()
    assert spoiled[:-1] == (bytes.fromhex("FF FB 06 0A 07 D0 31") if name == "corrupt_replies" else b"")
    assert spoiled[-1:] != b"\x18"
    stage.say(READ_1)
    stage.run(0.2)
    assert stage.hear() == bytes.fromhex("FF FB 06 0A 07 D0 31 18")


def test_a_reply_is_cut_in_two_in_another_servos_name_or_behind_an_echo(stage: Stage) -> None:
    sound = bytes.fromhex("FF FB 06 0A 07 D0 31 18")
    stage.board.faults.split_replies, stage.board.faults.split_gap_s = 1, 0.3
    stage.say(READ_1)
    stage.run(0.2)
    assert stage.hear() == sound[:4]
    stage.run(0.3)
    assert stage.hear() == sound[4:]
    stage.board.faults.wrong_id_replies = 1
    stage.say(READ_1)
    stage.run(0.2)
    assert stage.hear() == bytes.fromhex("FF FB 06 0A 07 D0 32 19")
    stage.board.faults.echo = True
    stage.say(READ_1)
    stage.run(0.2)
    assert stage.hear() == READ_1 + sound


def test_a_silent_board_stays_silent_until_cleared(stage: Stage) -> None:
    stage.board.faults.ignore_frames = BoardFaults.FOREVER
    for _ in range(5):
        stage.say(SIX + READ_1)
    stage.run(1.5)
    assert stage.hear() == b""
    assert stage.plant.positions_ticks()[5] == 900
    stage.board.faults.clear()
    stage.say(READ_1)
    stage.run(0.2)
    assert stage.hear() != b""


def test_the_same_seed_gives_the_same_board() -> None:
    def reply_times() -> list[int]:
        stage = Stage()
        stage.open()
        stage.say(VERSION + READ_1 * 5)
        times: list[int] = []
        for _ in range(120):
            stage.run(1 / 240)
            times += [stage.time_ns] * (len(stage.hear()) // 8)
        stage.shut()
        stage.board.close()
        return times

    assert len(reply_times()) == 5
    assert reply_times() == reply_times()


def test_a_link_gives_the_port_a_stable_name(tmp_path: Path) -> None:
    link = tmp_path / "ports" / "ttyDofbot"
    for _ in range(2):
        stage = Stage(link=link)
        assert stage.board.port == str(link)
        stage.open()
        stage.shut()
        stage.board.close()
        assert not link.is_symlink()


def test_the_port_is_raw_without_any_setting_up(stage: Stage) -> None:
    stage.say(b"\x03\x04\x11\x13\r\n")  # interrupt, end of file, flow control, line ends: bytes like any other
    stage.say(READ_1)
    stage.run(0.2)
    assert stage.hear() == bytes.fromhex("FF FB 06 0A 07 D0 31 18")


def test_a_board_without_its_cable_finishes_the_move_and_comes_back_under_its_name(tmp_path: Path) -> None:
    stage = Stage(link=tmp_path / "ttyDofbot")
    stage.open()
    stage.say(VERSION)
    stage.say(framed("07 11 0834 01F4"))  # servo 1 to 2100 in 500 ms
    stage.board.unplug()
    with pytest.raises(OSError, match="Input/output error"):
        os.write(stage.fd, READ_1)
    assert not (tmp_path / "ttyDofbot").exists()
    os.close(stage.fd)
    stage.run(1.0)
    stage.board.replug()
    stage.open()
    stage.say(READ_1 + READ_1)
    stage.run(0.2)
    assert stage.hear() == bytes.fromhex("FF FB 06 0A 08 34 31 7D")  # 2100; the first read was swallowed
    stage.shut()
    stage.board.close()


def test_k2_lets_everything_go_and_k1_centres_the_arm(stage: Stage) -> None:
    stage.board.press_k2(stage.time_ns)
    stage.run(2.0)
    assert stage.plant.positions_ticks().tolist() == list(SAGGED_TICKS)
    stage.board.press_k1(stage.time_ns)
    stage.run(2.0)
    assert stage.plant.positions_ticks().round(6).tolist() == [2000, 2000, 2000, 2000, 1486, 3100]


def test_a_middle_is_answered_with_its_offset_and_asked_for_with_its_state(stage: Stage) -> None:
    stage.say(framed("08 19 01 0834 0064"))  # any servo: number 1 to 2100
    stage.run(0.5)
    stage.say(framed("04 1C 01"))
    assert stage.hear() == bytes.fromhex("FF FB 05 0B FF 9C AB")  # -100
    stage.say(framed("03 1B"))
    assert stage.hear() == bytes.fromhex("FF FB 04 33 01 38")
    stage.say(READ_1)
    stage.run(0.1)
    assert stage.hear() == bytes.fromhex("FF FB 06 0A 07 D0 31 18")


@given(st.lists(st.binary(max_size=40), max_size=10))
def test_no_bytes_upset_the_scanner(chunks: list[bytes]) -> None:
    scanner = CommandScanner()
    for chunk in chunks:
        scanner.scan(chunk)


@given(st.binary(max_size=40).filter(lambda noise: b"\xff" not in noise), st.integers(1, 18))
def test_a_command_after_noise_is_found_however_it_is_cut(noise: bytes, cut: int) -> None:
    scanner = CommandScanner()
    stream = noise + SIX + READ_1
    found = [f for i in range(0, len(stream), cut) for f in scanner.scan(stream[i : i + cut])]
    assert [command for command, _ in found] == [0x1D, 0x31]
    assert scanner.bytes_lost == len(noise)
