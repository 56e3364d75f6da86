"""Inverse kinematics against 10,000 reachable targets: how exact, how lawful, how quick."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from scripts.programs.figures import Row, at_most
from urdf.description import ArmDescription, load_arm
from urdf.errors import Unreachable
from urdf.kinematics import PinocchioKinematics
from urdf.pose import Array

_TARGETS = 10_000
#: How far the arm stands from the solution when a solve begins: one control step of 0.05 s at 1 rad/s.
_WARM_RAD = 0.05


@dataclass(slots=True)
class _Tally:
    errors_m: list[float] = field(default_factory=list)
    solve_s: list[float] = field(default_factory=list)
    violations: int = 0
    unsolved: int = 0


def measure(on_progress: Callable[[str, float], None]) -> list[Row]:
    """Return the rows of both rigs; `on_progress` hears what is being done and the share that is done."""
    description = load_arm("dofbot")
    rows: list[Row] = []
    for name in description.rigs:
        rows += _measure_rig(description, name, on_progress)
    return rows


def _measure_rig(description: ArmDescription, rig_name: str, on_progress: Callable[[str, float], None]) -> list[Row]:
    rig = description.rig(rig_name)
    kinematics = PinocchioKinematics(description, rig)
    rng = np.random.default_rng(7)
    tally = _Tally()
    done = 0
    while done < _TARGETS:
        joints = rng.uniform(kinematics.lower_rad, kinematics.upper_rad)
        position, yaw, tilt = kinematics.tool_in_desk(joints)
        if tilt > rig.max_tilt_rad or position[2] < rig.floor_m:
            continue
        _solve_one(
            description, kinematics, position, yaw, joints + rng.uniform(-_WARM_RAD, _WARM_RAD, len(joints)), tally
        )
        done += 1
        if done % 500 == 0:
            on_progress(f"inverse kinematics, {rig_name} rig", done / _TARGETS)
    label = f"inverse kinematics {rig_name}"
    return [
        at_most(f"{label} unsolved reachable targets", tally.unsolved, "targets", 0, f"of {_TARGETS}"),
        at_most(f"{label} largest position error", 1000 * max(tally.errors_m), "mm", 0.5, "NumPy forward kinematics"),
        at_most(f"{label} limit violations", tally.violations, "solutions", 0, f"of {_TARGETS}"),
        at_most(f"{label} median solve time", 1e6 * statistics.median(tally.solve_s), "us", 60, "warm start, one core"),
    ]


def _solve_one(
    description: ArmDescription,
    kinematics: PinocchioKinematics,
    target_m: Array,
    yaw_rad: float,
    near: Array,
    tally: _Tally,
) -> None:
    started_ns = time.perf_counter_ns()
    try:
        solution = kinematics.solve(target_m, yaw_rad, near)
    except Unreachable:
        tally.unsolved += 1
        return
    tally.solve_s.append(1e-9 * (time.perf_counter_ns() - started_ns))
    desk_from_tool = kinematics.rig.desk_from_base @ description.base_from_tool(solution)
    tally.errors_m.append(float(np.linalg.norm(desk_from_tool.position_m - target_m)))
    count = description.arm_joint_count
    outside = (solution < description.lower_rad[:count]) | (solution > description.upper_rad[:count])
    tally.violations += int(outside.any())
