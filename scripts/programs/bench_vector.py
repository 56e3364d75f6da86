"""What several worker processes bring, and what each of them costs: `sim.vector` against itself with one worker."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import gymnasium
import numpy as np

from scripts.programs.figures import Row, at_least, at_most
from sim.vector import SharedVectorEnv
from sim.vector_worker import WorldFactory

SCALING_BAR = 1.8
WORKER_MIB_BAR = 400.0
#: Worlds of one worker out of two; the one worker that those are held against has the worlds of both. A step that takes
#: long in one world is waited for by all the others: with several in each worker that evens out.
WORLDS_EACH = 8
#: Worlds of the worker whose memory is promised.
WORLDS_HELD = 4
_SEED = 2026
#: Measured in turns, so that whatever else the machine does meets both alike.
_TURNS = 6
_TURN_S = 2.0


@dataclass(frozen=True, slots=True)
class GraspWorlds:
    """Builds the Dofbot's grasp with the state as its observation."""

    def __call__(self, index: int) -> gymnasium.Env:
        """Return a new environment."""
        return gymnasium.make("Tandem/Dofbot-Grasp-v0", disable_env_checker=True)


def measure(on_progress: Callable[[str, float], None]) -> list[Row]:
    """Return the rows for the grasp from state."""
    return rows_of("grasp state", GraspWorlds(), on_progress)


def rows_of(
    label: str, factory: WorldFactory, on_progress: Callable[[str, float], None], turn_s: float = _TURN_S
) -> list[Row]:
    """Return scaling and memory of the worlds that `factory` builds; a figure begins with `label`."""
    worlds = 2 * WORLDS_EACH
    with closing(SharedVectorEnv(factory, worlds, 1)) as one, closing(SharedVectorEnv(factory, worlds, 2)) as two:
        stepper_one, stepper_two = Stepper(one), Stepper(two)
        ratios: list[float] = []
        rates: list[tuple[float, float]] = []
        for turn in range(_TURNS):
            rate_one, rate_two = stepper_one.rate(turn_s), stepper_two.rate(turn_s)
            ratios.append(rate_two / rate_one)
            rates.append((rate_one, rate_two))
            on_progress(f"{label} workers", (turn + 1) / _TURNS)
    with closing(SharedVectorEnv(factory, WORLDS_HELD, 1)) as held:
        Stepper(held).rate(turn_s)
        memory_mib = resident_mib(held.worker_pids[0])
    slow, fast = (statistics.median(column) for column in zip(*rates, strict=True))
    return [
        at_least(
            f"{label} two workers / one worker", statistics.median(ratios), "", SCALING_BAR,
            f"{worlds} worlds, {fast:.0f} / {slow:.0f} env steps/s, median of {_TURNS} turns",
        ),
        at_most(
            f"{label} worker memory", memory_mib, "MiB", WORKER_MIB_BAR, f"resident, {WORLDS_HELD} worlds in it"
        ),
    ]  # fmt: skip


class Stepper:
    """Steps worlds with random actions and times them."""

    def __init__(self, worlds: SharedVectorEnv) -> None:
        self._worlds = worlds
        worlds.reset(seed=_SEED)
        worlds.action_space.seed(_SEED)

    def rate(self, seconds: float) -> float:
        """Return the environment steps per second over so long a time, the resets on the way included."""
        start_s, steps = time.monotonic(), 0
        while time.monotonic() - start_s < seconds:
            self._worlds.step(np.asarray(self._worlds.action_space.sample()))
            steps += 1
        return steps * self._worlds.num_envs / (time.monotonic() - start_s)


def resident_mib(pid: int) -> float:
    """Return the resident memory of a process, what it shares with others included."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise ProcessLookupError(f"process {pid} has no resident memory: it has ended")
