"""Replies spoilt at random, over a real pty: only named errors come of them, in bounded time, and nothing lasts.

`TANDEM_DEEP=1` sends 100,000 of them on each bus instead of some hundreds.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from hardware.buses.half_duplex import HalfDuplexSettings
from hardware.buses.lx16a import Lx16aBus
from hardware.buses.sts import StsBus, StsSettings
from hardware.errors import BadChecksum, NoReply, ServoAlarm
from hardware.virtual.pty_port import PtyPort

REPLIES = 100_000 if os.environ.get("TANDEM_DEEP") else 400
#: As short as can be: most of the replies are none, and the driver waits for one.
SHORT = HalfDuplexSettings(reply_timeout_s=0.002, read_retries=0, quiet_s=0.001, echo_wait_s=0.005)
CALM = HalfDuplexSettings(reply_timeout_s=0.5, read_retries=0, quiet_s=0.05, echo_wait_s=0.005)


class Babbler:
    """Whatever it is asked, it answers with a right reply to a position read, more or less spoilt."""

    def __init__(self, reply: bytes, seed: int) -> None:
        self.pty = PtyPort()
        self.answers = 0
        self.is_sane = True
        self._reply = reply
        self._rng = np.random.default_rng(seed)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._babble, daemon=True)

    def _babble(self) -> None:
        while not self._stop.is_set():
            self.pty.wait(0.002, self._stop)
            if self.pty.receive():
                self.pty.send(self._reply if self.is_sane else self._nonsense())
                self.answers += 1

    def _nonsense(self) -> bytes:
        rng = self._rng
        match int(rng.integers(6)):
            case 0:
                return rng.bytes(int(rng.integers(1, 40)))
            case 1:
                return self._reply[: int(rng.integers(1, len(self._reply)))]
            case 2:
                return self._reply[int(rng.integers(1, len(self._reply))) :] + self._reply
            case 3:
                return self._reply[:4] + rng.bytes(int(rng.integers(1, 12)))
            case _:
                spoilt = bytearray(self._reply * int(rng.integers(1, 3)))
                for _ in range(int(rng.integers(1, 4))):
                    spoilt[int(rng.integers(len(spoilt)))] ^= 1 << int(rng.integers(8))
                return bytes(spoilt)

    @contextlib.contextmanager
    def running(self) -> Iterator[Babbler]:
        self._thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            self._thread.join(2.0)
            self.pty.unplug()


def survive(bus: Lx16aBus | StsBus, babbler: Babbler) -> tuple[int, float]:
    """Ask until enough has been babbled; return how many errors were raised, and the longest that one call took."""
    rng = np.random.default_rng(5)
    errors, longest_s = 0, 0.0
    babbler.is_sane = False
    while babbler.answers < REPLIES:
        start_s = time.monotonic()
        try:
            match int(rng.integers(8)):
                case 0:
                    bus.ping(1)
                case 1:
                    bus.read_vitals(1)
                case 2 if isinstance(bus, StsBus):
                    bus.read_all_ticks()
                case _:
                    bus.read_ticks(1)
        except (NoReply, BadChecksum, ServoAlarm):
            errors += 1
        longest_s = max(longest_s, time.monotonic() - start_s)
    babbler.is_sane = True
    return errors, longest_s


@pytest.mark.parametrize("noise", [b"\x00" * 512, b"\x55" * 512, b"\xff" * 512, b"\xff\xff\x01\xfa" * 128])
@pytest.mark.parametrize("kind", [Lx16aBus, StsBus])
def test_a_line_that_is_never_silent_ends_a_read_in_time(noise: bytes, kind: type[Lx16aBus | StsBus]) -> None:
    pty, stop = PtyPort(), threading.Event()

    def flood() -> None:
        while not stop.is_set():
            if pty.receive() is None or not pty.send(noise):
                time.sleep(0.0005)

    thread = threading.Thread(target=flood, daemon=True)
    thread.start()
    try:
        with kind(pty.name, (1, 2)) as bus:
            start_s = time.monotonic()
            with pytest.raises((NoReply, BadChecksum)):
                bus.read_ticks(1)
            assert time.monotonic() - start_s < 2.0  # three times 30 ms, on a machine that is not busy
            assert bus.read_health().garbage_bytes > 1000
            bus.set_torque(False)  # and writes go out
    finally:
        stop.set()
        thread.join(2.0)
        pty.unplug()


@pytest.mark.timeout(1800)
def test_no_reply_upsets_the_lx16a_bus() -> None:
    with Babbler(bytes.fromhex("55 55 01 05 1C F4 01 E8"), 1).running() as babbler:
        with Lx16aBus(babbler.pty.name, (1, 2), settings=SHORT) as bus:
            errors, longest_s = survive(bus, babbler)
            assert errors > REPLIES / 4
            assert longest_s < 2.0  # milliseconds, on a machine that is not busy
            assert bus.read_health().bad_checksums > 0
            assert bus.read_health().garbage_bytes > 0
        time.sleep(0.02)
        with Lx16aBus(babbler.pty.name, (1, 2), settings=CALM) as bus:
            assert bus.read_ticks(1).ticks == 500


@pytest.mark.timeout(1800)
def test_no_reply_upsets_the_sts_bus() -> None:
    with Babbler(bytes.fromhex("FF FF 01 04 00 00 08 F2"), 2).running() as babbler:
        with StsBus(babbler.pty.name, (1, 2), settings=StsSettings(line=SHORT)) as bus:
            errors, longest_s = survive(bus, babbler)
            assert errors > REPLIES / 4
            assert longest_s < 2.0
            assert bus.read_health().bad_checksums > 0
            assert bus.read_health().garbage_bytes > 0
        time.sleep(0.02)
        with StsBus(babbler.pty.name, (1, 2), settings=StsSettings(line=CALM)) as bus:
            assert bus.read_ticks(1).ticks == 2048
