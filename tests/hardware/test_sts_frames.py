from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardware.buses import sts_frames as frames
from hardware.buses.sts_frames import Register, Status
from hardware.errors import BadCommand


def hexed(frame: bytes) -> str:
    return frame.hex(" ").upper()


def test_ping_goal_read_and_torque_off_are_the_sheets_bytes() -> None:
    assert hexed(frames.ping(1)) == "FF FF 01 02 01 FB"
    assert hexed(frames.write(1, Register.GOAL_POSITION, frames.position_bytes(2048))) == "FF FF 01 05 03 2A 00 08 C4"
    assert hexed(frames.read(1, Register.PRESENT_POSITION, 2)) == "FF FF 01 04 02 38 02 BE"
    assert hexed(frames.write(1, Register.TORQUE_ENABLE, b"\x00")) == "FF FF 01 04 03 28 00 CF"


def test_sync_write_and_sync_read_are_the_sheets_bytes() -> None:
    goals = {1: frames.position_bytes(2048), 2: frames.position_bytes(1024)}
    assert hexed(frames.sync_write(goals, Register.GOAL_POSITION)) == "FF FF FE 0A 83 2A 02 01 00 08 02 00 04 39"
    assert hexed(frames.sync_read([1, 2], Register.PRESENT_POSITION, 2)) == "FF FF FE 06 82 38 02 01 02 3C"


def test_a_goal_is_acceleration_position_no_time_and_speed() -> None:
    assert frames.goal_bytes(2048, 1000, 254).hex(" ") == "fe 00 08 00 00 e8 03"
    with pytest.raises(BadCommand, match="speed"):
        frames.goal_bytes(2048, 0, 254)  # 0 would be as fast as it goes


@pytest.mark.parametrize(("data", "ticks"), [("00 08", 2048), ("0A 80", -10), ("FF 0F", 4095), ("00 80", 0)])
def test_a_position_has_its_sign_in_bit_15(data: str, ticks: int) -> None:
    assert frames.position_of(bytes.fromhex(data)) == ticks


@pytest.mark.parametrize(("ticks", "data"), [(100, "64 00"), (-100, "64 08"), (2047, "ff 07"), (-2047, "ff 0f")])
def test_an_offset_has_its_sign_in_bit_11(ticks: int, data: str) -> None:
    assert frames.offset_bytes(ticks).hex(" ") == data
    assert frames.offset_of(bytes.fromhex(data)) == ticks


def test_the_famous_offset_of_2114_is_refused_before_it_is_sent() -> None:
    with pytest.raises(BadCommand, match="2047"):
        frames.offset_bytes(2114)


def test_a_reply_carries_the_servos_status() -> None:
    reply = bytes.fromhex("FF FF 01 04 25 00 08 CD")  # 01+04+25+08 = 0x32
    assert frames.reply_of(reply, 1, 2) == (Status.VOLTAGE | Status.HEAT | Status.OVERLOAD, b"\x00\x08")
    assert frames.reply_of(reply, 2, 2) is None
    assert frames.reply_of(reply, 1, 3) is None
    assert frames.reply_of(reply, 1, 1) is None  # an answer to another question


def test_a_ping_and_the_answer_of_a_badly_supplied_servo_are_twins() -> None:
    assert frames.reply_of(frames.ping(1), 1, 0) == (Status.VOLTAGE, b"")  # why the adapter's echo must be known


@given(st.integers(0, 252), st.integers(0, 4095), st.integers(1, 0x7FFF))
def test_every_frame_states_its_length_and_sums_up_to_255(servo_id: int, ticks: int, speed: int) -> None:
    frame = frames.sync_write({servo_id: frames.goal_bytes(ticks, speed, 50)}, Register.ACCELERATION)
    assert len(frame) == 4 + frame[3]
    assert sum(frame[2:]) % 256 == 0xFF


@pytest.mark.parametrize("ticks", [-1, 4096])
def test_a_count_that_no_servo_takes_is_refused(ticks: int) -> None:
    with pytest.raises(BadCommand, match="0 to 4095"):
        frames.position_bytes(ticks)


def test_an_id_that_no_servo_has_is_refused() -> None:
    with pytest.raises(BadCommand, match="id"):
        frames.ping(253)
