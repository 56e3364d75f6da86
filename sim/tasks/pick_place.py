"""PickPlace: take an object, at any heading, from where it lies to a goal on the desk, and let go of it there."""

from __future__ import annotations

import math

import numpy as np

from bridge.pick_place import PickPlaceAttempt
from bridge.ports import Kinematics
from sim.curriculum import FULL_STAGE, Stage
from sim.errors import SimError
from sim.objects import ObjectPool
from sim.tasks.task import (
    POTENTIAL_PER_M,
    SUCCESS_REWARD,
    Outcome,
    Scene,
    area_bounds,
    check_area,
    draw_objects,
    periods,
)
from sim.world import ArmWorld
from urdf.description import ArmDescription, Rig

MAX_EPISODE_S = 15.0
TOLERANCE_M = 0.012
#: The goal lies this far from the object at least: what lies still is at no goal.
LEAST_DISTANCE_M = 0.04
_STILL_M_S = 0.02
_FLAT_M = 0.004
_TRIES = 200


class PickPlaceTask:
    """Success: the object stands on the desk within 12 mm of the goal, at rest, and no jaw touches it."""

    def __init__(self, description: ArmDescription, rig: Rig, kinematics: Kinematics, period_s: float) -> None:
        check_area(rig, kinematics)
        self.attempt = PickPlaceAttempt(description, rig, kinematics, period_s)
        self.max_periods = periods(MAX_EPISODE_S, period_s)
        self._rig = rig

    def draw(self, rng: np.random.Generator, stage: Stage, pool: ObjectPool, size_m: float, distractors: int) -> Scene:
        """Return a random start, where the stage allows, and a goal 4 cm away at least and clear of every distractor.

        The goal lies anywhere in the rig's area: the part of a small stage may be narrower than those 4 cm.
        """
        placements = draw_objects(rng, self._rig, stage, pool, math.pi, size_m, distractors)
        lower, upper = area_bounds(self._rig, FULL_STAGE)
        taken = [p.pose.position_m[:2] for p in placements]
        for _ in range(_TRIES):
            point = rng.uniform(lower, upper)
            if all(math.hypot(*(point - other)) >= LEAST_DISTANCE_M for other in taken):
                height_m = pool.objects[placements[0].index].size_m
                return Scene(placements, np.array([*point, height_m / 2]))
        raise SimError(f"the stage {stage.name!r} leaves no room for a goal 4 cm away from the object")

    def begin(self, world: ArmWorld, scene: Scene) -> None:
        """Take the goal."""
        self.attempt.goal_m = scene.goal_m

    def watch(self, world: ArmWorld) -> Outcome | None:
        """Look where the object is, how it moves, and who touches it."""
        goal_m = self.attempt.goal_m
        assert goal_m is not None
        offset = world.block_pose().position_m - goal_m
        if math.hypot(offset[0], offset[1]) > TOLERANCE_M or abs(offset[2]) > _FLAT_M:
            return None
        if world.jaws_touching() or world.block_speed_m_s() > _STILL_M_S:
            return None
        return Outcome(True, SUCCESS_REWARD)

    def potential(self) -> float:
        """Return the negative length of the way that is left: from tool to object, and from object to goal."""
        attempt = self.attempt
        assert attempt.block is not None
        assert attempt.goal_m is not None
        block_m = attempt.block.position_m
        to_block = float(np.linalg.norm(block_m - attempt.tool_m))
        to_goal = float(np.linalg.norm(block_m[:2] - attempt.goal_m[:2]))
        return -POTENTIAL_PER_M * (to_block + to_goal)
