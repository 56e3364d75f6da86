"""RobotServer: owns a robot and serves it to processes on the same machine.

The watchdog is fed by accepted commands and by nothing else: a client whose heart beats while its loop hangs is silent.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from types import TracebackType

import msgspec
import zmq

from bridge.errors import BadMessage, CommandRefused
from bridge.gate import CommandGate, Verdict
from bridge.link import MAX_MESSAGE_BYTES, check_endpoint, check_unserved, decode_client, encode
from bridge.messages import (
    PROTOCOL_VERSION,
    Ack,
    Bye,
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
    Welcome,
)
from bridge.ports import Clock, Robot

POLL_MS = 5
SILENCE_S = 0.2
MESSAGES_PER_TURN = 64  # then the watchdog looks again, however much is queued


class ServerStatistics(msgspec.Struct):
    """What a server has seen since it started."""

    accepted: int = 0
    stale: int = 0
    duplicate: int = 0
    refused: int = 0
    corrupt: int = 0
    holds: int = 0
    watchdog_holds: int = 0
    sessions: int = 0


class RobotServer:
    """Serves `robot` on an ipc or loopback endpoint. Call `serve`, or `turn` from a loop of one's own."""

    def __init__(
        self, robot: Robot, rig_name: str, period_s: float, endpoint: str, clock: Clock, silence_s: float = SILENCE_S
    ) -> None:
        """Bind at once; raises EndpointRefused. The robot stays the caller's: `close` gives back the socket only."""
        self.statistics = ServerStatistics()
        self._robot = robot
        self._rig_name = rig_name
        self._period_s = period_s
        self._clock = clock
        self._silence_ns = round(silence_s * 1e9)
        self._gate = CommandGate(len(robot.description.joint_names))
        self._moved_ns: int | None = None  # when the last command was accepted; None while the arm holds
        self._holding = False
        address = check_endpoint(endpoint)
        check_unserved(address)
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.MAXMSGSIZE, 16 * MAX_MESSAGE_BYTES)
        self._socket.setsockopt(zmq.SNDHWM, 64)
        self._socket.bind(address)
        self.endpoint = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)
        path = self.endpoint.removeprefix("ipc://")
        if path != self.endpoint and not path.startswith("@"):
            os.chmod(path, 0o600)  # whoever may open this file may move the arm

    def __enter__(self) -> RobotServer:
        """Return the server, which is already bound."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the socket."""
        self.close()

    @property
    def holding(self) -> bool:
        """Whether the arm stands still because commands are missing, or somebody said so."""
        return self._holding

    def serve(self, should_stop: Callable[[], bool]) -> None:
        """Answer until `should_stop`; looks at it, and at the watchdog, at least every few milliseconds."""
        while not should_stop():
            self.turn(POLL_MS)

    def turn(self, timeout_ms: int = 0) -> None:
        """Wait up to `timeout_ms` for a message, answer those that are there, and let the watchdog look."""
        if self._socket.poll(timeout_ms):
            self._watch()  # before late messages are read: the silence was real
            for _ in range(MESSAGES_PER_TURN):
                try:
                    frames = self._socket.recv_multipart(zmq.NOBLOCK)
                except zmq.Again:
                    break
                self._reply(frames[0], self._answer(frames[1:]))
        self._watch()

    def close(self) -> None:
        """Close the socket; calling it twice is harmless."""
        self._socket.close(0)
        self._context.term()

    def _watch(self) -> None:
        if self._moved_ns is not None and self._clock.now_ns() - self._moved_ns > self._silence_ns:
            self.statistics.watchdog_holds += 1
            self._hold()

    def _hold(self) -> None:
        self._moved_ns = None
        self._holding = True
        self._robot.hold()

    def _state(self) -> RobotState:
        state = self._robot.read_state()
        return msgspec.structs.replace(state, holding=True) if self._holding and not state.holding else state

    def _reply(self, peer: bytes, message: ServerMessage) -> None:
        try:
            self._socket.send_multipart([peer, encode(message)], zmq.NOBLOCK)
        except zmq.ZMQError:  # the peer has gone or does not read: it asks again or it is dead, and neither is our wait
            return

    def _answer(self, frames: list[bytes]) -> ServerMessage:
        try:
            if len(frames) != 1:
                raise BadMessage(f"{len(frames)} frames: every message is one frame")
            message = decode_client(frames[0])
        except BadMessage as error:
            self.statistics.corrupt += 1
            self._hold()
            return ErrorReply(f"{error}; dropped, the arm holds")
        return self._dispatch(message)

    def _dispatch(self, message: ClientMessage) -> ServerMessage:
        now_ns = self._clock.now_ns()
        if isinstance(message, Move):
            return self._move(message, now_ns)
        if isinstance(message, Ping):
            return Pong(message.stamp_ns, now_ns, self._state())
        if isinstance(message, Hold):
            self.statistics.holds += 1
            self._hold()
            return Ack(message.seq, Verdict.ACCEPTED.value, "", None, self._state(), now_ns)
        if isinstance(message, Hello):
            return self._greet(message, now_ns)
        if self._gate.close(message.session):
            self._hold()
        return Bye(message.session)

    def _greet(self, hello: Hello, now_ns: int) -> ServerMessage:
        arm = self._robot.description
        if hello.protocol != PROTOCOL_VERSION:
            return ErrorReply(
                f"this server speaks protocol {PROTOCOL_VERSION}, the client {hello.protocol}: install the same version"
            )
        if (hello.arm, hello.arm_sha256) != (arm.name, arm.sha256):
            return ErrorReply(
                f"this server's arm is {arm.name!r} ({arm.sha256[:12]}), the client expects {hello.arm!r} "
                f"({hello.arm_sha256[:12]}): use the same arm description at both ends"
            )
        if not hello.session:
            return ErrorReply("a session needs a name")
        self._gate.open(hello.session)
        self.statistics.sessions += 1
        return Welcome(
            session=hello.session,
            protocol=PROTOCOL_VERSION,
            arm=arm.name,
            arm_sha256=arm.sha256,
            rig=self._rig_name,
            period_s=self._period_s,
            hello_stamp_ns=hello.stamp_ns,
            received_ns=now_ns,
            state=self._state(),
        )

    def _move(self, move: Move, now_ns: int) -> Ack:
        verdict, reason = self._gate.judge(move.session, move.command, now_ns)
        sent: JointCommand | None = None
        if verdict is Verdict.ACCEPTED:
            try:
                sent = self._robot.send(move.command)
            except CommandRefused as error:
                verdict, reason = Verdict.ROBOT, str(error)
                self._hold()
            else:
                self._moved_ns, self._holding = now_ns, False
        self._count(verdict)
        return Ack(move.command.seq, verdict.value, reason, sent, self._state(), now_ns)

    def _count(self, verdict: Verdict) -> None:
        if verdict is Verdict.ACCEPTED:
            self.statistics.accepted += 1
        elif verdict is Verdict.STALE:
            self.statistics.stale += 1
        elif verdict is Verdict.DUPLICATE:
            self.statistics.duplicate += 1
        else:
            self.statistics.refused += 1
