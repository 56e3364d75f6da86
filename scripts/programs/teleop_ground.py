"""Grounds: where a person shows a task. Who puts the block somewhere, who sees it, and who says whether it was done."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from bridge.encoding import Phase
from bridge.loop import ControlLoop, LoopStep
from bridge.messages import RobotState
from bridge.pick_place import PickPlaceAttempt
from bridge.ports import BlockSighting, BlockSource, Clock
from bridge.sensing import PictureSource
from scripts.programs.robot_run import IN_HAND_M, SEEN_RISE_M, Stage, await_new_sighting, stay_until_still
from scripts.programs.teleop_arm import WorldBlock
from sim.curriculum import FULL_STAGE
from sim.objects import BLOCK_SIZE_M
from sim.tasks import make_task
from sim.tasks.pick_place import LEAST_DISTANCE_M, TOLERANCE_M
from sim.tasks.task import Outcome, Task
from sim.world import ArmWorld
from urdf.description import ArmDescription, Rig
from urdf.kinematics import PinocchioKinematics
from urdf.pose import Array, Pose

#: Two pictures so far apart that show the block at one place show one that lies still.
_STILL_S, _STILL_M = 0.3, 0.003
#: The camera sees a block that lies on the desk up to so much higher or lower.
_FLAT_M = 0.006


class Ground(Protocol):
    """In the order of an attempt: `prepare`, `watch` after every period, `succeeded`, `clear`."""

    @property
    def task(self) -> Task:
        """What is shown."""
        ...

    @property
    def source(self) -> BlockSource:
        """Who sees the block."""
        ...

    @property
    def pictures(self) -> PictureSource | None:
        """Who has the pictures that are recorded; None where none are."""
        ...

    @property
    def on_state(self) -> Callable[[RobotState], None]:
        """Who wants every state of the arm."""
        ...

    def prepare(self, loop: ControlLoop) -> None:
        """Have the block put somewhere, the arm being at home, and choose a goal where the task has one."""
        ...

    def watch(self, step: LoopStep) -> bool:
        """Take in a control period of an attempt; return whether it is done."""
        ...

    def succeeded(self, loop: ControlLoop) -> bool:
        """Return whether the attempt, which is over, succeeded; the arm may be held still for that."""
        ...

    def clear(self, loop: ControlLoop) -> None:
        """Have the arm let go of what it may hold."""
        ...


class SimGround:
    """A simulated world: places and goals are those of the task's episodes, and physics judges as it does there."""

    def __init__(
        self,
        world: ArmWorld,
        task: str,
        clock: Clock,
        pictures: PictureSource | None,
        period_s: float,
        rng: np.random.Generator,
    ) -> None:
        kinematics = PinocchioKinematics(world.description, world.rig)
        self.task = make_task(task, world.description, world.rig, kinematics, period_s)
        self.source, self.pictures = WorldBlock(world, clock), pictures
        self._world, self._rng = world, rng
        self._outcome: Outcome | None = None

    def on_state(self, state: RobotState) -> None:
        """Nothing: the world knows."""

    def prepare(self, loop: ControlLoop) -> None:
        """Put the block where an episode would begin with it."""
        scene = self.task.draw(self._rng, FULL_STAGE, self._world.objects, BLOCK_SIZE_M, 0)
        self._world.objects.place(scene.placements)
        self.task.begin(self._world, scene)
        self._outcome = None

    def watch(self, step: LoopStep) -> bool:
        """Ask physics."""
        self._outcome = self.task.watch(self._world)
        return self._outcome is not None

    def succeeded(self, loop: ControlLoop) -> bool:
        """Return what physics said last."""
        return self._outcome is not None and self._outcome.success

    def clear(self, loop: ControlLoop) -> None:
        """Nothing: the next block is put elsewhere in any case."""


