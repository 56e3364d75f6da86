"""The workers together: brought up, kept alive, asked all at once, and ended together when one of them fails."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar

import numpy as np

from sim.errors import BadWorlds, SimError, WorkerDied, WorldFailed
from sim.vector_memory import Layout, SharedMemory, plan_layout
from sim.vector_process import WorkerProcess, check_factory, gather
from sim.vector_worker import Attach, Close, Command, Done, Failure, Ready, Reply, WorldFactory

_CLOSING_S = 5.0
_IMPORTABLE = (
    "the worker imports what the factory is made of: put it into a module of its own, my_worlds.py, and import it from "
    "there; what was typed at a prompt or handed to python -c cannot be imported"
)


class Crew:
    """Worker processes that share `memory`, each with its part of the worlds, which all look like `ready`.

    Whatever is raised from here (WorldFailed, WorkerDied, WorkerTimeout, BadWorlds): all processes have been ended.
    """

    MAX_DEATHS: ClassVar[int] = 3

    def __init__(
        self,
        factory: WorldFactory,
        worlds: int,
        workers: int,
        staged: bool,
        start_timeout_s: float,
        answer_timeout_s: float,
    ) -> None:
        if worlds < 1:
            raise BadWorlds(f"worlds must be at least 1, got {worlds}")
        if not 1 <= workers <= worlds:
            raise BadWorlds(f"workers must be 1 to {worlds} (the number of worlds), got {workers}")
        if start_timeout_s <= 0 or answer_timeout_s <= 0:
            raise BadWorlds(f"timeouts must be above 0 s, got {start_timeout_s} and {answer_timeout_s}")
        check_factory(factory)
        self._factory, self._worlds, self._staged = factory, worlds, staged
        self._start_timeout_s, self._answer_timeout_s = start_timeout_s, answer_timeout_s
        self._ready: Ready | None = None
        self._layout: Layout | None = None
        self._descriptor = os.memfd_create("tandem-worlds")
        shares = np.array_split(np.arange(worlds), workers)
        self.workers = [WorkerProcess(k, share.tolist(), self._descriptor) for k, share in enumerate(shares)]
        self.closed = False
        try:
            self._bring_up(self.workers)
        except BaseException:
            self.close(kindly=False)
            raise

    @property
    def ready(self) -> Ready:
        """What the worlds look like."""
        assert self._ready is not None
        return self._ready

    def ask(self, commands: Mapping[WorkerProcess, Command]) -> None:
        """Send each worker its command."""
        for worker, command in commands.items():
            worker.send(command)

    def answers(self, workers: Sequence[WorkerProcess]) -> tuple[dict[WorkerProcess, Done], list[WorkerProcess]]:
        """Return what the workers answered; those that died instead have been started again, without any episode."""
        replies, dead = self._gather(workers, self._answer_timeout_s)
        self._revive(dead)
        return {worker: reply for worker, reply in replies.items() if isinstance(reply, Done)}, dead

    def _revive(self, dead: Iterable[WorkerProcess]) -> None:
        for worker in dead:
            self._bury(worker)
            self._bring_up([worker])

    def _bring_up(self, workers: Sequence[WorkerProcess]) -> None:
        """Start workers, again where one dies, and have them map the memory."""
        pending = list(workers)
        while pending:
            for worker in pending:
                worker.start(self._factory)
            replies, dead = self._gather(pending, self._start_timeout_s)
            for worker, reply in sorted(replies.items(), key=lambda item: item[0].index):
                assert isinstance(reply, Ready)
                self._check(reply, worker)
                worker.send(Attach(self._plan(reply)))
            pending = [*dead, *self._gather(list(replies), self._start_timeout_s)[1]]
            for worker in pending:
                self._bury(worker)

    def _check(self, ready: Ready, worker: WorkerProcess) -> None:
        first = self._ready = self._ready or ready
        spaces, worlds = (ready.observation_space, ready.action_space), f"worlds {list(worker.worlds)}"
        if spaces != (first.observation_space, first.action_space):
            self.close(kindly=False)
            raise BadWorlds(f"{worlds} have other spaces than those before: {spaces}")
        if self._staged and not ready.staged:
            self.close(kindly=False)
            raise BadWorlds(f"a curriculum needs worlds with an attribute `stage`, which {worlds} lack")

    def _plan(self, ready: Ready) -> Layout:
        if self._layout is None:
            self._layout = plan_layout(ready.observation_space, ready.action_space, self._worlds)
            self.memory = SharedMemory(self._descriptor, self._layout)
        return self._layout

    def _bury(self, worker: WorkerProcess) -> None:
        """Count a death; raises WorkerDied when there were too many."""
        how = worker.end()
        worker.deaths += 1
        if worker.deaths >= self.MAX_DEATHS:
            self.close(kindly=False)
            raise WorkerDied(
                f"worker {worker.index} (worlds {list(worker.worlds)}) died {worker.deaths} times in a row before it "
                f"finished a step; the last time it {how}"
            )

    def _gather(
        self, workers: Sequence[WorkerProcess], timeout_s: float
    ) -> tuple[Mapping[WorkerProcess, Reply], list[WorkerProcess]]:
        try:
            replies, dead = gather(workers, timeout_s)
        except SimError:
            self.close(kindly=False)
            raise
        for worker, reply in replies.items():
            if isinstance(reply, Failure):
                self.close(kindly=False)
                where = f"worlds {list(worker.worlds)}" if reply.world is None else f"world {reply.world}"
                gist = reply.traceback.splitlines()[-1]
                hint = f" ({_IMPORTABLE})" if "Can't get attribute" in gist and "main" in gist else ""
                raise WorldFailed(f"{where} failed in worker {worker.index}: {gist}{hint}\n{reply.traceback}")
        return replies, dead

    def close(self, kindly: bool) -> None:
        """End the processes and free the memory; kindly: let them close their worlds first."""
        if self.closed:
            return
        self.closed = True
        if kindly:
            for worker in self.workers:
                worker.send(Close())
        for worker in self.workers:
            worker.end(_CLOSING_S if kindly else 0.0)
        os.close(self._descriptor)
        if self._layout is not None:
            del self.memory
