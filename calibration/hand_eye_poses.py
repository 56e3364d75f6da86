"""Where to move next: of the poses that are safe and show the board, the one that tells most about the camera's place.

Before anything is known of the camera, small turns about the pose in which a person has put the arm do for a start.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bridge.guards import GuardModel
from bridge.ports import Intrinsics
from calibration.hand_eye_fit import camera_sigmas, information
from calibration.hand_eye_model import METRES_PER_RAD, HandEyeGuess, HandEyeModel, HandEyeNoise
from calibration.hand_eye_sample import MIN_CORNERS, HandEyeSample, Mount, mount_from_carrier
from calibration.lens import project
from urdf.description import ArmDescription, Rig
from urdf.pose import Array, Pose

#: Turns of the first poses about the start [deg]: the last joint, the one before it, the first, and so on.
_FIRST_TURNS_DEG = 14.0
_CLEARANCE_M, _LIMIT_MARGIN_RAD = 0.006, math.radians(5.0)
_WAY_SAMPLES = 12
#: A board seen flatter than this, or nearer to the picture's edge, has uncertain corners, or fewer.
_LEAST_FACING, _EDGE_SHARE, _LEAST_SEEN = math.cos(math.radians(55.0)), 0.03, 0.7
_CANDIDATES = 4000
_JUDGED = 60


@dataclass(frozen=True, slots=True, eq=False)
class NextPose:
    """Where to move next (n,), and what the camera's position and rotation would then be known to."""

    joints_rad: Array
    position_sigma_m: float
    rotation_sigma_rad: float


