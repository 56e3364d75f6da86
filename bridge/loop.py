"""The only control loop: read, encode, act, decode, send, record, then sleep until an absolute deadline."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bridge.attempt import Attempt
from bridge.encoding import Phase
from bridge.errors import PolicyWaits, StaleFrame
from bridge.messages import JointCommand, RobotState
from bridge.ports import BlockSighting, BlockSource, Clock, Policy, Robot
from bridge.skills import MoveJoints
from urdf.pose import Array

#: Joints travel no faster than this when nothing is learnt about the motion: home, park.
TRAVEL_SPEED_RAD_S = 1.2


@dataclass(frozen=True, slots=True)
class LoopStep:
    """What happened in one control period."""

    state: RobotState
    sighting: BlockSighting | None
    phase: Phase
    action: NDArray[np.float32]
    sent: JointCommand
    waiting_for: str


class Recorder(Protocol):
    """Whoever wants to see every control period."""

    def record(self, step: LoopStep) -> None:
        """Take in one control period; must return at once."""
        ...


@dataclass(slots=True)
class LoopStatistics:
    """What the loop counts. `running_ns` is the time inside periods; `work_ms` holds the work of each."""

    commands_sent: int = 0
    commands_held: int = 0
    missed_deadlines: int = 0
    running_ns: int = 0
    work_ms: list[float] = field(default_factory=lambda: [])

    @property
    def loop_hz(self) -> float:
        """The mean rate of the loop while it ran."""
        return self.commands_sent / (self.running_ns * 1e-9) if self.running_ns else 0.0

    @property
    def p99_loop_ms(self) -> float:
        """The 99th percentile of the work done in a period."""
        return float(np.percentile(self.work_ms, 99)) if self.work_ms else 0.0


class ControlLoop:
    """One arm, one clock, one source of block poses, one attempt at a time.

    The caller alternates `observe` and `apply`; between the two it may think for as long as the period allows.
    """

    def __init__(
        self, robot: Robot, clock: Clock, source: BlockSource, attempt: Attempt, recorder: Recorder | None = None
    ) -> None:
        self.robot = robot
        self.source = source
        self.attempt = attempt
        self.statistics = LoopStatistics()
        self._clock = clock
        self._recorder = recorder
        #: What is passed where the policy has no say.
        self.no_action: NDArray[np.float32] = np.zeros(len(attempt.action_layout.names), dtype=np.float32)
        self._period_ns = round(attempt.period_s * 1e9)
        self._deadline_ns = 0
        self._seq = 0
        self.waiting_for = ""
        #: What the last attempt was still waiting for when its patience ended; empty when it ran.
        self.gave_up = ""
        #: The joint position (n,) commanded last.
        self.target_rad = np.array(robot.read_state().position_rad)

    def begin(self) -> None:
        """Start an attempt from the measured pose; the first period begins now."""
        self._resume()
        self.gave_up = ""
        self.attempt.begin(self.robot.read_state())

    def observe(self) -> NDArray[np.float32] | None:
        """Read arm and block; return what the policy sees, or None while something is missing."""
        self._began_ns = self._clock.now_ns()
        self._state = self.robot.read_state()
        self._sighting = self.source.read_block()
        self.waiting_for = self.attempt.see(self._state, self._sighting, self.source.missing(), self._began_ns)
        return self.attempt.observe() if self.attempt.ready else None

    def apply(self, action: NDArray[np.float32]) -> None:
        """Send what the action means, record the period, and sleep until it is over."""
        target = self.attempt.command(action, self.waiting_for)
        if self.waiting_for and self.attempt.phase == Phase.DONE:
            self.gave_up = self.waiting_for
        self._finish(self._send(target), action)

    def move_to(self, goal_rad: Array, speed_rad_s: float = TRAVEL_SPEED_RAD_S, settle_s: float = 0.4) -> None:
        """Travel to a joint position (n,) period by period, then stay; the safety filter has the last word."""
        self._resume()
        skill = MoveJoints(np.array(self.robot.read_state().position_rad), goal_rad, speed_rad_s, self.attempt.period_s)
        while not skill.finished:
            self._travel(skill.step())
        self.stay(goal_rad, settle_s)

    def stay(self, position_rad: Array, duration_s: float) -> None:
        """Keep commanding one joint position (n,) for a while."""
        self._resume()
        for _ in range(round(duration_s / self.attempt.period_s)):
            self._travel(position_rad)

    def _travel(self, target_rad: Array) -> None:
        self._began_ns = self._clock.now_ns()
        self._state, self._sighting = self.robot.read_state(), self.source.read_block()
        self._finish(self._send(target_rad), self.no_action)

    def _resume(self) -> None:
        """Begin a run of periods: the first deadline is one period from now."""
        self._deadline_ns = self._clock.now_ns()
        self.waiting_for = ""

    def _send(self, target: Array) -> JointCommand:
        self._seq += 1
        self.target_rad = target
        command = JointCommand(
            seq=self._seq,
            stamp_ns=self._clock.now_ns(),
            position_rad=tuple(target.tolist()),
            duration_s=self.attempt.period_s,
        )
        return self.robot.send(command)

    def _finish(self, sent: JointCommand, action: NDArray[np.float32]) -> None:
        now_ns = self._clock.now_ns()
        statistics = self.statistics
        statistics.commands_sent += 1
        statistics.commands_held += bool(self.waiting_for)
        statistics.work_ms.append((now_ns - self._began_ns) * 1e-6)
        if self._recorder is not None:
            step = LoopStep(self._state, self._sighting, self.attempt.phase, action, sent, self.waiting_for)
            self._recorder.record(step)
        began_ns = self._deadline_ns
        self._deadline_ns += self._period_ns
        if self._clock.now_ns() > self._deadline_ns:
            # The periods that are lost stay lost: hurrying after them would move the arm in bursts.
            statistics.missed_deadlines += 1
            self._deadline_ns = self._clock.now_ns()
        self._clock.sleep_until(self._deadline_ns)
        statistics.running_ns += self._deadline_ns - began_ns


def run_episode(loop: ControlLoop, policy: Policy, action_repeat: int) -> None:
    """Run one attempt to its end. The policy decides every `action_repeat` periods of the descent.

    While the pictures that it reads are too old it cannot decide, and a policy may say itself that it waits: the arm
    stands still, as while the block is not seen.
    """
    loop.begin()
    action, age = loop.no_action, action_repeat
    while loop.attempt.phase != Phase.DONE:
        observation = loop.observe()
        if loop.attempt.deciding and observation is not None and not loop.waiting_for:
            if age >= action_repeat:
                try:
                    action, age = policy.act(observation), 0
                except StaleFrame as error:
                    loop.waiting_for = f"no fresh picture: {error}"
                except PolicyWaits as error:
                    loop.waiting_for = str(error)
            age += 1
        loop.apply(action)
