"""Reach: bring the tool to a random point of the rig's reach box."""

from __future__ import annotations

import numpy as np

from bridge.ports import Kinematics
from bridge.reach import ReachAttempt
from sim.curriculum import Stage
from sim.errors import SimError
from sim.objects import ObjectPool
from sim.tasks.task import POTENTIAL_PER_M, SUCCESS_REWARD, Outcome, Scene, periods
from sim.world import ArmWorld
from urdf.description import ArmDescription, Rig
from urdf.errors import Unreachable
from urdf.pose import Array

TOLERANCE_M = 0.010
#: The tool has to stay: passing by is no reach.
STAY_S = 0.25
MAX_EPISODE_S = 5.0
#: A goal lies this far from where the tool starts at least, so that doing nothing is no solution.
LEAST_DISTANCE_M = 0.04
_TRIES = 200


class ReachTask:
    """Success: the tool, not its command, stays within 10 mm of the goal for a quarter of a second.

    Goals are points that the arm can serve.
    """

    def __init__(self, description: ArmDescription, rig: Rig, kinematics: Kinematics, period_s: float) -> None:
        self.attempt = ReachAttempt(description, rig, kinematics, period_s)
        self.max_periods = periods(MAX_EPISODE_S, period_s)
        self._stay_periods = periods(STAY_S, period_s)
        self._rig = rig
        self._kinematics = kinematics
        self._home_m = self.attempt.motion.locate(rig.home_rad)[0]

    def draw(self, rng: np.random.Generator, stage: Stage, pool: ObjectPool, size_m: float, distractors: int) -> Scene:
        """Return a random goal in the stage's part of the reach box; an empty desk.

        Raises SimError where the arm serves nothing there.
        """
        lower, upper = self._bounds(stage)
        for _ in range(_TRIES):
            point = rng.uniform(lower, upper)
            if np.linalg.norm(point - self._home_m) >= LEAST_DISTANCE_M and self._serves(point):
                return Scene(goal_m=point)
        raise SimError(
            f"rig {self._rig.name!r}, stage {stage.name!r}: of {_TRIES} points of the reach box between "
            f"{lower.round(4).tolist()} and {upper.round(4).tolist()} the arm serves none that lies "
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
        return Outcome(True, SUCCESS_REWARD) if self._stayed >= self._stay_periods else None

    def potential(self) -> float:
        """Return the negative distance between tool and goal."""
        return -POTENTIAL_PER_M * self.attempt.distance_m()

    def _bounds(self, stage: Stage) -> tuple[Array, Array]:
        """Return the corners (3,) of a stage's part of the reach box: a share along x and y, the whole of z."""
        lower, upper = self._rig.reach_lower_m, self._rig.reach_upper_m
        least, most = np.array([*stage.area_lower, 0.0]), np.array([*stage.area_upper, 1.0])
        # So written, shares of 0 and 1 give the corners of the box to the last bit.
        return (1.0 - least) * lower + least * upper, (1.0 - most) * lower + most * upper

    def _serves(self, point_m: Array) -> bool:
        try:
            self._kinematics.solve(point_m, self.attempt.heading_at(point_m))
        except Unreachable:
            return False
        return True
