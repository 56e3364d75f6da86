"""The bridge inside one process: server, gate, watchdog and messages are the real ones, only the sockets are not."""

from __future__ import annotations

from collections import deque
from typing import cast

import zmq

from bridge.errors import BadMessage
from bridge.keys import ClientKey
from bridge.link import decode_client, encode
from bridge.messages import ServerMessage, StateUpdate
from bridge.ports import Clock
from bridge.remote import RemoteRobot
from bridge.server import RobotServer
from bridge.server_sockets import Received, ServerSockets
from urdf.description import ArmDescription

_NOWHERE = "ipc:///quick-lab"
_PEER = b"quick"


class DirectSockets(ServerSockets):
    """What a server hears and says, as bytes in two queues."""

    def __init__(self) -> None:
        self.endpoint = _NOWHERE
        self.asked: deque[bytes] = deque()
        self.answered: deque[bytes] = deque()

    @property
    def strangers(self) -> int:
        """Nobody is turned away."""
        return 0

    def wait(self, timeout_ms: int) -> bool:
        """Return whether a message is there."""
        return bool(self.asked)

    def receive(self, most: int) -> list[Received]:
        """Return what has come, in order."""
        found: list[Received] = []
        while self.asked and len(found) < most:
            try:
                message = decode_client(self.asked.popleft())
            except BadMessage as error:
                message = error
            found.append(Received(_PEER, "", message))
        return found

    def still_allows(self, owner: str) -> bool:
        """Whoever is in this process may speak."""
        return True

    def name(self, owner: str) -> str:
        """Return nothing: there are no keys."""
        return ""

    def reply(self, peer: bytes, message: ServerMessage) -> None:
        """Answer."""
        self.answered.append(encode(message))

    def publish(self, update: StateUpdate) -> None:
        """Nobody listens."""

    def close(self) -> None:
        """Forget what is queued."""
        self.asked.clear()
        self.answered.clear()


class _DirectSocket:
    """The client's end: waiting for an answer has the server look at once, and takes no time."""

    def __init__(self, server: RobotServer, sockets: DirectSockets) -> None:
        self._server, self._sockets = server, sockets

    def connect(self, endpoint: str) -> None:
        """There is nothing to connect."""

    def send(self, data: bytes) -> None:
        self._sockets.asked.append(data)

    def poll(self, timeout_ms: int) -> bool:
        if not self._sockets.answered:
            self._server.turn(0)
        return bool(self._sockets.answered)

    def recv(self, flags: int = 0) -> bytes:
        return self._sockets.answered.popleft()

    def close(self, linger: int | None = None) -> None:
        self._sockets.close()


class DirectRobot(RemoteRobot):
    """A RemoteRobot whose server is in this process."""

    def __init__(self, server: RobotServer, sockets: DirectSockets, description: ArmDescription, clock: Clock) -> None:
        self._direct = _DirectSocket(server, sockets)
        super().__init__(_NOWHERE, description, clock)

    def _sockets(self, key: ClientKey | None) -> tuple[zmq.Context[zmq.Socket[bytes]], zmq.Socket[bytes]]:
        return zmq.Context(), cast(zmq.Socket[bytes], self._direct)
