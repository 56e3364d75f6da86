"""Connections that send and never end what they say: what they may cost the server, and who is not taken for one."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Generator
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import numpy as np
import pytest
import zmq

from bridge import flood_guard
from bridge.clock import MonotonicClock
from bridge.errors import CommandRefused
from bridge.flood_guard import MAX_AHEAD_BYTES, MAX_TOTAL_BYTES, FloodGuard, bytes_on_the_wire
from bridge.keys import KeyRing
from bridge.remote import RemoteRobot
from bridge.server_sockets import ServerSockets
from tests.bridge.benches import command_to, eventually
from tests.bridge.served_bench import ARM, Bench

CLOCK = MonotonicClock()
#: What the server may take beyond what it had: 288 MiB came of the first of these floods before there was a guard.
MOST_MIB = 12.0


class Line:
    """A TCP connection on loopback, and the end of it that a guard watches."""

    def __init__(self, guard: FloodGuard) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.far = socket.create_connection(listener.getsockname())
            self.near, _ = listener.accept()
        guard.opened(self.near.fileno())

    def send(self, count: int) -> None:
        """Have so many bytes arrive, and read."""
        self.far.sendall(bytes(count))
        while count:
            count -= len(self.near.recv(count))

    def is_open(self) -> bool:
        """Whether the far end has not been told that this is over."""
        self.far.setblocking(False)
        try:
            return self.far.recv(1) != b""
        except BlockingIOError:
            return True
        finally:
            self.far.setblocking(True)


@pytest.fixture
def guard() -> FloodGuard:
    return FloodGuard()


@pytest.fixture
def lines(guard: FloodGuard) -> Generator[list[Line]]:
    with ExitStack() as stack:
        lines = [Line(guard) for _ in range(6)]
        for line in lines:
            stack.enter_context(line.near)
            stack.enter_context(line.far)
        yield lines


def test_who_sends_without_end_is_ended_and_nobody_else(guard: FloodGuard, lines: list[Line]) -> None:
    lines[1].send(MAX_AHEAD_BYTES - 2000)
    assert guard.look() == 0
    lines[1].send(4000)
    assert guard.look() == 1
    assert [eventually(line.is_open, 0.0) for line in lines] == [True, False, True, True, True, True]
    assert guard.look() == 0


def test_what_is_read_may_be_followed_by_as_much_and_saves_nothing_up(guard: FloodGuard, lines: list[Line]) -> None:
    descriptor = lines[0].near.fileno()
    for _ in range(20):
        lines[0].send(MAX_AHEAD_BYTES // 2)
        guard.read(descriptor, MAX_AHEAD_BYTES // 2)
        assert guard.look() == 0
    guard.read(descriptor, 10 * MAX_AHEAD_BYTES)  # cannot be
    assert guard.look() == 0
    lines[0].send(MAX_AHEAD_BYTES + 2000)
    assert guard.look() == 1
    assert not lines[0].is_open()


def test_many_connections_have_no_more_than_their_common_share(guard: FloodGuard, lines: list[Line]) -> None:
    for line in lines:
        line.send(MAX_TOTAL_BYTES // 5)  # less than one of them may
    assert guard.look() == 1
    assert sum(line.is_open() for line in lines) == 5


def test_of_too_many_connections_the_newest_go_that_have_said_nothing(
    guard: FloodGuard, lines: list[Line], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flood_guard, "MAX_CONNECTIONS", 4)
    guard.opened(lines[1].near.fileno())  # its number had been another's before: it came last
    guard.read(lines[5].near.fileno(), 10)
    assert guard.thin_out() == 2
    assert [line.is_open() for line in lines] == [True, False, True, True, False, True]
    assert guard.thin_out() == 0


def test_a_number_that_goes_from_one_socket_to_another_is_accounted_for(guard: FloodGuard, lines: list[Line]) -> None:
    """Two sockets tell of it, and the one that has it now may be heard first."""
    descriptor = lines[0].near.fileno()
    guard.opened(descriptor, 1)
    guard.closed(descriptor, 1)
    lines[0].send(MAX_AHEAD_BYTES + 2000)
    assert guard.look() == 1
    assert not lines[0].is_open()


def test_a_heart_that_beats_is_no_flood(guard: FloodGuard, lines: list[Line], monkeypatch: pytest.MonkeyPatch) -> None:
    """Two hours of 90 bytes a second, in a clock of the test's own."""
    now_s = time.monotonic()
    monkeypatch.setattr(flood_guard.time, "monotonic", lambda: now_s)
    for _ in range(720):
        now_s += 10.0
        lines[0].send(900)
        assert guard.look() == 0
    assert lines[0].is_open()


