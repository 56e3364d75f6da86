"""Run a policy on an arm that is reached over the bridge: observation from servo read-back and camera alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from bridge.clock import MonotonicClock
from bridge.encoding import Phase, ToolFrame
from bridge.grasp import CONTROL_HZ, GraspAttempt
from bridge.loop import ControlLoop, LoopStatistics, LoopStep, run_episode
from bridge.messages import RobotState
from bridge.observation import ObservationSpec
from bridge.ports import BlockSighting, BlockSource, Clock, Policy, Robot
from bridge.sensing import PictureSource, SensingPolicy
from urdf.description import Rig
from urdf.kinematics import PinocchioKinematics
from urdf.pose import Pose

#: The camera reads a lifted block about 2 mm low, so 25 mm of seen rise is 27 mm or more of real rise.
SEEN_RISE_M = 0.025
#: A block in the jaws is this near to the tool.
IN_HAND_M = 0.035
#: Heights that differ by less are one height: the camera sees the block 0.2 mm high or low.
STEADY_M = 0.002
_LOOK_S = 3.0


class Stage(Protocol):
    """Whoever puts the block somewhere: the lab's stage hand, or the person beside the arm."""

    def place_block(self) -> None:
        """Put the block somewhere else in the area."""
        ...

    def begin_attempt(self) -> int:
        """An attempt begins; return its number."""
        ...

    def end_attempt(self) -> None:
        """The attempt is over."""
        ...


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """One attempt as the camera saw it. `why` says what went wrong (empty on success)."""

    number: int
    success: bool
    why: str
    desk_from_block: Pose | None
    rise_m: float
    duration_s: float


@dataclass(slots=True)
class Watcher:
    """Remembers the sightings of one attempt; passes every period on to whoever else wants it."""

    onward: Callable[[LoopStep], None] | None = None
    on_waiting: Callable[[str], None] | None = None
    on_attempt: Callable[[int], None] | None = None
    on_state: Callable[[RobotState], None] | None = None
    waiting_for: str = ""
    lifted_ns: int = 0
    before: BlockSighting | None = None
    after_lift: list[BlockSighting] = field(default_factory=lambda: [])

    def record(self, step: LoopStep) -> None:
        """Take in one control period."""
        if self.on_state is not None:
            self.on_state(step.state)
        if self.onward is not None:
            self.onward(step)
        # What is missing changes its age from period to period: a change of its first words is worth a line.
        if step.waiting_for[:12] != self.waiting_for[:12] and step.waiting_for and self.on_waiting is not None:
            self.on_waiting(step.waiting_for)
        self.waiting_for = step.waiting_for
        if step.sighting is None:
            return
        if step.phase == Phase.DESCEND and self.before is None and not step.waiting_for:
            self.before = step.sighting
        if step.phase in (Phase.HOLD, Phase.DONE):
            self.lifted_ns = self.lifted_ns or step.state.stamp_ns
            newest_ns = self.after_lift[-1].stamp_ns if self.after_lift else self.lifted_ns
            if step.sighting.stamp_ns > newest_ns:
                self.after_lift.append(step.sighting)


def await_new_sighting(loop: ControlLoop, clock: Clock) -> None:
    """Stay until the block has been seen as it lies now, at most three seconds."""
    placed_ns, here_rad = clock.now_ns(), loop.target_rad
    for _ in range(round(_LOOK_S / 0.1)):
        sighting = loop.source.read_block()
        if sighting is not None and sighting.stamp_ns > placed_ns and not loop.source.missing():
            return
        loop.stay(here_rad, 0.1)


def stay_until_still(loop: ControlLoop, sightings: Sequence[BlockSighting]) -> None:
    """Stay until the last two of the sightings, which come meanwhile, show one height: at most three seconds."""
    held_rad = np.array(loop.target_rad)
    for _ in range(round(_LOOK_S / 0.1)):
        if stands_still(sightings):
            return
        loop.stay(held_rad, 0.1)


