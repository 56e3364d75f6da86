"""RemoteRobot: an arm on the other end of a RobotServer. Every call is bounded in time; a dead server is an error."""

from __future__ import annotations

import secrets
from types import TracebackType
from typing import TypeVar

import msgspec
import zmq

from bridge.clock import ClockOffset
from bridge.errors import BadMessage, CommandRefused, RobotLost, SessionRefused, StaleState
from bridge.gate import Verdict
from bridge.keys import ClientKey, present
from bridge.link import check_endpoint, decode_server, encode
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
    Welcome,
)
from bridge.ports import Clock
from urdf.description import ArmDescription

Reply = TypeVar("Reply", Welcome, Pong, Ack, Bye)

FRESH_NS = 5_000_000  # a state that came this recently is not asked for again
PINGS_AT_CONNECT = 5
#: Refusals that end a run, because nothing that this client sends will be accepted. The others concern one command.
_FINAL = (
    Verdict.UNKNOWN_SESSION, Verdict.BUSY, Verdict.MISFIT, Verdict.FUTURE, Verdict.ROBOT, Verdict.STOPPED,
)  # fmt: skip
#: To clear a fault, servos are read until they stand still or have all been found silent: a Dofbot's take up to 6 s.
CLEAR_S = 10.0
#: A server that answers with a state older than this does not know where its arm is.
MAX_STATE_AGE_S = 0.25


