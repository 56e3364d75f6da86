"""Reach solver: what `urdf.kinematics` answers for one tool position, for thousands of them at once, in NumPy.

The rules are the same: position and heading are met, the tool leans no farther than the rig's cone, every joint keeps
its margin from its limits. A test holds the answers against those of `PinocchioKinematics`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from urdf.description import ArmDescription, Rig
from urdf.errors import ArmError
from urdf.pose import Array

Places = NDArray[np.int64]
Flags = NDArray[np.bool_]

_POSITION_TOLERANCE_M = 1e-4
_HEADING_TOLERANCE_RAD = 2e-3
_ITERATIONS = 24
_MAX_STEP_RAD = 0.6
_MAX_RIGHTING_RAD = 0.3
#: Only a tool that is nearly there is righted: near a stretched arm, righting and reaching lose each other.
_RIGHTING_RANGE_M = 2e-4
_TILT_GAIN_RAD = 0.004
_DAMPING = 1e-8
_ACTIVE_SET_ROUNDS = 2
#: A radian of heading or of lean weighs as much as this many metres.
_METRES_PER_RAD = 0.1
_SEED_COUNT, _SEED_BATCH, _SEED_BATCHES = 30_000, 100_000, 12


@dataclass(frozen=True, slots=True)
class Tool:
    """Tool frames of many joint positions: position (3, m), the jaws' axis (3, m) and the way down (3, m)."""

    position_m: Array
    heading: Array
    down: Array

    @property
    def tilt_rad(self) -> Array:
        """The angle between the tool and straight down (m,)."""
        return np.arccos(np.clip(-self.down[2], -1.0, 1.0))

    @property
    def heading_rad(self) -> Array:
        """The heading of the jaws (m,)."""
        return np.arctan2(self.heading[1], self.heading[0])


@dataclass(frozen=True, slots=True)
class Answers:
    """For every target: joints (m, n), whether they serve it, how far the tool leans, and how far it stays away."""

    position_rad: Array
    served: Flags
    tilt_rad: Array
    residual_m: Array
    score: Array


