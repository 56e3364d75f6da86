"""The process that simulates: several worlds, stepped one after the other at the parent's command.

It is started with `python -c ENTRY`, not forked, so it loads what the worlds need and nothing of the parent's.
Commands and replies go through a socket, one reply to each command; arrays lie in shared memory.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import spawn
from multiprocessing.connection import Connection

import gymnasium
import numpy as np

from sim.curriculum import Stage
from sim.vector_memory import Layout, SharedMemory, Space

World = gymnasium.Env[object, object]
#: Builds the world with the given index. It is pickled: a module's function, or an instance of a module's class.
WorldFactory = Callable[[int], gymnasium.Env]
Info = dict[str, object]

ENTRY = "from sim.vector_worker import main; main()"
_PR_SET_PDEATHSIG = 1


# Commands ------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Prepare:
    """Import the parent's main module under another name: the factory comes from there."""

    main: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Build:
    """Build the worlds with these indices. Reply: Ready."""

    factory: WorldFactory
    worlds: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Attach:
    """Map the shared memory. Reply: Done."""

    layout: Layout


@dataclass(frozen=True, slots=True)
class Reset:
    """Begin new episodes in these worlds, at this stage when there is one. Reply: Done, with the infos."""

    seeds: Mapping[int, int]
    stage: Stage | None
    options: Info | None


@dataclass(frozen=True, slots=True)
class Step:
    """Step every world. One whose episode ends begins another with its seed, where there is one. Reply: Done."""

    next_seeds: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Close:
    """Close the worlds and end. No reply."""


Command = Prepare | Build | Attach | Reset | Step | Close


# Replies -------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Ready:
    """What the worlds look like; `staged` when all of them have a `stage` to set."""

    observation_space: Space
    action_space: Space
    metadata: Mapping[str, object]
    render_mode: str | None
    staged: bool


@dataclass(frozen=True, slots=True)
class Done:
    """It is done. `infos` of resets and steps that said something, `final_infos` of episodes that ended, by world."""

    infos: Mapping[int, Info]
    final_infos: Mapping[int, Info]


@dataclass(frozen=True, slots=True)
class Failure:
    """An error in a world, or while it was built."""

    world: int | None
    traceback: str


Reply = Ready | Done | Failure
_DONE = Done({}, {})


class _Worker:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._worlds: dict[int, World] = {}
        self._memory: SharedMemory | None = None
        self.at_work: int | None = None

    def answer(self, command: Command) -> Reply | None:
        """Do what was commanded; `at_work` tells in which world."""
        self.at_work = None
        match command:
            case Prepare():
                spawn.prepare(dict(command.main))
                return None
            case Build():
                return self._build(command)
            case Attach():
                self._memory = SharedMemory(self._descriptor, command.layout)
                return _DONE
            case Reset():
                return self._reset(command)
            case Step():
                return self._step(command)
            case Close():
                for world in self._worlds.values():
                    world.close()
                return None

    def _build(self, command: Build) -> Ready:
        for index in command.worlds:
            self.at_work = index
            self._worlds[index] = command.factory(index)
        first = self._worlds[command.worlds[0]]
        for index, world in self._worlds.items():
            self.at_work = index
            if (world.observation_space, world.action_space) != (first.observation_space, first.action_space):
                raise ValueError(f"its spaces differ from those of world {command.worlds[0]}")
        staged = all(hasattr(world.unwrapped, "stage") for world in self._worlds.values())
        return Ready(first.observation_space, first.action_space, dict(first.metadata), first.render_mode, staged)

    def _reset(self, command: Reset) -> Done:
        infos: dict[int, Info] = {}
        for index, seed in command.seeds.items():
            if command.stage is not None:
                setattr(self._worlds[index].unwrapped, "stage", command.stage)  # noqa: B010  worlds declare it themselves
            infos[index] = self._begin(index, seed, command.options)
        return Done(infos, {})

    def _begin(self, index: int, seed: int, options: Info | None = None) -> Info:
        assert self._memory is not None
        self.at_work = index
        observation, info = self._worlds[index].reset(seed=seed, options=options)
        self._memory.observations.write(index, observation)
        return info

    def _step(self, command: Step) -> Done:
        memory = self._memory
        assert memory is not None
        infos: dict[int, Info] = {}
        final_infos: dict[int, Info] = {}
        for index, world in self._worlds.items():
            self.at_work = index
            action = memory.actions[index]
            # A copy: what a world keeps of an action must not change under its hands.
            observation, reward, terminated, truncated, info = world.step(np.array(action) if action.ndim else action)
            memory.rewards[index] = reward
            memory.terminated[index], memory.truncated[index] = terminated, truncated
            if not (terminated or truncated):
                memory.observations.write(index, observation)
            else:
                memory.final_observations.write(index, observation)
                final_infos[index] = info
                info = self._begin(index, command.next_seeds[index]) if index in command.next_seeds else {}
            if info:
                infos[index] = info
        return Done(infos, final_infos) if infos or final_infos else _DONE


def _serve(connection: Connection, descriptor: int) -> None:
    """Answer commands until told to close, or until the parent is gone."""
    worker = _Worker(descriptor)
    while True:
        try:
            command: Command = connection.recv()
        except (EOFError, ConnectionError):
            return
        except Exception:  # whatever the module of the factory raises when it is imported here
            connection.send(Failure(None, traceback.format_exc()))
            continue
        try:
            reply = worker.answer(command)
            if isinstance(command, Close):
                return
            if reply is not None:
                connection.send(reply)
        except Exception:  # whatever a world raises is the parent's to hear; so is an info that cannot be pickled
            connection.send(Failure(worker.at_work, traceback.format_exc()))


def _die_with(parent_pid: int) -> None:
    """Have the kernel end this process when its parent ends. Ref: Linux prctl(2), PR_SET_PDEATHSIG."""
    if ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) != 0 or os.getppid() != parent_pid:
        sys.exit(1)


def main() -> None:
    """Serve the parent; argv: socket, shared memory, and the parent's process id or 0 where its end is not watched."""
    socket, descriptor, parent_pid = (int(word) for word in sys.argv[1:4])
    # A service manager's SIGTERM reaches the whole group, but the parent decides when its workers end.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if parent_pid:
        _die_with(parent_pid)
    with Connection(socket) as connection, suppress(ConnectionError):  # the parent may be gone at any time
        _serve(connection, descriptor)