def stands_still(sightings: Sequence[BlockSighting]) -> bool:
    """Return whether the last two sightings show the block at one height."""
    heights_m = [float(s.base_from_block.position_m[2]) for s in sightings[-2:]]
    return len(heights_m) == 2 and abs(heights_m[1] - heights_m[0]) < STEADY_M


class RobotRun:
    """Attempt after attempt on one arm. The caller owns robot, block source and stage."""

    def __init__(
        self,
        robot: Robot,
        rig: Rig,
        source: BlockSource,
        policy: Policy,
        spec: ObservationSpec,
        action_repeat: int,
        clock: Clock | None = None,
        pictures: PictureSource | None = None,
    ) -> None:
        """The policy is given what `spec` asks for; raises PolicyMismatch where that is pictures and there are none."""
        self._clock = clock or MonotonicClock()
        self._rig = rig
        self._action_repeat = action_repeat
        self._tool = ToolFrame(robot.description, rig)
        self.watcher = Watcher()
        kinematics = PinocchioKinematics(robot.description, rig)
        self._grasp = GraspAttempt(robot.description, rig, kinematics, 1.0 / CONTROL_HZ)
        self._policy = SensingPolicy(policy, spec, self._grasp, robot, pictures)
        self.loop = ControlLoop(robot, self._clock, source, self._grasp, self.watcher)

    @property
    def statistics(self) -> LoopStatistics:
        """What the control loop counted so far."""
        return self.loop.statistics

    def go_home(self) -> None:
        """Travel to the rig's home pose, jaws open."""
        self.loop.move_to(self._rig.home_rad)

    def attempt(self, stage: Stage) -> AttemptRecord:
        """Have the block placed, try to grasp it, judge by the camera, set it down and go home."""
        self.watcher.before, self.watcher.after_lift, self.watcher.lifted_ns = None, [], 0
        stage.place_block()
        await_new_sighting(self.loop, self._clock)
        number = stage.begin_attempt()
        if self.watcher.on_attempt is not None:
            self.watcher.on_attempt(number)
        begin_ns = self._clock.now_ns()
        self._policy.begin()
        run_episode(self.loop, self._policy, self._action_repeat)
        duration_s = (self._clock.now_ns() - begin_ns) * 1e-9
        # A busy machine shows and moves everything late: a block seen on its way up is no block that has risen.
        self.watcher.after_lift, self.watcher.lifted_ns = [], self._clock.now_ns()
        stay_until_still(self.loop, self.watcher.after_lift)
        stage.end_attempt()
        record = self._judge(number, duration_s)
        if self.watcher.before is not None:
            for pose in self._grasp.release_poses():
                self.loop.move_to(pose, settle_s=0.2)
        self.go_home()
        return record

    def _judge(self, number: int, duration_s: float) -> AttemptRecord:
        before, seen = self.watcher.before, self.watcher.after_lift
        if before is None or self.loop.gave_up:
            why = self.loop.gave_up or "the block was not seen before the descent"
            return AttemptRecord(number, False, why, None, 0.0, duration_s)
        block = self._rig.desk_from_base @ before.base_from_block
        if not self._grasp.closed_on_something:
            return AttemptRecord(number, False, "the jaws closed on nothing", block, 0.0, duration_s)
        if not seen:
            return AttemptRecord(number, False, "the block was not seen after the lift", block, 0.0, duration_s)
        last = self._rig.desk_from_base @ seen[-1].base_from_block
        rise = min(float((self._rig.desk_from_base @ s.base_from_block).position_m[2]) for s in seen[-2:])
        rise -= float(block.position_m[2])
        tool, _ = self._tool.locate(np.array(self.loop.robot.read_state().position_rad))
        apart = float(np.linalg.norm(last.position_m - tool))
        why = ""
        if rise < SEEN_RISE_M:
            why = f"the block rose {1000 * rise:.0f} mm, {1000 * SEEN_RISE_M:.0f} are asked for"
        elif apart > IN_HAND_M:
            why = f"the block is {1000 * apart:.0f} mm away from the tool"
        return AttemptRecord(number, not why, why, block, rise, duration_s)
