"""Bad networks: a wire that can be cut or held back, and a post office that delays, repeats, reorders and loses."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import selectors
import socket
import threading
import time
from types import TracebackType

import numpy as np
import zmq


class Wire:
    """A TCP proxy on loopback. It understands nothing: it passes bytes on, late or not at all.

    While `cut`, nothing passes and no connection ends: what was written waits, as it does in a kernel whose cable is
    out. `delay_s` is added to each direction; bytes stay in order, as TCP keeps them.
    """

    def __init__(self, to_port: int, port: int = 0) -> None:
        self._cut, self._turn = False, threading.Lock()
        self.delay_s = [0.0, 0.0]  # towards the server, and back
        self.ended_by_server = 0
        self._to_port = to_port
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port: int = self._listener.getsockname()[1]
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._others: dict[socket.socket, tuple[socket.socket, int]] = {}
        self._late: list[tuple[float, int, socket.socket, bytes]] = []
        self._mute: list[socket.socket] = []
        self._numbers = itertools.count()
        self._ending = False
        self._thread = threading.Thread(target=self._pass_on, daemon=True)
        self._thread.start()

    def __enter__(self) -> Wire:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending = True
        self._thread.join(timeout=5.0)
        for end in (self._listener, *self._others, *self._mute):
            end.close()

    @property
    def cut(self) -> bool:
        """Whether nothing passes."""
        return self._cut

    @cut.setter
    def cut(self, cut: bool) -> None:
        with self._turn:  # nothing passes from here on: not even what was being passed
            self._cut = cut

    def forget(self) -> None:
        """While cut: the far machine is gone, with all it knew. Nobody tells the near end: it stays open, mute."""
        assert self.cut
        self._late.clear()
        for end, (_, way) in list(self._others.items()):
            self._selector.unregister(end)
            if way == 1:
                self._mute.append(self._others.pop(end)[0])
                end.close()
        self._others.clear()

    def _pass_on(self) -> None:
        while not self._ending:
            self._selector.select(0.001)
            if self._cut:
                time.sleep(0.001)
                continue
            with self._turn:
                if not self._cut:
                    self._pass_what_is_ready()

    def _pass_what_is_ready(self) -> None:
        for key, _ in self._selector.select(0):
            if key.fileobj is self._listener:
                self._accept()
            elif isinstance(key.fileobj, socket.socket):
                self._take(key.fileobj)
        while self._late and self._late[0][0] <= time.monotonic():
            _, _, end, data = heapq.heappop(self._late)
            with contextlib.suppress(OSError):
                end.sendall(data)

    def _accept(self) -> None:
        near, _ = self._listener.accept()
        try:
            far = socket.create_connection(("127.0.0.1", self._to_port), 1.0)
        except OSError:  # nobody serves there now
            near.close()
            return
        for end, other, way in ((near, far, 0), (far, near, 1)):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._others[end] = (other, way)
            self._selector.register(end, selectors.EVENT_READ)

    def _take(self, end: socket.socket) -> None:
        if end not in self._others:
            return
        other, way = self._others[end]
        try:
            data = end.recv(65536)
        except OSError:
            data = b""
        if data:
            heapq.heappush(self._late, (time.monotonic() + self.delay_s[way], next(self._numbers), other, data))
            return
        self.ended_by_server += way
        for gone in (end, other):
            self._others.pop(gone, None)
            self._selector.unregister(gone)
            gone.close()


class PostOffice:
    """A ZeroMQ proxy: takes single messages from its one client, delivers each never, once or several times, late.

    Answers come back at once and in order: the ways of the commands are what is tried.
    """

    def __init__(self, server: str, rng: np.random.Generator, delay_s: float, lost: float, repeated: float) -> None:
        self.delay_s = delay_s
        self._rng, self._lost, self._repeated = rng, lost, repeated
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._near, self._far = self._context.socket(zmq.ROUTER), self._context.socket(zmq.DEALER)
        for end in (self._near, self._far):
            end.setsockopt(zmq.LINGER, 0)
        port = self._near.bind_to_random_port("tcp://127.0.0.1")
        self.endpoint = f"tcp://127.0.0.1:{port}"
        self._far.connect(server)
        self._ending = False
        self._thread = threading.Thread(target=self._deliver, daemon=True)
        self._thread.start()

    def __enter__(self) -> PostOffice:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending = True
        self._thread.join(timeout=5.0)
        self._context.destroy(0)

    def _deliver(self) -> None:
        waiting: list[tuple[float, int, bytes]] = []
        numbers, client = itertools.count(), b""
        while not self._ending:
            if self._near.poll(1):
                client, data = self._near.recv_multipart()
                copies = 0 if self._rng.random() < self._lost else 1 + int(self._rng.random() < self._repeated)
                for _ in range(copies):
                    due_s = time.monotonic() + float(self._rng.random()) * self.delay_s
                    heapq.heappush(waiting, (due_s, next(numbers), data))
            while waiting and waiting[0][0] <= time.monotonic():
                self._far.send(heapq.heappop(waiting)[2])
            while self._far.poll(0):
                self._near.send_multipart([client, self._far.recv()])
