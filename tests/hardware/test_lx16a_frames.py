from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardware.buses import lx16a_frames as frames
from hardware.buses.lx16a_frames import Command
from hardware.errors import BadCommand


def hexed(frame: bytes) -> str:
    return frame.hex(" ").upper()


def test_move_read_and_unload_are_the_sheets_bytes() -> None:
    assert hexed(frames.move(1, 500, 1.0)) == "55 55 01 07 01 F4 01 E8 03 16"
    assert hexed(frames.request(1, Command.POS_READ)) == "55 55 01 03 1C DF"
    assert hexed(frames.torque(1, False)) == "55 55 01 04 1F 00 DB"


def test_a_negative_offset_is_in_twos_complement() -> None:
    assert hexed(frames.adjust_offset(1, -125)) == "55 55 01 04 11 83 66"  # 01+04+11+83 = 0x99
    assert hexed(frames.keep_offset(1)) == "55 55 01 03 12 E9"


@pytest.mark.parametrize(("reply", "ticks"), [("55 55 01 05 1C F4 01 E8", 500), ("55 55 01 05 1C F6 FF E8", -10)])
def test_a_position_is_signed(reply: str, ticks: int) -> None:
    params = frames.params_of(bytes.fromhex(reply), 1, Command.POS_READ, 2)
    assert params is not None
    assert frames.signed(params) == ticks


@pytest.mark.parametrize("frame", ["55 55 02 05 1C F4 01 E7", "55 55 01 05 1B F4 01 E9", "55 55 01 03 1C DF"])
def test_another_servo_another_command_and_the_request_itself_are_no_reply(frame: str) -> None:
    assert frames.params_of(bytes.fromhex(frame), 1, Command.POS_READ, 2) is None


@given(st.integers(0, 253), st.integers(0, 1000), st.floats(0.001, 30.0))
def test_every_frame_states_its_length_and_sums_up_to_255(servo_id: int, ticks: int, duration_s: float) -> None:
    frame = frames.move(servo_id, ticks, duration_s)
    assert len(frame) == 3 + frame[3]
    assert sum(frame[2:]) % 256 == 0xFF
    assert 1 <= frame[7] + 256 * frame[8] <= 30_000  # never 0, which would be as fast as it goes


@pytest.mark.parametrize("ticks", [-1, 1001, 65536])
def test_a_count_that_no_servo_takes_is_refused(ticks: int) -> None:
    with pytest.raises(BadCommand, match="0 to 1000"):
        frames.move(1, ticks, 1.0)


@pytest.mark.parametrize("duration_s", [0.0, -1.0, math.nan, math.inf, 30.001])
def test_a_time_that_no_move_takes_is_refused(duration_s: float) -> None:
    with pytest.raises(BadCommand, match="a move takes"):
        frames.move(1, 500, duration_s)


def test_an_id_or_an_offset_that_no_servo_has_is_refused() -> None:
    with pytest.raises(BadCommand, match="id"):
        frames.assign_id(1, 254)
    with pytest.raises(BadCommand, match="id"):
        frames.request(255, Command.POS_READ)
    with pytest.raises(BadCommand, match="125"):
        frames.adjust_offset(1, 126)
