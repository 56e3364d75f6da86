"""The measurement behind hand-eye calibration: predicted corners, what moves them, and how uncertain they are.

A corner is off by the noise of the picture and by that of the joints, which moves all corners of a sample together. A
fit that knows only the first believes the joints blindly, and whole-degree joints then make it worse than the closed
form; here every sample's residuals are whitened with pixel^2 I + J S J^T, J being what the joints do to its corners.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from bridge.ports import Intrinsics
from calibration.hand_eye_sample import HandEyeSample, Mount, ToolPoses, mount_from_carrier, tool_per_joint
from calibration.lens import project_camera
from urdf.pose import Array, Pose

#: A radian weighs as much as this many metres where steps of both are compared: the distance of a desk's work.
METRES_PER_RAD = 0.15
_BEHIND_M = 1e-3


@dataclass(frozen=True, slots=True)
class HandEyeNoise:
    """Standard deviations: of a corner [px], of each joint's reading `joint_rad` (n,), and of the print's scale.

    `offset_rad` (n,): how far off each joint's zero may be; joints with 0 have theirs taken as right. `board_scale`
    as a share, 0.001 is 0.1 mm in 100. `step_rad` (n,): readings come in steps, and the joint is anywhere within its
    own; that is a part of `joint_rad`, whose error is normal where this is None.
    """

    pixel_px: float
    joint_rad: Array
    offset_rad: Array
    board_scale: float = 0.0
    step_rad: Array | None = None

    @staticmethod
    def of_read_back(pixel_px: float, step_rad: Sequence[float] | Array) -> HandEyeNoise:
        """Return the noise of joints that are read in steps of `step_rad` (n,): each anywhere within its step."""
        step = np.asarray(step_rad, dtype=np.float64)
        return HandEyeNoise(pixel_px, step / math.sqrt(12), np.zeros_like(step), step_rad=step)


@dataclass(frozen=True, slots=True)
class HandEyeGuess:
    """What is sought: where the camera is on its mount, where the board is on its carrier, the joints' zeros (n,)."""

    mount_from_camera: Pose
    carrier_from_board: Pose
    offset_rad: Array
    scale: float = 0.0

    def moved(self, step: Array) -> HandEyeGuess:
        """Return the guess moved by `step` (13 + n,): camera, board (position, then turn, in the parent), zeros, scale.

        The same six numbers are what a covariance (6, 6) is of.
        """
        return HandEyeGuess(
            nudged(self.mount_from_camera, step[:6]),
            nudged(self.carrier_from_board, step[6:12]),
            self.offset_rad + step[12:-1],
            self.scale + float(step[-1]),
        )


def nudged(pose: Pose, step: Array) -> Pose:
    """Return the pose moved by step[:3] [m] and turned by the vector step[3:] [rad], both in its parent's axes."""
    turn = Pose.from_rotvec(np.zeros(3), step[3:])
    return Pose(pose.position_m + step[:3], (turn @ Pose(np.zeros(3), pose.quat_xyzw)).quat_xyzw)


def difference(pose: Pose, reference: Pose) -> Array:
    """Return the step (6,) by which `nudged` makes `pose` of `reference`."""
    turn = Pose(np.zeros(3), pose.quat_xyzw) @ Pose(np.zeros(3), reference.quat_xyzw).inverse()
    return np.concatenate([pose.position_m - reference.position_m, turn.rotvec_rad()])


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """One sample at one guess: residuals (2k,) [px] and what moves its corners: rows (2k, 13 + n) and (2k, n).

    Columns of `by_guess` as in `HandEyeGuess.moved`; `by_joint` is per radian of each joint.
    """

    residual_px: Array
    by_guess: Array
    by_joint: Array


