"""Where an arm is best seen: poses that tell most about its servos, safe even if those are as wrong as they may be.

Of many random poses those are taken, one after the other, that add most to what is known (D-optimal). Safe: with every
servo off by what is feared, pose and way stay clear of floor and arm. Seen: the marker faces the camera, large enough.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bridge.guards import GuardModel
from bridge.ports import Intrinsics
from calibration.errors import CalibrationError
from calibration.marker_chain import MarkerChain, Placing
from calibration.servo_vision import SCALE_PRIOR, ZERO_PRIOR_RAD
from urdf.description import ArmDescription, Rig
from urdf.pose import Array

#: What is feared of a servo before it is calibrated: zeros 4 degrees off, scales 5 %.
FEARED_ZERO_RAD, FEARED_SCALE = math.radians(4.0), 0.05
#: Joints stay this far from their limits, which a wrong servo would reach too early.
_LIMIT_MARGIN_RAD = math.radians(10.0)
_CLEARANCE_M = 0.004
_TRIALS = 24
#: A marker turned further away than this, or with a side shorter than that, has uncertain corners.
_LEAST_FACING, _LEAST_SIDE_PX = math.cos(math.radians(62.0)), 22.0
#: Its picture keeps this distance from the edge, as a share of the picture: where it will be is known badly.
_EDGE_SHARE = 0.09
_CANDIDATES, _LEAST_CANDIDATES = 20000, 60
_WAY_SAMPLES = 8


@dataclass(frozen=True, slots=True)
class SightPlan:
    """Poses (m, n) in the order in which to visit them, and what zeros (a,) would then be known to."""

    poses_rad: Array
    expected_zero_std_rad: Array


class SightPlanner:
    """Plans for one arm on its rig under one camera that is known roughly."""

    def __init__(
        self, description: ArmDescription, rig: Rig, chain: MarkerChain, placing: Placing, intrinsics: Intrinsics
    ) -> None:
        self._description, self._chain, self._placing, self._lens = description, chain, placing, intrinsics
        self._guards = GuardModel(description, rig)
        rng = np.random.default_rng(0)
        signs = rng.choice([-1.0, 1.0], (_TRIALS, description.arm_joint_count))
        self._wrong = np.concatenate([np.zeros((1, description.arm_joint_count)), signs])

    def plan(self, start_rad: Array, count: int, rng: np.random.Generator, joint_error_rad: Array) -> SightPlan:
        """Return `count` poses from `start_rad` (n,) on; raises CalibrationError where the marker is hardly seen."""
        candidates = self._candidates(start_rad, rng)
        if len(candidates) < _LEAST_CANDIDATES:
            raise CalibrationError(
                f"the camera would see the marker in {len(candidates)} of {_CANDIDATES} random poses: have it look at "
                f"the gripper's marker from in front of the arm, and check where the marker sits (--marker-at)"
            )
        slopes = self._slopes(candidates, joint_error_rad)
        chosen, information = _chosen(slopes, self._prior(), count)
        ordered = self._ordered(start_rad, candidates[chosen])
        std = np.sqrt(np.diag(np.linalg.inv(information))[: self._chain.joint_count])
        return SightPlan(ordered, std)

    def is_safe(self, poses_rad: Array) -> bool:
        """Return whether poses (m, n) stay clear of floor and arm however wrong the servos are."""
        return bool(self._clear(poses_rad).all())

    def is_safe_way(self, from_rad: Array, to_rad: Array) -> bool:
        """Return whether the straight way between two poses (n,) is safe."""
        shares = np.linspace(0.0, 1.0, _WAY_SAMPLES + 1)[1:, None]
        return self.is_safe(from_rad + shares * (to_rad - from_rad))

    def _candidates(self, start_rad: Array, rng: np.random.Generator) -> Array:
        """Return poses (m, n) that are safe and show the marker; the gripper stays as it is."""
        arm, count = self._description, self._chain.joint_count
        lower, upper = arm.lower_rad[:count] + _LIMIT_MARGIN_RAD, arm.upper_rad[:count] - _LIMIT_MARGIN_RAD
        poses = np.tile(start_rad, (_CANDIDATES, 1))
        poses[:, :count] = rng.uniform(lower, upper, (_CANDIDATES, count))
        poses = poses[self._visible(poses[:, :count])]
        return poses[self._clear(poses)]

    def _visible(self, arm_rad: Array) -> np.ndarray:
        seen = self._chain.see(arm_rad, self._placing)
        lens = self._lens
        pixels = seen.image * [lens.fx_px, lens.fy_px] + [lens.cx_px, lens.cy_px]
        size = np.array([lens.width_px, lens.height_px])
        inside = ((pixels > _EDGE_SHARE * size) & (pixels < (1 - _EDGE_SHARE) * size)).all(axis=(1, 2))
        sides = np.linalg.norm(pixels - np.roll(pixels, 1, axis=1), axis=-1).min(axis=1)
        in_front = (seen.depth_m > 0.05).all(axis=1)
        return inside & in_front & (seen.facing > _LEAST_FACING) & (sides > _LEAST_SIDE_PX)

    def _clear(self, poses_rad: Array) -> np.ndarray:
        count = self._chain.joint_count
        clear = np.ones(len(poses_rad), dtype=bool)
        for sign in self._wrong:
            wrong = poses_rad.copy()
            wrong[:, :count] += sign * (FEARED_ZERO_RAD + FEARED_SCALE * np.abs(poses_rad[:, :count]))
            clear &= self._guards.clearances_m(wrong).min(axis=1) > _CLEARANCE_M
        return clear

    def _slopes(self, poses_rad: Array, joint_error_rad: Array) -> Array:
        """Return what each pose's corners tell of everything sought (m, 8, 3a + 12), in standard deviations."""
        servo = poses_rad[:, : self._chain.joint_count]
        seen = self._chain.see(servo, self._placing)
        parts = [seen.by_joint, seen.by_joint * servo[:, None], seen.by_base, seen.by_tool]
        through = seen.by_joint * joint_error_rad
        noise = (0.5 / self._lens.fx_px) ** 2 * np.eye(through.shape[1])
        lower = np.linalg.cholesky(through @ through.swapaxes(-1, -2) + noise)
        return np.asarray(np.linalg.solve(lower, np.concatenate(parts, axis=-1)), dtype=np.float64)

    def _prior(self) -> Array:
        count = self._chain.joint_count
        zero, scale = [1 / ZERO_PRIOR_RAD**2] * count, [1 / SCALE_PRIOR**2] * count
        return np.diag([*zero, *scale, *[1.0] * 12])

    def _ordered(self, start_rad: Array, poses_rad: Array) -> Array:
        """Return the poses by the shortest safe step each, those that no safe way leads to left out."""
        left, at, ordered = list(poses_rad), start_rad, list[Array]()
        while left:
            left.sort(key=lambda pose: float(np.abs(pose - at).max()))
            following = next((k for k, pose in enumerate(left) if self.is_safe_way(at, pose)), None)
            if following is None:
                break
            at = left.pop(following)
            ordered.append(at)
        return np.array(ordered).reshape(-1, len(start_rad))


def _chosen(slopes: Array, prior: Array, count: int) -> tuple[list[int], Array]:
    """Return which poses add most, one after the other, and the information (p, p) of all of them."""
    information, chosen = prior.copy(), list[int]()
    for _ in range(min(count, len(slopes))):
        spread = np.linalg.inv(information)
        gain = np.linalg.slogdet(np.eye(slopes.shape[1]) + slopes @ spread @ slopes.swapaxes(-1, -2))[1]
        gain[chosen] = -math.inf
        best = int(np.argmax(gain))
        chosen.append(best)
        information += slopes[best].T @ slopes[best]
    return chosen, information
