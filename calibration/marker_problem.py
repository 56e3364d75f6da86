"""MarkerProblem: the least squares behind `servo_vision`: residuals, their weights, and what they determine.

Gauss-Newton with damping. A sample's eight coordinates are weighted by the inverse of `s^2 I + J S J'`; a sample that
fits badly counts less (Student's t). Numbers that are `held` stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.marker_chain import MarkerChain, Placing
from urdf.pose import Array, Pose, skew

_MAX_STEPS = 60
_CONVERGED = 1e-7
#: Degrees of freedom of Student's t: a sample 10 standard deviations off counts a tenth.
_TAIL = 6.0
#: Joints err by no more than this besides their zeros and scales; more is another fault.
_MOST_EXTRA_RAD = 0.03
#: Where the upper quartile of a normal distribution lies, in standard deviations.
_QUARTILE = 0.6745


@dataclass(frozen=True, slots=True)
class PlaceReference:
    """A pose that is known, and how well: standard deviations along and about the axes it is told in.

    `rotation_rad` is one for all three axes, or one each (3,): a marker's turn about the last joint's axis may be known
    well where its tilt is not. `pivot_m` (3,) is the place that is known; the pose's own origin where None. A board's
    place says little of the place of a camera half a metre from it, if the board lies askew.
    """

    pose: Pose
    position_m: float
    rotation_rad: float | Array
    pivot_m: Array | None = None


@dataclass(frozen=True, slots=True)
class Unknowns:
    """What is sought. `stretch` (a,) is scale - 1; `half_play_rad` (a,) is what a joint lags behind its approach."""

    zero_rad: Array
    stretch: Array
    half_play_rad: Array
    placing: Placing

    @staticmethod
    def start(joint_count: int, placing: Placing) -> Unknowns:
        """Return servos that are right."""
        zeros = np.zeros(joint_count)
        return Unknowns(zeros, zeros, zeros, placing)

    def joints_rad(self, servo_rad: Array, approach: Array) -> Array:
        """Return where the joints (n, a) stand."""
        return (1.0 + self.stretch) * servo_rad + self.zero_rad - self.half_play_rad * approach

    def servo_vector(self) -> Array:
        """Return zeros, stretches and plays in a row (3a,)."""
        return np.concatenate([self.zero_rad, self.stretch, self.half_play_rad])

    def moved(self, step: Array) -> Unknowns:
        """Return them after a step (3a + 12,)."""
        count = len(self.zero_rad)
        zero, stretch, half_play = (self.servo_vector() + step[: 3 * count]).reshape(3, count)
        base, tool = step[3 * count : 3 * count + 6], step[3 * count + 6 :]
        return Unknowns(zero, stretch, half_play, self.placing.moved(base, tool))

    def without(self, held: NDArray[np.bool_]) -> Unknowns:
        """Return them with the zeros and stretches that are `held` (2a,) at their prior."""
        zero, stretch = held.reshape(2, -1)
        return Unknowns(
            np.where(zero, 0.0, self.zero_rad), np.where(stretch, 0.0, self.stretch), self.half_play_rad, self.placing
        )


class MarkerProblem:
    """n samples of a joints: `servo_rad` (n, a), `corners` (n, 4, 2), `approach` (n, a).

    `prior` (3,) are the standard deviations of zero, stretch and half play. `board` is about `base_from_camera`,
    `mount` about `tool_from_marker`.
    """

    def __init__(
        self,
        chain: MarkerChain,
        servo_rad: Array,
        corners: Array,
        approach: Array,
        corner_error: float,
        board: PlaceReference | None,
        mount: PlaceReference | None,
        prior: Array,
    ) -> None:
        self.chain, self.servo_rad, self.corners, self.board = chain, servo_rad, corners, board
        self._approach, self._corner_error, self._mount = approach, corner_error, mount
        self._prior = np.repeat(prior, chain.joint_count)
        self.keep: NDArray[np.bool_] = np.ones(len(servo_rad), dtype=np.bool_)
        self.held: NDArray[np.bool_] = np.zeros(2 * chain.joint_count, dtype=np.bool_)

    # Solving -------------------------------------------------------------------------------------
    def solved(self, unknowns: Unknowns, joint_error_rad: Array) -> Unknowns:
        """Return the unknowns at the least cost from here on, joints erring by `joint_error_rad` (a,)."""
        damping = 1e-4
        cost, normal, right = self._normal(unknowns, joint_error_rad)
        for _ in range(_MAX_STEPS):
            step = np.zeros(len(right))
            free = self._free()
            scaled = normal[np.ix_(free, free)] + damping * np.diag(np.diag(normal)[free])
            step[free] = np.linalg.solve(scaled, right[free])
            tried = unknowns.moved(step)
            new_cost, new_normal, new_right = self._normal(tried, joint_error_rad)
            if new_cost <= cost:
                done = cost - new_cost < _CONVERGED * (1.0 + cost)
                unknowns, cost, normal, right = tried, new_cost, new_normal, new_right
                damping = max(damping / 5.0, 1e-12)
                if done:
                    break
            elif damping > 1e8:
                break
            else:
                damping *= 8.0
        return unknowns

    def mismatch(self, unknowns: Unknowns, joint_error_rad: Array) -> Array:
        """Return each sample's sum of weighted squares (n,), about 8 where all is well."""
        whitened, _ = self._whitened(unknowns, joint_error_rad)
        return np.sum(whitened**2, axis=1)

    def extra_error_rad(self, unknowns: Unknowns, joint_error_rad: Array) -> float:
        """Return how much joints err besides `joint_error_rad` (a,), so that samples fit as well as they are weighted.

        The upper quartile of the mismatches is compared with that of chi squared: a few bad samples do not matter, and
        what only bent poses show, such as sagging, does.
        """
        freedom = 8.0 - (2 * self.chain.joint_count + 12) / self.keep.sum()
        wilson = 2 / (9 * freedom)  # Ref: Wilson and Hilferty 1931, the quantiles of chi squared
        quartile = freedom * (1 - wilson + _QUARTILE * float(np.sqrt(wilson))) ** 3
        low, high = 0.0, _MOST_EXTRA_RAD
        for _ in range(12):
            half = 0.5 * (low + high)
            mismatch = self.mismatch(unknowns, np.hypot(joint_error_rad, half))[self.keep]
            low, high = (half, high) if float(np.quantile(mismatch, 0.75)) > quartile else (low, half)
        return 0.5 * (low + high)

    def corner_rms(self, unknowns: Unknowns) -> Array:
        """Return each sample's RMS corner error (n,) in focal lengths, per coordinate."""
        seen = self.chain.see(unknowns.joints_rad(self.servo_rad, self._approach), unknowns.placing)
        return np.sqrt(np.mean((self.corners - seen.image) ** 2, axis=(1, 2)))

    # What the data say ---------------------------------------------------------------------------
    def undetermined(
        self, unknowns: Unknowns, joint_error_rad: Array, zero_rad: float, scale: float
    ) -> NDArray[np.bool_]:
        """Return which zeros and stretches (2a,) samples and references alone know worse than the two limits.

        The priors of the servos are left out but for a trace of them, so that what is open comes out as open.
        """
        count = self.chain.joint_count
        _, information, _ = self._normal(unknowns, joint_error_rad, servo_prior=1e-4, robust=False)
        std = np.sqrt(np.diag(np.linalg.inv(information))[: 2 * count])
        return std > np.repeat([zero_rad, scale], count)

    def covariance(self, unknowns: Unknowns, joint_error_rad: Array) -> Array:
        """Return that of zeros and stretches (2a, 2a), what is held being as uncertain as before."""
        _, information, _ = self._normal(unknowns, joint_error_rad, robust=False)
        count = 2 * self.chain.joint_count
        return np.asarray(np.linalg.inv(information)[:count, :count], dtype=np.float64)

    # Residuals -----------------------------------------------------------------------------------
    def _free(self) -> NDArray[np.bool_]:
        rest = np.ones(self.chain.joint_count + 12, dtype=np.bool_)
        rest[: self.chain.joint_count] = bool(self._approach.any())
        return np.concatenate([~self.held, rest])

    def _whitened(self, unknowns: Unknowns, joint_error_rad: Array) -> tuple[Array, Array]:
        """Return the residuals (n, 8) and their slopes (n, 8, 3a + 12), both in standard deviations."""
        seen = self.chain.see(unknowns.joints_rad(self.servo_rad, self._approach), unknowns.placing)
        by_joint = seen.by_joint
        shifts = [by_joint, by_joint * self.servo_rad[:, None], -by_joint * self._approach[:, None]]
        slopes = np.concatenate([*shifts, seen.by_base, seen.by_tool], axis=-1)
        through_arm = by_joint * joint_error_rad
        covariance = through_arm @ through_arm.swapaxes(-1, -2) + self._corner_error**2 * np.eye(by_joint.shape[1])
        lower = np.linalg.cholesky(covariance)
        residual = (self.corners - seen.image).reshape(len(self.corners), -1, 1)
        both: Array = np.asarray(np.linalg.solve(lower, np.concatenate([residual, slopes], axis=-1)), dtype=np.float64)
        return both[..., 0], both[..., 1:]

    def _normal(
        self, unknowns: Unknowns, joint_error_rad: Array, servo_prior: float = 1.0, robust: bool = True
    ) -> tuple[float, Array, Array]:
        """Return the cost, and matrix and right side of the normal equations, priors and references included."""
        residual, slopes = self._whitened(unknowns, joint_error_rad)
        mismatch = np.sum(residual**2, axis=1)
        size = residual.shape[1]
        weight = (_TAIL + size) / (_TAIL + mismatch) if robust else np.ones(len(mismatch))
        weight = weight * self.keep
        normal = np.einsum("n,nij,nik->jk", weight, slopes, slopes)
        right = np.einsum("n,nij,ni->j", weight, slopes, residual)
        cost = 0.5 * (_TAIL + size) * float(np.log1p(mismatch / _TAIL)[self.keep].sum())
        count = 3 * self.chain.joint_count
        vector = unknowns.servo_vector()
        precision = servo_prior / self._prior**2
        precision[-self.chain.joint_count :] = 1.0 / self._prior[-self.chain.joint_count :] ** 2
        normal[range(count), range(count)] += precision
        right[:count] -= precision * vector
        cost += 0.5 * float(precision @ vector**2)
        places = unknowns.placing
        for known, pose, at, sign in (
            (self.board, places.base_from_camera, count, -1.0),
            (self._mount, places.tool_from_marker, count + 6, 1.0),
        ):
            if known is not None:
                off, rows = _reference_rows(known, pose, sign)
                normal[at : at + 6, at : at + 6] += rows.T @ rows
                right[at : at + 6] -= rows.T @ off
                cost += 0.5 * float(off @ off)
        normal[range(count, count + 12), range(count, count + 12)] += 1e-6  # metres and radians: no more than a trace
        return cost, normal, right


def _reference_rows(known: PlaceReference, pose: Pose, sign: float) -> tuple[Array, Array]:
    """Return how far a pose is from what is known (6,), and its slopes (6, 6) by a twist, in standard deviations."""
    pivot = known.pose.position_m if known.pivot_m is None else known.pivot_m
    there = pose.apply(known.pose.inverse().apply(pivot))
    rotation = Pose.from_matrix((pose @ known.pose.inverse()).as_matrix()).rotvec_rad()
    off = np.concatenate([(there - pivot) / known.position_m, rotation / known.rotation_rad])
    rows = np.zeros((6, 6))
    rows[:3, :3], rows[:3, 3:] = np.eye(3) / known.position_m, -skew(there) / known.position_m
    rows[3:, 3:] = np.eye(3) / known.rotation_rad
    return off, sign * rows
