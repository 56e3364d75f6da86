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
from urdf.pose import Array

_MAX_ITERATIONS = 25
_GREEDY_ITERATIONS = 10
_PATIENT_SEEDS = 80
_SMALL_STEP_RAD = 0.01
#: The tool is righted only where position and heading are nearly met: far away it would run into limits needlessly.
_RIGHTING_RANGE_M = 0.01
_MAX_RIGHTING_RAD = 0.3
#: From a given pose the tool is righted this far a solve: near a straight elbow, whole turns would gain a degree.
_WARM_RIGHTING_RAD = 0.05
_SMALL_RIGHTING_RAD = 1e-3
#: Less than this much less tilt in one step ends the righting.
_TILT_GAIN_RAD = 0.004
_RIGHTING_LOSS_M = 5e-4
_POSITION_TOLERANCE_M = 1e-4
_YAW_TOLERANCE_RAD = 2e-3
_DAMPING = 1e-8 * np.eye(4)
_SEED_COUNT = 4000
#: A radian of heading weighs as much as this many metres when seeds are compared and steps are limited.
_METRES_PER_RAD = 0.1
_MAX_STEP_RAD = 0.6
_STEEP_RAD = math.radians(60.0)


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
        self._lower, self._upper = self.lower_rad.tolist(), self.upper_rad.tolist()
        self._identity = np.eye(count)
        self._max_tilt = rig.max_tilt_rad
        self._seeds_rad, self._seed_keys = self._make_seeds()

    def solve(
        self, desk_position_m: Array, yaw_rad: float, near_rad: Array | None = None, patient: bool = True
    ) -> Array:
        """Return arm joints (n - 1,) for a tool position (3,) [m] and a jaw heading [rad] in the desk frame.

        Without `patient` only `near_rad` is tried: a target out of reach is refused in 1 ms instead of 50.
        Raises Unreachable with the remaining distance and the joint that stands at its limit.
        """
        target = np.asarray(desk_position_m, dtype=np.float64)
        best: tuple[float, Array] | None = None
        for start, greedy, budget_rad in self._starts(target, yaw_rad, near_rad, patient):
            q, residual_m, converged = self._descend(start, target, yaw_rad, greedy, budget_rad)
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
        distance = ((self._seed_keys - key) ** 2).sum(axis=1)
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
        return np.array(seeds), np.array(keys)

    def _descend(
        self, start: Array, target: Array, yaw_rad: float, greedy: bool, budget_rad: float
    ) -> tuple[Array, float, bool]:
        """Return (joints, position residual [m], converged) of Gauss-Newton steps inside the limits.

        `greedy` rights the tool from the first step on: quick near a solution, lost near a stretched arm, where the
        patient way, which rights it only once position and heading are met, still arrives. Inside the cone it is
        righted by `budget_rad` in all.
        """
        q = start
        residual_m, best_tilt = math.inf, math.inf
        best: Array | None = None
        reach = _MAX_RIGHTING_RAD
        for _ in range(_GREEDY_ITERATIONS if greedy else _MAX_ITERATIONS):
            error, jacobian, lean_rows, lean, tilt = self._linearise(q, target, yaw_rad)
            residual_m = math.sqrt(error[0] ** 2 + error[1] ** 2 + error[2] ** 2)
            if residual_m < _POSITION_TOLERANCE_M and abs(error[3]) < _YAW_TOLERANCE_RAD and tilt <= self._max_tilt:
                if tilt > best_tilt - _TILT_GAIN_RAD or budget_rad < _SMALL_RIGHTING_RAD:
                    return (q, residual_m, True) if best is None or tilt < best_tilt else (best, residual_m, True)
                best, best_tilt = q, tilt
            elif best is not None and residual_m > _RIGHTING_LOSS_M:
                reach *= 0.4  # righting bends the arm near a singularity: go on in smaller steps
            step, inverse = self._primary_step(q, jacobian, error)
            if residual_m < _RIGHTING_RANGE_M and (greedy or best is not None or residual_m < _POSITION_TOLERANCE_M):
                largest_rad = reach if tilt > self._max_tilt else min(reach, max(budget_rad, 0.0))
                righting = self._righting_step(q + step, jacobian, inverse, lean_rows, lean, largest_rad)
                righted_rad = float(np.abs(righting).max())
                budget_rad -= righted_rad
                step = step + righting
                remaining = error - jacobian @ step
                # What a small step leaves is of second order, reach x step^2 / 2: no need to look again. Not so where
                # the jaws' axis may stand steep: there a small step turns its heading by much.
                if (
                    self._max_tilt < _STEEP_RAD
                    and righted_rad < _SMALL_STEP_RAD
                    and float(np.abs(step).max()) < _SMALL_STEP_RAD
                ):
                    met = float(np.abs(remaining[:3]).max()) < _POSITION_TOLERANCE_M / 4 and abs(remaining[3]) < 1e-3
                    end = q + step
                    inside = bool((end >= self.lower_rad).all() and (end <= self.upper_rad).all())
                    if met and inside and tilt <= self._max_tilt:
                        return end, residual_m, True
            q = np.minimum(np.maximum(q + step, self.lower_rad), self.upper_rad)
        return (q, residual_m, False) if best is None else (best, residual_m, True)

    def _linearise(self, q: Array, target: Array, yaw_rad: float) -> tuple[Array, Array, Array, Array, float]:
        """Return (error (4,), its Jacobian (4, n), Jacobian of the lean (2, n), lean (2,), tilt [rad]) at `q`."""
        pin.computeJointJacobians(self._model, self._data, q)
        placement = pin.updateFramePlacement(self._model, self._data, self._frame)
        world = pin.getFrameJacobian(self._model, self._data, self._frame, pin.LOCAL_WORLD_ALIGNED)
        (x, _, down_x), (y, _, down_y), (z, _, down_z) = placement.rotation.tolist()
        down_x, down_y, down_z = -down_x, -down_y, -down_z  # (0, 0, 1) when the tool points straight down
        wx, wy, wz = world[3], world[4], world[5]
        jacobian = np.empty((4, len(q)))
        jacobian[:3] = world[:3]
        # The heading turns by (x dy - y dx) / (x^2 + y^2), and an axis by omega x axis.
        square = x * x + y * y + 1e-12
        jacobian[3] = wz - (x * z / square) * wx - (y * z / square) * wy
        error = np.empty(4)
        error[:3] = target - placement.translation
        yaw_error = yaw_rad - math.atan2(y, x)
        error[3] = yaw_error - math.pi * round(yaw_error / math.pi)
        lean_rows = np.array([wy * down_z - wz * down_y, wz * down_x - wx * down_z])
        return error, jacobian, lean_rows, np.array([down_x, down_y]), math.acos(min(1.0, max(-1.0, down_z)))

    def _primary_step(self, q: Array, jacobian: Array, error: Array) -> tuple[Array, Array]:
        """Return the least-norm step for position and heading, and the pseudo-inverse (n, 4) behind it.

        Joints that stand at a limit and would leave it are taken out and the rest is solved again (active set).
        """
        active = jacobian
        while True:
            inverse: Array = active.T @ np.linalg.inv(active @ active.T + _DAMPING)
            step: Array = inverse @ error
            # A few numbers: a loop over plain floats is several times faster than array expressions.
            bounds = zip(q.tolist(), step.tolist(), self._lower, self._upper, strict=True)
            leaving = [(v <= low and s < -1e-9) or (v >= high and s > 1e-9) for v, s, low, high in bounds]
            if True not in leaving:
                break
            active = active * np.array([0.0 if stuck else 1.0 for stuck in leaving])
        largest = float(np.abs(step).max())
        return (step * (_MAX_STEP_RAD / largest) if largest > _MAX_STEP_RAD else step), inverse

    def _righting_step(
        self, q: Array, jacobian: Array, inverse: Array, lean_rows: Array, lean: Array, reach_rad: float
    ) -> Array:
        """Return the step in the null space of position and heading that rights the tool, cut short at the limits."""
        rows = lean_rows @ (self._identity - inverse @ jacobian)
        (a, b), (_, d) = (rows @ rows.T).tolist()
        a, d = a + 1e-4, d + 1e-4
        determinant = a * d - b * b
        u, v = (-lean).tolist()
        step = np.array([(d * u - b * v) / determinant, (a * v - b * u) / determinant]) @ rows
        sizes = step.tolist()
        fraction = min(1.0, reach_rad / max(max(map(abs, sizes)), 1e-9))
        for value, size, low, high in zip(q.tolist(), sizes, self._lower, self._upper, strict=True):
            room = high - value if size > 0 else value - low
            fraction = min(fraction, max(room, 0.0) / max(abs(size), 1e-9))
        return step * fraction

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
