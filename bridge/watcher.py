"""RobotWatcher: where a served arm is, for all who only look. It commands nothing and cannot hinder who does."""

from __future__ import annotations

from types import TracebackType

import msgspec
import zmq

from bridge.clock import ClockOffset
from bridge.errors import BadMessage, StaleState
from bridge.keys import ClientKey, present
from bridge.link import HEARTBEAT_MS, check_endpoint, decode_server, decode_update, encode, state_endpoint
from bridge.messages import Ping, Pong, RobotState, StateUpdate
from bridge.ports import Clock

#: A server tells its state every 20 ms: older than this, something is wrong.
MAX_AGE_S = 0.25
#: How often the clocks are compared: drift in between is 0.2 ms at the worst.
_PING_S = 1.0
#: An answer that is taken in late makes the clocks look apart.
_ANSWER_MS = 5


class RobotWatcher:
    """Listens to a RobotServer. Not for use from several threads."""

    def __init__(self, endpoint: str, clock: Clock, key: ClientKey | None = None, timeout_s: float = 2.0) -> None:
        """Connect, and wait for the first state; raises StaleState where none comes, or EndpointRefused."""
        self.endpoint = check_endpoint(endpoint, keyed=key is not None)
        self.offset = ClockOffset()
        self.controller = self.epoch = ""
        self._clock = clock
        self._state: RobotState | None = None
        self._asked_ns = -(1 << 62)
        self._heard_ns: int | None = None
        self._context = zmq.Context()
        self._asker = self._socket(zmq.DEALER, self.endpoint, key)
        self._listener = self._socket(zmq.SUB, state_endpoint(self.endpoint), key)
        deadline_ns = clock.now_ns() + round(timeout_s * 1e9)
        while self._state is None and clock.now_ns() < deadline_ns:
            self._listener.poll(20)
            self._take_in()
        if self._state is None:
            self.close()
            raise StaleState(
                f"no state came from {self.endpoint} within {timeout_s:g} s: see whether the server still runs "
                "(`tandem serve`)" + (" and knows this key" if key is not None else "")
            )

    def _socket(self, kind: int, endpoint: str, key: ClientKey | None) -> zmq.Socket[bytes]:
        socket: zmq.Socket[bytes] = self._context.socket(kind)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_MS)  # who only listens never learns that the other end has gone
        if kind == zmq.SUB:
            socket.setsockopt(zmq.CONFLATE, 1)  # the newest state, and none of those that were missed
            socket.setsockopt(zmq.SUBSCRIBE, b"")
        else:
            socket.setsockopt(zmq.SNDHWM, 2)
        if key is not None:
            present(socket, key)
        socket.connect(endpoint)
        return socket

    def __enter__(self) -> RobotWatcher:
        """Return the watcher, which has heard of the arm."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def read_state(self, max_age_s: float = MAX_AGE_S) -> RobotState:
        """Return the newest state, stamped by our clock, at once; raises StaleState where it is older than that."""
        self._take_in()
        assert self._state is not None
        age_s = (self._clock.now_ns() - self._state.stamp_ns) * 1e-9
        if age_s > max_age_s:
            raise StaleState(
                f"the newest state from {self.endpoint} is {age_s:.2f} s old: the server, or the way, is gone"
            )
        if age_s < -max_age_s:  # it would look fresh for that long
            raise StaleState(f"the newest state from {self.endpoint} is from {-age_s:.2f} s ahead: a clock was stepped")
        return self._state

    def close(self) -> None:
        """Stop listening; calling it twice is harmless."""
        self._context.destroy(0)

    def _take_in(self) -> None:
        self._compare_clocks()
        update: StateUpdate | None = None
        while self._listener.poll(0):
            try:
                update = decode_update(self._listener.recv(zmq.NOBLOCK))
            except BadMessage:  # of another version, or no server of ours: no state comes, and that is told
                return
        if update is not None and self._heard_ns is not None:
            self.controller, self.epoch = update.controller, update.epoch
            stamp_ns = self.offset.to_ours_ns(update.state.stamp_ns)
            self._state = msgspec.structs.replace(update.state, stamp_ns=stamp_ns)

    def _compare_clocks(self) -> None:
        now_ns = self._clock.now_ns()
        if now_ns - self._asked_ns > _PING_S * 1e9:
            self._asked_ns = now_ns
            try:
                self._asker.send(encode(Ping(now_ns)), zmq.NOBLOCK)
            except zmq.Again:  # the server is gone: the state's age will say so
                return
        while self._asker.poll(_ANSWER_MS if self._asked_ns == now_ns else 0):
            try:
                reply = decode_server(self._asker.recv(zmq.NOBLOCK))
            except BadMessage:
                continue
            if isinstance(reply, Pong):
                self._heard_ns = self._clock.now_ns()
                self.offset.add(reply.ping_stamp_ns, reply.received_ns, self._heard_ns)
