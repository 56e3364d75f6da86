from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hardware.buses.serial_port import SerialPort
from hardware.errors import BusLost, PortBusy, PortMissing
from hardware.virtual.pty_port import PtyPort


@pytest.fixture
def pty(tmp_path: Path) -> Iterator[PtyPort]:
    pty = PtyPort(tmp_path / "ttyUSB0")
    yield pty
    pty.unplug()


@pytest.fixture
def port(pty: PtyPort) -> Iterator[SerialPort]:
    port = SerialPort(pty.name, 1_000_000)
    yield port
    port.close()


def soon(seconds: float) -> int:
    return time.monotonic_ns() + round(seconds * 1e9)


def test_bytes_go_both_ways(port: SerialPort, pty: PtyPort) -> None:
    port.write(b"\x00\xff\x11\x13\x03\r\n")
    assert pty.receive() == b"\x00\xff\x11\x13\x03\r\n"
    pty.send(b"\x03\xff\r")
    assert port.receive(soon(0.5)) == b"\x03\xff\r"


def test_silence_ends_at_the_deadline(port: SerialPort) -> None:
    started_s = time.monotonic()
    assert port.receive(soon(0.05)) == b""
    assert 0.045 < time.monotonic() - started_s < 0.5
    assert port.receive(0) == b""  # a deadline long past does not wait


def test_a_port_is_for_one_alone_and_the_first_owner_keeps_working(port: SerialPort, pty: PtyPort) -> None:
    with pytest.raises(PortBusy, match="busy"):
        SerialPort(pty.name, 1_000_000)
    port.write(b"x")
    assert pty.receive() == b"x"


def test_a_missing_port_names_itself(tmp_path: Path) -> None:
    with pytest.raises(PortMissing, match="ttyNone"):
        SerialPort(str(tmp_path / "ttyNone"), 115200)


@pytest.mark.parametrize("name", ["/dev/null", __file__])
def test_what_is_no_serial_port_is_called_that(name: str) -> None:
    with pytest.raises(PortMissing, match="is no serial port"):
        SerialPort(name, 115200)


def test_a_pulled_plug_ends_reception_at_once_and_everything_after_it(port: SerialPort, pty: PtyPort) -> None:
    pty.unplug()
    started_s = time.monotonic()
    with pytest.raises(BusLost, match="USB cable"):
        port.receive(soon(5.0))
    with pytest.raises(BusLost, match="USB cable"):
        port.write(b"x")
    assert time.monotonic() - started_s < 0.5
    assert port.is_lost


def test_a_lost_port_is_looked_for_at_most_twice_a_second(port: SerialPort, pty: PtyPort) -> None:
    pty.unplug()
    with pytest.raises(BusLost):
        port.write(b"x")
    time.sleep(0.5)
    tried_s = time.monotonic()
    with pytest.raises(BusLost, match="no serial port"):
        port.reopen()
    pty.plug_in()
    with pytest.raises(BusLost):
        port.reopen()  # too soon, although it would succeed
    assert port.is_lost
    while port.is_lost:
        time.sleep(0.02)
        assert time.monotonic() - tried_s < 5.0
        try:
            port.reopen()
        except BusLost:
            continue
    assert time.monotonic() - tried_s > 0.45
    assert port.openings == 2
    port.write(b"y")
    assert pty.receive() == b"y"  # and nothing of before


def test_a_closed_port_says_so_and_lets_others_in(port: SerialPort, pty: PtyPort) -> None:
    port.close()
    port.close()
    with pytest.raises(BusLost, match="closed"):
        port.write(b"x")
    with pytest.raises(BusLost, match="closed"):
        port.reopen()
    SerialPort(pty.name, 115200).close()


def test_the_link_survives_unplugging(pty: PtyPort, tmp_path: Path) -> None:
    link = tmp_path / "ttyUSB0"
    assert pty.name == str(link)
    pty.unplug()
    pty.unplug()
    assert not link.is_symlink()
    pty.plug_in()
    assert pty.name == str(link)
    fd = os.open(link, os.O_RDWR | os.O_NOCTTY)
    assert pty.receive() == b""
    assert pty.is_open
    os.close(fd)
    assert pty.receive() is None