class ArmGround:
    """An arm and a camera, which judges as for `tandem run`; without a stage hand the person places the block."""

    def __init__(
        self,
        description: ArmDescription,
        rig: Rig,
        task: str,
        source: BlockSource,
        pictures: PictureSource | None,
        on_state: Callable[[RobotState], None],
        stage: Stage | None,
        clock: Clock,
        period_s: float,
        rng: np.random.Generator,
        tell: Callable[[str], None],
    ) -> None:
        self.task = make_task(task, description, rig, PinocchioKinematics(description, rig), period_s)
        self.source, self.pictures, self.on_state = source, pictures, on_state
        self._rig, self._stage, self._clock, self._rng, self._tell = rig, stage, clock, rng, tell
        self._lay: Pose | None = None
        self._seen: list[BlockSighting] = []
        self._since_ns = 0

    def prepare(self, loop: ControlLoop) -> None:
        """Have the block put somewhere and look at it; say where it is to go."""
        self._lay, self._seen, self._since_ns = None, [], 0
        if self._stage is None:
            self._tell("put the block somewhere in the marked area, hands off")
        else:
            self._stage.place_block()
            self._stage.begin_attempt()
            await_new_sighting(loop, self._clock)
        if isinstance(self.task.attempt, PickPlaceAttempt):
            self.task.attempt.goal_m = goal_m = self._goal_m()
            self._tell(f"it is to go to x {100 * goal_m[0]:+.1f} cm, y {100 * goal_m[1]:.1f} cm on the desk")

    def _goal_m(self) -> Array:
        """Return a goal (3,) [m] in the area that is not where the block is seen."""
        sighting = self.source.read_block()
        lies_m = None if sighting is None else self._on_desk(sighting).position_m[:2]
        half_m = self._rig.area_size_m / 2
        while True:
            goal_m = self._rig.area_center_m + self._rng.uniform(-half_m, half_m)
            if lies_m is None or float(np.linalg.norm(goal_m - lies_m)) >= LEAST_DISTANCE_M:
                return np.array([*goal_m, BLOCK_SIZE_M / 2])

    def watch(self, step: LoopStep) -> bool:
        """Remember what was seen; a block that lies at the goal, the jaws open, ends the attempt."""
        sighting = step.sighting
        newest_ns = self._seen[-1].stamp_ns if self._seen else self._since_ns
        if sighting is not None and sighting.stamp_ns > newest_ns:
            self._seen.append(sighting)
            if self._lay is None and not step.waiting_for:
                self._lay = self._on_desk(sighting)
        attempt = self.task.attempt
        if isinstance(attempt, PickPlaceAttempt):
            return step.action[-1] <= 0.0 and not attempt.holding and self._lies_at_goal()
        return attempt.phase == Phase.DONE

    def _lies_at_goal(self) -> bool:
        attempt = self.task.attempt
        if not isinstance(attempt, PickPlaceAttempt) or attempt.goal_m is None or len(self._seen) < 2:
            return False
        newest = self._seen[-1]
        before = next((s for s in reversed(self._seen) if newest.stamp_ns - s.stamp_ns >= 1e9 * _STILL_S), None)
        if before is None:
            return False
        now_m, then_m = self._on_desk(newest).position_m, self._on_desk(before).position_m
        off_m = now_m - attempt.goal_m
        return (
            float(np.linalg.norm(now_m - then_m)) < _STILL_M
            and float(np.hypot(off_m[0], off_m[1])) <= TOLERANCE_M
            and abs(float(off_m[2])) <= _FLAT_M
        )

    def succeeded(self, loop: ControlLoop) -> bool:
        """Return whether the camera saw it done; of a grasp, whether it sees the block up, and in the jaws."""
        if isinstance(self.task.attempt, PickPlaceAttempt):
            success = self._lies_at_goal()
        else:
            # A block seen on its way up is no block that has risen.
            self._seen, self._since_ns = [], self._clock.now_ns()
            stay_until_still(loop, self._seen)
            success = self._is_lifted(loop)
        if self._stage is not None:
            self._stage.end_attempt()
        return success

    def _is_lifted(self, loop: ControlLoop) -> bool:
        if self._lay is None or not self._seen:
            return False
        last = [self._on_desk(sighting).position_m for sighting in self._seen[-2:]]
        rise_m = min(float(place[2]) for place in last) - float(self._lay.position_m[2])
        tool_m, _ = self.task.attempt.motion.locate(np.array(loop.robot.read_state().position_rad))
        return rise_m >= SEEN_RISE_M and float(np.linalg.norm(last[-1] - tool_m)) <= IN_HAND_M

    def clear(self, loop: ControlLoop) -> None:
        """Set down what the jaws hold where they are: down, open, up again."""
        motion, description = self.task.attempt.motion, loop.robot.description
        held_rad = np.array(loop.target_rad)
        opened_rad = float(description.gripper.open_rad)
        if held_rad[-1] <= opened_rad:
            return
        motion.begin(held_rad)
        motion.move(np.array([*motion.command_m[:2], self._rig.grasp_m]))
        low_rad = motion.target_rad
        for pose_rad in (low_rad, np.append(low_rad[:-1], opened_rad), np.append(held_rad[:-1], opened_rad)):
            loop.move_to(pose_rad, settle_s=0.2)

    def _on_desk(self, sighting: BlockSighting) -> Pose:
        return self._rig.desk_from_base @ sighting.base_from_block
