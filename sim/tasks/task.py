"""What a task is: an attempt for the control loop, where things lie at the start, what is rewarded, when it is over."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from bridge.actions import jaw_heading
from bridge.attempt import Attempt
from bridge.ports import Kinematics
from sim.curriculum import Stage
from sim.errors import SimError
from sim.objects import ObjectPool, Placement
from sim.world import ArmWorld
from urdf.description import ArmDescription, Rig
from urdf.errors import Unreachable
from urdf.pose import Array, Pose

SUCCESS_REWARD = 1.0
#: The potential falls by this much per metre. Ref: Ng, Harada, Russell 1999: such shaping keeps the optimum.
POTENTIAL_PER_M = 5.0


@dataclass(frozen=True, slots=True)
class Scene:
    """Where things are at the start of an episode: what lies on the desk, the target first, and where it is to go."""

    placements: tuple[Placement, ...] = ()
    goal_m: Array | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an episode ended, and what that is worth."""

    success: bool
    reward: float


class Task(Protocol):
    """One task on one arm in one rig. The order in an episode: `draw`, `begin`, then `watch` after every period."""

    @property
    def attempt(self) -> Attempt:
        """What the control loop runs."""
        ...

    @property
    def max_periods(self) -> int:
        """Control periods after which an episode is cut off."""
        ...

    def draw(self, rng: np.random.Generator, stage: Stage, pool: ObjectPool, size_m: float, distractors: int) -> Scene:
        """Return a random start with an object of about `size_m` and so many others beside it."""
        ...

    def begin(self, world: ArmWorld, scene: Scene) -> None:
        """Take the goal and remember the start; the objects lie where `scene` says."""
        ...

    def watch(self, world: ArmWorld) -> Outcome | None:
        """Judge the world after a control period, from physics; None while the episode goes on."""
        ...

    def potential(self) -> float:
        """Return the shaping potential of the state that was last seen."""
        ...


def periods(duration_s: float, period_s: float) -> int:
    """Return how many control periods last `duration_s` at least."""
    return math.ceil(duration_s / period_s - 1e-9)


TaskMaker = Callable[[ArmDescription, Rig, Kinematics, float], Task]


def check_area(rig: Rig, kinematics: Kinematics) -> None:
    """Raise SimError where the arm cannot grasp at the middle or a corner of the rig's block area."""
    half = rig.area_size_m / 2
    for sides in ((0, 0), (-1, -1), (-1, 1), (1, -1), (1, 1)):
        point = np.array([*(rig.area_center_m + half * sides), rig.grasp_m])
        try:
            kinematics.solve(point, jaw_heading(0.0, point), rig.home_rad)
        except Unreachable as error:
            raise SimError(
                f"rig {rig.name!r}: the block area, area_center_m {rig.area_center_m.tolist()} with area_size_m "
                f"{rig.area_size_m.tolist()}, holds what the arm cannot grasp: {error}. `tandem env show` draws its "
                f"reach"
            ) from error


def area_bounds(rig: Rig, stage: Stage) -> tuple[Array, Array]:
    """Return the lower and upper corner (2,) of the part of the block area that a stage uses."""
    corner = rig.area_center_m - rig.area_size_m / 2
    return corner + rig.area_size_m * np.array(stage.area_lower), corner + rig.area_size_m * np.array(stage.area_upper)


def lying(point_m: Array, size_m: float, yaw_rad: float) -> Pose:
    """Return the pose of an object that stands on the desk at a point (2,)."""
    return Pose.from_rotvec([float(point_m[0]), float(point_m[1]), size_m / 2], [0.0, 0.0, yaw_rad])


def draw_objects(
    rng: np.random.Generator,
    rig: Rig,
    stage: Stage,
    pool: ObjectPool,
    max_yaw_rad: float,
    size_m: float,
    distractors: int,
) -> tuple[Placement, ...]:
    """Return the target anywhere in the stage's area, and distractors, none nearer than the jaws need.

    Raises SimError where the world has fewer distractors than are asked for.
    """
    lower, upper = area_bounds(rig, stage)
    kinds = pool.spec.kinds
    index = pool.nearest(kinds[int(rng.integers(len(kinds)))], size_m)
    point = rng.uniform(lower, upper)
    placements = [Placement(index, lying(point, pool.objects[index].size_m, rng.uniform(-max_yaw_rad, max_yaw_rad)))]
    if distractors > pool.spec.distractors:
        raise SimError(
            f"stage {stage.name!r} asks for {distractors} distractors, the environment was made with "
            f"distractors={pool.spec.distractors}"
        )
    if distractors == 0:
        return tuple(placements)
    # Clutter lies around the area too: inside it there is hardly room for more.
    margin = np.full(2, DISTRACTOR_MARGIN_M)
    outer = (rig.area_center_m - rig.area_size_m / 2 - margin, rig.area_center_m + rig.area_size_m / 2 + margin)
    taken = [point]
    for k in pool.distractor_indices[:distractors]:
        place = _apart(rng, *outer, taken)
        taken.append(place)
        placements.append(Placement(k, lying(place, pool.objects[k].size_m, rng.uniform(-math.pi, math.pi))))
    return tuple(placements)


#: Open jaws with their cranks are 100 mm wide: what lies nearer to the target cannot be passed by them.
DISTRACTOR_APART_M = 0.075
DISTRACTOR_MARGIN_M = 0.05
_TRIES = 200


def _apart(rng: np.random.Generator, lower_m: Array, upper_m: Array, taken: list[Array]) -> Array:
    """Return a point (2,) that keeps `DISTRACTOR_APART_M` from the points taken, or the farthest one of many."""
    best, best_m = rng.uniform(lower_m, upper_m), -1.0
    for _ in range(_TRIES):
        point = rng.uniform(lower_m, upper_m)
        nearest_m = min(math.hypot(*(point - other)) for other in taken)
        if nearest_m >= DISTRACTOR_APART_M:
            return point
        if nearest_m > best_m:
            best, best_m = point, nearest_m
    return best