def test_a_descriptor_that_has_gone_to_something_else_is_left_alone(guard: FloodGuard, tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        guard.opened(file.fileno())
        gone = os.dup(file.fileno())
        os.close(gone)
        guard.opened(gone)
        guard.end(file.fileno())
        assert guard.look() == 0
        assert file.write(b"still ours") == 10


# A server --------------------------------------------------------------------------------------------
def test_the_bytes_of_a_message_are_counted_as_they_are_on_the_wire(tmp_path: Path) -> None:
    """A thousand messages of one, of two, and of a long part, between real sockets with keys: to a hundred bytes."""
    ring = KeyRing(tmp_path / "keys")
    key = ring.new("laptop")
    with closing(ServerSockets("tcp://127.0.0.1:*", ring, lambda text: None)) as sockets:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        client = context.socket(zmq.DEALER)
        client.setsockopt_string(zmq.CURVE_PUBLICKEY, key.public)
        client.setsockopt_string(zmq.CURVE_SECRETKEY, key.secret)
        client.setsockopt_string(zmq.CURVE_SERVERKEY, key.server_public)
        client.connect(sockets.endpoint)
        counted: list[int] = []
        received: list[int] = []
        for parts in ([bytes(5)], [bytes(200), b""], [bytes(3000)]):
            for _ in range(1000):
                client.send_multipart(parts)
            got = 0
            while got < 1000:
                assert sockets.wait(5000)
                got += len(sockets.receive(64))
            counted.append(1000 * bytes_on_the_wire(len(part) for part in parts))
            received.append(_total_received(sockets))
        assert np.diff(received) == pytest.approx(counted[1:], abs=400)
        context.destroy(0)


def _total_received(sockets: ServerSockets) -> int:
    """What the kernel says that this process's connections have received."""
    total = 0
    for entry in os.listdir("/proc/self/fd"):
        with suppress(OSError), socket.socket(fileno=os.dup(int(entry))) as connection:
            if connection.family == socket.AF_INET and sockets.endpoint.endswith(f":{connection.getsockname()[1]}"):
                total += flood_guard._received(int(entry)) or 0
    return total


@pytest.mark.parametrize(
    ("parts", "size"),
    [(200_000, 0), pytest.param(1_500, 0, marks=pytest.mark.deep), pytest.param(1, 8_000, marks=pytest.mark.deep)],
)
def test_who_has_a_key_and_floods_the_server_is_cut_off_and_costs_no_memory(
    tmp_path_factory: pytest.TempPathFactory, parts: int, size: int
) -> None:
    """One message of very many parts after the other; many of not so many; whole ones, more than can be read."""
    folder = tmp_path_factory.mktemp("b")
    bench, ring = Bench(folder), KeyRing(folder / "keys")
    key = ring.new("laptop")
    ring.new("hostile")
    bench.endpoint = f"tcp://127.0.0.1:{free_port()}"
    try:
        process = bench.serve("hold", ["--keys"])
        with RemoteRobot(bench.endpoint, ARM, CLOCK, timeout_s=5.0, key=key) as robot:
            lead(robot, 1)
            before_mib = resident_mib(process.pid)
            assert before_mib < 60.0  # with keys, recorder and all
            words = [bench.endpoint, str(ring.client_path("hostile")), str(parts), str(size)]
            bench.start(["tests.bridge.flooding_client", *words], "flooding")
            most_mib = before_mib
            for seq in range(2, 42):
                lead(robot, seq)
                most_mib = max(most_mib, resident_mib(process.pid))
        assert most_mib - before_mib < MOST_MIB
        process.terminate()
        said, _ = process.communicate(timeout=20)
        assert "was cut off" in said
    finally:
        bench.end()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def lead(robot: RemoteRobot, seq: int) -> None:
    """Stay where the arm is; what is refused because the flood made it late is not sent again."""
    try:
        robot.send(command_to(np.array(robot.read_state().position_rad), seq))
    except CommandRefused:
        return
    time.sleep(0.05)


def resident_mib(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024
