"""Where the camera is and where the block is, from the markers in one picture. Poses are in the desk frame."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from bridge.ports import Intrinsics
from calibration.boards import BLOCK, BLOCK_SIZE_M, DESK_BOARD, Target
from perception.errors import PoseUncertain, TargetNotSeen
from perception.markers import Corners, Prior, refine, residual_px, solve
from urdf.pose import Array, Pose

#: Markers of the board that a camera pose needs: two hold the planar twin off by their distance.
BOARD_MARKERS_NEEDED = 2
_BELIEVABLE_PX = 3.0
#: A block that stands on the desk is taken for lifted when that explains the corners better by this much (chi
#: squared; a board that lies 1 mm high costs a standing block 15, a lift of 10 mm gains 40).
_LIFTED_GAIN = 30.0
#: A gripped block may tilt with the gripper, but hardly ever by more than twice this.
_TILT_SIGMA_RAD = math.radians(12.0)
_FREE = math.inf


@dataclass(frozen=True, slots=True)
class BlockFix:
    """Where the block is, whether it stands on the desk, which markers said so, and how well they agree."""

    desk_from_block: Pose
    standing: bool
    marker_ids: tuple[int, ...]
    residual_px: float


def _corners(target: Target, seen_px: Mapping[int, Array], needed: int) -> Corners:
    ids, object_m, image_px = target.matches(seen_px)
    if len(ids) < needed:
        raise TargetNotSeen(target.name, target.ids, ids, needed)
    return Corners(ids, object_m, image_px)


def locate_camera(seen_px: Mapping[int, Array], intrinsics: Intrinsics, desk_from_board: Pose) -> Pose:
    """Return `desk_from_camera`; raises TargetNotSeen or PoseUncertain."""
    corners = _corners(DESK_BOARD, seen_px, BOARD_MARKERS_NEEDED)
    poses = [fit.camera_from_target for fit in solve(corners, intrinsics)]
    above = [pose for pose in poses if (desk_from_board @ pose.inverse()).position_m[2] > 0]
    if not above:
        raise PoseUncertain("the markers of the desk board explain no camera above the desk; is a copy of it around?")
    start = above[0]
    twist, _ = refine(corners, intrinsics, lambda t: start @ Pose.exp(t), np.zeros(6))
    camera_from_board = start @ Pose.exp(twist)
    _believe(corners, camera_from_board, intrinsics, DESK_BOARD)
    return desk_from_board @ camera_from_board.inverse()


def locate_block(seen_px: Mapping[int, Array], intrinsics: Intrinsics, desk_from_camera: Pose) -> BlockFix:
    """Return where the block is; raises TargetNotSeen or PoseUncertain.

    All corners of all its markers count together. Upright on the desk it has three degrees of freedom, which is what
    one small marker can tell; only corners that contradict this are taken for a lifted, perhaps tilted block.
    """
    corners = _corners(BLOCK, seen_px, 1)
    camera_from_desk = desk_from_camera.inverse()
    twins = [desk_from_camera @ fit.camera_from_target for fit in solve(corners, intrinsics)]
    if not twins:
        raise PoseUncertain(f"marker {corners.ids} of the block: no pose in front of the camera explains its corners")
    standing, standing_cost = min(
        (_fit_standing(corners, intrinsics, camera_from_desk, twin) for twin in twins), key=lambda found: found[1]
    )
    lifted, lifted_cost = min(
        (_fit_lifted(corners, intrinsics, camera_from_desk, twin) for twin in twins), key=lambda found: found[1]
    )
    stands = standing_cost - lifted_cost < _LIFTED_GAIN
    pose = standing if stands else lifted
    residual = _believe(corners, camera_from_desk @ pose, intrinsics, BLOCK)
    return BlockFix(pose, stands, corners.ids, residual)


def _fit_standing(corners: Corners, intrinsics: Intrinsics, camera_from_desk: Pose, start: Pose) -> tuple[Pose, float]:
    def place(values: Array) -> Pose:
        return Pose.from_rpy([values[0], values[1], BLOCK_SIZE_M / 2], [0.0, 0.0, values[2]])

    first = np.array([*start.position_m[:2], start.yaw_rad])
    best, cost = refine(corners, intrinsics, lambda v: camera_from_desk @ place(v), first)
    return place(best), cost


def _fit_lifted(corners: Corners, intrinsics: Intrinsics, camera_from_desk: Pose, start: Pose) -> tuple[Pose, float]:
    """Fit all six degrees of freedom, upright being likelier: this decides between the twins of a single marker."""

    def place(values: Array) -> Pose:
        tilt = Pose.from_rotvec(values[:3], [values[3], values[4], 0.0])
        return tilt @ Pose.from_rpy([0.0, 0.0, 0.0], [0.0, 0.0, values[5]])

    # Split the rotation: what turns z to where it points is the tilt, the rest is the yaw.
    up = start.rotation[:, 2]
    axis = np.array([-up[1], up[0], 0.0])
    angle, length = math.acos(float(np.clip(up[2], -1.0, 1.0))), float(np.linalg.norm(axis))
    tilt = axis * (angle / length) if length > 1e-9 else np.zeros(3)
    yaw = (Pose.from_rotvec([0.0, 0.0, 0.0], tilt).inverse() @ start).yaw_rad
    first = np.array([*start.position_m, tilt[0], tilt[1], yaw])
    prior = Prior(np.zeros(6), np.array([_FREE, _FREE, _FREE, _TILT_SIGMA_RAD, _TILT_SIGMA_RAD, _FREE]))
    best, cost = refine(corners, intrinsics, lambda v: camera_from_desk @ place(v), first, prior)
    return place(best), cost


def _believe(corners: Corners, camera_from_target: Pose, intrinsics: Intrinsics, target: Target) -> float:
    residual = residual_px(corners, camera_from_target, intrinsics)
    if residual > _BELIEVABLE_PX:
        raise PoseUncertain(
            f"the best pose of the {target.name} leaves {residual:.1f} px (at most {_BELIEVABLE_PX} px are believed); "
            "check its printed size and that it is flat"
        )
    return residual


class CameraFilter:
    """The pose of a camera that stands still: the median over the newest sightings, so that one bad frame is nothing.

    A camera that was bumped is believed after half the window.
    """

    def __init__(self, window: int = 15) -> None:
        self._poses: deque[Pose] = deque(maxlen=window)
        self._newest_ns = 0

    def add(self, desk_from_camera: Pose, stamp_ns: int) -> Pose:
        """Take in one sighting; return the filtered pose."""
        self._poses.append(desk_from_camera)
        self._newest_ns = stamp_ns
        return self.pose()

    def age_s(self, now_ns: int) -> float:
        """Return how long ago the board was seen; infinite when it never was."""
        return (now_ns - self._newest_ns) * 1e-9 if self._poses else math.inf

    def pose(self) -> Pose:
        """Return `desk_from_camera`, component-wise median around the newest sighting."""
        anchor = self._poses[-1]
        offsets = np.array([(anchor.inverse() @ pose).log() for pose in self._poses])
        return anchor @ Pose.exp(np.median(offsets, axis=0))
