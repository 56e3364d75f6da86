"""How fast the simulator is: every row is a ratio of two things that were measured in turn in the same process."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

import gymnasium
import numpy as np
from numpy.typing import NDArray

from bridge.observation import CameraView, ImageKind, ObservationSpec
from bridge.ports import Policy
from policies.scripted import scripted_policy
from scripts.programs import bench_depth, bench_vector
from scripts.programs.figures import Row, at_least, at_most
from sim.env import ArmEnv
from sim.observer import Observation
from sim.sim_camera import DepthEngine
from sim.world import ArmWorld

_SEED = 2026
_EPISODES = 12
_TURNS = 5
_RESETS = 40
WRIST_DEPTH = ObservationSpec(state=True, views=(CameraView("wrist", ImageKind.DEPTH),))


class TimedWorld:
    """Counts the time that a world spends in bare `stepSimulation`, its contacts and solver settings included."""

    def __init__(self, world: ArmWorld) -> None:
        self.spent_s = 0.0
        self._step = world.step
        world.step = self.step  # pyright: ignore[reportAttributeAccessIssue]

    def step(self, count: int = 1) -> None:
        """Step as the world does, with a watch in hand."""
        started = time.perf_counter()
        self._step(count)
        self.spent_s += time.perf_counter() - started


@dataclass(slots=True)
class Played:
    """What some episodes took, resets aside."""

    periods: int = 0
    steps: int = 0
    spent_s: float = 0.0


def _state(observation: Observation) -> NDArray[np.float32]:
    part = observation["state"] if isinstance(observation, dict) else observation
    return part.astype(np.float32, copy=False)


def _play(env: ArmEnv, policy: Policy, seeds: range) -> Played:
    """Play episodes to their ends, close and lift included."""
    played = Played()
    for seed in seeds:
        observation, _ = env.reset(seed=seed)
        over = False
        while not over:
            action = policy.act(_state(observation))
            started = time.perf_counter()
            observation, _, terminated, truncated, _ = env.step(action)
            played.spent_s += time.perf_counter() - started
            played.steps += 1
            over = terminated or truncated
        played.periods += env.loop.statistics.commands_sent
    return played


def _scripted(env: ArmEnv, name: str) -> Policy:
    rng = np.random.default_rng(_SEED)
    size = len(env.action_layout.names)
    return scripted_policy(name, env.observation_layout, size, env.action_repeat, rng)


def state_rows(on_progress: Callable[[str, float], None]) -> list[Row]:
    """Return the share of the time that is physics, and what a reset costs."""
    with closing(ArmEnv()) as env:
        timed, policy = TimedWorld(env.world), _scripted(env, "oracle")
        played = _play(env, policy, range(1))
        shares: list[float] = []
        rates: list[float] = []
        for turn in range(_TURNS):
            before_s = timed.spent_s
            played = _play(env, policy, range(_SEED + turn * _EPISODES, _SEED + (turn + 1) * _EPISODES))
            shares.append((timed.spent_s - before_s) / played.spent_s)
            rates.append(played.periods / played.spent_s)
            on_progress("grasp from state", (turn + 1) / _TURNS)
        step_s = played.spent_s / played.steps
        started = time.perf_counter()
        for seed in range(_RESETS):
            env.reset(seed=seed)
        reset_s = (time.perf_counter() - started) / _RESETS
    rate, share = statistics.median(rates), statistics.median(shares)
    return [
        at_least(
            "Dofbot Grasp, state: control periods/s / bare stepSimulation", share, "", 0.65,
            f"{rate:,.0f} / {rate / share:,.0f} periods/s of 12 physics steps, skill included, same contacts",
        ),
        at_most(
            "reset / step time", reset_s / step_s, "", 15.0,
            f"{1e3 * reset_s:.2f} / {1e3 * step_s:.2f} ms, a step of {env.action_repeat} periods",
        ),
    ]  # fmt: skip


def depth_rows(on_progress: Callable[[str, float], None]) -> list[Row]:
    """Return env steps a second with a 64x64 depth picture each: ours, and against TinyRenderer's.

    Actions are random, as when learning begins; how much is left of the ratio when every episode ends in a grip, which
    costs more physics than all else, is told in the remark.
    """
    ours, theirs = _depth_rates("random", on_progress)
    gripping_ours, gripping_theirs = _depth_rates("oracle", on_progress)
    gripping = statistics.median(a / b for a, b in zip(gripping_ours, gripping_theirs, strict=True))
    ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
    rate, their_rate = statistics.median(ours), statistics.median(theirs)
    return [
        at_least(
            "Dofbot Grasp, 64x64 depth: env steps/s, ours / TinyRenderer", ratio, "x", 2.0,
            f"{rate:,.0f} / {their_rate:,.0f} env steps/s of one period each, random actions, whole episodes; "
            f"{gripping:.2f} with the oracle's",
        ),
        at_least("Dofbot Grasp, 64x64 depth: env steps/s on one core", rate, "1/s", 1500.0, "for the record"),
    ]  # fmt: skip


def _depth_rates(policy: str, on_progress: Callable[[str, float], None]) -> tuple[list[float], list[float]]:
    """Return env steps/s of our engine and of TinyRenderer's, turn by turn, without the first, which compiles."""
    engines = (DepthEngine.RAYCAST, DepthEngine.RENDERER)
    envs = [ArmEnv(spec=WRIST_DEPTH, action_repeat=1, depth_engine=engine) for engine in engines]
    rates: list[tuple[float, float]] = []
    try:
        for turn in range(_TURNS + 1):
            seeds = range(_SEED + turn * _EPISODES // 2, _SEED + (turn + 1) * _EPISODES // 2)
            played = [_play(env, _scripted(env, policy), seeds) for env in envs]
            rates.append((played[0].steps / played[0].spent_s, played[1].steps / played[1].spent_s))
            on_progress(f"grasp from depth, {policy}", (turn + 1) / (_TURNS + 1))
    finally:
        for env in envs:
            env.close()
    return [ours for ours, _ in rates[1:]], [theirs for _, theirs in rates[1:]]


@dataclass(frozen=True, slots=True)
class DepthWorlds:
    """Builds the Dofbot's grasp with a 64x64 wrist depth picture as its observation."""

    def __call__(self, index: int) -> gymnasium.Env:
        """Return a new environment."""
        view = CameraView("wrist", ImageKind.DEPTH)
        return ArmEnv(spec=ObservationSpec(state=False, views=(view,)))


def measure(on_progress: Callable[[str, float], None]) -> list[Row]:
    """Return every row that is promised of the simulator's speed."""
    return [
        *state_rows(on_progress),
        *bench_depth.measure(on_progress),
        *depth_rows(on_progress),
        *bench_vector.measure(on_progress),
        *bench_vector.rows_of("grasp depth", DepthWorlds(), on_progress),
    ]
