from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.servo import ServoCalibration
from hardware.buses import dofbot_frames as frames
from hardware.errors import BadCommand
from urdf.description import load_arm


def hexed(frame: bytes) -> str:
    return frame.hex(" ").upper()


def test_one_servo_in_one_second() -> None:
    assert hexed(frames.move_one(1, 2000, 1.0)) == "FF FC 07 11 07 D0 03 E8 DA"


def test_six_servos_from_angles_through_counts_to_bytes() -> None:
    degrees = [90, 90, 90, 90, 90]
    angles = [math.radians(d - 90) for d in degrees] + [30 / 101 - 1.57]
    ticks = list(ServoCalibration.nominal(load_arm("dofbot"), "unit1").to_ticks(angles))
    # The reference vector was made by truncating 1486.67 and 1266.67; rounding gives one count more in each.
    assert ticks == [2000, 2000, 2000, 2000, 1487, 1267]
    truncated = [*ticks[:4], 1486, 1266]
    assert hexed(frames.move_six(truncated, 1.0)) == "FF FC 11 1D 07 D0 07 D0 07 D0 07 D0 05 CE 04 F2 03 E8 3E"
    assert hexed(frames.move_six(ticks, 1.0)) == "FF FC 11 1D 07 D0 07 D0 07 D0 07 D0 05 CF 04 F3 03 E8 40"


def test_read_and_torque() -> None:
    assert hexed(frames.read_one(1)) == "FF FC 03 31 34"
    assert hexed(frames.torque(False)) == "FF FC 04 1A 00 1E"
    assert hexed(frames.torque(True)) == "FF FC 04 1A 01 1F"
    assert hexed(frames.version()) == "FF FC 03 01 04"


def test_the_rest_of_the_commands_state_the_lengths_of_the_sheet() -> None:
    assert hexed(frames.move_any(250, 2000, 1.0)) == "FF FC 08 19 FA 07 D0 03 E8 DD"
    assert hexed(frames.move_all(2000, 1.0)) == "FF FC 07 17 07 D0 03 E8 E0"
    assert hexed(frames.lamp(255, 0, 16)) == "FF FC 06 02 FF 00 10 17"
    assert hexed(frames.buzzer(0.5)) == "FF FC 04 06 05 0F"
    assert hexed(frames.buzzer(None)) == "FF FC 04 06 FF 09"
    assert hexed(frames.buzzer(0)) == "FF FC 04 06 00 0A"
    assert hexed(frames.store_middle(3)) == "FF FC 04 1C 03 23"
    assert hexed(frames.middle_status()) == "FF FC 03 1B 1E"


@pytest.mark.parametrize(
    "build",
    [
        lambda: frames.move_any(0, 2000, 1.0),
        lambda: frames.move_any(251, 2000, 1.0),
        lambda: frames.move_all(95, 1.0),
        lambda: frames.lamp(0, 0, -1),
        lambda: frames.buzzer(5.1),
        lambda: frames.buzzer(math.nan),
        lambda: frames.store_middle(7),
    ],
)
def test_what_the_board_does_not_take_is_refused(build: Callable[[], bytes]) -> None:
    with pytest.raises(BadCommand):
        build()


def test_six_servos_go_to_the_move_register_not_to_the_time_register() -> None:
    frame = frames.move_six([2000] * 6, 0.5)
    assert frame[3] == 0x1D
    assert len(frame) == 2 + frame[2]


@given(st.integers(1, 6), st.integers(96, 4000), st.floats(0.001, 60.0))
def test_every_frame_states_its_length_and_the_vendors_checksum(servo_id: int, ticks: int, duration_s: float) -> None:
    for frame in (frames.move_one(servo_id, ticks, duration_s), frames.move_six([ticks] * 6, duration_s)):
        assert len(frame) == 2 + frame[2]
        assert frame[-1] == (sum(frame[:-1]) + 5) & 0xFF  # as the vendor computes it, header included


def test_a_move_time_is_rounded_to_milliseconds_and_never_the_fastest() -> None:
    assert frames.move_one(1, 2000, 0.0496)[6:8] == (50).to_bytes(2, "big")
    assert frames.move_one(1, 2000, 0.0001)[6:8] == (20).to_bytes(2, "big")