class BatchKinematics:
    """Forward and inverse kinematics of an arm of turning joints in one rig, for many tool positions at once.

    With `beyond_rad` every joint may go that far past where it has to stop, to find out what stops the arm.
    """

    def __init__(self, description: ArmDescription, rig: Rig, beyond_rad: float = 0.0) -> None:
        self.description, self.rig = description, rig
        count = description.arm_joint_count
        self.lower_rad = description.lower_rad[:count] + description.margin_rad - beyond_rad
        self.upper_rad = description.upper_rad[:count] - description.margin_rad + beyond_rad
        self._steps = _fixed_steps(description, rig)

    @property
    def shoulder_m(self) -> Array:
        """Where the first joint is (3,), in the desk frame."""
        return self._steps[0][:3, 3]

    @property
    def longest_m(self) -> float:
        """No tool position is farther from the first joint than this: the length of all that follows it."""
        return float(sum(np.linalg.norm(step[:3, 3]) for step in self._steps[1:]))

    def seeds(self, rng: np.random.Generator) -> Array:
        """Return joint positions (m, n) spread over what the arm can serve, tool inside the cone and over the desk."""
        found: list[Array] = []
        for _ in range(_SEED_BATCHES):
            q = rng.uniform(self.lower_rad, self.upper_rad, (_SEED_BATCH, len(self.lower_rad)))
            tool = self.tool(q)
            found.append(q[(tool.tilt_rad <= self.rig.max_tilt_rad) & (tool.position_m[2] > -0.02)])
            if sum(map(len, found)) >= _SEED_COUNT:
                break
        return np.concatenate(found)[:_SEED_COUNT]

    def tool(self, position_rad: Array) -> Tool:
        """Return the tool frames of joint positions (m, n)."""
        return self._forward(position_rad)[0]

    def violation_rad(self, position_rad: Array) -> Array:
        """Return how far every joint of (m, n) is beyond where it has to stop."""
        return np.maximum(0.0, np.maximum(self.lower_rad - position_rad, position_rad - self.upper_rad))

    def solve(self, targets_m: Array, heading_rad: Array, start_rad: Array, upright: bool = True) -> Answers:
        """Return what Gauss-Newton steps from `start_rad` (m, n) find for targets (m, 3) and headings (m,).

        The tool stands as `upright` as the limits allow, or else leans as far as the first answer inside the cone.
        """
        q = np.array(start_rad)
        best = np.array(start_rad)
        served = np.zeros(len(q), dtype=bool)
        tilt_rad, residual_m, score = (np.full(len(q), math.inf) for _ in range(3))
        active = np.arange(len(q))
        for _ in range(_ITERATIONS):
            tool, jacobian, lean_rows = self._linearise(q[active])
            error = _error(tool, targets_m[active], heading_rad[active])
            distance, tilt = np.linalg.norm(error[:, :3], axis=1), tool.tilt_rad
            met = (distance < _POSITION_TOLERANCE_M) & (np.abs(error[:, 3]) < _HEADING_TOLERANCE_RAD)
            met &= tilt <= self.rig.max_tilt_rad
            excess = np.abs(error[:, 3]) + np.maximum(0.0, tilt - self.rig.max_tilt_rad)
            badness = np.where(met, 0.0, distance + _METRES_PER_RAD * excess)
            # Among positions that serve the target the most upright counts, among others the nearest.
            better = np.where(served[active], met & (tilt < tilt_rad[active]), met | (badness < score[active]))
            no_better = (tilt > tilt_rad[active] - _TILT_GAIN_RAD) & served[active]
            finished = met & (no_better | (not upright))
            rows = active[better]
            best[rows], served[rows] = q[rows], met[better]
            tilt_rad[rows], residual_m[rows], score[rows] = tilt[better], distance[better], badness[better]
            to_right = (distance < _RIGHTING_RANGE_M) & (upright | (tilt > self.rig.max_tilt_rad))
            going = ~finished
            active = active[going]
            if not len(active):
                break
            step = self._step(
                q[active], jacobian[going], error[going], lean_rows[going], -tool.down[:2, going].T, to_right[going]
            )
            q[active] = np.clip(q[active] + step, self.lower_rad, self.upper_rad)
        return Answers(best, served, tilt_rad, residual_m, score)

    # ---------------------------------------------------------------------------------------------
    def _forward(self, position_rad: Array) -> tuple[Tool, list[Array], list[Array]]:
        """Return the tool frames, and for every joint its axis (3, m) and its place (3, m)."""
        first = self._steps[0]
        count = len(position_rad)
        x, y, z, p = (np.repeat(first[:3, k : k + 1], count, axis=1) for k in range(4))
        axes: list[Array] = []
        places: list[Array] = []
        cosine, sine = np.cos(position_rad.T), np.sin(position_rad.T)
        for k, step in enumerate(self._steps[1:]):
            axes.append(z)
            places.append(p)
            x, y = cosine[k] * x + sine[k] * y, cosine[k] * y - sine[k] * x
            p = p + x * step[0, 3] + y * step[1, 3] + z * step[2, 3]
            x, y, z = (x * step[0, c] + y * step[1, c] + z * step[2, c] for c in range(3))
        return Tool(p, x, z), axes, places

    def _linearise(self, position_rad: Array) -> tuple[Tool, Array, Array]:
        """Return the tool, the Jacobian (m, 4, n) of position and heading, and that of the lean (m, 2, n)."""
        tool, axes, places = self._forward(position_rad)
        jacobian = np.empty((len(position_rad), 4, len(axes)))
        lean_rows = np.empty((len(position_rad), 2, len(axes)))
        x, y, z = tool.heading
        square = x * x + y * y + 1e-12
        down = tool.down
        for k, (axis, place) in enumerate(zip(axes, places, strict=True)):
            arm = tool.position_m - place
            for row, (i, j) in enumerate(((1, 2), (2, 0), (0, 1))):
                jacobian[:, row, k] = axis[i] * arm[j] - axis[j] * arm[i]
            jacobian[:, 3, k] = axis[2] - (x * z / square) * axis[0] - (y * z / square) * axis[1]
            lean_rows[:, 0, k] = axis[2] * down[1] - axis[1] * down[2]
            lean_rows[:, 1, k] = axis[0] * down[2] - axis[2] * down[0]
        return tool, jacobian, lean_rows

    def _step(self, q: Array, jacobian: Array, error: Array, lean_rows: Array, lean: Array, near: Flags) -> Array:
        """Return the least-norm steps (m, n) for position and heading, and the righting in their null space."""
        inverse = _pseudo_inverse(jacobian)
        step = (inverse @ error[:, :, None])[:, :, 0]
        active = jacobian
        for _ in range(_ACTIVE_SET_ROUNDS):
            # Joints that stand at a limit and would leave it are taken out, and the rest is solved again.
            leaving = ((q <= self.lower_rad) & (step < -1e-9)) | ((q >= self.upper_rad) & (step > 1e-9))
            if not leaving.any():
                break
            active = active * ~leaving[:, None, :]
            inverse = _pseudo_inverse(active)
            step = (inverse @ error[:, :, None])[:, :, 0]
        step *= np.minimum(1.0, _MAX_STEP_RAD / np.maximum(np.abs(step).max(axis=1, keepdims=True), 1e-12))
        if near.any():
            step[near] += self._righting(
                q[near] + step[near], jacobian[near], inverse[near], lean_rows[near], lean[near]
            )
        return step

    def _righting(self, q: Array, jacobian: Array, inverse: Array, lean_rows: Array, lean: Array) -> Array:
        """Return the steps in the null space that right the tool, cut short at the joint limits."""
        rows = lean_rows - (lean_rows @ inverse) @ jacobian
        square = rows @ rows.transpose(0, 2, 1) + 1e-4 * np.eye(2)
        step = (rows.transpose(0, 2, 1) @ np.linalg.solve(square, -lean[:, :, None]))[:, :, 0]
        size = np.maximum(np.abs(step), 1e-9)
        room = np.where(step > 0, self.upper_rad - q, q - self.lower_rad)
        fraction = np.minimum(np.maximum(room, 0.0) / size, _MAX_RIGHTING_RAD / size).min(axis=1)
        return step * np.minimum(1.0, fraction)[:, None]


