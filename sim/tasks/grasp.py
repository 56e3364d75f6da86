"""Grasp: lift a 30 mm block that lies anywhere in the rig's area, turned by up to 45 degrees."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sim.curriculum import FULL_STAGE, Stage
from sim.world import BLOCK_SIZE_M, ArmWorld
from urdf.description import Rig
from urdf.pose import Pose

LIFT_M = 0.03
MAX_YAW_RAD = math.radians(45.0)
SUCCESS_REWARD = 1.0
#: The potential falls by this much per metre between tool and block, seen from above.
POTENTIAL_PER_M = 5.0


def draw_block(rig: Rig, rng: np.random.Generator, stage: Stage = FULL_STAGE) -> Pose:
    """Return a random pose of the block on the desk: anywhere in the stage's area, yaw within 45 degrees."""
    lower, upper = np.array(stage.area_lower), np.array(stage.area_upper)
    offset = ((lower + upper - 1.0) / 2 + rng.uniform(-0.5, 0.5, 2) * (upper - lower)) * rig.area_size_m
    x, y = rig.area_center_m + offset
    return Pose.from_rotvec([x, y, BLOCK_SIZE_M / 2], [0.0, 0.0, rng.uniform(-MAX_YAW_RAD, MAX_YAW_RAD)])


@dataclass(slots=True)
class GraspJudge:
    """Judges from physics: 3 cm higher than at the start when the lift ends, and still half a second later."""

    start_m: float = 0.0
    lifted: bool = False

    def begin(self, world: ArmWorld) -> None:
        """Remember how high the block lies."""
        self.start_m = float(world.block_pose().position_m[2])
        self.lifted = False

    def after_lift(self, world: ArmWorld) -> None:
        """Look at the end of the lift."""
        self.lifted = self._risen(world)

    def success(self, world: ArmWorld) -> bool:
        """Return whether the block was up after the lift and still is, between both jaws."""
        return self.lifted and self._risen(world) and world.jaws_touching() == 2

    def _risen(self, world: ArmWorld) -> bool:
        return float(world.block_pose().position_m[2]) - self.start_m >= LIFT_M


def potential(lateral_distance_m: float) -> float:
    """Return the shaping potential of a state. Ref: Ng, Harada, Russell 1999: such shaping keeps the optimum."""
    return -POTENTIAL_PER_M * lateral_distance_m
