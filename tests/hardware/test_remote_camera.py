from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import BadMessage, EndpointRefused, StaleFrame
from bridge.frames import MAX_FRAME_BYTES, decode_frame, encode_frame
from bridge.ports import Frame, Intrinsics
from hardware.cameras.remote import FrameSender, RemoteCamera

INTRINSICS = Intrinsics(64, 48, 60.0, 61.0, 31.5, 23.5, (0.1, -0.2, 0.0, 0.001, 0.0))

#: Another process that publishes 100 pictures a second; every pixel of picture n is n.
SENDER = """
import sys, time
import numpy as np
from bridge.ports import Frame, Intrinsics
from hardware.cameras.remote import FrameSender
camera = Intrinsics(64, 48, 60.0, 61.0, 31.5, 23.5)
sender, seq = FrameSender(sys.argv[1]), 0
while True:
    sender.send(Frame("cam", seq, time.monotonic_ns(), np.full((48, 64, 3), seq % 256, dtype=np.uint8), camera))
    seq += 1
    time.sleep(0.01)
"""


def make_frame(seq: int = 7, stamp_ns: int = 123) -> Frame:
    rgb = np.arange(48 * 64 * 3, dtype=np.uint32).astype(np.uint8).reshape(48, 64, 3)
    return Frame("cam", seq, stamp_ns, rgb, INTRINSICS)


@pytest.fixture
def endpoint(tmp_path: Path) -> str:
    return f"ipc://{os.path.relpath(tmp_path)}/c"


@pytest.fixture
def sender_process(endpoint: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", SENDER, endpoint])
    yield process
    process.kill()
    process.wait()


def read_within(camera: RemoteCamera, seconds: float, max_age_s: float = 0.5) -> Frame:
    end = time.monotonic() + seconds
    while True:
        try:
            return camera.read(max_age_s)
        except StaleFrame:
            if time.monotonic() > end:
                raise
            time.sleep(0.005)


def test_frame_survives_the_wire() -> None:
    frame = make_frame()
    back = decode_frame(encode_frame(frame))
    assert (back.name, back.seq, back.stamp_ns, back.intrinsics) == ("cam", 7, 123, INTRINSICS)
    np.testing.assert_array_equal(back.rgb, frame.rgb)


def test_every_lens_model_survives_the_wire_and_a_frame_from_before_there_were_models_is_a_pinhole() -> None:
    for model, coefficients in (("rational", (0.1,) * 8), ("fisheye", (0.1,) * 4)):
        lens = Intrinsics(64, 48, 60.0, 61.0, 31.5, 23.5, coefficients, model)
        assert decode_frame(encode_frame(dataclasses.replace(make_frame(), intrinsics=lens))).intrinsics == lens
    fields = msgspec.msgpack.decode(encode_frame(make_frame()))
    del fields["model"]
    assert decode_frame(msgspec.msgpack.encode(fields)).intrinsics == INTRINSICS


@pytest.mark.parametrize(
    "change",
    [
        {"width_px": 65},
        {"height_px": 0},
        {"height_px": -48, "width_px": -64},
        {"rgb": b"short"},
        {"fx_px": 0.0},
        {"fy_px": float("nan")},
        {"cx_px": float("inf")},
        {"distortion": [0.0] * 4},
        {"model": "fisheye"},
        {"model": "mirror"},
        {"extra": 1},
        {"seq": "7"},
    ],
    ids=str,
)
def test_a_frame_that_does_not_add_up_is_refused(change: dict[str, object]) -> None:
    fields = {**msgspec.msgpack.decode(encode_frame(make_frame())), **change}
    with pytest.raises(BadMessage):
        decode_frame(msgspec.msgpack.encode(fields))


def test_a_frame_too_large_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(BadMessage, match="largest"):
        decode_frame(bytes(MAX_FRAME_BYTES + 1))


@given(st.binary(max_size=300))
def test_any_bytes_are_a_frame_or_a_bad_message(data: bytes) -> None:
    with pytest.raises(BadMessage):
        decode_frame(data)


@given(st.integers(0, 3000))
def test_a_truncated_frame_is_a_bad_message(cut: int) -> None:
    data = encode_frame(make_frame())
    with pytest.raises(BadMessage):
        decode_frame(data[: len(data) - 1 - cut])


def test_newest_frame_of_another_process_is_read(endpoint: str, sender_process: subprocess.Popen[bytes]) -> None:
    camera = RemoteCamera(endpoint)
    first = read_within(camera, 10.0)
    time.sleep(0.5)  # about fifty pictures that nobody reads
    started_ns = time.monotonic_ns()
    newest = camera.read(0.5)
    assert (time.monotonic_ns() - started_ns) * 1e-9 < 0.05
    assert newest.seq > first.seq + 15  # not the second of a queue
    assert (started_ns - newest.stamp_ns) * 1e-9 < 0.3
    assert newest.rgb[5, 5].tolist() == [newest.seq % 256] * 3
    camera.close()


def test_frames_of_a_killed_process_grow_stale_and_a_new_process_is_seen_again(
    endpoint: str, sender_process: subprocess.Popen[bytes]
) -> None:
    camera = RemoteCamera(endpoint)
    read_within(camera, 10.0)
    sender_process.send_signal(signal.SIGKILL)
    sender_process.wait()
    time.sleep(0.3)
    with pytest.raises(StaleFrame, match=r"s old, at most 0\.20 s"):
        camera.read(0.2)
    again = subprocess.Popen([sys.executable, "-c", SENDER, endpoint])
    try:
        assert read_within(camera, 10.0, 0.2).seq >= 0
    finally:
        again.kill()
        again.wait()
    camera.close()


def test_no_sender_is_a_stale_frame_at_once(endpoint: str) -> None:
    camera = RemoteCamera(endpoint)
    started = time.monotonic()
    with pytest.raises(StaleFrame, match="no picture has come"):
        camera.read(5.0)
    assert time.monotonic() - started < 0.1
    camera.close()
    camera.close()
    with pytest.raises(StaleFrame, match="closed"):
        camera.read(5.0)


def test_a_corrupt_message_is_counted_and_the_last_good_frame_stays(endpoint: str) -> None:
    context = zmq.Context()
    socket = context.socket(zmq.PUB)
    socket.bind(endpoint)
    camera = RemoteCamera(endpoint)
    end = time.monotonic() + 5.0
    seq = 0
    while camera.corrupt == 0 and time.monotonic() < end:
        good = encode_frame(make_frame(seq, time.monotonic_ns()))
        socket.send(good if seq < 20 else b"\x93garbage")
        seq += 1
        time.sleep(0.01)
        try:
            camera.read(60.0)
        except StaleFrame:
            continue
    assert camera.corrupt == 1
    assert camera.read(60.0).seq == 19
    camera.close()
    socket.close(0)
    context.term()


def test_pictures_are_served_on_this_machine_only() -> None:
    for end in (FrameSender, RemoteCamera):
        with pytest.raises(EndpointRefused):
            end("tcp://0.0.0.0:5555")
