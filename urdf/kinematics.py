"""Inverse kinematics on Pinocchio: position first, tilt free inside the rig's cone, joint limits never violated.

A Dofbot has five joints, so a tool that must be somewhere (3) with its jaws along a heading (1) keeps one freedom: how
far it leans. A vertical tool leaves the +-90 deg servos almost everywhere, hence the lean is a secondary wish: the
solver meets position and heading, and spends what freedom is left on standing as upright as the limits allow. Arms of
six or seven joints keep two or three freedoms and are served by the same steps, each the smallest that does it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pinocchio as pin

from urdf.description import ArmDescription, Rig
from urdf.errors import Unreachable
from urdf.kinematics_kernel import BEST_TILT, RESIDUAL, advance, square_distances
from urdf.pose import Array

_MAX_ITERATIONS = 25
_GREEDY_ITERATIONS = 10
_PATIENT_SEEDS = 80
_MAX_RIGHTING_RAD = 0.3
#: From a given pose the tool is righted this far a solve: near a straight elbow, whole turns would gain a degree.
_WARM_RIGHTING_RAD = 0.05
_SEED_COUNT = 4000
#: A radian of heading weighs as much as this many metres when seeds are compared.
_METRES_PER_RAD = 0.1


class PinocchioKinematics:
    """Inverse kinematics of one arm in one rig, in the desk frame. Implements `bridge.ports.Kinematics`.

    `margin_rad` is kept from every joint limit (default: the description's). Not thread-safe: it owns scratch memory.
    """

    def __init__(self, description: ArmDescription, rig: Rig, margin_rad: float | None = None) -> None:
        self.description = description
        self.rig = rig
        count = description.arm_joint_count
        margin = description.margin_rad if margin_rad is None else margin_rad
        self.lower_rad = description.lower_rad[:count] + margin
        self.upper_rad = description.upper_rad[:count] - margin
        self._model = _arm_model(description, rig)
        self._data = self._model.createData()
        parent = self._model.getFrameId(description.tool_link)
        self._frame = self._model.addFrame(
            pin.Frame(
                "tool",
                self._model.frames[parent].parentJoint,
                parent,
                self._model.frames[parent].placement * pin.SE3(description.link_from_tool.as_matrix()),
                pin.FrameType.OP_FRAME,
            )
        )
        self._data = self._model.createData()
        self._limits = np.stack((self.lower_rad, self.upper_rad))
        self._max_tilt = float(rig.max_tilt_rad)
        self._seeds_rad, self._seed_keys = self._make_seeds()
        self._load_kernel()

    def solve(
        self, desk_position_m: Array, yaw_rad: float, near_rad: Array | None = None, patient: bool = True
    ) -> Array:
        """Return arm joints (n - 1,) for a tool position (3,) [m] and a jaw heading [rad] in the desk frame.

        Without `patient` only `near_rad` is tried: a target out of reach is refused in 0.1 ms instead of 5.
        Raises Unreachable with the remaining distance and the joint that stands at its limit.
        """
        target = np.asarray(desk_position_m, dtype=np.float64)
        goal = np.empty(4)
        goal[:3], goal[3] = target, yaw_rad
        best: tuple[float, Array] | None = None
        for start, greedy, budget_rad in self._starts(target, yaw_rad, near_rad, patient):
            q, residual_m, converged = self._descend(start, goal, greedy, budget_rad)
            if converged:
                return q
            if best is None or residual_m < best[0]:
                best = (residual_m, q)
        assert best is not None
        raise Unreachable(target, best[0], self._limiting_joint(best[1]))

    def tool_in_desk(self, position_rad: Array) -> tuple[Array, float, float]:
        """Return (position (3,) [m], jaw heading [rad], tilt from straight down [rad]) of the tool."""
        position, rotation = self._forward(np.asarray(position_rad, dtype=np.float64)[: len(self.lower_rad)])
        return position, math.atan2(rotation[1, 0], rotation[0, 0]), _tilt(rotation)

    # ---------------------------------------------------------------------------------------------
    def _forward(self, q: Array) -> tuple[Array, Array]:
        pin.forwardKinematics(self._model, self._data, q)
        placement = pin.updateFramePlacement(self._model, self._data, self._frame)
        return np.array(placement.translation), np.array(placement.rotation)

    def _starts(
        self, target: Array, yaw_rad: float, near_rad: Array | None, patient: bool
    ) -> Iterator[tuple[Array, bool, float]]:
        """Yield joint angles to start from, whether to right the tool greedily, and how far in all [rad].

        From where the arm is, both ways are tried before any seed: a seed may lie on another branch, across the room.
        """
        near: Array | None = None
        if near_rad is not None:
            near = np.asarray(near_rad, dtype=np.float64)[: len(self.lower_rad)]
            near = np.minimum(np.maximum(near, self.lower_rad), self.upper_rad)
            yield near, True, _WARM_RIGHTING_RAD
            yield near, False, _WARM_RIGHTING_RAD
            if not patient:
                return
        double = 2 * yaw_rad  # jaws are symmetric: compare headings modulo pi
        key = np.array([*target, _METRES_PER_RAD / 2 * math.cos(double), _METRES_PER_RAD / 2 * math.sin(double)])
        distance = square_distances(self._seed_keys, key)
        count = min(_PATIENT_SEEDS, len(distance) - 1)
        nearest = np.argpartition(distance, count)[:count]
        order = distance[nearest] if near is None else np.abs(self._seeds_rad[nearest] - near).max(axis=1)
        ordered = nearest[np.argsort(order)]
        yield self._seeds_rad[ordered[0]], True, math.inf
        for index in ordered:
            yield self._seeds_rad[index], False, math.inf

    def _make_seeds(self) -> tuple[Array, Array]:
        """Return joint angles spread over the cone, and their keys (position, doubled heading) for look-up."""
        rng = np.random.default_rng(0)
        seeds: list[Array] = []
        keys: list[list[float]] = []
        for _ in range(60):
            if len(seeds) >= _SEED_COUNT:
                break
            for q in rng.uniform(self.lower_rad, self.upper_rad, (2000, len(self.lower_rad))):
                position, rotation = self._forward(q)
                if _tilt(rotation) <= self._max_tilt and position[2] > -0.02:
                    double = 2 * math.atan2(rotation[1, 0], rotation[0, 0])
                    half = _METRES_PER_RAD / 2
                    seeds.append(q)
                    keys.append([*position, half * math.cos(double), half * math.sin(double)])
        return np.array(seeds).reshape(-1, len(self.lower_rad)), np.array(keys).reshape(-1, 5)

    def _load_kernel(self) -> None:
        """Load the kernel, or compile it where no process has yet: a control loop has no time for that."""
        self._descend((self.lower_rad + self.upper_rad) / 2, np.zeros(4), greedy=True, budget_rad=0.0)
        square_distances(self._seed_keys, np.zeros(5))

    def _descend(self, start: Array, goal: Array, greedy: bool, budget_rad: float) -> tuple[Array, float, bool]:
        """Return (joints, position residual [m], converged) of Gauss-Newton steps inside the limits.

        `greedy` rights the tool from the first step on: quick near a solution, lost near a stretched arm, where the
        patient way, which rights it only once position and heading are met, still arrives. Inside the cone it is
        righted by `budget_rad` in all.
        """
        q, best = start.copy(), start.copy()
        progress = np.array((budget_rad, _MAX_RIGHTING_RAD, math.inf, math.inf))
        for _ in range(_GREEDY_ITERATIONS if greedy else _MAX_ITERATIONS):
            pin.computeJointJacobians(self._model, self._data, q)
            placement = pin.updateFramePlacement(self._model, self._data, self._frame).homogeneous
            world = pin.getFrameJacobian(self._model, self._data, self._frame, pin.LOCAL_WORLD_ALIGNED)
            if advance(world, placement, goal, self._limits, self._max_tilt, greedy, q, best, progress):
                return q, float(progress[RESIDUAL]), True
        found = bool(progress[BEST_TILT] < math.inf)
        return best if found else q, float(progress[RESIDUAL]), found

    def _limiting_joint(self, q: Array) -> str | None:
        at_limit = (q <= self.lower_rad + 1e-6) | (q >= self.upper_rad - 1e-6)
        names = [n for n, hit in zip(self.description.joint_names, at_limit, strict=False) if hit]
        return names[0] if names else None


def _tilt(rotation: Array) -> float:
    return math.acos(min(1.0, max(-1.0, -float(rotation[2, 2]))))


def _arm_model(description: ArmDescription, rig: Rig) -> pin.Model:
    """Return the Pinocchio model of the arm joints in the description's order, gripper locked, in the desk frame."""
    full = pin.buildModelFromUrdf(str(description.urdf_path))
    arm = description.joint_names[:-1]
    locked = [full.getJointId(name) for name in full.names[1:] if name not in arm]
    model = pin.buildReducedModel(full, locked, pin.neutral(full))
    if tuple(model.names[1:]) != arm:
        raise ValueError(
            f"{description.urdf_path}: Pinocchio orders the joints {list(model.names[1:])}, arm.toml {list(arm)}"
        )
    desk_from_base = pin.SE3(rig.desk_from_base.as_matrix())
    for joint in range(1, model.njoints):
        if model.parents[joint] == 0:
            model.jointPlacements[joint] = desk_from_base * model.jointPlacements[joint]
    return model
