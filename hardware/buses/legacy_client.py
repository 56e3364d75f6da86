"""LegacyClient: sends poses to an old Dofbot program's server, in its 24-byte stream. No replies, no read-back."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Sequence

from bridge.ports import Clock
from hardware.buses.legacy_frames import PORT, encode
from hardware.errors import BusLost
from urdf.pose import Array

#: The kernel doubles it: a few dozen frames at most wait for a server that does not read.
_SEND_BUFFER_BYTES = 1024


class LegacyClient:
    """Sends each pose at most once. A frame that could not go out whole ends the connection and is never repeated.

    After a loss `send` connects again by itself, at most every `retry_s`; in between it fails at once.
    """

    def __init__(self, host: str, clock: Clock, port: int = PORT, timeout_s: float = 0.5, retry_s: float = 1.0) -> None:
        """Connect to nothing yet. `timeout_s` bounds connecting, and sending."""
        self.frames_sent = 0
        self.connections = 0
        self._peer = (host, port)
        self._clock = clock
        self._timeout_s, self._retry_ns = timeout_s, round(retry_s * 1e9)
        self._socket: socket.socket | None = None
        self._retry_at_ns: int | None = None

    def __enter__(self) -> LegacyClient:
        """Return the client."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def send(self, position_rad: Sequence[float] | Array) -> None:
        """Send a pose (6,) [rad]; raises BadCommand where the stream cannot carry it, BusLost where nobody takes it.

        That the bytes have gone says nothing of the arm: this stream has no answers.
        """
        frame = encode(position_rad)
        connection = self._connected()
        try:
            if _has_gone(connection):
                raise ConnectionResetError("the server has closed the connection")
            connection.settimeout(self._timeout_s)
            connection.sendall(frame)
        except OSError as error:
            self.close()
            self._retry_at_ns = self._clock.now_ns() + self._retry_ns
            raise self._lost(error) from error
        self.frames_sent += 1

    def close(self) -> None:
        """Hang up; calling it twice is harmless, and `send` connects again."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _connected(self) -> socket.socket:
        if self._socket is not None:
            return self._socket
        now_ns = self._clock.now_ns()
        if self._retry_at_ns is not None and now_ns < self._retry_at_ns:
            raise self._lost(f"tried again in {(self._retry_at_ns - now_ns) * 1e-9:.1f} s")
        try:
            self._socket = socket.create_connection(self._peer, self._timeout_s)
        except OSError as error:
            self._retry_at_ns = self._clock.now_ns() + self._retry_ns
            raise self._lost(error) from error
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        self._retry_at_ns = None
        self.connections += 1
        return self._socket

    def _lost(self, why: object) -> BusLost:
        host, port = self._peer
        return BusLost(
            f"{host}:{port} takes no legacy stream: {why}. Is its program running, and has it no other client?"
        )


def _has_gone(connection: socket.socket) -> bool:
    """Return whether the peer has hung up: the first write after that would still succeed, and be lost."""
    connection.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        return connection.recv(64) == b""
    return False
