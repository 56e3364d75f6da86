"""How long it takes from a finished observation to the command having been sent, on an arm that is really served.

That is the policy's answer, the inverse kinematics of the grasp attempt, the way to the server, its safety filter, and
the servo frame in the hands of the operating system: the server says in its answer when that was, and on one machine
its clock is ours. The answer's own way back is told beside it. The arm lies behind the same link as any other, in other
processes, and is driven by the same loop at the same 20 Hz: a processor that slept is part of it.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
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
            decided = _decide(robot, policy, seen, _WARM_UP + commands, partial(on_progress, figure))[_WARM_UP:]
            held = robot.commands_held + robot.commands_refused
    written_ms, confirmed_ms = [d.written_ms for d in decided], [d.confirmed_ms for d in decided]
    told = (
        f"until the servo frame was written; the arm in other processes, {commands:,} commands at {CONTROL_HZ} Hz, "
        f"median {statistics.median(written_ms):.3f} ms; until that was confirmed "
        f"{statistics.median(confirmed_ms):.3f} / {_p99(confirmed_ms):.3f} ms"
    )
    return at_most(figure, _p99(written_ms), "ms", BAR_MS, told + (f", {held} held or refused" if held else ""))


def _p99(values: Sequence[float]) -> float:
    return statistics.quantiles(values, n=100)[98]


@dataclass(frozen=True, slots=True)
class Decided:
    """From the observation until the server had written the servo frame, and until we knew it [ms]."""

    written_ms: float
    confirmed_ms: float


def _decide(
    robot: RemoteRobot, policy: Policy, seen: Sequence[Observed], count: int, on_share: Callable[[float], None]
) -> list[Decided]:
    """Return how long each decision of many descents took.

    An untrained network would lead the arm to the edge of the area: it is asked, and the oracle's action is done.
    """
    rig = robot.description.rig(RIG)
    attempt = GraspAttempt(robot.description, rig, PinocchioKinematics(robot.description, rig), 1.0 / CONTROL_HZ)
    block, watch = _LyingBlock(rig), _Stopwatch()
    loop = ControlLoop(robot, MonotonicClock(), block, attempt, watch)
    oracle = scripted_policy("oracle", GRASP_STATE, len(loop.no_action), 1, np.random.default_rng(_SEED))
    decided: list[Decided] = []
    while len(decided) < count:
        loop.move_to(rig.home_rad)
        block.place()
        loop.begin()
        while attempt.phase == Phase.DESCEND and len(decided) < count:
            state = loop.observe()
            assert state is not None
            action, observation = oracle.act(state), seen[len(decided) % len(seen)]
            began_ns = time.monotonic_ns()
            policy.act(observation)
            loop.apply(action)
            # By the server's own clock, which is this machine's: the estimate of its offset would only add an error.
            written_ns = robot.offset.to_theirs_ns(robot.written_ns)
            decided.append(Decided(1e-6 * (written_ns - began_ns), 1e-6 * (watch.sent_ns - began_ns)))
            on_share(len(decided) / count)
    return decided


class _Stopwatch:
    """A recorder, which the loop tells of every command as soon as it has been sent."""

    sent_ns = 0

    def record(self, step: LoopStep) -> None:
        """Note the time."""
        self.sent_ns = time.monotonic_ns()


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
