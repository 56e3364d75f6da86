"""What a safety filter was told and what it let through: histories drawn to hurt, and kinematics to judge them by."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bridge.safety import SafetyFilter, SafetyState
from urdf.chain import Joint
from urdf.description import ArmDescription, Rig
from urdf.pose import Array

DEEP = os.environ.get("TANDEM_DEEP", "") not in ("", "0")
PERIOD_S = 0.05
STEPS = 8  # of one sequence
EDGES_RAD = (0.0, 1e-15, 1e-12, 1e-9, 1e-6, 1e-3, 1.5e-3, 2e-3, 1e-2, 0.1)
POISON = (math.nan, math.inf, -math.inf, 1e300, -1e300, 1e-310, -0.0)
JUMPS_S = (0.0, -0.05, math.nan, math.inf, -math.inf, 1e-300, 1e300, 3600.0, -3600.0, 1e-3, 5.0, math.nextafter(5.0, 6))


@dataclass(frozen=True, slots=True)
class Histories:
    """Every step of every sequence, one a row: (rows, n) or (rows,). `first` marks the start of a sequence."""

    first: NDArray[np.bool_]
    before: Array
    clearance_m: Array
    target: Array
    measured: Array
    asked_s: Array
    after: Array
    duration_s: Array
    velocity: Array
    held: NDArray[np.bool_]
    limited: NDArray[np.bool_]
    reasons: list[str]

    @property
    def sane(self) -> NDArray[np.bool_]:
        """Return the rows whose question was a question: finite numbers and a positive time."""
        numbers = np.isfinite(self.target).all(axis=1) & np.isfinite(self.measured).all(axis=1)
        return numbers & np.isfinite(self.asked_s) & (self.asked_s > 0)


def draw(arm: ArmDescription, rig: Rig, sequences: int, seed: int) -> Histories:
    """Run that many sequences through one filter. The arm follows, lags, sticks, or says nonsense, step by step."""
    rng, safety = np.random.default_rng(seed), SafetyFilter(arm, rig, PERIOD_S)
    joints = len(arm.joint_names)
    starts = _starts(arm, rng, sequences)
    targets = _targets(arm, rng, starts)
    noise, durations = _noise(rng, (sequences, STEPS, joints)), _durations(rng, (sequences, STEPS))
    rows = sequences * STEPS
    before, after, velocity, measured = (np.empty((rows, joints)) for _ in range(4))
    clearance_m, duration_s = np.empty(rows), np.empty(rows)
    held, limited = np.empty(rows, dtype=bool), np.empty(rows, dtype=bool)
    reasons: list[str] = []
    for k in range(sequences):
        state = safety.initial(starts[k])
        stuck = rng.random() < 0.1
        for step in range(STEPS):
            row = k * STEPS + step
            measured[row] = (starts[k] if stuck else state.position_rad) + noise[k, step]
            before[row], clearance_m[row] = state.position_rad, state.clearance_m
            state, output = safety.step(state, targets[k, step], measured[row], float(durations[k, step]))
            after[row], velocity[row], duration_s[row] = output.position_rad, state.velocity_rad_s, output.duration_s
            held[row], limited[row] = output.held, output.limited
            reasons.append(output.reason)
    return Histories(
        first=np.arange(rows) % STEPS == 0,
        before=before,
        clearance_m=clearance_m,
        target=targets.reshape(rows, joints),
        measured=measured,
        asked_s=durations.reshape(rows),
        after=after,
        duration_s=duration_s,
        velocity=velocity,
        held=held,
        limited=limited,
        reasons=reasons,
    )


def again(arm: ArmDescription, rig: Rig, told: Histories, row: int) -> tuple[SafetyState, Array, float]:
    """Ask a new filter one row's question over, with arrays that cannot be written; return its answer."""
    state = SafetyState(told.before[row], np.zeros(told.before.shape[1]), float(told.clearance_m[row]))
    target, measured = told.target[row].copy(), told.measured[row].copy()
    for array in (state.position_rad, state.velocity_rad_s, target, measured):
        array.setflags(write=False)
    after, output = SafetyFilter(arm, rig, PERIOD_S).step(state, target, measured, float(told.asked_s[row]))
    return after, output.position_rad, output.duration_s


def _starts(arm: ArmDescription, rng: np.random.Generator, count: int) -> Array:
    """Anywhere inside, under the desk and folded up included; one in five with joints at a limit, or beyond it."""
    starts = rng.uniform(arm.lower_rad, arm.upper_rad, (count, len(arm.joint_names)))
    edged = rng.random(starts.shape) < np.where(rng.random((count, 1)) < 0.2, 0.4, 0.0)
    return np.where(edged, _edges(arm, rng, starts.shape, widest_rad=0.5), starts)


