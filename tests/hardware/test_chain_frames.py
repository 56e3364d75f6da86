from __future__ import annotations

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardware.buses import lx16a_frames, sts_frames
from hardware.buses.chain_frames import FrameParser, FrameShape

LX_500 = bytes.fromhex("55 55 01 05 1C F4 01 E8")  # servo 1 at 500: 01+05+1C+F4+01 = 0x117
STS_2048 = bytes.fromhex("FF FF 01 04 00 00 08 F2")  # servo 1 at 2048: 01+04+08 = 0x0D
PROTOCOLS = [(lx16a_frames.SHAPE, LX_500), (sts_frames.SHAPE, STS_2048)]
both = pytest.mark.parametrize(("shape", "reply"), PROTOCOLS, ids=["lx16a", "sts"])


@both
def test_a_frame_may_come_byte_by_byte(shape: FrameShape, reply: bytes) -> None:
    parser = FrameParser(shape)
    assert [f for byte in reply for f in parser.feed(bytes([byte]))] == [reply]
    assert (parser.garbage_bytes, parser.bad_checksums) == (0, 0)


@both
@pytest.mark.parametrize("index", range(8))
@pytest.mark.parametrize("flip", [0x01, 0x10, 0x80])
def test_a_frame_with_one_bit_wrong_is_no_frame(shape: FrameShape, reply: bytes, index: int, flip: int) -> None:
    spoilt = bytearray(reply)
    spoilt[index] ^= flip
    parser = FrameParser(shape)
    assert [*parser.feed(bytes(spoilt)), *parser.give_up()] == []
    assert not parser.is_waiting


@both
def test_frames_follow_each_other_without_a_gap(shape: FrameShape, reply: bytes) -> None:
    assert FrameParser(shape).feed(reply * 3) == [reply] * 3


@both
@given(noise=st.binary(max_size=60))
def test_a_frame_after_noise_without_headers_is_found_at_once(shape: FrameShape, reply: bytes, noise: bytes) -> None:
    quiet = noise.replace(shape.header[:1], b"")
    parser = FrameParser(shape)
    assert parser.feed(quiet + reply) == [reply]
    assert parser.garbage_bytes == len(quiet)


@both
@given(noise=st.binary(max_size=60))
def test_a_frame_after_any_noise_is_found_once_nothing_follows(shape: FrameShape, reply: bytes, noise: bytes) -> None:
    parser = FrameParser(shape)
    found = [*parser.feed(noise + reply), *parser.give_up()]
    swallowed_by_a_chance_frame = any(f != reply for f in found)
    assert reply in found or swallowed_by_a_chance_frame


@both
def test_no_bytes_upset_the_parser_and_none_are_lost_count_of(shape: FrameShape, reply: bytes) -> None:
    rng = np.random.default_rng(11)
    parser = FrameParser(shape)
    said = framed = 0
    for _ in range(100_000 if os.environ.get("TANDEM_DEEP") else 5_000):
        piece = bytearray(reply * int(rng.integers(1, 3)))
        for _ in range(int(rng.integers(0, 4))):
            piece[int(rng.integers(len(piece)))] = int(rng.integers(256))
        said += len(cut := bytes(piece[: int(rng.integers(1, len(piece) + 1))]))
        framed += sum(len(f) for f in parser.feed(cut))
    framed += sum(len(f) for f in parser.give_up())
    assert framed + parser.garbage_bytes == said
