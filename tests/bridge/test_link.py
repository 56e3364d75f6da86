"""Server and client over real sockets: what moves the arm, what does not, and what stops it."""

from __future__ import annotations

import contextlib
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st

from bridge.clock import ClockOffset, MonotonicClock
from bridge.errors import BadMessage, CommandRefused, EndpointRefused, RobotLost, SessionRefused
from bridge.link import (
    MAX_IPC_PATH_BYTES,
    MAX_MESSAGE_BYTES,
    check_endpoint,
    check_unserved,
    decode_client,
    decode_server,
    encode,
)
from bridge.messages import (
    PROTOCOL_VERSION,
    Ack,
    Bye,
    Clear,
    ClientMessage,
    ErrorReply,
    Hello,
    Hold,
    JointCommand,
    Move,
    Ping,
    Pong,
    ServerMessage,
    Stop,
    Welcome,
)
from bridge.remote import RemoteRobot
from bridge.server import RobotServer
from bridge.watchdog import WatchdogLimits
from tests.bridge.benches import ARM, PERIOD_S, START, SetpointRobot, ShiftedClock, command_to, eventually, ipc, serving

CLOCK = MonotonicClock()
SILENCE_S = WatchdogLimits().hold_s


class Raw:
    """A client that says exactly what it is told to."""

    def __init__(self, endpoint: str) -> None:
        self._context = zmq.Context()
        self.socket = self._context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.connect(endpoint)

    def say(self, message: ClientMessage) -> None:
        self.socket.send(encode(message))

    def hear(self, timeout_ms: int = 1000) -> ServerMessage:
        assert self.socket.poll(timeout_ms), "no answer"
        return decode_server(self.socket.recv())

    def ask(self, message: ClientMessage) -> ServerMessage:
        self.say(message)
        return self.hear()

    def greet(self, session: str = "raw") -> Welcome:
        welcome = self.ask(Hello(session, PROTOCOL_VERSION, ARM.name, ARM.sha256, CLOCK.now_ns()))
        assert isinstance(welcome, Welcome)
        return welcome

    def move(self, command: JointCommand, session: str = "raw") -> Ack:
        ack = self.ask(Move(session, command))
        assert isinstance(ack, Ack)
        return ack

    def close(self) -> None:
        self.socket.close(0)
        self._context.term()


@pytest.fixture
def raw(server: RobotServer) -> Generator[Raw]:
    client = Raw(server.endpoint)
    yield client
    client.close()


# Endpoints -----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "endpoint",
    [
        "tcp://0.0.0.0:5555", "tcp://*:5555", "tcp://192.168.1.7:5555", "tcp://robot.local:5555", "tcp://[::]:5555",
        "inproc://arm", "udp://127.0.0.1:5555", "pgm://127.0.0.1:5555", "/tmp/arm.sock", "", "ipc://", "tcp://:5555",
    ],
)  # fmt: skip
def test_any_endpoint_but_ipc_and_loopback_is_refused(endpoint: str) -> None:
    with pytest.raises(EndpointRefused):
        check_endpoint(endpoint)


@pytest.mark.parametrize("port", ["", ":", ":0", ":65535", ":99999", ":-1", ":arm"])
def test_an_address_without_a_port_for_commands_and_one_for_the_state_is_refused(port: str) -> None:
    with pytest.raises(EndpointRefused, match="port of 1 to 65534"):
        check_endpoint(f"tcp://127.0.0.1{port}")
    assert check_endpoint("tcp://127.0.0.1:65534") == "tcp://127.0.0.1:65534"


@pytest.mark.parametrize("keyed", [True, False])
def test_an_address_of_ipv6_is_refused_in_words(keyed: bool) -> None:
    with pytest.raises(EndpointRefused, match="IPv6"):
        check_endpoint("tcp://[::1]:5555", keyed=keyed)