def _targets(arm: ArmDescription, rng: np.random.Generator, starts: Array) -> Array:
    """Goals far away or near, steps around them, jumps, limits give or take a hair, and poison in any slot."""
    shape = (len(starts), STEPS, starts.shape[1])
    margin = 0.2 * (arm.upper_rad - arm.lower_rad)
    goal = rng.uniform(arm.lower_rad - margin, arm.upper_rad + margin, starts.shape)
    near = starts + rng.normal(0.0, 1.0, starts.shape) * rng.choice([0.003, 0.03, 0.3], (len(starts), 1))
    goal = np.where(rng.random((len(starts), 1)) < 0.6, near, goal)[:, None, :]
    targets = goal + rng.normal(0.0, 1.0, shape) * rng.choice([0.0, 0.003, 0.1], (len(starts), 1, 1))
    targets = np.where(rng.random((len(starts), STEPS, 1)) < 0.05, rng.permuted(targets, axis=0), targets)
    edged = rng.random(shape) < np.where(rng.random((len(starts), 1, 1)) < 0.3, 0.2, 0.0)
    targets = np.where(edged, _edges(arm, rng, shape, widest_rad=10.0), targets)
    bits = rng.integers(0, 2**64, shape, dtype=np.uint64).view(np.float64)
    poison = np.where(rng.random(shape) < 0.3, bits, rng.choice(POISON, shape))
    return np.where(rng.random(shape) < 0.01, poison, targets)


def _noise(rng: np.random.Generator, shape: tuple[int, int, int]) -> Array:
    """How far a measurement lies from the output: mostly near, sometimes a rad away, rarely nowhere."""
    noise = rng.normal(0.0, 1.0, shape) * rng.choice([0.0, 0.01, 0.1, 1.0], (shape[0], 1, 1), p=[0.4, 0.3, 0.2, 0.1])
    return np.where(rng.random(shape) < 0.003, rng.choice(POISON, shape), noise)


def _durations(rng: np.random.Generator, shape: tuple[int, int]) -> Array:
    """The period; a clock that jitters over seven decades; a clock that has jumped."""
    wild = np.where(rng.random(shape) < 0.25, rng.choice(JUMPS_S, shape), 10.0 ** rng.uniform(-5.0, 2.0, shape))
    return np.where(rng.random(shape) < 0.3, wild, PERIOD_S)


def _edges(arm: ArmDescription, rng: np.random.Generator, shape: tuple[int, ...], widest_rad: float) -> Array:
    limits = np.where(rng.random(shape) < 0.5, arm.lower_rad, arm.upper_rad)
    return limits + rng.choice([-1.0, 1.0], shape) * rng.choice([*EDGES_RAD, widest_rad], shape)


def clearances_m(arm: ArmDescription, rig: Rig, poses_rad: Array) -> Array:
    """Return (m, checks): every moving guard's height over the floor, then every pair's gap. Straight from the URDF."""
    links = _link_matrices(arm, poses_rad)
    centers = [links[g.link][:, :3, :3] @ g.center_m + links[g.link][:, :3, 3] for g in arm.guards]
    to_desk = rig.desk_from_base
    heights = [
        (centers[k] @ to_desk.rotation.T + to_desk.position_m)[:, 2] - g.radius_m - rig.floor_m
        for k, g in enumerate(arm.guards)
        if g.link != arm.chain.root
    ]
    gaps = [
        np.linalg.norm(centers[i] - centers[j], axis=1) - arm.guards[i].radius_m - arm.guards[j].radius_m
        for i, j in arm.guard_pairs
    ]
    return np.stack([*heights, *gaps], axis=1)


def _link_matrices(arm: ArmDescription, poses_rad: Array) -> Mapping[str, Array]:
    angles = {name: poses_rad[:, k] for k, name in enumerate(arm.joint_names[:-1])}
    angles |= {name: factor * poses_rad[:, -1] for name, factor in arm.gripper.followers.items()}
    still = np.zeros(len(poses_rad))
    links = {arm.chain.root: np.tile(np.eye(4), (len(poses_rad), 1, 1))}
    for joint in arm.chain.joints:
        moved = joint.parent_from_joint.as_matrix() @ _motion(joint, angles.get(joint.name, still))
        links[joint.child] = links[joint.parent] @ moved
    return links


def _motion(joint: Joint, angles: Array) -> Array:
    """Return (m, 4, 4): a slide along the axis, or a turn about it, column by column as each unit vector is turned.

    Ref: Rodrigues, v cos q + (k x v) sin q + k (k . v) (1 - cos q).
    """
    motion = np.tile(np.eye(4), (len(angles), 1, 1))
    if joint.kind == "prismatic":
        motion[:, :3, 3] = angles[:, None] * joint.axis
    elif joint.kind != "fixed":
        for column, unit in enumerate(np.eye(3)):
            motion[:, :3, column] = (
                np.cos(angles)[:, None] * unit
                + np.sin(angles)[:, None] * np.cross(joint.axis, unit)
                + (1.0 - np.cos(angles))[:, None] * joint.axis * joint.axis[column]
            )
    return motion
