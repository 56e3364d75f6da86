"""Pictures as JPEG, and across the wire."""

from __future__ import annotations

import time

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.errors import BadMessage
from bridge.frames import decode_frame, encode_frame
from bridge.ports import Frame, Intrinsics
from hardware.cameras.jpeg import from_jpeg, to_jpeg
from hardware.cameras.remote import FrameSender, RemoteCamera

INTRINSICS = Intrinsics(64, 48, 60.0, 61.0, 31.5, 23.5)


def make_frame() -> Frame:
    rgb = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    smooth = np.asarray(cv2.GaussianBlur(rgb, (0, 0), 5), dtype=np.uint8)
    return Frame("cam", 1, time.monotonic_ns(), smooth, INTRINSICS)


def test_a_jpeg_comes_as_the_picture_that_it_was_made_of() -> None:
    frame = make_frame()
    sender = FrameSender("tcp://127.0.0.1:*", to_jpeg=to_jpeg(95))
    with RemoteCamera(sender.endpoint) as camera:
        sender.send(frame)
        off = np.abs(camera.wait(10.0).rgb.astype(int) - frame.rgb)
    assert 0 < off.max() <= 12  # no raw picture, and no other one: red stays red
    sender.close()


def test_a_jpeg_that_claims_to_be_huge_is_refused_before_it_is_read() -> None:
    jpeg = bytearray(to_jpeg()(np.zeros((48, 64, 3), dtype=np.uint8)))
    at = jpeg.index(b"\xff\xc0") + 5
    jpeg[at : at + 4] = b"\xff\xff\xff\xff"
    with pytest.raises(BadMessage, match="65535x65535"):
        from_jpeg(bytes(jpeg))


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=100))
def test_any_bytes_are_a_jpeg_or_a_bad_message(data: bytes) -> None:
    for text in (data, b"\xff\xd8\xff" + data):
        with pytest.raises(BadMessage):
            from_jpeg(text)


def test_a_jpeg_of_another_size_than_its_frame_is_refused() -> None:
    wrong = to_jpeg()(np.zeros((24, 64, 3), dtype=np.uint8))
    with pytest.raises(BadMessage, match="64x24 px in a frame of 64x48"):
        decode_frame(encode_frame(make_frame(), lambda _: wrong), from_jpeg)