def test_what_cannot_be_served_is_found_without_serving_it(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        for first in (port, port - 1):  # the second has its port for the state taken
            with pytest.raises(EndpointRefused, match=f"port {port} cannot be served"):
                check_unserved(f"tcp://127.0.0.1:{first}")
    check_unserved(f"tcp://127.0.0.1:{port}")
    with pytest.raises(EndpointRefused, match="is missing"):
        check_unserved(f"ipc://{tmp_path}/missing/arm.sock")
    check_unserved(f"ipc://{tmp_path}/arm.sock")


def test_the_refusal_of_a_network_endpoint_says_that_keys_come_first(robot: SetpointRobot) -> None:
    with pytest.raises(EndpointRefused, match="keys"):
        RobotServer(robot, "table", PERIOD_S, "tcp://0.0.0.0:5555", CLOCK)


def test_an_ipc_path_that_the_kernel_would_cut_is_refused(tmp_path: Path) -> None:
    longest = "ipc:///" + "x" * (MAX_IPC_PATH_BYTES - 1)
    assert check_endpoint(longest) == longest
    with pytest.raises(EndpointRefused, match="101 bytes"):
        check_endpoint(longest + "x")
    with pytest.raises(EndpointRefused):
        RemoteRobot(longest + "x", ARM, CLOCK)


def test_loopback_tcp_works(robot: SetpointRobot) -> None:
    with serving(robot, "tcp://localhost:*", CLOCK) as server:
        assert server.endpoint.startswith("tcp://127.0.0.1:")
        with RemoteRobot(server.endpoint, ARM, CLOCK) as remote:
            np.testing.assert_allclose(remote.read_state().position_rad, START)


def test_a_second_server_on_a_served_path_is_refused_and_the_first_lives(server: RobotServer) -> None:
    with pytest.raises(EndpointRefused, match="already serves"):
        RobotServer(SetpointRobot(CLOCK), "table", PERIOD_S, server.endpoint, CLOCK)
    RemoteRobot(server.endpoint, ARM, CLOCK).close()


@pytest.mark.parametrize("below", [0, 1])
def test_a_port_that_is_taken_is_refused_before_anything_is_bound(below: int) -> None:
    """That of the commands, and that of the states above it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1] - below
        with pytest.raises(EndpointRefused, match="in use"):
            check_unserved(f"tcp://127.0.0.1:{port}")
    check_unserved("tcp://127.0.0.1:*")


def test_the_socket_belongs_to_its_owner_alone(server: RobotServer) -> None:
    assert Path(server.endpoint.removeprefix("ipc://")).stat().st_mode & 0o077 == 0


# The ordinary case ---------------------------------------------------------------------------------
def test_a_command_reaches_the_robot_and_what_was_really_sent_comes_back(
    remote: RemoteRobot, robot: SetpointRobot
) -> None:
    near = command_to(START + 0.02, seq=11)
    assert remote.send(near) == near
    np.testing.assert_allclose(robot.position_rad, START + 0.02)
    far = command_to(START + np.array([1.0, 0, 0, 0, 0, 0]), seq=12)
    sent = remote.send(far)
    assert sent.seq == 12
    assert sent.position_rad == tuple(robot.position_rad.tolist())
    assert abs(sent.position_rad[0] - START[0]) < 0.3
    assert (remote.commands_sent, remote.commands_refused) == (2, 0)


def test_read_state_is_fresh_without_any_command(remote: RemoteRobot, robot: SetpointRobot) -> None:
    first = remote.read_state()
    time.sleep(0.02)
    second = remote.read_state()
    assert second.stamp_ns - first.stamp_ns >= 15e6
    assert abs(second.stamp_ns - time.monotonic_ns()) < 50e6
    assert robot.commands == []


def test_the_client_learns_rig_and_period(remote: RemoteRobot) -> None:
    assert (remote.rig_name, remote.period_s) == ("table", PERIOD_S)


@pytest.mark.parametrize("ahead_s", [1e9, -1e9 / 2**20, 3600.0])
def test_a_server_whose_clock_is_far_off_works_the_same(tmp_path: Path, ahead_s: float) -> None:
    clock = ShiftedClock(ahead_s)
    robot = SetpointRobot(clock)
    with serving(robot, ipc(tmp_path), clock) as server, RemoteRobot(server.endpoint, ARM, CLOCK) as remote:
        for k in range(20):
            command = command_to(START + 0.001 * k, seq=k)
            assert remote.send(command).stamp_ns == command.stamp_ns
        assert abs(remote.read_state().stamp_ns - time.monotonic_ns()) < 50e6
        old = command_to(START + 0.5, seq=99, stamp_ns=time.monotonic_ns() - 250_000_000)
        sent = remote.send(old)
        np.testing.assert_allclose(sent.position_rad, robot.position_rad)
        assert len(robot.commands) == 20
        assert (server.statistics.accepted, server.statistics.stale) == (20, 1)
        assert remote.commands_refused == 1
        assert abs(remote.offset.offset_ns - round(ahead_s * 1e9)) < 5e6


def test_the_offset_comes_from_the_quickest_recent_answer() -> None:
    offset = ClockOffset(window=3)
    offset.add(0, 1_000_500, 1000)
    assert offset.offset_ns == 1_000_000
    offset.add(10_000, 1_018_000, 14_000)
    assert offset.offset_ns == 1_000_000
    for k in range(3):
        offset.add(20_000 + k, 2_020_100 + k, 20_200 + k)
    assert (offset.offset_ns, offset.error_ns(20_202)) == (2_000_000, 100)
    assert offset.to_ours_ns(offset.to_theirs_ns(12345)) == 12345


# What must not move the arm ------------------------------------------------------------------------
def test_a_command_delayed_past_its_ttl_is_refused_and_never_moves_the_arm(
    raw: Raw, robot: SetpointRobot, server: RobotServer
) -> None:
    raw.greet()
    late = command_to(START + 0.02, seq=1, ttl_s=0.05)
    time.sleep(0.08)
    ack = raw.move(late)
    assert (ack.verdict, ack.sent) == ("stale", None)
    assert "old" in ack.reason
    assert robot.commands == []
    assert server.statistics.stale == 1


def test_a_repeated_command_moves_the_arm_once(raw: Raw, robot: SetpointRobot, server: RobotServer) -> None:
    raw.greet()
    command = command_to(START + 0.02, seq=3)
    assert raw.move(command).verdict == "accepted"
    assert raw.move(command).verdict == "duplicate"
    assert raw.move(command_to(START + 0.02, seq=2)).verdict == "duplicate"
    assert len(robot.commands) == 1
    assert server.statistics.duplicate == 2


def test_commands_queued_while_the_server_was_dead_never_execute(tmp_path: Path) -> None:
    endpoint = ipc(tmp_path)
    first, second = SetpointRobot(CLOCK), SetpointRobot(CLOCK)
    with serving(first, endpoint, CLOCK):
        raw = Raw(endpoint)
        raw.greet()
        assert raw.move(command_to(START + 0.01, seq=1)).verdict == "accepted"
    for k in range(2, 6):
        raw.say(Move("raw", command_to(START + 0.02, seq=k)))
    raw.say(Hello("raw", PROTOCOL_VERSION, ARM.name, ARM.sha256, CLOCK.now_ns()))
    raw.say(Move("raw", command_to(START + 0.03, seq=9)))
    time.sleep(0.3)
    with serving(second, endpoint, CLOCK) as server:
        verdicts = [m.verdict for m in (raw.hear(3000) for _ in range(6)) if isinstance(m, Ack)]
        assert set(verdicts[:4]) <= {"unknown session", "superseded"}
        assert verdicts[4:] == ["stale"]
        assert server.statistics.accepted == 0
        assert second.commands == []
    raw.close()


def test_a_remote_robot_that_lost_its_server_throws_away_what_it_had_queued(tmp_path: Path) -> None:
    endpoint = ipc(tmp_path)
    first, second = SetpointRobot(CLOCK), SetpointRobot(CLOCK)
    with serving(first, endpoint, CLOCK):
        remote = RemoteRobot(endpoint, ARM, CLOCK, timeout_s=0.2)
        remote.send(command_to(START + 0.01))
    began = time.monotonic()
    with pytest.raises(RobotLost, match="no answer"):
        remote.send(command_to(START + 0.02))
    assert time.monotonic() - began < 0.4
    with serving(second, endpoint, CLOCK):
        time.sleep(0.3)
        with pytest.raises(RobotLost):
            remote.send(command_to(START + 0.02))
        with pytest.raises(RobotLost):
            remote.read_state()
        assert second.commands == []
    remote.close()


def test_no_server_is_an_error_in_bounded_time(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(RobotLost, match="tandem serve"):
        RemoteRobot(ipc(tmp_path), ARM, CLOCK, timeout_s=0.2)
    assert time.monotonic() - began < 0.5


@pytest.mark.parametrize(
    "data",
    [b"", b"\x00", b"\xc1" * 10, b"\x91" * 3000, b"\xde\xff\xff", b"{}", bytes(MAX_MESSAGE_BYTES + 1),
     b"\x81\xa4type\xa4move"],
)  # fmt: skip
def test_a_corrupt_message_is_counted_dropped_and_answered_and_the_arm_holds(
    data: bytes, raw: Raw, robot: SetpointRobot, server: RobotServer
) -> None:
    raw.greet()
    raw.move(command_to(START + 0.01, seq=1))
    raw.socket.send(data)
    reply = raw.hear()
    assert isinstance(reply, ErrorReply)
    assert "holds" in reply.reason
    assert (server.statistics.corrupt, len(robot.hold_times_ns), len(robot.commands)) == (1, 1, 1)
    assert raw.move(command_to(START + 0.02, seq=2)).verdict == "accepted"


def test_an_oversized_message_ends_its_connection_before_anything_is_allocated(raw: Raw, server: RobotServer) -> None:
    """Without keys as well, where no flood guard counts bytes."""
    raw.socket.send(bytes(20_000_000))
    raw.say(Ping(7))  # goes out on the next connection
    assert isinstance(raw.hear(3000), Pong)
    assert server.statistics.corrupt == 0  # not one byte of it came to be looked at


def test_a_message_in_several_frames_is_corrupt(raw: Raw, robot: SetpointRobot, server: RobotServer) -> None:
    raw.greet()
    raw.socket.send_multipart([encode(Move("raw", command_to(START + 0.01))), b"more"])
    assert isinstance(raw.hear(), ErrorReply)
    assert (server.statistics.corrupt, robot.commands) == (1, [])


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_a_number_that_is_not_finite_is_corrupt_on_the_wire(
    poison: float, raw: Raw, robot: SetpointRobot, server: RobotServer
) -> None:
    raw.greet()
    data = encode(Move("raw", command_to(np.full(6, 0.123))))
    sound = struct.pack(">d", 0.123)
    assert data.count(sound) == 6
    raw.socket.send(data.replace(sound, struct.pack(">d", poison), 1))
    assert isinstance(raw.hear(), ErrorReply)
    assert (server.statistics.corrupt, robot.commands) == (1, [])


def test_garbage_without_end_does_not_bring_the_server_down(raw: Raw, server: RobotServer) -> None:
    rng = np.random.default_rng(0)
    for _ in range(2000):
        raw.socket.send(rng.bytes(int(rng.integers(0, 200))))
        raw.hear()
    assert server.statistics.corrupt == 2000
    raw.greet()


def test_answers_to_earlier_questions_are_passed_over(tmp_path: Path) -> None:
    """A peer that answers each command first with the answer to the one before it."""
    context = zmq.Context()
    socket = context.socket(zmq.ROUTER)
    socket.setsockopt(zmq.LINGER, 0)
    socket.bind(ipc(tmp_path))
    state = SetpointRobot(CLOCK).read_state()
    late: list[Ack] = []

    def answer() -> None:
        while True:
            peer, data = socket.recv_multipart()
            message = decode_client(data)
            now_ns = CLOCK.now_ns()
            if isinstance(message, Hello):
                session, arm = message.session, message.arm
                reply = Welcome(
                    session,
                    "epoch",
                    PROTOCOL_VERSION,
                    "0.0.0",
                    arm,
                    message.arm_sha256,
                    "table",
                    0.05,
                    message.stamp_ns,
                    now_ns,
                    state,
                )
            elif isinstance(message, Ping):
                reply = Pong(message.stamp_ns, now_ns, state)
            elif isinstance(message, Move):
                reply = Ack(message.command.seq, "accepted", "", message.command, state, now_ns)
                for old in late:
                    socket.send_multipart([peer, encode(old)])
                late[:] = [reply]
            else:
                socket.send_multipart([peer, encode(Bye(""))])
                return
            socket.send_multipart([peer, encode(reply)])

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    with RemoteRobot(ipc(tmp_path), ARM, CLOCK) as remote:
        for k in range(1, 5):
            command = command_to(START + 0.01 * k, seq=k)
            assert remote.send(command).position_rad == command.position_rad
    thread.join(timeout=2.0)
    assert not thread.is_alive()
    socket.close(0)
    context.term()


# Sessions ------------------------------------------------------------------------------------------
def test_one_session_is_in_control_and_everybody_may_read(server: RobotServer, robot: SetpointRobot) -> None:
    first, second = RemoteRobot(server.endpoint, ARM, CLOCK), RemoteRobot(server.endpoint, ARM, CLOCK)
    first.send(command_to(START + 0.01))
    with pytest.raises(CommandRefused, match="in control"):
        second.send(command_to(START - 0.01))
    np.testing.assert_allclose(second.read_state().position_rad, START + 0.01)
    assert len(robot.commands) == 1
    first.close()
    second.send(command_to(START))
    assert len(robot.commands) == 2
    second.close()


def test_control_is_free_after_a_second_of_silence(server: RobotServer) -> None:
    first, second = RemoteRobot(server.endpoint, ARM, CLOCK), RemoteRobot(server.endpoint, ARM, CLOCK)
    first.send(command_to(START + 0.01))
    for _ in range(10):
        time.sleep(0.1)
        first.read_state()  # reading keeps no control
    second.send(command_to(START))
    with pytest.raises(CommandRefused):
        first.send(command_to(START))


def test_anybody_may_hold_the_arm(server: RobotServer, robot: SetpointRobot, remote: RemoteRobot) -> None:
    remote.send(command_to(START + 0.01))
    with RemoteRobot(server.endpoint, ARM, CLOCK) as other:
        other.hold()
        assert other.read_state().holding
    assert len(robot.hold_times_ns) == 1
    remote.send(command_to(START + 0.02))
    assert not remote.read_state().holding


def test_goodbye_holds_the_arm_of_the_session_in_control(server: RobotServer, robot: SetpointRobot) -> None:
    with RemoteRobot(server.endpoint, ARM, CLOCK):
        pass
    assert robot.hold_times_ns == []
    with RemoteRobot(server.endpoint, ARM, CLOCK) as mover:
        mover.send(command_to(START + 0.01))
    assert len(robot.hold_times_ns) == 1
    mover.close()


def test_another_arm_or_another_protocol_is_refused(server: RobotServer, raw: Raw) -> None:
    with pytest.raises(SessionRefused, match="same arm description"):
        RemoteRobot(server.endpoint, replace(ARM, sha256="0" * 64), CLOCK)
    reply = raw.ask(Hello("raw", PROTOCOL_VERSION + 1, ARM.name, ARM.sha256, 0))
    assert isinstance(reply, ErrorReply)
    assert "protocol" in reply.reason
    assert raw.move(command_to(START)).verdict == "unknown session"


# The watchdog --------------------------------------------------------------------------------------
def test_silence_holds_the_arm_once_and_the_next_good_command_resumes(
    server: RobotServer, robot: SetpointRobot, remote: RemoteRobot
) -> None:
    remote.send(command_to(START + 0.01))
    last_ns = time.monotonic_ns()
    assert eventually(lambda: bool(robot.hold_times_ns))
    assert SILENCE_S - 0.01 <= (robot.hold_times_ns[0] - last_ns) * 1e-9 < SILENCE_S + 0.1
    assert remote.read_state().holding
    time.sleep(3 * SILENCE_S)
    assert len(robot.hold_times_ns) == 1
    assert server.statistics.watchdog_holds == 1
    remote.send(command_to(START + 0.02))
    assert not remote.read_state().holding
    assert len(robot.commands) == 2


def test_nothing_but_accepted_commands_feeds_the_watchdog(robot: SetpointRobot, raw: Raw) -> None:
    raw.greet()
    raw.move(command_to(START + 0.01, seq=1))
    last_ns = time.monotonic_ns()
    while not robot.hold_times_ns and time.monotonic_ns() - last_ns < 2e9:
        assert isinstance(raw.ask(Ping(1)), Pong)
        raw.greet()
        assert raw.move(command_to(START, seq=1)).verdict == "duplicate"
        assert raw.move(command_to(START, seq=0, stamp_ns=0)).verdict == "duplicate"
        time.sleep(0.005)
    assert (robot.hold_times_ns[0] - last_ns) * 1e-9 < SILENCE_S + 0.1


def test_no_command_means_no_hold(robot: SetpointRobot, server: RobotServer) -> None:
    time.sleep(2 * SILENCE_S)
    assert robot.hold_times_ns == []
    assert server.statistics.watchdog_holds == 0


def test_a_client_killed_while_streaming_leaves_an_arm_that_holds(robot: SetpointRobot, server: RobotServer) -> None:
    command = [sys.executable, "-m", "tests.bridge.streaming_client", server.endpoint]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == "moving\n"
        time.sleep(0.3)
        assert robot.hold_times_ns == []
        client.send_signal(signal.SIGKILL)
        killed_ns = time.monotonic_ns()
        assert eventually(lambda: bool(robot.hold_times_ns))
    assert (robot.hold_times_ns[0] - killed_ns) * 1e-9 < SILENCE_S + 0.1
    assert server.statistics.accepted > 5


def test_an_idle_server_looks_at_its_watchdog_every_few_milliseconds(tmp_path: Path) -> None:
    with RobotServer(SetpointRobot(CLOCK), "table", PERIOD_S, ipc(tmp_path), CLOCK) as server:
        turns_s: list[float] = []
        for _ in range(50):
            began = time.perf_counter()
            server.turn(5)
            turns_s.append(time.perf_counter() - began)
        assert np.median(turns_s) < 0.008


# Messages ------------------------------------------------------------------------------------------
finite = st.floats(allow_nan=False, allow_infinity=False)
stamps = st.integers(-(2**62), 2**62)
commands = st.builds(
    JointCommand,
    seq=stamps,
    stamp_ns=stamps,
    position_rad=st.lists(finite, max_size=8).map(tuple),
    duration_s=st.floats(1e-3, 5.0),
    ttl_s=st.floats(1e-3, 5.0),
)
sessions = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=64)
client_messages = st.one_of(
    st.builds(Hello, sessions, stamps, st.text(max_size=20), st.text(max_size=64), stamps, st.booleans()),
    st.builds(Stop, sessions, stamps),
    st.builds(Clear, sessions, stamps, stamps),
    st.builds(Ping, stamps),
    st.builds(Move, sessions, commands),
    st.builds(Hold, sessions, stamps),
    st.builds(Bye, sessions),
)


@given(client_messages)
def test_every_message_survives_the_wire(message: ClientMessage) -> None:
    assert decode_client(encode(message)) == message


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_but_bad_message(data: bytes) -> None:
    for decode in (decode_client, decode_server):
        with contextlib.suppress(BadMessage):
            decode(data)


def test_a_server_that_ends_leaves_no_socket_behind(robot: SetpointRobot, tmp_path: Path) -> None:
    with serving(robot, ipc(tmp_path), CLOCK):
        assert len(list(tmp_path.glob("arm.sock*"))) == 2
    assert not list(tmp_path.glob("arm.sock*"))
