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
from bridge.frames import (
    MAX_FRAME_BYTES,
    ClockAnswer,
    ClockAsk,
    decode_frame,
    decode_question,
    encode,
    encode_frame,
)
from bridge.keys import KeyRing
from bridge.ports import Frame, Intrinsics
from hardware.cameras.remote import FrameSender, RemoteCamera, this_machine

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
        {"fx_px": float("nan")},
        {"depth": b"1"},
        {"depth_unit_um": 50},
        {"depth_unit_um": 100, "depth": b"1"},
        {"coding": "jpeg"},
        {"coding": "gif"},
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


def test_a_sender_that_ends_leaves_no_socket_behind(endpoint: str) -> None:
    sender = FrameSender(endpoint)
    path = Path(endpoint.removeprefix("ipc://"))
    assert path.is_socket()
    sender.close()
    assert not path.exists()


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
    socket = context.socket(zmq.ROUTER)
    socket.bind(endpoint)
    camera = RemoteCamera(endpoint)
    end, asked = time.monotonic() + 10.0, 0
    while camera.corrupt == 0 and time.monotonic() < end:
        if not socket.poll(50):
            continue
        peer, data = socket.recv_multipart()
        question = decode_question(data)
        if isinstance(question, ClockAsk):
            answer = encode(ClockAnswer(question.asked_ns, time.monotonic_ns(), this_machine()))
        elif asked > 5:
            continue
        else:
            answer = encode_frame(make_frame(asked, time.monotonic_ns())) if asked < 5 else b"\x93garbage"
            asked += 1
        socket.send_multipart([peer, answer])
    assert camera.corrupt == 1
    assert camera.read(60.0).seq == 4
    camera.close()
    socket.close(0)
    context.term()


# Across a network ----------------------------------------------------------------------------------
class OtherClock:
    """The monotonic clock of a machine that was started much later than ours."""

    def now_ns(self) -> int:
        return time.monotonic_ns() + AHEAD_NS

    def sleep_until(self, deadline_ns: int) -> None:
        time.sleep(max(0, deadline_ns - self.now_ns()) * 1e-9)


AHEAD_NS = -3_600_000_000_000


def test_stamps_of_another_machine_are_translated(endpoint: str) -> None:
    sender = FrameSender(endpoint, OtherClock(), machine="another")
    with RemoteCamera(endpoint) as camera:
        taken_ns = time.monotonic_ns() - 20_000_000
        sender.send(make_frame(1, taken_ns + AHEAD_NS))
        frame = camera.wait(5.0)
        off_ns = abs(frame.stamp_ns - taken_ns)
        assert off_ns <= camera.remote.offset.error_ns(time.monotonic_ns()) + 1000
        assert off_ns < 50_000_000  # an hour, were it not translated
        assert camera.statistics().pictures == 1
    sender.close()


def test_stamps_of_this_machine_are_left_as_they_are(endpoint: str) -> None:
    sender = FrameSender(endpoint)
    with RemoteCamera(endpoint) as camera:
        sender.send(make_frame(1, 123456))
        assert camera.wait(5.0).stamp_ns == 123456
    sender.close()


def test_depth_comes_bit_for_bit_and_only_to_who_has_a_key(tmp_path: Path) -> None:
    ring = KeyRing(tmp_path / "keys")
    key = ring.new("laptop")
    stranger = KeyRing(tmp_path / "others").new("stranger")
    frame = make_frame(1, time.monotonic_ns())
    depth_m = np.random.default_rng(0).integers(0, 65536, (48, 64), dtype=np.uint16) * np.float32(1e-4)
    sender = FrameSender("tcp://127.0.0.1:*", ring=ring)
    with (
        RemoteCamera(sender.endpoint, key=key) as camera,
        RemoteCamera(sender.endpoint, key=stranger) as other,
        RemoteCamera(sender.endpoint) as keyless,
    ):
        sender.send(Frame("cam", 1, frame.stamp_ns, frame.rgb, INTRINSICS, depth_m))
        got = camera.wait(10.0)
        assert got.depth_m is not None
        np.testing.assert_array_equal(got.depth_m, depth_m)
        np.testing.assert_array_equal(got.rgb, frame.rgb)
        for shut_out in (other, keyless):
            with pytest.raises(StaleFrame):
                shut_out.wait(0.5)
        assert sender.strangers >= 1
    sender.close()


def test_a_reader_whose_key_is_revoked_gets_no_more_pictures(tmp_path: Path) -> None:
    ring = KeyRing(tmp_path / "keys")
    key = ring.new("laptop")
    sender = FrameSender("tcp://127.0.0.1:*", ring=ring)
    with RemoteCamera(sender.endpoint, key=key) as camera:
        sender.send(make_frame(1, time.monotonic_ns()))
        camera.wait(10.0)
        ring.revoke("laptop")
        time.sleep(0.7)
        for seq in range(2, 8):
            sender.send(make_frame(seq, time.monotonic_ns()))
            time.sleep(0.1)
        assert camera.read(60.0).seq <= 2  # one was asked for before
    sender.close()


def test_what_is_wrong_with_the_camera_at_the_other_end_is_told(endpoint: str) -> None:
    sender = FrameSender(endpoint)
    sender.trouble = "/dev/video0 was unplugged"
    with RemoteCamera(endpoint) as camera:
        end = time.monotonic() + 5.0
        while "unplugged" not in camera.trouble and time.monotonic() < end:
            time.sleep(0.02)
        with pytest.raises(StaleFrame, match=r"no picture has come from .*: /dev/video0 was unplugged"):
            camera.read(1.0)
    sender.close()


def test_nobody_there_is_told_with_what_to_do(endpoint: str) -> None:
    with RemoteCamera(endpoint) as camera, pytest.raises(StaleFrame, match="does its server run"):
        camera.wait(3.0)


def test_an_uncalibrated_camera_stays_one_across_the_wire() -> None:
    frame = make_frame()
    back = decode_frame(encode_frame(Frame("cam", 1, 2, frame.rgb, Intrinsics.unknown(64, 48))))
    assert not back.intrinsics.is_known
    assert (back.intrinsics.width_px, back.intrinsics.cx_px) == (64, 31.5)


def test_depth_that_is_not_aligned_with_the_colours_is_refused() -> None:
    frame = make_frame()
    with pytest.raises(BadMessage, match="align"):
        encode_frame(Frame("cam", 1, 2, frame.rgb, INTRINSICS, np.zeros((24, 32), dtype=np.float32)))


def test_pictures_are_served_on_this_machine_only() -> None:
    for end in (FrameSender, RemoteCamera):
        with pytest.raises(EndpointRefused):
            end("tcp://0.0.0.0:5555")
