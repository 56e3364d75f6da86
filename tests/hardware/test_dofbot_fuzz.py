"""Replies of a Dofbot's board spoilt at random: nothing but named errors and sound readings, and nothing moves.

`TANDEM_DEEP=1` (`make check-deep`) sends 100,000 of them at the parser and at the bus, instead of some.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from hardware.buses.dofbot_frames import ReplyParser
from hardware.buses.dofbot_serial import DofbotSerialBus, SerialSettings
from hardware.errors import BadChecksum, NoReply
from hardware.virtual.pty_port import PtyPort

DEEP = os.environ.get("TANDEM_DEEP", "") not in ("", "0")
pytestmark = pytest.mark.timeout(1800 if DEEP else 120)

STREAMS = 100_000 if DEEP else 5_000
REPLIES = 100_000 if DEEP else 500
SHORT = SerialSettings(reply_timeout_s=0.002, read_retries=0, wake_s=0.02)


def position(servo_id: int, ticks: int) -> bytes:
    """Return a reply as the vendor's library describes it (FIELD 7.2): FF FB LEN TYPE DATA CHK."""
    body = bytes((6, 0x0A, ticks >> 8, ticks & 0xFF, 0x30 + servo_id))
    return b"\xff\xfb" + body + bytes((sum(body) & 0xFF,))


def framed(kind: int, data: bytes) -> bytes:
    body = bytes((len(data) + 3, kind)) + data
    return b"\xff\xfb" + body + bytes((sum(body) & 0xFF,))


def spoilt(rng: np.random.Generator, reply: bytes) -> bytes:
    match int(rng.integers(7)):
        case 0:
            return rng.bytes(int(rng.integers(1, 60)))
        case 1:
            return reply[: int(rng.integers(1, len(reply)))]
        case 2:
            return reply[int(rng.integers(1, len(reply))) :] + reply
        case 3:
            return b"\xff\xfb" + rng.bytes(int(rng.integers(0, 40)))
        case 4:
            return framed(int(rng.integers(256)), rng.bytes(int(rng.integers(0, 30)))) + reply
        case _:
            changed = bytearray(reply * int(rng.integers(1, 4)))
            for bit in rng.integers(8 * len(changed), size=rng.integers(1, 5)):
                changed[bit // 8] ^= 1 << (bit % 8)
            return bytes(changed)


def test_the_parser_returns_frames_that_were_sent_and_always_finds_the_next_sound_one() -> None:
    rng = np.random.default_rng(1)
    found = 0
    for _ in range(STREAMS):
        parser, sent = ReplyParser(), position(int(rng.integers(1, 7)), int(rng.integers(1, 4096)))
        stream = b"".join(spoilt(rng, sent) for _ in range(int(rng.integers(1, 5))))
        replies = []
        for part in np.split(np.frombuffer(stream, np.uint8), np.sort(rng.integers(0, len(stream), size=3))):
            replies += parser.feed(part.tobytes())
        while parser.is_waiting:
            replies += parser.give_up()
        for reply in replies:
            assert framed(reply.kind, reply.data) in stream
        found += len(replies)
        replies = parser.feed(sent)
        assert [framed(r.kind, r.data) for r in replies] == [sent]
    assert found > STREAMS / 4


class Babbler:
    """A board that answers every read with a reply more or less spoilt, and remembers both sides."""

    def __init__(self) -> None:
        self.pty = PtyPort()
        self.asked = bytearray()
        self.answers: list[bytes] = []
        self.is_sane = True
        self._rng = np.random.default_rng(2)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._babble, daemon=True)

    def _babble(self) -> None:
        while not self._stop.is_set():
            self.pty.wait(0.002, self._stop)
            heard = self.pty.receive()
            if heard:
                self.asked += heard
                servo_id = heard[-2] & 0x0F  # FF FC 03 3n CHK
                sound = position(servo_id, int(self._rng.integers(96, 4001)))
                self.answers.append(sound if self.is_sane else spoilt(self._rng, sound))
                self.pty.send(self.answers[-1])

    @contextlib.contextmanager
    def running(self) -> Iterator[Babbler]:
        self._thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            self._thread.join(2.0)
            self.pty.unplug()


def test_the_bus_raises_named_errors_and_returns_what_was_said() -> None:
    rng, babbler = np.random.default_rng(3), Babbler()
    read, refused = 0, 0
    with babbler.running(), DofbotSerialBus(babbler.pty.name, settings=SHORT) as bus:
        babbler.is_sane = False
        while len(babbler.answers) < REPLIES:
            servo_id = int(rng.integers(1, 7))
            start_s = time.monotonic()
            try:
                reading = bus.read_ticks(servo_id)
            except (NoReply, BadChecksum):
                refused += 1
            else:
                read += 1
                assert reading.servo_id == servo_id
                said = b"".join(babbler.answers[-500:])  # a late one to an earlier question of the same servo counts
                assert position(servo_id, reading.ticks) in said
            assert time.monotonic() - start_s < 1.0
        assert read > REPLIES / 20
        assert refused > REPLIES / 20
        babbler.is_sane = True
        time.sleep(0.15)  # longer than the gap after which half a frame is given up
        assert any(bus.ping(servo_id) for servo_id in (1, 2, 3, 4, 5, 6) * 10)  # in 2 ms, on a machine that may be busy
    frames = [bytes(f) for f in bytes(babbler.asked).split(b"\xff\xfc") if f]
    assert {f[1] for f in frames} <= {0x01, *range(0x31, 0x37)}  # version and reads: nothing that moves or lets go
