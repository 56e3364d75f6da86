"""Keys: who is let in, who is not, and that whoever knocks does not hinder who is in control."""

from __future__ import annotations

import itertools
import os
import resource
import socket
import stat
import threading
import time
from collections.abc import Generator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import zmq

from bridge.clock import MonotonicClock
from bridge.doorkeeper import Doorkeeper
from bridge.errors import CommandRefused, EndpointRefused, KeyRefused, RobotLost, SessionRefused, StaleState
from bridge.keys import ClientKey, KeyPair, KeyRing
from bridge.link import decode_server, encode
from bridge.messages import JointCommand, Ping, Pong
from bridge.remote import RemoteRobot
from bridge.server import RobotServer
from bridge.server_settings import ServerSettings
from bridge.watcher import RobotWatcher
from tests.bridge.benches import ARM, START, SetpointRobot, command_to, eventually, serving
from tests.bridge.served_bench import Bench

CLOCK = MonotonicClock()


@pytest.fixture
def ring(tmp_path: Path) -> KeyRing:
    return KeyRing(tmp_path / "keys")


@pytest.fixture
def robot() -> SetpointRobot:
    return SetpointRobot(CLOCK)


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def key(ring: KeyRing) -> ClientKey:
    return ring.new("laptop")


@pytest.fixture
def server(robot: SetpointRobot, ring: KeyRing, key: ClientKey, told: list[str]) -> Generator[RobotServer]:
    with serving(robot, "tcp://127.0.0.1:*", CLOCK, ServerSettings(keys=ring), told.append) as running:
        yield running


# On disk -------------------------------------------------------------------------------------------
def test_secrets_are_readable_by_their_owner_alone(ring: KeyRing, key: ClientKey) -> None:
    for path in (ring.folder / "server.json", ring.client_path("laptop")):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert key.secret not in (ring.folder / "allowed" / "laptop.json").read_text()
    assert ClientKey.load(ring.client_path("laptop")) == key


def test_a_key_that_others_can_read_is_refused(ring: KeyRing, key: ClientKey) -> None:
    ring.client_path("laptop").chmod(0o644)
    with pytest.raises(KeyRefused, match="chmod 600"):
        ClientKey.load(ring.client_path("laptop"))


def test_a_name_is_given_once_and_free_again_after_it_was_revoked(ring: KeyRing, key: ClientKey) -> None:
    with pytest.raises(KeyRefused, match="already"):
        ring.new("laptop")
    ring.revoke("laptop")
    assert ring.allowed() == {}
    assert ring.new("laptop").public != key.public
    assert ring.new("desk").server_public == key.server_public


@pytest.mark.parametrize("name", ["", "../x", ".hidden", "a/b", "x" * 65, "a b"])
def test_a_name_is_no_path(ring: KeyRing, name: str) -> None:
    with pytest.raises(KeyRefused):
        ring.new(name)


def test_revoking_an_unknown_name_lists_the_known(ring: KeyRing, key: ClientKey) -> None:
    with pytest.raises(KeyRefused, match="laptop"):
        ring.revoke("lapdog")


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"\xff", b'{"name":"a","public":"p","secret":"s","server_public":"p"}']
)
def test_a_damaged_key_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "key.json"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(KeyRefused, match="no key file"):
        ClientKey.load(path)


def test_a_file_that_is_no_key_lets_nobody_in(ring: KeyRing, key: ClientKey) -> None:
    (ring.folder / "allowed" / "broken.json").write_text('{"name": "x"}')
    assert ring.allowed() == {key.public: "laptop"}


# On the wire ---------------------------------------------------------------------------------------
def test_the_network_is_served_with_keys_alone(robot: SetpointRobot, ring: KeyRing, key: ClientKey) -> None:
    with pytest.raises(EndpointRefused, match="keys"):
        RobotServer(robot, "table", 0.05, "tcp://0.0.0.0:*", CLOCK)
    with serving(robot, "tcp://0.0.0.0:*", CLOCK, ServerSettings(keys=ring)) as server:
        near = server.endpoint.replace("0.0.0.0", "127.0.0.1")
        with RemoteRobot(near, ARM, CLOCK, key=key) as remote:
            assert not remote.read_state().holding


def test_a_server_without_a_key_of_its_own_does_not_start(robot: SetpointRobot, ring: KeyRing) -> None:
    with pytest.raises(KeyRefused, match="tandem keys new"):
        RobotServer(robot, "table", 0.05, "tcp://127.0.0.1:*", CLOCK, ServerSettings(keys=ring))


