"""How long it takes from a finished observation to the command having been sent, on an arm that is really served.

That is the policy's answer, the inverse kinematics of the grasp attempt, and the way to the server and back, which has
asked the safety filter and the servo bus by then. The arm lies behind the same link as any other, in other processes,
and is driven by the same loop at the same 20 Hz: a processor that slept is part of it.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from bridge.clock import MonotonicClock
from bridge.encoding import GRASP_STATE, Phase
from bridge.grasp import CONTROL_HZ, GraspAttempt
from bridge.loop import ControlLoop, LoopStep
from bridge.observation import Observed
from bridge.ports import BlockSighting, Policy
from bridge.remote import RemoteRobot
from policies.scripted import scripted_policy
from scripts.programs.bench_policy import CASES, Case, exported
from scripts.programs.figures import Row, at_most
from scripts.programs.served_arm import ARM, RIG, served_arm
from scripts.settled_memory import settled_memory
from urdf.description import Rig, load_arm
from urdf.kinematics import PinocchioKinematics
from urdf.pose import Pose

BAR_MS = 2.0
_OBSERVATIONS = 200
_COMMANDS, _WARM_UP = 1_000, 50
_SEED = 2026


def measure(on_progress: Callable[[str, float], None], only: str) -> Iterable[Row]:
    """Yield the rows whose figure contains `only`."""
    for case in CASES:
        if only in _figure(case):
            yield measure_one(case, on_progress)


def _figure(case: Case) -> str:
    return f"policy of {case.label}: p99 from observation to sent command"


def measure_one(case: Case, on_progress: Callable[[str, float], None], commands: int = _COMMANDS) -> Row:
    """Return the 99th percentile over the decisions of as many grasps as that takes."""
    figure = _figure(case)
    with tempfile.TemporaryDirectory(prefix="tandem-") as name:
        folder = Path(name)
        policy, _, seen = exported(case, folder / "policy", _OBSERVATIONS, partial(on_progress, f"{figure}: playing"))
        description, clock = load_arm(ARM), MonotonicClock()
        with served_arm(folder) as endpoint, settled_memory(), RemoteRobot(endpoint, description, clock) as robot:
            took_ms = _decide(robot, policy, seen, _WARM_UP + commands, partial(on_progress, figure))[_WARM_UP:]
            held = robot.commands_held + robot.commands_refused
    p99 = statistics.quantiles(took_ms, n=100)[98]
    median = statistics.median(took_ms)
    told = f"the arm in other processes, {commands:,} commands at {CONTROL_HZ} Hz, median {median:.3f} ms"
    return at_most(figure, p99, "ms", BAR_MS, told + (f", {held} held or refused" if held else ""))


def _decide(
    robot: RemoteRobot, policy: Policy, seen: Sequence[Observed], count: int, on_share: Callable[[float], None]
) -> list[float]:
    """Return how long each decision of many descents took, until it was sent.

    An untrained network would lead the arm to the edge of the area: it is asked, and the oracle's action is done.
    """
    rig = robot.description.rig(RIG)
    attempt = GraspAttempt(robot.description, rig, PinocchioKinematics(robot.description, rig), 1.0 / CONTROL_HZ)
    block, watch = _LyingBlock(rig), _Stopwatch()
    loop = ControlLoop(robot, MonotonicClock(), block, attempt, watch)
    oracle = scripted_policy("oracle", GRASP_STATE, len(loop.no_action), 1, np.random.default_rng(_SEED))
    took_ms: list[float] = []
    while len(took_ms) < count:
        loop.move_to(rig.home_rad)
        block.place()
        loop.begin()
        while attempt.phase == Phase.DESCEND and len(took_ms) < count:
            state = loop.observe()
            assert state is not None
            action, observation = oracle.act(state), seen[len(took_ms) % len(seen)]
            began_ns = time.perf_counter_ns()
            policy.act(observation)
            loop.apply(action)
            took_ms.append(1e-6 * (watch.sent_ns - began_ns))
            on_share(len(took_ms) / count)
    return took_ms


class _Stopwatch:
    """A recorder, which the loop tells of every command as soon as it has been sent."""

    sent_ns = 0

    def record(self, step: LoopStep) -> None:
        """Note the time."""
        self.sent_ns = time.perf_counter_ns()


class _LyingBlock:
    """A block that is always in sight; `place` puts it somewhere else in the area."""

    def __init__(self, rig: Rig) -> None:
        self._rig, self._rng = rig, np.random.default_rng(_SEED)
        self.place()

    def place(self) -> None:
        """Draw a place and a heading."""
        x_m, y_m = self._rig.area_center_m + self._rng.uniform(-0.5, 0.5, 2) * self._rig.area_size_m
        yaw_rad = self._rng.uniform(-np.pi, np.pi)
        desk_from_block = Pose.from_rpy((x_m, y_m, self._rig.grasp_m), (0.0, 0.0, yaw_rad))
        self._base_from_block = self._rig.desk_from_base.inverse() @ desk_from_block

    def read_block(self) -> BlockSighting:
        """Return where it is, as seen just now."""
        return BlockSighting(self._base_from_block, MonotonicClock().now_ns())

    def missing(self) -> str:
        """Say that nothing is missing."""
        return ""