class HandEyeModel:
    """All samples of one calibration. Frames are named in `hand_eye_sample`."""

    def __init__(self, arm: ToolPoses, mount: Mount, samples: Sequence[HandEyeSample], intrinsics: Intrinsics) -> None:
        self.mount, self.samples, self.intrinsics = mount, tuple(samples), intrinsics
        self._arm = arm
        self._at_zero = [(self.tool(s, None), tool_per_joint(arm, s.joints_rad)) for s in self.samples]
        self._lay_out()

    def tool(self, sample: HandEyeSample, offset_rad: Array | None) -> Pose:
        """Return base_from_tool of a sample, its joints' zeros corrected."""
        return self._arm.base_from_tool(sample.joints_rad + (0.0 if offset_rad is None else offset_rad))

    def carrier(self, index: int, guess: HandEyeGuess) -> Pose:
        """Return mount_from_carrier of a sample."""
        moved = bool(guess.offset_rad.any())
        tool = self.tool(self.samples[index], guess.offset_rad) if moved else self._at_zero[index][0]
        return mount_from_carrier(tool, self.mount)

    def camera_from_board(self, index: int, guess: HandEyeGuess) -> Pose:
        """Return where the camera of a sample should see the board."""
        return guess.mount_from_camera.inverse() @ self.carrier(index, guess) @ guess.carrier_from_board

    def look(self, guess: HandEyeGuess) -> list[Seen] | None:
        """Return every sample at a guess, None where a board would be behind the camera or outside its lens."""
        mounts = [self.carrier(k, guess) for k in range(len(self.samples))]
        turns = np.stack([m.rotation for m in mounts])[self._owner]
        ways = np.stack([m.position_m for m in mounts])[self._owner]
        turned = (self._object_m * (1.0 + guess.scale)) @ guess.carrier_from_board.rotation.T
        on_carrier = turned + guess.carrier_from_board.position_m
        on_mount = (turns @ on_carrier[:, :, None])[:, :, 0] + ways
        camera = guess.mount_from_camera.inverse()
        in_camera = camera.apply(on_mount)
        if (in_camera[:, 2] < _BEHIND_M).any():
            return None
        pixels, by_point = _projected(in_camera, self.intrinsics)
        if not np.isfinite(by_point).all():
            return None
        by_mount = by_point @ camera.rotation
        by_carrier = by_mount @ turns
        by_joint = self._by_joint(by_mount, on_carrier, on_mount)
        columns = [
            -by_mount,
            by_mount @ skews(on_mount - guess.mount_from_camera.position_m),
            by_carrier,
            -by_carrier @ skews(turned),
            by_joint,
            by_carrier @ (turned / (1.0 + guess.scale))[:, :, None],
        ]
        by_guess = np.concatenate(columns, axis=2)
        residual_px = self._image_px - pixels
        return [Seen(residual_px[rows].ravel(), _flat(by_guess[rows]), _flat(by_joint[rows])) for rows in self._slices]

    def only(self, indices: Sequence[int]) -> HandEyeModel:
        """Return the model of some of the samples."""
        some = HandEyeModel(self._arm, self.mount, [], self.intrinsics)
        some.samples = tuple(self.samples[k] for k in indices)
        some._at_zero = [self._at_zero[k] for k in indices]
        some._lay_out()
        return some

    def _lay_out(self) -> None:
        """Put the corners of all samples into one row each: many small arrays cost more than one large one."""
        counts = [len(s.object_m) for s in self.samples]
        ends = np.cumsum(counts, dtype=np.int64).tolist()
        self._slices = [slice(end - count, end) for end, count in zip(ends, counts, strict=True)]
        self._owner = np.repeat(np.arange(len(counts)), counts)
        self._object_m = np.concatenate([np.zeros((0, 3)), *(s.object_m for s in self.samples)])
        self._image_px = np.concatenate([np.zeros((0, 2)), *(s.image_px for s in self.samples)])

    def _by_joint(self, by_mount: Array, on_carrier: Array, on_mount: Array) -> Array:
        """Return what a radian of each joint does to each corner (K, 2, n)."""
        per_joint = np.stack([j for _, j in self._at_zero])[self._owner]
        if self.mount is Mount.EYE_TO_HAND:
            tools = np.stack([t.rotation for t, _ in self._at_zero])[self._owner]
            by_tool, in_tool, sign = by_mount @ tools, on_carrier, 1.0
        else:
            by_tool, in_tool, sign = by_mount, on_mount, -1.0
        twist = np.concatenate([np.broadcast_to(np.eye(3), (len(in_tool), 3, 3)), -skews(in_tool)], axis=2)
        return sign * by_tool @ (twist @ per_joint)


def _flat(rows: Array) -> Array:
    """Return (k, 2, m) as (2k, m)."""
    return rows.reshape(-1, rows.shape[2])


def whitened(seen: Seen, noise: HandEyeNoise) -> tuple[Array, Array]:
    """Return residuals (2k,) and rows (2k, 13 + n) in units of their standard deviation, joint noise included.

    With G = J S / pixel, (I + G G^T)^-1/2 is the identity but for the few directions that joints can move.
    """
    towards, size, _ = np.linalg.svd(seen.by_joint * (noise.joint_rad / noise.pixel_px), full_matrices=False)
    shrink = 1.0 / np.sqrt(1.0 + size * size) - 1.0
    stacked = np.concatenate([seen.residual_px[:, None], seen.by_guess], axis=1) / noise.pixel_px
    stacked = stacked + towards @ (shrink[:, None] * (towards.T @ stacked))
    return stacked[:, 0], stacked[:, 1:]


def skews(vectors: Array) -> Array:
    """Return the cross-product matrices (k, 3, 3) of vectors (k, 3)."""
    x, y, z = vectors.T
    zero = np.zeros_like(x)
    return np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=1).reshape(-1, 3, 3)


def _projected(points_m: Array, intrinsics: Intrinsics) -> tuple[Array, Array]:
    """Return the pixels (k, 2) of points in the camera's frame and their derivative (k, 2, 3) per metre."""
    step_m = 1e-6
    shifts = step_m * np.concatenate([np.zeros((1, 3)), np.eye(3), -np.eye(3)])
    tried = project_camera(points_m[None] + shifts[:, None], intrinsics)
    return tried[0], np.stack([(tried[1 + a] - tried[4 + a]) / (2 * step_m) for a in range(3)], axis=2)


def with_joint_noise(noise: HandEyeNoise, factor: float) -> HandEyeNoise:
    """Return the noise with joints that are `factor` times as uncertain."""
    return replace(noise, joint_rad=noise.joint_rad * factor)
