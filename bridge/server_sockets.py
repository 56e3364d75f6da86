"""The sockets of a RobotServer: who may connect, what has come, and what goes out without ever waiting."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import zmq

from bridge.errors import BadMessage, EndpointRefused
from bridge.keys import KeyRing
from bridge.link import (
    HEARTBEAT_MS,
    MAX_MESSAGE_BYTES,
    check_endpoint,
    check_unserved,
    decode_client,
    encode,
    remove_socket,
    state_endpoint,
)
from bridge.messages import ClientMessage, ServerMessage, StateUpdate

if TYPE_CHECKING:
    from bridge.doorkeeper import Doorkeeper

_TRIES = 8
#: A message of so many parts is answered with what is wrong with it; one of more is no mistake.
_ANSWERED_PARTS = 8


class Received(NamedTuple):
    """A message, the connection that it came by, and the public key behind that (none without keys)."""

    peer: bytes
    owner: str
    message: ClientMessage | BadMessage


class ServerSockets:
    """ROUTER for commands and answers, PUB for the state, both behind the keys of a ring if there is one."""

    def __init__(self, endpoint: str, ring: KeyRing | None, tell: Callable[[str], None]) -> None:
        """Bind at once; raises EndpointRefused or KeyRefused."""
        address = check_endpoint(endpoint, keyed=ring is not None)
        check_unserved(address)
        self._context = zmq.Context()
        self._doors: Doorkeeper | None = None
        self._served: list[str] = []
        try:
            if ring is not None:
                from bridge.doorkeeper import Doorkeeper  # its authenticator costs 10 MB that keyless servers need not

                self._doors = Doorkeeper(self._context, ring, tell)
            self._router, self._publisher = self._pair(address)
            self.endpoint = self._router.getsockopt_string(zmq.LAST_ENDPOINT)
        except BaseException:
            self.close()
            raise

    def _pair(self, address: str) -> tuple[zmq.Socket[bytes], zmq.Socket[bytes]]:
        """Bind both sockets; where any port will do, one whose neighbour above is free as well."""
        for last in (*[False] * _TRIES, True):
            router = self._bound(zmq.ROUTER, address)
            try:
                return router, self._bound(zmq.PUB, state_endpoint(router.getsockopt_string(zmq.LAST_ENDPOINT)))
            except EndpointRefused:
                router.close(0)
                if last or not address.endswith(":*"):
                    raise
        raise AssertionError("the last try returns or raises")

    def _bound(self, kind: int, address: str) -> zmq.Socket[bytes]:
        # A slow listener gets the newest state and none of those that it missed.
        keep = (zmq.CONFLATE, 1) if kind == zmq.PUB else (zmq.SNDHWM, 64)
        # What waits to be read from clients with keys is the flood guard's to bound.
        take = () if self._doors is None else ((zmq.RCVHWM, 0),)
        options = ((zmq.MAXMSGSIZE, 2 * MAX_MESSAGE_BYTES), keep, *take)
        socket = bind(self._context, kind, address, options, self._doors)
        self._served.append(address)
        return socket

    @property
    def strangers(self) -> int:
        """How many connections were refused for want of a key."""
        return self._doors.refused if self._doors is not None else 0

    def wait(self, timeout_ms: int) -> bool:
        """Return whether a message has come, within the time."""
        return bool(self._router.poll(timeout_ms))

    def receive(self, most: int) -> list[Received]:
        """Return what has come, in order; of what no client sends, and its sender, no more than that it came."""
        found: list[Received] = []
        while len(found) < most:
            try:
                frames = self._router.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                break
            owner = ""
            if self._doors is not None:
                owner = str(frames[-1].get("User-Id"))
                self._doors.read(frames)
                if len(frames) > 1 + _ANSWERED_PARTS:
                    self._doors.cut_off(frames[-1])
                    most = 0  # it took long to read: let the watchdog look first
            found.append(Received(frames[0].bytes, owner, _decoded(frames[1:])))
        return found

    def still_allows(self, owner: str) -> bool:
        """Return whether a connection that was let in may still speak."""
        return self._doors is None or self._doors.still_allows(owner)

    def name(self, owner: str) -> str:
        """Return who a public key belongs to; empty without keys."""
        return self._doors.name(owner) if self._doors is not None else ""

    def reply(self, peer: bytes, message: ServerMessage) -> None:
        """Send an answer, or drop it: a peer that has gone or does not read asks again or is dead."""
        try:
            self._router.send_multipart([peer, encode(message)], zmq.NOBLOCK)
        except zmq.ZMQError:  # neither is our wait
            return

    def publish(self, update: StateUpdate) -> None:
        """Tell the state to all who listen."""
        self._publisher.send(encode(update))
        if self._doors is not None:
            self._doors.look()
            self._doors.end_floods()

    def close(self) -> None:
        """Close everything; calling it twice is harmless."""
        while self._served:
            remove_socket(self._served.pop())
        if self._doors is not None:
            self._doors.close()
            self._doors = None
        self._context.destroy(0)


def bind(
    context: zmq.Context[zmq.Socket[bytes]],
    kind: int,
    address: str,
    options: Iterable[tuple[int, int]],
    doors: Doorkeeper | None,
) -> zmq.Socket[bytes]:
    """Return a socket that is served at a checked address, to its user or behind the doors; raises EndpointRefused."""
    socket: zmq.Socket[bytes] = context.socket(kind)
    for option, value in ((zmq.LINGER, 0), (zmq.HEARTBEAT_IVL, HEARTBEAT_MS), *options):
        socket.setsockopt(option, value)
    if doors is not None:
        doors.guard(socket)
    try:
        socket.bind(address)
    except zmq.ZMQError as error:
        socket.close(0)
        raise EndpointRefused(
            f"cannot serve on {address}: {error}; end whoever serves there, or choose another endpoint"
        ) from error
    path = address.removeprefix("ipc://")
    if path != address and not path.startswith("@"):
        os.chmod(path, 0o600)  # whoever may open this file may move the arm, or see what its camera sees
    return socket


def _decoded(frames: Sequence[zmq.Frame]) -> ClientMessage | BadMessage:
    if len(frames) != 1:
        return BadMessage(f"{len(frames)} frames: every message is one frame")
    try:
        return decode_client(frames[0].bytes)
    except BadMessage as error:
        return BadMessage(str(error))  # the other's traceback would keep the bytes until it is answered
