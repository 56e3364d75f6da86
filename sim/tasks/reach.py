"""Reach: bring the tool to a random point of the rig's reach box."""

from __future__ import annotations

import numpy as np

from bridge.ports import Kinematics
from bridge.reach import ReachAttempt
from sim.curriculum import Stage
from sim.errors import SimError
from sim.objects import ObjectPool
from sim.tasks.task import POTENTIAL_PER_M, SUCCESS_REWARD, Outcome, Scene
from sim.world import ArmWorld
from urdf.description import ArmDescription, Rig
from urdf.errors import Unreachable
from urdf.pose import Array

TOLERANCE_M = 0.010
#: The tool has to stay: passing by is no reach.
STAY_PERIODS = 5
#: A goal lies this far from where the tool starts at least, so that doing nothing is no solution.
LEAST_DISTANCE_M = 0.04
_TRIES = 200


class ReachTask:
    """Success: the tool, not its command, stays within 10 mm of the goal for a quarter of a second.

    Goals are points that the arm can serve.
    """

    max_periods = 100

    def __init__(self, description: ArmDescription, rig: Rig, kinematics: Kinematics, period_s: float) -> None:
        self.attempt = ReachAttempt(description, rig, kinematics, period_s)
        self._rig = rig
        self._kinematics = kinematics
        self._home_m = self.attempt.motion.locate(rig.home_rad)[0]

    def draw(self, rng: np.random.Generator, stage: Stage, pool: ObjectPool, size_m: float, distractors: int) -> Scene:
        """Return a random goal; an empty desk. Raises SimError where the arm serves nothing of the box."""
        for _ in range(_TRIES):
            point = rng.uniform(self._rig.reach_lower_m, self._rig.reach_upper_m)
            if np.linalg.norm(point - self._home_m) >= LEAST_DISTANCE_M and self._serves(point):
                return Scene(goal_m=point)
        raise SimError(
            f"rig {self._rig.name!r}: of {_TRIES} points between reach_lower_m {self._rig.reach_lower_m.tolist()} and "
            f"reach_upper_m {self._rig.reach_upper_m.tolist()} the arm serves none that lies "
            f"{1000 * LEAST_DISTANCE_M:.0f} mm from home"
        )

    def begin(self, world: ArmWorld, scene: Scene) -> None:
        """Take the goal."""
        self.attempt.goal_m = scene.goal_m
        self._stayed = 0

    def watch(self, world: ArmWorld) -> Outcome | None:
        """Look where the tool really is."""
        assert self.attempt.goal_m is not None
        distance_m = float(np.linalg.norm(world.tool_pose().position_m - self.attempt.goal_m))
        self._stayed = self._stayed + 1 if distance_m <= TOLERANCE_M else 0
        return Outcome(True, SUCCESS_REWARD) if self._stayed >= STAY_PERIODS else None

    def potential(self) -> float:
        """Return the negative distance between tool and goal."""
        return -POTENTIAL_PER_M * self.attempt.distance_m()

    def _serves(self, point_m: Array) -> bool:
        try:
            self._kinematics.solve(point_m, self.attempt.heading_at(point_m))
        except Unreachable:
            return False
        return True
