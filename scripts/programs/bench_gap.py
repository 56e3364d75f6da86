"""Rows of the gap: what calibration leaves of the training world's success, and whether the quick lab is a lab.

Everything is measured into data/gap, where `tandem gap` goes on from and draws its picture.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from rich.console import Console

from bridge.ports import Clock, Robot
from scripts.evaluate import choose_policy
from scripts.gap import GapArgs, measure_gap
from scripts.programs.figures import Row, at_least, at_most
from scripts.programs.gap_measure import worst_zero_deg
from scripts.programs.gap_record import GapTable, interval
from scripts.programs.lab_process import LabProcess
from scripts.programs.lab_unit import LabUnit
from scripts.programs.posing import PosedArm
from scripts.programs.quick_lab import QuickLab
from scripts.programs.robot_link import RobotLink
from scripts.run import run_on
from urdf.pose import Array

POLICY, LEVEL = "dofbot-grasp-state", "hard"
KEPT, INNER_ZEROS, OUTER_ZEROS = (
    f"gap, {LEVEL}: success after calibration / training world",
    f"servo zeros in the lab, {LEVEL}, worst of J2 to J4",
    f"servo zeros in the lab, {LEVEL}, worst of J1 and J5",
)
AGREES_SUCCESS = "lab on the pty in real time and quick lab, mild seed 0: successes apart, of 20"
AGREES_MOTION = "lab on the pty in real time and quick lab, hard seed 0: servos apart after the same moves"
_EPISODES = 20


def measure(on_progress: Callable[[str, float], None], only: str = "") -> Iterator[Row]:
    """Yield the rows whose figure contains `only`; the table first, since it takes longest."""
    if any(only in figure for figure in (KEPT, INNER_ZEROS, OUTER_ZEROS)):
        yield from gap_rows(_table(on_progress))
    if only in AGREES_MOTION:
        on_progress("lab on the pty, moves", 0.9)
        apart_deg = motion_apart_deg()
        yield at_most(AGREES_MOTION, apart_deg, "deg", 0.3, "the same poses, as the servos read them; 1 count is 0.08")
    if only in AGREES_SUCCESS:
        on_progress("lab on the pty, attempts", 0.95)
        yield at_most(AGREES_SUCCESS, successes_apart(_EPISODES), "attempts", 2.0, "the same policy and truth")


def gap_rows(table: GapTable) -> Iterable[Row]:
    """Return the rows of a table."""
    before, after = (interval(table.counted(stage)) for stage in ("before", "after"))
    training = interval((table.training.successes, table.training.episodes))
    told = f"{len(table.units)} labs: {before} before, {after} after, {training} in the training world"
    yield at_least(KEPT, table.kept_share, "", 0.95, told)
    yield at_most(INNER_ZEROS, worst_zero_deg(table.units, ("joint2", "joint3", "joint4")), "deg", 0.3, "4 deg before")
    yield at_most(OUTER_ZEROS, worst_zero_deg(table.units, ("joint1", "joint5")), "deg", 0.5, "by board and marker")


def _table(on_progress: Callable[[str, float], None]) -> GapTable:
    on_progress(f"tandem gap --policy {POLICY} --level {LEVEL}", 0.0)
    table, _ = measure_gap(GapArgs(POLICY, LEVEL), Console(stderr=True), os.cpu_count() or 1)
    return table


# The quick lab against the real one --------------------------------------------------------------
def motion_apart_deg(moves: int = 6) -> float:
    """Return how far apart the servos of both labs stand after the same moves: the most of any joint and pose."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        lab = QuickLab(LabUnit("dofbot", "table", 0, LEVEL), data / "quick", data / "quick")
        try:
            goals = _goals(lab.rig.home_rad, moves)
            with lab.workplace().take_hold() as bench:
                quick = _stops(bench.robot, goals, lab.clock)
        finally:
            lab.close()
        with LabProcess(seed=0, level=LEVEL, data=data / "real") as real, RobotLink.of(real.robot).connect() as robot:
            slow = _stops(robot, goals, None)
    return math.degrees(float(np.abs(quick - slow)[:, :-1].max()))


def _goals(home_rad: Array, count: int) -> list[Array]:
    rng = np.random.default_rng(3)
    goals = [home_rad + np.append(rng.uniform(-0.2, 0.2, len(home_rad) - 1), 0.0) for _ in range(count)]
    for goal in goals:
        goal[3] = home_rad[3] + abs(goal[3] - home_rad[3])  # its servo stands near its end
    return goals


def _stops(robot: Robot, goals: list[Array], clock: Clock | None) -> Array:
    """Return what the servos read (m, n) after each move."""
    arm = PosedArm(robot, np.full(len(goals[0]), 0.0015), clock=clock)
    stops: list[Array] = []
    for goal in goals:
        arm.move_to(goal)
        stops.append(arm.stand().reading_rad)
    robot.hold()
    return np.array(stops)


def successes_apart(episodes: int) -> float:
    """Return by how many successes the two labs differ, the same policy on the same unit before calibration."""
    from scripts.programs.quick_run import QuickRun

    choice, console = choose_policy(POLICY, None), Console(stderr=True)
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        lab = QuickLab(LabUnit(choice.arm, choice.rig, 0, "mild"), data / "quick", data / "quick")
        try:
            run = QuickRun(lab, choice)
            quick = sum(attempt.really for attempt in run.attempts(episodes))
            run.close()
        finally:
            lab.close()
        with LabProcess(seed=0, level="mild", data=data / "real") as real:
            link, real_data = RobotLink.of(real.robot), data / "real"
            outcome = run_on(link, choice, episodes, console, lambda a: None, recorded_as=None, data=real_data)
    return float(abs(quick - sum(outcome.truths)))