class RemoteRobot:
    """A Robot behind a link. Not for use from several threads.

    Once the server has failed to answer, the robot is lost for good and whatever was queued is thrown away: motion
    from before an outage must not execute after it. Connect again with a new RemoteRobot.
    """

    def __init__(
        self,
        endpoint: str,
        description: ArmDescription,
        clock: Clock,
        timeout_s: float = 0.5,
        key: ClientKey | None = None,
        take_over: bool = False,
    ) -> None:
        """Connect and measure the clock offset; raises RobotLost, SessionRefused or EndpointRefused.

        `take_over`: the first command takes control from whoever has it. A server that wants a key and gets none, or a
        wrong one, does not answer.
        """
        self.commands_sent = 0
        self.commands_refused = 0
        self.commands_held = 0
        #: When the last command had been written to the servos, by our clock.
        self.written_ns = 0
        self.endpoint = check_endpoint(endpoint, keyed=key is not None)
        self.session = secrets.token_hex(8)
        self.offset = ClockOffset()
        self._description = description
        self._clock = clock
        self._timeout_s = timeout_s
        self._keyed = key is not None
        self._seq = 0
        self._sent: JointCommand | None = None
        self._lost = ""
        self._context, self._socket = self._sockets(key)
        try:
            self._socket.connect(self.endpoint)
            welcome = self._greet(take_over)
            self.epoch, self.rig_name, self.period_s = welcome.epoch, welcome.rig, welcome.period_s
            self.software = welcome.software
            for _ in range(PINGS_AT_CONNECT):
                self._ping()
        except BaseException:
            self._drop()
            raise

    def _sockets(self, key: ClientKey | None) -> tuple[zmq.Context[zmq.Socket[bytes]], zmq.Socket[bytes]]:
        context = zmq.Context()
        socket = context.socket(zmq.DEALER)
        for option, value in ((zmq.LINGER, 0), (zmq.SNDHWM, 8), (zmq.RCVTIMEO, 0), (zmq.SNDTIMEO, 0)):
            socket.setsockopt(option, value)
        if key is not None:
            present(socket, key)
        return context, socket

    def __enter__(self) -> RemoteRobot:
        """Return the robot, which is already connected."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    @property
    def description(self) -> ArmDescription:
        """What arm this is; the server has confirmed it."""
        return self._description

    def read_state(self) -> RobotState:
        """Return a state that is at most a few milliseconds old, by our clock; raises StaleState, a RobotLost."""
        if self._clock.now_ns() - self._state_ns > FRESH_NS:
            try:
                self._ping()
            except RobotLost as error:
                raise StaleState(f"where the arm is, is not known any more: {error}") from error
        age_s = (self._clock.now_ns() - self._state.stamp_ns) * 1e-9
        if age_s > MAX_STATE_AGE_S:
            raise StaleState(f"the server at {self.endpoint} answers with a state that is {age_s:.2f} s old")
        if age_s < -MAX_STATE_AGE_S:
            raise StaleState(f"the server at {self.endpoint} answers with a state from {-age_s:.2f} s ahead of now")
        return self._state

    def send(self, command: JointCommand) -> JointCommand:
        """Send, wait for the answer, and return what really went to the motors.

        A command that came too late moved nothing: it is counted as refused and the last one really sent is returned.
        Raises CommandRefused where the server takes no command of ours, RobotLost where it does not answer.
        """
        theirs_ns = self.offset.to_theirs_ns(command.stamp_ns)
        self._seq += 1
        wire = msgspec.structs.replace(command, seq=self._seq, stamp_ns=theirs_ns)
        ack = self._exchange(Move(self.session, wire), Ack, self._seq)
        self.commands_sent += 1
        if ack.sent is None:
            self.commands_refused += 1
            if ack.verdict in _FINAL:
                raise CommandRefused(f"the server at {self.endpoint} refused command {command.seq}: {ack.reason}")
            return self._unmoved(command)
        if ack.state.holding:
            self.commands_held += 1
        self.written_ns = self.offset.to_ours_ns(ack.sent.stamp_ns)
        self._sent = msgspec.structs.replace(ack.sent, seq=command.seq, stamp_ns=command.stamp_ns)
        return self._sent

    def hold(self) -> None:
        """Make the arm stand still; returns when the server has confirmed it."""
        self._seq += 1
        self._exchange(Hold(self.session, self._seq), Ack, self._seq)

    def stop(self) -> None:
        """Emergency stop: the arm stands still and takes no command until `clear`; returns when that is confirmed."""
        self._seq += 1
        self._exchange(Stop(self.session, self._seq), Ack, self._seq)

    def clear(self) -> None:
        """End an emergency stop, or a fault whose cause is gone; raises CommandRefused with what is in the way.

        After a fault it takes as long as the arm is looked for; the server does nothing else meanwhile.
        """
        self._seq += 1
        stamp_ns = self.offset.to_theirs_ns(self._clock.now_ns())
        ack = self._exchange(Clear(self.session, self._seq, stamp_ns), Ack, self._seq, max(self._timeout_s, CLEAR_S))
        if ack.verdict != Verdict.ACCEPTED:
            raise CommandRefused(f"the server at {self.endpoint} could not clear the arm: {ack.reason}")

    def close(self) -> None:
        """Say goodbye, which holds the arm if we were moving it, and close; calling it twice is harmless."""
        if self._lost:
            return
        try:
            self._exchange(Bye(self.session), Bye, 0)
        except RobotLost:
            return
        except CommandRefused:  # the server does not know us, or not any more: there is nothing to take leave of
            pass
        self._lost = "this robot has been closed"
        self._drop()

    def _unmoved(self, command: JointCommand) -> JointCommand:
        position_rad = self._sent.position_rad if self._sent else self._state.position_rad
        return msgspec.structs.replace(command, position_rad=position_rad)

    def _greet(self, take_over: bool) -> Welcome:
        arm = self._description
        hello = Hello(self.session, PROTOCOL_VERSION, arm.name, arm.sha256, self._clock.now_ns(), take_over)
        return self._exchange(hello, Welcome, hello.stamp_ns)

    def _ping(self) -> None:
        ping = Ping(self._clock.now_ns())
        self._exchange(ping, Pong, ping.stamp_ns)

    def _exchange(self, message: ClientMessage, kind: type[Reply], key: int, timeout_s: float | None = None) -> Reply:
        """Send and wait for the answer of that kind and key; answers to earlier questions are passed over."""
        timeout_s = self._timeout_s if timeout_s is None else timeout_s
        if self._lost:
            raise RobotLost(self._lost)
        asked_ns = self._clock.now_ns()
        try:
            self._socket.send(encode(message))
        except zmq.Again as error:
            raise self._lose("its queue is full") from error
        while (remaining_ns := asked_ns + round(timeout_s * 1e9) - self._clock.now_ns()) > 0:
            if not self._socket.poll(max(remaining_ns // 1_000_000, 1)):
                continue
            reply = self._receive()
            if isinstance(reply, ErrorReply):
                raise self._refused(message, reply)
            if isinstance(reply, kind) and _key(reply) == key:
                self._learn(reply, asked_ns)
                return reply
        raise self._lose(f"no answer within {timeout_s:g} s")

    def _receive(self) -> ServerMessage:
        try:
            return decode_server(self._socket.recv(zmq.NOBLOCK))
        except BadMessage as error:
            raise self._lose(str(error)) from error

    def _refused(self, message: ClientMessage, reply: ErrorReply) -> SessionRefused | CommandRefused:
        kind = SessionRefused if isinstance(message, Hello) else CommandRefused
        return kind(f"the server at {self.endpoint} refused: {reply.reason}")

    def _learn(self, reply: ServerMessage, asked_ns: int) -> None:
        if isinstance(reply, Welcome | Pong | Ack):
            self.offset.add(asked_ns, reply.received_ns, self._clock.now_ns())
            self._keep(reply.state)

    def _keep(self, state: RobotState) -> None:
        self._state_ns = self._clock.now_ns()
        self._state = msgspec.structs.replace(state, stamp_ns=self.offset.to_ours_ns(state.stamp_ns))

    def _lose(self, why: str) -> RobotLost:
        self._lost = (
            f"the robot's server at {self.endpoint} is lost: {why}. See whether it still runs (`tandem serve`)"
            + (", whether it knows this key (`tandem keys list`)" if self._keyed else ", whether it wants a key")
            + ", then connect again"
        )
        self._drop()
        return RobotLost(self._lost)

    def _drop(self) -> None:
        self._socket.close(0)  # at once: what is still queued is never sent
        self._context.term()


def _key(reply: ServerMessage) -> int:
    """Return what ties an answer to its question."""
    if isinstance(reply, Ack):
        return reply.seq
    if isinstance(reply, Pong):
        return reply.ping_stamp_ns
    return reply.hello_stamp_ns if isinstance(reply, Welcome) else 0