def test_who_has_a_key_moves_the_arm(server: RobotServer, robot: SetpointRobot, key: ClientKey) -> None:
    with RemoteRobot(server.endpoint, ARM, CLOCK, key=key) as remote:
        sent = remote.send(command_to(START + 0.01))
        assert sent.position_rad == pytest.approx(START + 0.01)
    assert len(robot.commands) == 1


def _stranger(kind: str, key: ClientKey, ring: KeyRing) -> ClientKey | None:
    pair = KeyPair.new()
    if kind == "no key":
        return None
    if kind == "revoked key":
        revoked = ring.new("old")
        ring.revoke("old")
        return revoked
    if kind == "another server's":
        return ClientKey("laptop", key.public, key.secret, pair.public)
    return ClientKey("laptop", pair.public, pair.secret, key.server_public)


@pytest.mark.parametrize("kind", ["no key", "unknown key", "revoked key", "another server's"])
def test_strangers_are_refused_counted_and_told_and_who_is_in_control_feels_nothing(
    kind: str, server: RobotServer, robot: SetpointRobot, ring: KeyRing, key: ClientKey, told: list[str]
) -> None:
    stranger, stop, late = _stranger(kind, key, ring), threading.Event(), list[float]()

    def lead() -> None:
        with RemoteRobot(server.endpoint, ARM, CLOCK, key=key) as remote:
            for seq in itertools.count(1):
                if stop.is_set():
                    return
                began_s = time.monotonic()
                remote.send(command_to(START + 0.01, seq))
                late.append(time.monotonic() - began_s)
                time.sleep(0.02)

    leader = threading.Thread(target=lead)
    leader.start()
    try:
        assert eventually(lambda: len(late) >= 30, 10.0)
        alone = len(late)
        with pytest.raises(RobotLost, match="key"):
            RemoteRobot(server.endpoint, ARM, CLOCK, timeout_s=0.6, key=stranger)
        assert eventually(lambda: server.statistics.strangers > 0)
    finally:
        stop.set()
        leader.join()
    assert any("refused" in text for text in told)
    assert len(late) > alone + 10
    # What the machine does beside is in both: whoever knocks adds nothing that could be felt.
    assert np.median(late[alone:]) < 2 * np.median(late[:alone]) + 0.005
    assert {command.position_rad for command in robot.commands} == {tuple((START + 0.01).tolist())}


def test_a_stranger_with_a_new_key_for_every_knock_fills_neither_log_nor_memory(ring: KeyRing, key: ClientKey) -> None:
    told: list[str] = []
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    doors = Doorkeeper(context, ring, told.append)
    try:
        for number in range(50):
            assert not doors.callback("tandem", f"{number:08d}{'x' * 32}".encode())
        assert doors.callback("tandem", key.public.encode())
    finally:
        doors.close()
        context.destroy(0)
    assert doors.refused == 50
    assert len(told) == 1
    assert "00000000..." in told[0]


def test_a_key_that_is_revoked_while_it_moves_the_arm_is_turned_out_and_the_arm_holds(
    server: RobotServer, robot: SetpointRobot, ring: KeyRing, key: ClientKey, told: list[str]
) -> None:
    remote = RemoteRobot(server.endpoint, ARM, CLOCK, key=key)
    remote.send(command_to(START + 0.01, 1))
    ring.revoke("laptop")
    began_s = time.monotonic()
    with pytest.raises((CommandRefused, SessionRefused), match="no longer let in"):  # noqa: PT012
        for seq in itertools.count(2):
            remote.send(command_to(START + 0.01, seq))
            assert time.monotonic() - began_s < 2.0
            time.sleep(0.02)
    assert eventually(lambda: bool(robot.hold_times_ns))
    assert any("revoked" in text for text in told)
    with pytest.raises(RobotLost):
        RemoteRobot(server.endpoint, ARM, CLOCK, timeout_s=0.3, key=key)


def test_who_only_watches_is_turned_out_as_well_and_the_others_watch_on(server: RobotServer, ring: KeyRing) -> None:
    with (
        RobotWatcher(server.endpoint, CLOCK, ring.new("old")) as old,
        RobotWatcher(server.endpoint, CLOCK, ring.new("desk")) as desk,
    ):
        assert sees(old)
        assert sees(desk)
        ring.revoke("old")
        assert eventually(lambda: not sees(old), 3.0)
        time.sleep(0.3)
        assert eventually(lambda: sees(desk), 3.0)
        assert not sees(old)


