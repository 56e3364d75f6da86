"""The parent's end of one worker process: start it, talk to it, notice its death, end it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing import spawn
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import ForkingPickler

from sim.errors import BadWorlds, WorkerTimeout
from sim.vector_worker import ENTRY, Build, Command, Prepare, Reply, WorldFactory

#: One core each: a numerics library that starts a thread per core in every worker makes all of them slower.
_ONE_THREAD = {
    name: "1"
    for name in (
        "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "NUMEXPR_NUM_THREADS",
        "NUMBA_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
    )
}  # fmt: skip
_LOOK_EVERY_S = 1.0
#: A process that died closes its socket a moment before it can be waited for.
_LAST_BREATH_S = 1.0


def check_factory(factory: WorldFactory) -> bool:
    """Return whether the factory comes from the main module; raises BadWorlds when it cannot be pickled."""
    try:
        return b"__main__" in bytes(ForkingPickler.dumps(factory))
    except Exception as error:  # pickle raises nearly anything
        raise BadWorlds(
            f"the factory must be picklable (a function of a module, or an instance of a class of one): {error}"
        ) from error


class WorkerProcess:
    """One process with the worlds `worlds`; `deaths` counts how often it died since it last finished a step."""

    def __init__(self, index: int, worlds: Sequence[int], memory: int) -> None:
        self.index, self.worlds, self.deaths = index, tuple(worlds), 0
        self._memory = memory
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None

    @property
    def pid(self) -> int:
        """The process id."""
        assert self._process is not None
        return self._process.pid

    @property
    def connection(self) -> Connection:
        """The socket to it."""
        assert self._connection is not None
        return self._connection

    def start(self, factory: WorldFactory) -> None:
        """Start the process and have it build its worlds; it answers `Ready` when it is done."""
        ours, theirs = socket.socketpair()
        # The kernel watches the thread that started a child, not its process; only the main thread surely stays.
        in_main = threading.current_thread() is threading.main_thread()
        words = (theirs.fileno(), self._memory, os.getpid() if in_main else 0)
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", ENTRY, *map(str, words)],
            stdin=subprocess.DEVNULL,
            env={**os.environ, **_ONE_THREAD, "PYTHONPATH": path},
            pass_fds=words[:2],
            # Ctrl-C reaches every process of the terminal's group; but the parent decides when its workers end.
            start_new_session=True,
        )
        theirs.close()
        self._connection = Connection(ours.detach())
        if check_factory(factory):
            data = spawn.get_preparation_data(f"worker-{self.index}")
            self.send(Prepare({key: value for key, value in data.items() if key.startswith("init_main_from_")}))
        self.send(Build(factory, self.worlds))

    def send(self, command: Command) -> None:
        """Send a command; that the process is gone shows when its reply is awaited."""
        if self._connection is not None:
            with suppress(ConnectionError):
                self._connection.send(command)

    def died(self) -> bool:
        """Return whether the process has ended."""
        return self._process is None or self._process.poll() is not None

    def end(self, patience_s: float = _LAST_BREATH_S) -> str:
        """End the process, killing it where it has not ended by itself after `patience_s`; return how it went."""
        if self._process is None or self._connection is None:
            return "was not running"
        try:
            status = self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        self._connection.close()
        self._process = self._connection = None
        return f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with exit code {status}"


def gather(
    workers: Sequence[WorkerProcess], timeout_s: float
) -> tuple[Mapping[WorkerProcess, Reply], list[WorkerProcess]]:
    """Return the reply of every worker, and the workers that died instead; raises WorkerTimeout."""
    replies: dict[WorkerProcess, Reply] = {}
    dead: list[WorkerProcess] = []
    waiting: dict[object, WorkerProcess] = {worker.connection: worker for worker in workers}
    deadline_s = time.monotonic() + timeout_s
    while waiting:
        ready = wait([worker.connection for worker in waiting.values()], _LOOK_EVERY_S)
        for connection in ready:
            worker = waiting.pop(connection)
            try:
                replies[worker] = worker.connection.recv()
            except (EOFError, OSError):
                dead.append(worker)
        if not ready:
            # A grandchild may hold a dead worker's end of the socket open.
            gone = [worker for worker in waiting.values() if worker.died()]
            dead += gone
            waiting = {worker.connection: worker for worker in waiting.values() if worker not in gone}
        if waiting and time.monotonic() > deadline_s:
            late = ", ".join(f"worker {w.index} (worlds {list(w.worlds)})" for w in waiting.values())
            raise WorkerTimeout(f"no answer within {timeout_s:g} s from {late}")
    return replies, sorted(dead, key=lambda worker: worker.index)
