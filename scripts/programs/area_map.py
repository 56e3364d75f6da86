"""Success by place: the area in which episodes begin, cut into cells, each with its count and its interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from policies.evaluation import wilson_interval
from sim.tasks.task import Scene
from urdf.description import Rig
from urdf.errors import ArmError

#: Cells along the longer and the shorter side.
_LONG, _SHORT = 5, 3


@dataclass(frozen=True, slots=True)
class PlacedEpisode:
    """How an episode ended, and where on the desk (x, y) its object lay at the start or, without one, its goal was.

    None where a task has neither.
    """

    success: bool
    place_m: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Area:
    """A rectangle of the desk, and what is placed in it."""

    what: str
    lower_m: tuple[float, float]
    upper_m: tuple[float, float]

    @property
    def cells(self) -> tuple[int, int]:
        """How many cells it has along x and y."""
        width, height = np.subtract(self.upper_m, self.lower_m)
        return (_LONG, _SHORT) if width >= height else (_SHORT, _LONG)

    def edges_m(self, axis: int) -> list[float]:
        """Return the borders of the cells along x (0) or y (1)."""
        return [float(v) for v in np.linspace(self.lower_m[axis], self.upper_m[axis], self.cells[axis] + 1)]


class Region(msgspec.Struct, frozen=True):
    """One cell, from and to along x and y of the desk frame, and its episodes; no rate without any."""

    x_m: tuple[float, float]
    y_m: tuple[float, float]
    successes: int
    episodes: int
    success_rate: float | None
    wilson_low: float
    wilson_high: float


def area_of(rig: Rig, scene: Scene) -> Area:
    """Return where the episodes of a rig begin: its block area or, for a scene without an object, its reach box.

    Raises ArmError for a scene with neither object nor goal.
    """
    if scene.placements:
        low, high = rig.area_center_m - rig.area_size_m / 2, rig.area_center_m + rig.area_size_m / 2
    elif scene.goal_m is not None:
        low, high = rig.reach_lower_m, rig.reach_upper_m
    else:
        raise ArmError("--map shows success by the place of an object or a goal, and this task has neither")
    what = "object" if scene.placements else "goal"
    return Area(what, (float(low[0]), float(low[1])), (float(high[0]), float(high[1])))


def place_of(scene: Scene) -> tuple[float, float] | None:
    """Return where the object lies or, without one, where the goal is; None where there is neither."""
    point = scene.placements[0].pose.position_m if scene.placements else scene.goal_m
    return None if point is None else (float(point[0]), float(point[1]))


def count_regions(episodes: Sequence[PlacedEpisode], area: Area) -> list[Region]:
    """Return every cell, row by row from the lower corner on. A place outside counts into the cell next to it."""
    columns, rows = area.cells
    counts = np.zeros((rows, columns, 2), dtype=np.int64)
    for episode in episodes:
        if episode.place_m is not None:
            column, row = (_cell(area, axis, episode.place_m[axis]) for axis in (0, 1))
            counts[row, column] += (episode.success, 1)
    x_m, y_m = area.edges_m(0), area.edges_m(1)
    regions: list[Region] = []
    for row in range(rows):
        for column in range(columns):
            successes, number = (int(count) for count in counts[row, column])
            low, high = wilson_interval(successes, number)
            rate = successes / number if number else None
            x, y = (x_m[column], x_m[column + 1]), (y_m[row], y_m[row + 1])
            regions.append(Region(x, y, successes, number, rate, low, high))
    return regions


def _cell(area: Area, axis: int, value_m: float) -> int:
    """Return the cell along an axis; a border belongs to the cell above it."""
    borders = area.edges_m(axis)[1:-1]
    return int(np.searchsorted(borders, value_m, side="right"))
