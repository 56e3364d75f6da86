"""Doorkeeper: which connections a server lets in, and whether those that it let in still may speak.

libzmq asks it at every handshake (ZAP), in a thread of its own: a stranger who knocks costs the control loop nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import zmq
from zmq.auth.thread import ThreadAuthenticator
from zmq.utils.monitor import parse_monitor_message

from bridge.flood_guard import FloodGuard, bytes_on_the_wire
from bridge.keys import KeyRing

_DOMAIN, _UNKNOWN_KEY = "tandem", "unknown key"
#: How long a revoked client may go on at most.
RECHECK_S = 0.5
TELL_AGAIN_S = 10.0
#: Who knocks shows a key within so long. libzmq waits half a minute.
HANDSHAKE_MS = 3000
_FAILURES = zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL


class Doorkeeper:
    """Guards the sockets of one context with the keys of one ring."""

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], ring: KeyRing, on_refused: Callable[[str], None]
    ) -> None:
        """Start before any socket binds; raises KeyRefused where the server has no key."""
        self.refused = 0
        self._floods = FloodGuard()
        self._ring, self._on_refused = ring, on_refused
        self._server = ring.server()
        self._allowed = ring.allowed()
        self._admitted: set[str] = set()
        self._checked_s = time.monotonic()
        self._told_s: dict[str, float] = {}
        self._monitors: list[zmq.Socket[bytes]] = []
        self._listening: set[int] = set()  # which of those tell of peers that only listen
        self._authenticator = ThreadAuthenticator(context)
        self._authenticator.start()
        self._authenticator.configure_curve_callback(_DOMAIN, self)

    def guard(self, socket: zmq.Socket[bytes]) -> None:
        """Let nobody without a key into this socket; before it binds."""
        events = _FAILURES | zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED
        self._listening |= {len(self._monitors)} if socket.getsockopt(zmq.TYPE) == zmq.PUB else set()
        self._monitors.append(socket.get_monitor_socket(events))
        socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
        socket.setsockopt(zmq.CURVE_SERVER, 1)
        socket.setsockopt_string(zmq.CURVE_SECRETKEY, self._server.secret)
        socket.setsockopt_string(zmq.ZAP_DOMAIN, _DOMAIN)

    def callback(self, domain: str, key: bytes) -> bool:
        """Say whether a client's public key (Z85) is let in: what ZAP asks."""
        public = key.decode("ascii", "replace")
        if public in self._newly_read():
            self._admitted.add(public)
            return True
        # One kind of refusal, whichever key it was: a stranger can have a new one for every knock.
        self._refuse(
            f"a client with the key {public[:8]}... was refused: it is not, or no longer, let in", _UNKNOWN_KEY
        )
        return False

    def look(self) -> None:
        """Count those that knocked without any key, or with another server's: ZAP does not hear of them.

        Ends connections that are too many, and those that listen where a key was revoked: who still has one comes again
        by himself.
        """
        for door, monitor in enumerate(self._monitors):
            while monitor.poll(0):
                told = parse_monitor_message(monitor.recv_multipart())
                if told["event"] == zmq.EVENT_ACCEPTED:
                    self._floods.opened(told["value"], door)
                elif told["event"] == zmq.EVENT_DISCONNECTED:
                    self._floods.closed(told["value"], door)
                else:
                    self._refuse("a client without a key, or with another server's, was refused")
        for _ in range(self._floods.thin_out()):
            self._refuse("a connection was ended: there are too many, and it had said nothing yet")
        self._read_again()

    def _read_again(self) -> None:
        """Read the list of those that are let in, twice a second."""
        now_s = time.monotonic()
        if now_s - self._checked_s <= RECHECK_S:
            return
        self._checked_s = now_s
        revoked = self._admitted.difference(self._newly_read())
        if revoked:
            self._admitted -= revoked
            for door in self._listening:
                self._floods.clear(door)

    def _newly_read(self) -> dict[str, str]:
        """Return who is let in now, by public key; who was before, where the list cannot be read."""
        with suppress(OSError):
            self._allowed = self._ring.allowed()
        return self._allowed

    def read(self, frames: Sequence[zmq.Frame]) -> None:
        """Take note that a whole message has been read: whom it came by, and the parts that it was sent in."""
        _, *parts = frames
        self._floods.read(int(parts[-1].get(zmq.SRCFD)), bytes_on_the_wire(len(part) for part in parts))

    def cut_off(self, frame: zmq.Frame) -> None:
        """End the connection of this frame, which brought what no client of this server sends."""
        self._floods.end(int(frame.get(zmq.SRCFD)))
        self._refuse("a client that has a key was cut off: it sent a message of many parts")

    def end_floods(self) -> None:
        """End the connections that send more than is read; only for sockets whose every message is told by `read`."""
        for _ in range(self._floods.look()):
            self._refuse("a client was cut off: it sent more than can be read, or a message without end")

    def _refuse(self, why: str, kind: str = "") -> None:
        """Count a refusal; tell of the same kind every ten seconds at most: who is refused knocks again and again."""
        self.refused += 1
        now_s, kind = time.monotonic(), kind or why
        if now_s - self._told_s.get(kind, -TELL_AGAIN_S) >= TELL_AGAIN_S:
            self._told_s[kind] = now_s
            self._on_refused(why)

    def still_allows(self, public: str) -> bool:
        """Return whether a connection that was let in may still speak; `look` reads the list again twice a second."""
        return public in self._allowed

    def name(self, public: str) -> str:
        """Return who a public key belongs to."""
        return self._allowed.get(public, f"{public[:8]}...")

    def close(self) -> None:
        """Stop answering; before the context ends."""
        for monitor in self._monitors:
            monitor.close(0)
        self._authenticator.stop()
