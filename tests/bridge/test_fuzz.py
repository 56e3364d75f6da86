"""10^5 messages that nobody meant, for the decoder and for a server: no exception, no motion, and it still serves.

`TANDEM_DEEP=1` (`make check-deep`) tries all of them; any other run 10,000 on the decoder and 3,000 on the server.
"""

from __future__ import annotations

import math
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import zmq

from bridge.clock import MonotonicClock
from bridge.errors import BadMessage
from bridge.link import MAX_MESSAGE_BYTES, decode_client, decode_server, encode
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
    RobotState,
    ServerMessage,
    Stop,
)
from bridge.remote import RemoteRobot
from tests.bridge.benches import ARM, PERIOD_S, START, SetpointRobot, command_to, eventually, ipc, serving
from tests.bridge.fuzz import fuzz

DEEP = os.environ.get("TANDEM_DEEP", "") not in ("", "0")
pytestmark = pytest.mark.timeout(900 if DEEP else 120)

MESSAGES = 100_000 if DEEP else 10_000
CLOCK = MonotonicClock()
STAMP_NS = 1_234_567_890_123
COMMAND = JointCommand(7, STAMP_NS, (0.1, -0.9, -0.6, -0.6, 0.0, -1.0), PERIOD_S)
STATE = RobotState(3, STAMP_NS, COMMAND.position_rad, (0.0,) * 6, (0.01,) * 6)
#: What the fuzz is made from. Nobody opens the mover's session, so none of its commands, spoilt or not, may be obeyed.
CLIENT_SEEDS: tuple[ClientMessage, ...] = (
    Hello("greeter", PROTOCOL_VERSION, ARM.name, ARM.sha256, STAMP_NS),
    Ping(STAMP_NS),
    Move("mover", COMMAND),
    Hold("holder", 2),
    Stop("stopper", 3),
    Clear("clearer", 4, STAMP_NS),
    Bye("leaver"),
)
SERVER_SEEDS: tuple[ServerMessage, ...] = (
    Pong(STAMP_NS, STAMP_NS, STATE),
    Ack(7, "accepted", "", COMMAND, STATE, STAMP_NS),
    Bye("leaver"),
    ErrorReply("no"),
)


def numbers_of(message: object) -> Iterator[float]:
    """Every float that a message would bring into the robot."""
    if isinstance(message, Move):
        yield from numbers_of(message.command)
    elif isinstance(message, JointCommand):
        yield from (*message.position_rad, message.duration_s, message.ttl_s)
    elif isinstance(message, RobotState):
        yield from (*message.position_rad, *message.velocity_rad_s)
    elif isinstance(message, Pong):
        yield from numbers_of(message.state)
    elif isinstance(message, Ack):
        yield from numbers_of(message.state)
        yield from numbers_of(message.sent)


@pytest.mark.parametrize("end", ["client", "server"])
def test_bytes_decode_to_a_sound_message_or_to_one_named_error(end: str) -> None:
    seeds = [encode(m) for m in (CLIENT_SEEDS if end == "client" else SERVER_SEEDS)]
    decode = decode_client if end == "client" else decode_server
    sound = refused = 0
    for data in fuzz(seeds, MESSAGES // 2, seed=1):
        try:
            message = decode(data)
        except BadMessage:
            refused += 1
            continue
        sound += 1
        assert len(data) <= MAX_MESSAGE_BYTES
        assert all(math.isfinite(number) for number in numbers_of(message))
        if isinstance(message, Move):
            assert message.command.duration_s > 0
            assert message.command.ttl_s > 0
        assert decode(encode(message)) == message
    assert sound > 0.005 * MESSAGES  # spoilt in a name or a number alone: still a message
    assert refused > 0.25 * MESSAGES


class Heckler:
    """A connection that says anything and reads what it is told."""

    def __init__(self, endpoint: str) -> None:
        self._context = zmq.Context()
        self.socket = self._context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.connect(endpoint)
        self.heard: list[ServerMessage] = []

    def say(self, *frames: bytes) -> None:
        self.socket.send_multipart(frames)
        self.listen()

    def listen(self) -> None:
        while self.socket.poll(0):
            self.heard.append(decode_server(self.socket.recv()))

    def ask(self, message: ClientMessage, answer: Callable[[ServerMessage], bool]) -> bool:
        """Whether such an answer comes at last. One may be lost: a frame that is too long costs its connection."""
        for _ in range(50):
            self.heard.clear()
            self.say(encode(message))
            if eventually(lambda: self.listen() or any(map(answer, self.heard)), 0.2):
                return True
        return False

    def is_answered(self) -> bool:
        """Whether a ping is: the server has worked off what came before it."""
        return self.ask(Ping(CLOCK.now_ns()), lambda told: isinstance(told, Pong))

    def close(self) -> None:
        self.socket.close(0)
        self._context.term()


def still_serves(endpoint: str, robot: SetpointRobot) -> bool:
    """Clear a stop that the fuzz may have latched; then a client's one command moves the arm, as the first ever."""
    with RemoteRobot(endpoint, ARM, CLOCK) as remote:
        remote.clear()
        remote.send(command_to(START + 0.01))
        np.testing.assert_allclose(remote.read_state().position_rad, START + 0.01)
    return len(robot.commands) == 1


def test_a_server_survives_them_without_any_motion(tmp_path: Path) -> None:
    robot = SetpointRobot(CLOCK)
    seeds = [encode(m) for m in CLIENT_SEEDS]
    rng = np.random.default_rng(2)
    with serving(robot, ipc(tmp_path), CLOCK) as server:
        heckler = Heckler(server.endpoint)
        for k, data in enumerate(fuzz(seeds, 100_000 if DEEP else 3_000, seed=3)):
            if rng.random() < 0.02:
                heckler.say(data, *(seeds[j] for j in rng.integers(len(seeds), size=rng.integers(1, 4))))
            else:
                heckler.say(data)
            if k % 500 == 0:
                assert heckler.is_answered()
                assert robot.commands == []
        assert heckler.is_answered()
        heckler.close()
        assert robot.commands == []
        np.testing.assert_array_equal(robot.position_rad, START)
        assert robot.hold_times_ns  # nonsense holds
        assert still_serves(server.endpoint, robot)


def test_it_survives_connections_that_speak_no_zeromq() -> None:
    robot, rng = SetpointRobot(CLOCK), np.random.default_rng(4)
    greeting = b"\xff" + bytes(8) + b"\x7f\x03\x01NULL" + bytes(48)  # ZMTP 3.1, RFC 37
    with serving(robot, "tcp://127.0.0.1:*", CLOCK) as server:
        port = urlsplit(server.endpoint).port
        for _ in range(2_000 if DEEP else 100):
            with socket.create_connection(("127.0.0.1", port), timeout=5.0) as plain:
                opening = greeting[: int(rng.integers(len(greeting) + 1))] if rng.random() < 0.7 else b""
                plain.sendall(opening + rng.bytes(int(rng.integers(0, 400))))
        assert robot.commands == []
        assert still_serves(server.endpoint, robot)
