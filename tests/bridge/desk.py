"""What the loop's tests stand on: a clock that moves when told, a block on the desk, an arm that obeys at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bridge.grasp import GraspAttempt
from bridge.loop import ControlLoop, LoopStep, Recorder
from bridge.messages import JointCommand, RobotState
from bridge.ports import BlockSighting
from tests.bridge.numeric_ik import NumericKinematics
from urdf.description import ArmDescription, load_arm
from urdf.pose import Array, Pose

PERIOD_S = 0.05
PERIOD_NS = 50_000_000
START_NS = 7_000_000_000  # clocks begin anywhere
ARM = load_arm("dofbot")
RIG = ARM.rig("table")
BLOCK_RAD = -0.39  # 30 mm between the jaws


class StepClock:
    """A clock that stands still until somebody sleeps or works."""

    def __init__(self) -> None:
        self._now_ns = START_NS

    def now_ns(self) -> int:
        return self._now_ns

    def sleep_until(self, deadline_ns: int) -> None:
        self._now_ns = max(self._now_ns, deadline_ns)

    def work(self, duration_ms: float) -> None:
        self._now_ns += round(duration_ms * 1e6)


class ObedientArm:
    """A Robot that is at once where it is told to be; its jaws stop at `jaws_stop_rad`."""

    def __init__(self, clock: StepClock, position_rad: Array = RIG.home_rad) -> None:
        self._clock = clock
        self._seq = 0
        self.position_rad = np.array(position_rad)
        self.jaws_stop_rad = BLOCK_RAD
        self.commands: list[JointCommand] = []

    @property
    def description(self) -> ArmDescription:
        return ARM

    def read_state(self) -> RobotState:
        self._seq += 1
        position = tuple(self.position_rad.tolist())
        return RobotState(self._seq, self._clock.now_ns(), position, (0.0,) * 6, (0.0,) * 6)

    def send(self, command: JointCommand) -> JointCommand:
        self.commands.append(command)
        self.position_rad = np.array(command.position_rad)
        self.position_rad[-1] = min(self.position_rad[-1], self.jaws_stop_rad)
        return command

    def hold(self) -> None:
        raise AssertionError("the loop has no reason to")

    def close(self) -> None:
        pass


class Desk:
    """A BlockSource: one block, seen in every picture until told otherwise. Looking costs `work_ms`."""

    def __init__(self, clock: StepClock, block: Pose | None = None) -> None:
        self._clock = clock
        self.block = block or Pose.from_rotvec([0.02, 0.15, 0.015], [0.0, 0.0, 0.2])
        self.seen = True
        self.stamp_ns: int | None = None
        self.reason = ""
        self.work_ms: Callable[[], float] = lambda: 0.0

    def read_block(self) -> BlockSighting | None:
        self._clock.work(self.work_ms())
        stamp_ns = self._clock.now_ns() if self.stamp_ns is None else self.stamp_ns
        return BlockSighting(self.block, stamp_ns, (3,)) if self.seen else None

    def missing(self) -> str:
        return self.reason


class Tape:
    """A Recorder that keeps every period."""

    def __init__(self) -> None:
        self.steps: list[LoopStep] = []

    def record(self, step: LoopStep) -> None:
        self.steps.append(step)


@dataclass(frozen=True, slots=True)
class Bench:
    """Everything around one loop."""

    clock: StepClock
    arm: ObedientArm
    desk: Desk
    tape: Tape
    loop: ControlLoop


def bench(recorder: Recorder | None = None) -> Bench:
    clock = StepClock()
    arm, desk, tape = ObedientArm(clock), Desk(clock), Tape()
    attempt = GraspAttempt(ARM, RIG, NumericKinematics(ARM, RIG), PERIOD_S)
    return Bench(clock, arm, desk, tape, ControlLoop(arm, clock, desk, attempt, recorder or tape))