def sees(watcher: RobotWatcher) -> bool:
    """Return whether a watcher knows where the arm is now."""
    try:
        watcher.read_state()
    except StaleState:
        return False
    return True


def test_a_list_of_keys_that_cannot_be_read_takes_nobody_s_key_away(
    server: RobotServer, robot: SetpointRobot, ring: KeyRing, key: ClientKey
) -> None:
    """A process that has no descriptor left cannot look: it took that for an empty list, or died of it."""
    _, most = before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with RemoteRobot(server.endpoint, ARM, CLOCK, key=key) as remote:
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, most))
        try:
            with pytest.raises(OSError, match="Too many open files"):
                ring.allowed()
            for seq in range(1, 40):
                remote.send(command_to(START + 0.01, seq))
                time.sleep(0.02)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert len(robot.commands) == 39


def test_strangers_without_number_cost_the_server_no_descriptors_and_its_controller_nothing(
    bench: Bench, ring: KeyRing
) -> None:
    """They connect and say nothing. Of the thousand descriptors that a process has, a quarter, so that it is quick."""
    laptop = KeyRing(bench.folder / "keys").new("laptop")
    bench.endpoint = f"tcp://127.0.0.1:{free_port()}"
    server, strangers = bench.serve("hold", ["--keys"]), list[socket.socket]()
    with ExitStack() as stack, RemoteRobot(bench.endpoint, ARM, CLOCK, timeout_s=3.0, key=laptop) as robot:
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (256, 256))
        here = robot.read_state().position_rad
        port = int(bench.endpoint.rpartition(":")[2])
        for seq in range(1, 61):
            for _ in range(12):
                strangers.append(stack.enter_context(socket.socket()))
                strangers[-1].setblocking(False)
                strangers[-1].connect_ex(("127.0.0.1", port + seq % 2))  # the states' as well
            robot.send(JointCommand(seq, CLOCK.now_ns(), here, 0.05, 0.5))
            time.sleep(0.02)
        assert robot.commands_refused <= 2  # a busy machine may be too late for one
        assert len(os.listdir(f"/proc/{server.pid}/fd")) < 220
    server.terminate()
    said, _ = server.communicate(timeout=20)
    assert server.returncode == 0
    assert "there are too many" in said


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_nobody_moves_the_arm_in_anothers_session(server: RobotServer, ring: KeyRing, key: ClientKey) -> None:
    other = ring.new("desk")
    with (
        RemoteRobot(server.endpoint, ARM, CLOCK, key=key) as mine,
        RemoteRobot(server.endpoint, ARM, CLOCK, key=other) as theirs,
    ):
        mine.send(command_to(START + 0.01, 1))
        theirs.session = mine.session
        with pytest.raises(CommandRefused, match="another client's"):
            theirs.send(command_to(START + 0.02, 2))


def test_the_state_is_told_to_who_has_a_key_alone(server: RobotServer, key: ClientKey) -> None:
    with RobotWatcher(server.endpoint, CLOCK, key) as watcher:
        assert watcher.read_state().position_rad == pytest.approx(START)
    with pytest.raises(StaleState):
        RobotWatcher(server.endpoint, CLOCK, None, timeout_s=0.5)


def test_an_oversized_message_ends_its_connection_before_anything_is_allocated(
    server: RobotServer, robot: SetpointRobot, key: ClientKey
) -> None:
    context = zmq.Context()
    loud = context.socket(zmq.DEALER)
    for option, value in (
        (zmq.CURVE_SERVERKEY, key.server_public), (zmq.CURVE_PUBLICKEY, key.public), (zmq.CURVE_SECRETKEY, key.secret),
    ):  # fmt: skip
        loud.setsockopt_string(option, value)
    loud.connect(server.endpoint)
    loud.send(bytes(50_000_000))
    loud.send(encode(Ping(7)))  # goes out on the next connection: the first ended with the message before it
    assert loud.poll(3000)
    assert isinstance(decode_server(loud.recv()), Pong)
    assert server.statistics.corrupt == 0  # not one byte of it came to be looked at
    with RemoteRobot(server.endpoint, ARM, CLOCK, key=key) as remote:
        remote.send(command_to(START))
    context.destroy(0)
