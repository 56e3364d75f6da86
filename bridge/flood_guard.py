"""FloodGuard: ends connections that send more than anybody reads, or never end what they say, or are one too many.

libzmq hands a message over when its last part has come, keeps the parts until then, and counts none of them: neither
the longest frame nor the high-water mark bounds a message of parts without end. So bytes are counted where they come
in, at the sockets under libzmq's own, and a connection that is too far ahead of what was read from it is shut down
beneath it: libzmq sees a peer that has gone and frees what it kept.

The high-water mark of such sockets must be none at all: libzmq (4.3.5) stops reading at it, and where a peer goes while
that lasts, the next heartbeat ends the whole process by an assertion.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

#: How far a connection may be ahead: a second of 200 commands, which an arm's own lateness may cost.
MAX_AHEAD_BYTES = 256 << 10
#: The same for all connections together: a client may open many.
MAX_TOTAL_BYTES = 1 << 20
#: Connections that may be open. Each takes a descriptor, of which a process has a thousand by default: without any left
#: it can read neither its keys nor open a port that is plugged in again.
MAX_CONNECTIONS = 64
#: Heartbeats, which are no messages, come to 90 bytes a second with keys.
FREE_BYTES_PER_S = 200.0
#: What CURVE puts around a part, and the heads of a short and of a long frame. Ref: rfc.zeromq.org/spec/26, /spec/23.
_CURVE_BYTES, _SHORT_HEAD_BYTES, _LONG_HEAD_BYTES, _SHORT_BYTES = 33, 2, 9, 255
#: Where Linux tells how many bytes a TCP connection has received. Ref: linux/tcp.h, struct tcp_info (since 4.1).
_BYTES_RECEIVED = struct.Struct("<128xQ")


def bytes_on_the_wire(part_sizes: Iterable[int]) -> int:
    """Return how many bytes a message of parts of these sizes is on a connection with keys."""
    encrypted = [size + _CURVE_BYTES for size in part_sizes]
    return sum(n + (_SHORT_HEAD_BYTES if n <= _SHORT_BYTES else _LONG_HEAD_BYTES) for n in encrypted)


@dataclass(slots=True)
class _Account:
    """What a connection has sent, and how much of that has been read or was free."""

    received: int = 0
    settled: float = 0.0
    #: Whether a whole message has been read from it: who sent that has a key.
    known: bool = False

    @property
    def ahead(self) -> float:
        return self.received - self.settled


class FloodGuard:
    """Keeps an account of every open TCP connection; all from one thread.

    A connection goes by its descriptor and by the `door`, the socket that it came to: what two sockets tell of comes
    in two orders, and a number may belong to one of them before it is known that the other has given it up.
    """

    def __init__(self) -> None:
        self._accounts: dict[tuple[int, int], _Account] = {}
        self._looked_s = time.monotonic()

    def opened(self, descriptor: int, door: int = 0) -> None:
        """Take note of a new connection."""
        self.closed(descriptor, door)  # the order is that of their coming
        self._accounts[door, descriptor] = _Account()

    def closed(self, descriptor: int, door: int = 0) -> None:
        """Take note that one has ended."""
        self._accounts.pop((door, descriptor), None)

    def read(self, descriptor: int, count: int, door: int = 0) -> None:
        """Take note that so many of a connection's bytes have been read, as a whole message."""
        account = self._accounts.get((door, descriptor))
        if account is not None:
            account.settled += count
            account.known = True

    def look(self) -> int:
        """Shut down every connection that has gone too far; return how many those were."""
        now_s = time.monotonic()
        free = FREE_BYTES_PER_S * (now_s - self._looked_s)
        self._looked_s = now_s
        for (door, descriptor), account in list(self._accounts.items()):
            received = _received(descriptor)
            if received is None:
                self.closed(descriptor, door)
                continue
            account.received = received
            account.settled = min(account.settled + free, received)
        ended = 0
        while self._accounts:
            worst = max(self._accounts, key=lambda connection: self._accounts[connection].ahead)
            total = sum(account.ahead for account in self._accounts.values())
            if self._accounts[worst].ahead <= MAX_AHEAD_BYTES and total <= MAX_TOTAL_BYTES:
                break
            self._end([worst])
            ended += 1
        return ended

    def thin_out(self) -> int:
        """Shut down the newest of those that nothing was read from where there are too many; return how many."""
        silent = [connection for connection, account in self._accounts.items() if not account.known]
        too_many = max(len(self._accounts) - MAX_CONNECTIONS, 0)
        return self._end(silent[max(len(silent) - too_many, 0) :])

    def clear(self, door: int) -> None:
        """Shut down all connections of one door."""
        self._end([connection for connection in self._accounts if connection[0] == door])

    def end(self, descriptor: int, door: int = 0) -> None:
        """Shut down one connection; libzmq finds its peer gone."""
        self.closed(descriptor, door)
        connection = _connection(descriptor)
        if connection is not None:
            with connection:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:  # it has ended by itself
                    return

    def _end(self, connections: Sequence[tuple[int, int]]) -> int:
        for door, descriptor in connections:
            self.end(descriptor, door)
        return len(connections)


def _received(descriptor: int) -> int | None:
    connection = _connection(descriptor)
    if connection is None:
        return None
    with connection:
        try:
            told = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_RECEIVED.size)
        except OSError:
            return None
    return int(_BYTES_RECEIVED.unpack(told)[0]) if len(told) == _BYTES_RECEIVED.size else None


def _connection(descriptor: int) -> socket.socket | None:
    """Return the connection under a descriptor of libzmq's, which stays libzmq's; None where it has ended."""
    try:
        copy = os.dup(descriptor)
    except OSError:
        return None
    try:
        return socket.socket(fileno=copy)
    except OSError:  # the number has gone to a file meanwhile
        os.close(copy)
        return None