@pytest.mark.parametrize("ticks", [95, 4001, -1, 70000])
def test_a_count_that_no_servo_takes_is_refused(ticks: int) -> None:
    with pytest.raises(BadCommand, match="96 to 4000"):
        frames.move_six([2000] * 5 + [ticks], 1.0)


@pytest.mark.parametrize("duration_s", [0.0, -1.0, math.nan, math.inf, 66.0])
def test_a_time_that_no_move_takes_is_refused(duration_s: float) -> None:
    with pytest.raises(BadCommand, match="a move takes"):
        frames.move_six([2000] * 6, duration_s)


@pytest.mark.parametrize("servo_id", [0, 7, 250])
def test_a_servo_that_this_board_lacks_is_refused(servo_id: int) -> None:
    with pytest.raises(BadCommand, match="servos"):
        frames.read_one(servo_id)


POSITION = bytes.fromhex("FF FB 06 0A 07 D0 31 18")  # servo 1 at 2000: 06+0A+07+D0+31 = 0x118


def test_a_position_reply_is_read_by_the_commands_number_that_it_repeats() -> None:
    (reply,) = frames.ReplyParser().feed(POSITION)
    assert reply.servo() == (1, 2000)


def test_no_single_byte_gone_wrong_passes_for_another_position() -> None:
    for at in range(len(POSITION)):
        for value in set(range(256)) - {POSITION[at]}:
            parser = frames.ReplyParser()
            replies = parser.feed(POSITION[:at] + bytes((value,)) + POSITION[at + 1 :])
            while parser.is_waiting:
                replies += parser.give_up()
            assert not replies, (at, value)


def test_an_offset_is_signed_and_a_version_is_not() -> None:
    replies = frames.ReplyParser().feed(bytes.fromhex("FF FB 05 0B FF 9C AB  FF FB 04 01 FE 03"))
    assert [(r.kind, r.number()) for r in replies] == [(0x0B, -100), (0x01, 254)]


def test_a_reply_may_come_byte_by_byte() -> None:
    parser = frames.ReplyParser()
    replies = [r for byte in POSITION for r in parser.feed(bytes([byte]))]
    assert [r.servo() for r in replies] == [(1, 2000)]
    assert parser.garbage_bytes == 0


@pytest.mark.parametrize("index", range(2, len(POSITION)))
@pytest.mark.parametrize("flip", [0x01, 0x80])
def test_a_reply_with_one_bit_wrong_is_never_a_position(index: int, flip: int) -> None:
    spoiled = bytearray(POSITION)
    spoiled[index] ^= flip
    parser = frames.ReplyParser()
    replies = parser.feed(bytes(spoiled)) + parser.give_up()
    assert all(r.servo() is None for r in replies)


@given(st.binary(max_size=200), st.lists(st.integers(1, 20), max_size=40))
def test_no_bytes_upset_the_parser_however_they_arrive(noise: bytes, cuts: list[int]) -> None:
    parser = frames.ReplyParser()
    for cut in [*cuts, len(noise)]:
        parser.feed(noise[:cut])
        noise = noise[cut:]
    while parser.is_waiting:
        parser.give_up()


@given(st.binary(max_size=100))
def test_a_reply_after_garbage_is_found(noise: bytes) -> None:
    parser = frames.ReplyParser()
    replies = parser.feed(noise + POSITION)
    while parser.is_waiting:  # the garbage may look like the head of a longer frame, which silence ends
        replies += parser.give_up()
    swallowed_by_a_chance_frame = any(len(r.data) > 3 for r in replies)
    assert (1, 2000) in [r.servo() for r in replies] or swallowed_by_a_chance_frame


@given(st.binary(max_size=60).filter(lambda noise: b"\xff" not in noise))
def test_a_reply_after_noise_without_headers_is_found_at_once(noise: bytes) -> None:
    parser = frames.ReplyParser()
    assert [r.servo() for r in parser.feed(noise + POSITION + POSITION)] == [(1, 2000)] * 2
    assert parser.garbage_bytes == len(noise)