class HandEyePlanner:
    """Plans for one arm on its rig, one camera and one board (`object_m` (k, 3))."""

    def __init__(
        self,
        description: ArmDescription,
        rig: Rig,
        mount: Mount,
        object_m: Array,
        intrinsics: Intrinsics,
        noise: HandEyeNoise,
    ) -> None:
        self._description, self._mount = description, mount
        self.home_rad: Array = np.asarray(rig.home_rad)
        self._object_m, self._intrinsics, self._noise = object_m, intrinsics, noise
        # A board's frame may be that of the tool which carries it: its plane is that of its points.
        self._normal: Array = np.linalg.svd(object_m - object_m.mean(axis=0))[2][2]
        self._front = 1.0
        self._guards = GuardModel(description, rig)
        count = description.arm_joint_count
        self._lower: Array = description.lower_rad[:count] + _LIMIT_MARGIN_RAD
        self._upper: Array = description.upper_rad[:count] - _LIMIT_MARGIN_RAD

    def first_poses(self, start_rad: Array, share: float = 1.0) -> list[Array]:
        """Return small turns about a pose (n,) that are safe to go to from it: enough for a first solution."""
        count = self._description.arm_joint_count
        turn = math.radians(_FIRST_TURNS_DEG) * share
        poses: list[Array] = []
        for signs in (
            (0, 0, 1),
            (0, 0, -1),
            (1, 0, 0.5),
            (-1, 0, -0.5),
            (0, 1, 1),
            (0, -1, -1),
            (1, 1, -1),
            (-1, 1, 1),
        ):
            pose = np.array(start_rad, dtype=np.float64)
            for joint, sign in zip((count - 2, 0, count - 1), signs, strict=True):
                pose[joint] += sign * turn
            pose[:count] = np.clip(pose[:count], self._lower, self._upper)
            if self.is_safe_way(start_rad, pose):
                poses.append(pose)
        return poses

    def next_pose(
        self,
        samples: list[HandEyeSample],
        guess: HandEyeGuess,
        at_rad: Array,
        rng: np.random.Generator,
        reach_rad: float = math.pi,
    ) -> NextPose | None:
        """Return the most informative pose that can be reached from `at_rad` (n,), None where there is none.

        No joint goes farther than `reach_rad` from where it was in one of the samples: what is known of the camera so
        far may be too little to say what it would see from there.
        """
        known = information(self._model(samples), guess, self._noise)
        seen = [self._facing(self._camera_from_board(s.joints_rad, guess)) for s in samples]
        self._front = 1.0 if np.median(seen) > 0 else -1.0
        candidates = self._candidates(samples, guess, at_rad, rng, reach_rad)
        sigmas: list[tuple[float, float]] = [
            camera_sigmas(known + self._told_by(pose, guess), self._noise) for pose in candidates
        ]
        sizes = [math.hypot(m, METRES_PER_RAD * rad) for m, rad in sigmas]
        for index in sorted(range(len(sizes)), key=lambda k: sizes[k]):
            if self.is_safe_way(at_rad, candidates[index]):
                return NextPose(candidates[index], *sigmas[index])
        return None

    def is_safe_way(self, from_rad: Array, to_rad: Array) -> bool:
        """Return whether the straight way in joint space from pose to pose (n,) stays clear of floor and arm."""
        shares = np.linspace(0.0, 1.0, _WAY_SAMPLES + 1)[1:, None]
        return bool(self._clear(from_rad + shares * (to_rad - from_rad)).all())

    def _clear(self, poses_rad: Array) -> NDArray[np.bool_]:
        return self._guards.clearances_m(poses_rad).min(axis=1) > _CLEARANCE_M

    def _candidates(
        self,
        samples: list[HandEyeSample],
        guess: HandEyeGuess,
        at_rad: Array,
        rng: np.random.Generator,
        reach_rad: float,
    ) -> list[Array]:
        """Return safe poses about those of the samples that show the board, the jaws as they are."""
        count = self._description.arm_joint_count
        poses = np.tile(at_rad, (_CANDIDATES, 1))
        about = np.array([s.joints_rad for s in samples])[rng.integers(len(samples), size=_CANDIDATES)]
        lowest, highest = np.maximum(about - reach_rad, self._lower), np.minimum(about + reach_rad, self._upper)
        poses[:, :count] = rng.uniform(np.minimum(lowest, highest), highest)
        found: list[Array] = []
        for pose in poses[self._clear(poses)]:
            if self._shows(pose, guess):
                found.append(pose)
                if len(found) == _JUDGED:
                    break
        return found

    def _shows(self, pose_rad: Array, guess: HandEyeGuess) -> bool:
        seen = self._camera_from_board(pose_rad, guess)
        middle = seen.apply(self._object_m.mean(axis=0, keepdims=True))[0]
        if middle[2] <= 0.03:
            return False
        least = max(_LEAST_SEEN * len(self._object_m), MIN_CORNERS)
        return self._facing(seen) * self._front > _LEAST_FACING and int(self._visible(seen).sum()) >= least

    def _facing(self, camera_from_board: Pose) -> float:
        """Return the cosine between the points' plane and the way to the camera, of whichever sign."""
        points = camera_from_board.apply(self._object_m)
        middle = points.mean(axis=0)
        return -float(camera_from_board.rotation @ self._normal @ middle) / float(np.linalg.norm(middle))

    def _visible(self, camera_from_board: Pose) -> NDArray[np.bool_]:
        pixels = project(self._object_m, camera_from_board, self._intrinsics)
        size = np.array([self._intrinsics.width_px, self._intrinsics.height_px])
        inside = (pixels > _EDGE_SHARE * size) & (pixels < (1 - _EDGE_SHARE) * size)
        return np.asarray(np.isfinite(pixels).all(axis=1) & inside.all(axis=1))

    def _camera_from_board(self, pose_rad: Array, guess: HandEyeGuess) -> Pose:
        tool = self._description.base_from_tool(pose_rad)
        return guess.mount_from_camera.inverse() @ mount_from_carrier(tool, self._mount) @ guess.carrier_from_board

    def _told_by(self, pose_rad: Array, guess: HandEyeGuess) -> Array:
        """Return the information (p, p) of a sample in a pose."""
        seen = self._camera_from_board(pose_rad, guess)
        some = self._visible(seen)
        joints_rad = pose_rad[: self._description.arm_joint_count]
        pixels = project(self._object_m[some], seen, self._intrinsics)
        sample = HandEyeSample("imagined", joints_rad, self._object_m[some], pixels)
        return information(self._model([sample]), guess, self._noise)

    def _model(self, samples: list[HandEyeSample]) -> HandEyeModel:
        return HandEyeModel(self._description, self._mount, samples, self._intrinsics)
