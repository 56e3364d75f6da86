"""Reach map: which places over the desk an arm can serve in a rig, and what limits it where it cannot."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from bridge.encoding import ToolFrame
from scripts.programs.reach_solver import Answers, BatchKinematics, Places, SeedBook
from urdf.description import ArmDescription, Rig
from urdf.pose import Array

#: Why a place is not served, besides the number of the joint whose limit is in the way.
SERVED, TOO_FAR, ONLY_TILTED = -1, -2, -3
SLICE_COUNT = 6
#: Columns of a slice.
COLUMNS = 72
_SEEDS_EACH, _MORE_SEEDS_EACH = 4, 10
_CHUNK = 2048
#: How far joints may go past their limits when the reason is looked for, and from how many seeds.
_BEYOND_RAD, _FREE_SEEDS_EACH = math.radians(120.0), 6
#: The share of the work that is done when the reasons are looked for.
_SEARCHED = 0.65
_NEIGHBOURS, _NEIGHBOUR_ROUNDS = 4, 8
_MET_M = 1e-4
_ODD_TILT_RAD = math.radians(2.0)
#: The map ends a little beyond the farthest place that is served.
_EDGE = 1.08
_AREA_POINTS, _BOX_POINTS = 11, 9


@dataclass(frozen=True, slots=True)
class Verdicts:
    """Of many places: the lean of the tool [rad] where one is served (NaN elsewhere), and why it is not."""

    tilt_rad: Array
    reason: NDArray[np.int8]

    def reshape(self, *shape: int) -> Verdicts:
        """Return the same verdicts in another shape."""
        return Verdicts(self.tilt_rad.reshape(shape), self.reason.reshape(shape))

    @property
    def served_share(self) -> float:
        """The share of the places that are served."""
        return float(np.mean(self.reason == SERVED))


@dataclass(frozen=True, slots=True)
class ReachMap:
    """Slices (k, rows, columns) at `heights_m` over a grid of `side_m`, and the section (z, y) through the base axis.

    `area` are the verdicts of the block area at grasp and hover height, `box` those of the reach box.
    """

    description: ArmDescription
    rig: Rig
    side_m: Array
    heights_m: Array
    slices: Verdicts
    section_side_m: Array
    section_heights_m: Array
    section: Verdicts
    area: Verdicts
    box: Verdicts
    home_m: Array

    def reason_name(self, reason: int) -> str:
        """Return what to call a reason."""
        if reason == TOO_FAR:
            return "the arm's length"
        if reason == ONLY_TILTED:
            return "the cone: met only leaning farther, or turned"
        return f"the limit of {self.description.joint_names[reason]}"

    def limits(self, verdicts: Verdicts) -> dict[str, float]:
        """Return the share of the places that each reason rules out, the commonest first."""
        reasons, counts = np.unique(verdicts.reason[verdicts.reason != SERVED], return_counts=True)
        order = np.argsort(-counts)
        return {self.reason_name(int(reasons[k])): float(counts[k]) / verdicts.reason.size for k in order}


def tangent_rad(points_m: Array) -> Array:
    """Return the heading of the jaws at points (m, 3): along the tangent around the base axis."""
    return np.arctan2(points_m[:, 1], points_m[:, 0]) - math.pi / 2


def draw_reach_map(
    description: ArmDescription, rig: Rig, on_progress: Callable[[float], None], columns: int = COLUMNS
) -> ReachMap:
    """Return the reach map, slices `columns` wide; `on_progress` hears the share that is done. 15-25 s of one core."""
    kinematics = BatchKinematics(description, rig)
    book = SeedBook(kinematics, np.random.default_rng(0))
    radius_m = _EDGE * float(np.linalg.norm(book.positions_m[:, :2], axis=1).max())
    top_m = float(book.positions_m[:, 2].max())
    side = np.linspace(-radius_m, radius_m, columns)
    heights = _heights(rig, 0.95 * top_m)
    section_heights = np.arange(0.0, _EDGE * top_m, side[1] - side[0])
    # x is never zero exactly: on the axis itself the tangent has no direction.
    off_axis = 1e-6
    groups = [
        _grid(side, side, heights),
        _grid(np.array([off_axis]), side, section_heights),
        _area_points(rig),
        _grid(*(np.linspace(a, b, _BOX_POINTS) for a, b in zip(rig.reach_lower_m, rig.reach_upper_m, strict=True))),
    ]
    verdicts = judge(kinematics, book, np.concatenate(groups), float(side[1] - side[0]), on_progress)
    ends = np.cumsum([len(group) for group in groups])[:-1]
    tilts, reasons = np.split(verdicts.tilt_rad, ends), np.split(verdicts.reason, ends)
    slices, section, area, box = (Verdicts(t, r) for t, r in zip(tilts, reasons, strict=True))
    return ReachMap(
        description=description,
        rig=rig,
        side_m=side,
        heights_m=heights,
        slices=slices.reshape(len(heights), columns, columns),
        section_side_m=side,
        section_heights_m=section_heights,
        section=section.reshape(len(section_heights), columns),
        area=area,
        box=box,
        home_m=ToolFrame(description, rig).locate(rig.home_rad)[0],
    )


def judge(
    kinematics: BatchKinematics,
    book: SeedBook,
    points_m: Array,
    spacing_m: float,
    on_progress: Callable[[float], None],
) -> Verdicts:
    """Return the verdicts of places (m, 3); what serves a place is tried on its neighbours, `spacing_m` apart."""
    heading = tangent_rad(points_m)
    reachable = np.linalg.norm(points_m - kinematics.shoulder_m, axis=1) <= kinematics.longest_m
    best = Answers(
        np.zeros((len(points_m), len(kinematics.lower_rad))),
        np.zeros(len(points_m), dtype=bool),
        *(np.full(len(points_m), math.inf) for _ in range(3)),
    )
    rounds = [(_SEEDS_EACH, 0, 0.3), (_MORE_SEEDS_EACH, _SEEDS_EACH, _SEARCHED)]
    done = 0.0
    for count, skip, until in rounds:
        open_rows = np.flatnonzero(reachable & ~best.served)
        for begin in range(0, len(open_rows), _CHUNK):
            rows = open_rows[begin : begin + _CHUNK]
            places = book.nearest(points_m[rows], heading[rows], count + skip)[:, skip:]
            _try(kinematics, points_m, heading, best, rows, book.position_rad[places])
            on_progress(done + (until - done) * min(1.0, (begin + _CHUNK) / len(open_rows)))
        done = until
    for _ in range(_NEIGHBOUR_ROUNDS):
        before = int(best.served.sum())
        _ask_neighbours(kinematics, points_m, heading, best, np.flatnonzero(reachable & ~best.served), spacing_m)
        if int(best.served.sum()) == before:
            break
    _ask_neighbours(kinematics, points_m, heading, best, _leaning_oddly(points_m, best, spacing_m), spacing_m)
    reason = np.full(len(points_m), TOO_FAR)
    reason[best.served] = SERVED
    open_rows = np.flatnonzero(reachable & ~best.served)
    _find_reasons(kinematics, points_m, heading, best.position_rad, reason, open_rows, on_progress)
    on_progress(1.0)
    return Verdicts(np.where(best.served, best.tilt_rad, math.nan), reason.astype(np.int8))


def _find_reasons(
    kinematics: BatchKinematics,
    points_m: Array,
    heading: Array,
    nearest_rad: Array,
    reason: Places,
    rows: Places,
    on_progress: Callable[[float], None],
) -> None:
    """Let every joint go beyond its limits: the one that then goes farthest beyond is what stopped the arm.

    Where even that does not help, the arm is too short, or the place is met with the tool turned or leaning too far.
    """
    free = BatchKinematics(kinematics.description, kinematics.rig, _BEYOND_RAD)
    book = SeedBook(free, np.random.default_rng(1))
    for begin in range(0, len(rows), _CHUNK):
        some = rows[begin : begin + _CHUNK]
        seeds = book.position_rad[book.nearest(points_m[some], heading[some], _FREE_SEEDS_EACH)]
        # First from where the limits ended the search: there the least is missing.
        starts = np.concatenate([nearest_rad[some][:, None], seeds], axis=1)
        tries = starts.shape[1]
        found = free.solve(
            np.repeat(points_m[some], tries, axis=0),
            np.repeat(heading[some], tries),
            starts.reshape(-1, starts.shape[2]),
            upright=False,
        )
        violation = kinematics.violation_rad(found.position_rad)
        worst = np.where(found.served, violation.max(axis=1), math.inf).reshape(len(some), -1)
        least = np.arange(len(some)) * tries + worst.argmin(axis=1)
        nearest_m = np.where(found.served, 0.0, found.residual_m).reshape(len(some), -1).min(axis=1)
        without = np.where(nearest_m < _MET_M, ONLY_TILTED, TOO_FAR)
        reason[some] = np.where(np.isfinite(worst.min(axis=1)), violation[least].argmax(axis=1), without)
        on_progress(_SEARCHED + (1.0 - _SEARCHED) * min(1.0, (begin + _CHUNK) / len(rows)))


def _leaning_oddly(points_m: Array, best: Answers, spacing_m: float) -> Places:
    """Return the places that are served with a tool that leans much more than at a place next to them."""
    served = np.flatnonzero(best.served)
    if len(served) <= _NEIGHBOURS:
        return served
    distance, places = KDTree(points_m[served]).query(points_m[served], _NEIGHBOURS + 1)
    tilt = np.where(distance < 1.8 * spacing_m, best.tilt_rad[served][places], math.inf)
    return served[tilt[:, 0] > tilt[:, 1:].min(axis=1) + _ODD_TILT_RAD]


def _ask_neighbours(
    kinematics: BatchKinematics, points_m: Array, heading: Array, best: Answers, rows: Places, spacing_m: float
) -> None:
    """Start once more from the joints of served places nearby."""
    served = np.flatnonzero(best.served)
    if not len(served) or not len(rows):
        return
    count = min(_NEIGHBOURS + 1, len(served))
    # One more than wanted: a place that is served is its own nearest.
    distance, places = KDTree(points_m[served]).query(points_m[rows], count)
    distance, places = distance.reshape(len(rows), count), places.reshape(len(rows), count)
    close = distance[:, 0] < 1.8 * spacing_m
    if close.any():
        _try(kinematics, points_m, heading, best, rows[close], best.position_rad[served[places[close]]])


def _try(
    kinematics: BatchKinematics, points_m: Array, heading: Array, best: Answers, rows: Places, starts_rad: Array
) -> None:
    """Search from `starts_rad` (rows, tries, n) and keep the best of old and new."""
    tries = starts_rad.shape[1]
    found = kinematics.solve(
        np.repeat(points_m[rows], tries, axis=0),
        np.repeat(heading[rows], tries),
        starts_rad.reshape(-1, starts_rad.shape[2]),
    )
    tilt = np.where(found.served, found.tilt_rad, math.inf).reshape(-1, tries)
    score = found.score.reshape(-1, tries)
    choice = np.where(found.served.reshape(-1, tries).any(axis=1), tilt.argmin(axis=1), score.argmin(axis=1))
    flat = np.arange(len(rows)) * tries + choice
    better = found.served[flat] | (found.score[flat] < best.score[rows])
    chosen, kept = flat[better], rows[better]
    best.position_rad[kept], best.served[kept] = found.position_rad[chosen], found.served[chosen]
    best.tilt_rad[kept], best.residual_m[kept] = found.tilt_rad[chosen], found.residual_m[chosen]
    best.score[kept] = found.score[chosen]


def _grid(x: Array, y: Array, z: Array) -> Array:
    """Return the points (z y x, 3) of a grid, x running fastest."""
    zs, ys, xs = np.meshgrid(z, y, x, indexing="ij")
    return np.stack([xs.ravel(), ys.ravel(), zs.ravel()], axis=1)


def _area_points(rig: Rig) -> Array:
    corner = rig.area_center_m - rig.area_size_m / 2
    x, y = (np.linspace(corner[k], corner[k] + rig.area_size_m[k], _AREA_POINTS) for k in range(2))
    return _grid(x, y, np.array([rig.grasp_m, rig.hover_m]))


def _heights(rig: Rig, top_m: float) -> Array:
    """Return the heights of the slices, evenly from the grasp to `top_m`, the one nearest to the hover moved there."""
    heights = np.round(np.linspace(rig.grasp_m, max(top_m, rig.hover_m + 0.01), SLICE_COUNT), 3)
    heights[1 + int(np.abs(heights[1:] - rig.hover_m).argmin())] = rig.hover_m
    return heights