def _pseudo_inverse(jacobian: Array) -> Array:
    """Return the damped pseudo-inverses (m, n, 4) of Jacobians (m, 4, n)."""
    turned = jacobian.transpose(0, 2, 1)
    return turned @ np.linalg.inv(jacobian @ turned + _DAMPING * np.eye(4))


def _error(tool: Tool, targets_m: Array, heading_rad: Array) -> Array:
    """Return what is missing (m, 4): position [m], and heading [rad] modulo half a turn."""
    turn = heading_rad - tool.heading_rad
    turn -= math.pi * np.round(turn / math.pi)
    return np.column_stack([targets_m - tool.position_m.T, turn])


def _fixed_steps(description: ArmDescription, rig: Rig) -> list[Array]:
    """Return the constant transforms (4, 4) before, between and after the joints, each joint turning about its z."""
    joints = {joint.name: joint for joint in description.chain.joints}
    base = rig.desk_from_base.as_matrix()
    frames: list[Array] = []
    for name in description.joint_names[:-1]:
        joint = joints[name]
        if joint.kind not in ("revolute", "continuous"):
            raise ArmError(f"{description.name}: the reach map knows turning joints only, {name} is {joint.kind}")
        frames.append(base @ description.chain.link_matrix(joint.child, {}) @ _onto(joint.axis))
    tool = base @ description.base_from_tool(np.zeros(description.arm_joint_count)).as_matrix()
    frames.append(tool)
    return [frames[0], *(np.linalg.inv(a) @ b for a, b in pairwise(frames))]


def _onto(axis: Array) -> Array:
    """Return a rotation (4, 4) that turns z onto `axis`."""
    matrix = np.eye(4)
    helper = np.eye(3)[int(np.abs(axis).argmin())]
    x = np.cross(helper, axis)
    x /= np.linalg.norm(x)
    matrix[:3, 0], matrix[:3, 1], matrix[:3, 2] = x, np.cross(axis, x), axis
    return matrix


class SeedBook:
    """Joint positions by where they put the tool, to start a search from the nearest."""

    def __init__(self, kinematics: BatchKinematics, rng: np.random.Generator) -> None:
        self.position_rad = kinematics.seeds(rng)
        if not len(self.position_rad):
            raise ArmError(
                f"{kinematics.description.name}: no pose has the tool inside the cone of {kinematics.rig.name}"
            )
        tool = kinematics.tool(self.position_rad)
        self.positions_m = tool.position_m.T
        self._tree = KDTree(_keys(self.positions_m, tool.heading_rad))

    def nearest(self, targets_m: Array, heading_rad: Array, count: int) -> Places:
        """Return the places (m, count) of the seeds nearest to targets (m, 3) and headings (m,)."""
        _, places = self._tree.query(_keys(targets_m, heading_rad), count)
        return np.asarray(places, dtype=np.int64).reshape(len(targets_m), count)


def _keys(positions_m: Array, heading_rad: Array) -> Array:
    double, half = 2 * heading_rad, _METRES_PER_RAD / 2
    return np.column_stack([positions_m, half * np.cos(double), half * np.sin(double)])
