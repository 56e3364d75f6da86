"""Grasp: lift an object that lies anywhere in the rig's area, turned by up to 45 degrees."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bridge.encoding import Phase
from bridge.grasp import GraspAttempt
from bridge.ports import Kinematics
from sim.curriculum import Stage
from sim.objects import ObjectPool
from sim.tasks.task import POTENTIAL_PER_M, SUCCESS_REWARD, Outcome, Scene, check_area, draw_objects, periods
from sim.world import ArmWorld
from urdf.description import ArmDescription, Rig

MAX_EPISODE_S = 20.0
LIFT_M = 0.03
MAX_YAW_RAD = math.radians(45.0)


@dataclass(slots=True)
class GraspJudge:
    """Judges from physics: 3 cm higher than at the start when the lift ends, and still half a second later."""

    start_m: float = 0.0
    lifted: bool = False

    def begin(self, world: ArmWorld) -> None:
        """Remember how high the object lies."""
        self.start_m = float(world.block_pose().position_m[2])
        self.lifted = False

    def after_lift(self, world: ArmWorld) -> None:
        """Look at the end of the lift."""
        self.lifted = self._risen(world)

    def success(self, world: ArmWorld) -> bool:
        """Return whether the object was up after the lift and still is, between both jaws."""
        return self.lifted and self._risen(world) and world.jaws_touching() == 2

    def _risen(self, world: ArmWorld) -> bool:
        return float(world.block_pose().position_m[2]) - self.start_m >= LIFT_M


class GraspTask:
    """The policy descends; then the scripted skill closes, lifts and holds, and the episode ends."""

    def __init__(self, description: ArmDescription, rig: Rig, kinematics: Kinematics, period_s: float) -> None:
        check_area(rig, kinematics)
        self.attempt = GraspAttempt(description, rig, kinematics, period_s)
        self.max_periods = periods(MAX_EPISODE_S, period_s)
        self._rig = rig
        self._judge = GraspJudge()

    def draw(self, rng: np.random.Generator, stage: Stage, pool: ObjectPool, size_m: float, distractors: int) -> Scene:
        """Return a random start."""
        return Scene(draw_objects(rng, self._rig, stage, pool, MAX_YAW_RAD, size_m, distractors))

    def begin(self, world: ArmWorld, scene: Scene) -> None:
        """Remember how high the object lies."""
        self._judge.begin(world)
        self._before = Phase.DESCEND

    def watch(self, world: ArmWorld) -> Outcome | None:
        """Look at the end of the lift and at the end of the hold."""
        phase, before = self.attempt.phase, self._before
        self._before = phase
        if before == Phase.LIFT and phase == Phase.HOLD:
            self._judge.after_lift(world)
        if phase != Phase.DONE:
            return None
        success = self._judge.success(world)
        return Outcome(success, SUCCESS_REWARD * success)

    def potential(self) -> float:
        """Return the negative distance between tool and object, seen from above."""
        return -POTENTIAL_PER_M * self.attempt.lateral_distance_m()
