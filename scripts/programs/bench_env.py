"""How fast the simulator is: every row is a ratio of two things that were measured in turn in the same process.

Times are the processor's, which other programs on a shared machine disturb less; with several processes, the clock's.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field

import gymnasium
import numpy as np

from bridge.observation import CameraView, ImageKind, ObservationSpec
from bridge.ports import Policy
from policies.scripted import scripted_policy
from scripts.programs import bench_depth, bench_vector
from scripts.programs.figures import Row, at_least, at_most
from sim.env import ArmEnv
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
        started = time.process_time()
        self._step(count)
        self.spent_s += time.process_time() - started


@dataclass(slots=True)
class Played:
    """What some episodes took, resets aside."""

    periods: int = 0
    steps_s: list[float] = field(default_factory=lambda: [])

    @property
    def spent_s(self) -> float:
        """The time of all steps, those included that a skill runs to its end."""
        return sum(self.steps_s)

    @property
    def ordinary_s(self) -> float:
        """The time of an ordinary step: their median, which no skill moves."""
        return statistics.median(self.steps_s)


def _play(env: ArmEnv, policy: Policy, seeds: range) -> Played:
    """Play episodes to their ends, close and lift included."""
    played = Played()
    for seed in seeds:
        observation, _ = env.reset(seed=seed)
        over = False
        while not over:
            action = policy.act(observation)
            started = time.process_time()
            observation, _, terminated, truncated, _ = env.step(action)
            played.steps_s.append(time.process_time() - started)
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
        period_s = played.ordinary_s / env.action_repeat
        started = time.process_time()
        for seed in range(_RESETS):
            env.reset(seed=seed)
        reset_s = (time.process_time() - started) / _RESETS
    rate, share = statistics.median(rates), statistics.median(shares)
    return [
        at_least(
            "Dofbot Grasp, state: control periods/s / bare stepSimulation", share, "", 0.65,
            f"{rate:,.0f} / {rate / share:,.0f} periods/s of 12 physics steps, skill included, same contacts",
        ),
        at_most(
            "reset / step time", reset_s / period_s, "", 15.0,
            f"{1e3 * reset_s:.2f} / {1e3 * period_s:.2f} ms, an ordinary step of one period",
        ),
    ]  # fmt: skip


def depth_rows(on_progress: Callable[[str, float], None]) -> list[Row]:
    """Return env steps a second with a 64x64 depth picture each: ours, and against TinyRenderer's.

    Actions are random, as when learning begins. The remark tells what the ratio is for an ordinary step alone, and what
    is left of it when every episode ends in a grip, whose physics take more time than all else.
    """
    ours, theirs = _depth_turns("random", on_progress)
    gripping = _ratio(*_depth_turns("oracle", on_progress))
    rate, their_rate = (statistics.median(len(p.steps_s) / p.spent_s for p in turns) for turns in (ours, theirs))
    ordinary = statistics.median(b.ordinary_s / a.ordinary_s for a, b in zip(ours, theirs, strict=True))
    return [
        at_least(
            "Dofbot Grasp, 64x64 depth: env steps/s, ours / TinyRenderer", _ratio(ours, theirs), "x", 2.0,
            f"{rate:,.0f} / {their_rate:,.0f} env steps/s of one period each, random actions, whole episodes; "
            f"{ordinary:.2f} for an ordinary step, {gripping:.2f} with the oracle's actions",
        ),
        at_least(
            "Dofbot Grasp, 64x64 depth: env steps/s on one core", rate, "1/s", 1500.0,
            f"for the record; {statistics.median(1 / p.ordinary_s for p in ours):,.0f} ordinary steps",
        ),
    ]  # fmt: skip


def _ratio(ours: Sequence[Played], theirs: Sequence[Played]) -> float:
    """Return how many times as many steps a second ours makes, the median over the turns."""
    rates = [(len(p.steps_s) / p.spent_s, len(q.steps_s) / q.spent_s) for p, q in zip(ours, theirs, strict=True)]
    return statistics.median(mine / other for mine, other in rates)


def _depth_turns(policy: str, on_progress: Callable[[str, float], None]) -> tuple[list[Played], list[Played]]:
    """Return what our engine and TinyRenderer took for the same episodes, turn by turn; the first turn compiles."""
    engines = (DepthEngine.RAYCAST, DepthEngine.RENDERER)
    envs = [ArmEnv(spec=WRIST_DEPTH, action_repeat=1, depth_engine=engine) for engine in engines]
    turns: tuple[list[Played], list[Played]] = ([], [])
    try:
        for turn in range(_TURNS + 1):
            seeds = range(_SEED + turn * _EPISODES // 2, _SEED + (turn + 1) * _EPISODES // 2)
            for env, played in zip(envs, turns, strict=True):
                played.append(_play(env, _scripted(env, policy), seeds))
            on_progress(f"grasp from depth, {policy}", (turn + 1) / (_TURNS + 1))
    finally:
        for env in envs:
            env.close()
    return turns[0][1:], turns[1][1:]


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
