"""LearnedEye: the block by a learned locator, in the pictures of a depth camera that the arm carries."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bridge.ports import BlockSighting, Frame, Intrinsics
from calibration.lens import project
from perception.arm_track import ArmTrack
from perception.block_source import sighting_in_base
from perception.cloud import depth_of, rays
from perception.errors import NothingStandsOut, PoseUncertain
from perception.learned import LearnedLocator, Located
from perception.on_desk import by_camera
from perception.plane import DeskFix, find_desk
from perception.rgbd import DepthLocator, MountedCamera
from urdf.pose import Array, Pose

#: Where the network sees the block, something stands as high as it, within so much: else it is held, or is no block.
_TOP_OFF_M = 0.007
#: Half a window about the middle of the block, in which its top is looked for, as a share of the block.
_WINDOW = 0.35


class LearnedEye:
    """A BlockLocator that needs no marker and no mask of the arm while the block stands on the desk.

    The network tells the ray; the desk in the picture tells how high and how tilted the camera is. It has only learnt
    from blocks that stand: where depth shows none along its ray, the block is held or hidden, and `shape` looks for it.
    """

    name = "a learned locator"

    def __init__(self, locator: LearnedLocator, mounted: MountedCamera, track: ArmTrack, shape: DepthLocator) -> None:
        """Raises LocatorUnfit where it was trained for another camera, arm or rig."""
        locator.check(mounted.description, mounted.rig.name, mounted.mount)
        self._locator, self._mounted, self._track, self._shape = locator, mounted, track, shape

    def locate(self, frame: Frame) -> BlockSighting:
        """Return where the block is; raises PerceptionError."""
        depth = depth_of(frame).astype(np.float64)
        points = rays(frame.intrinsics) * depth[..., None]
        seen = (depth > 0) & np.isfinite(points[..., 0])
        desk = find_desk(points[seen], self._mounted.pose(self._track.at(frame.stamp_ns)))
        try:
            found = self._locator.locate(frame, self._mounted.mount, desk.desk_from_camera)
        except (NothingStandsOut, PoseUncertain):
            return self._shape.locate(frame)
        pose = found.desk_from_block
        top_m = self._top_m(pose, desk.desk_from_camera, points, seen, frame.intrinsics)
        if abs(top_m - self._locator.manifest.block_size_m) > _TOP_OFF_M:
            return self._shape.locate(frame)
        covariance = found.covariance + self._of_mounting(found, desk)
        return sighting_in_base(self._mounted.rig, pose, covariance, frame.stamp_ns)

    def settle(self) -> None:
        """Nothing waits: the arm tells where the camera is."""

    def _of_mounting(self, found: Located, desk: DeskFix) -> Array:
        """Return what the mounting leaves open: not the camera's height and tilts, which are the desk's."""
        own = self._mounted.covariance_on_desk(desk.desk_from_camera)
        own[[2, 3, 4], :] = own[:, [2, 3, 4]] = 0.0
        own[2, 2] = desk.noise_m**2
        moves = by_camera(desk.desk_from_camera, found.desk_from_block.position_m)
        return moves @ own @ moves.T

    def _top_m(self, pose: Pose, camera: Pose, points: Array, seen: NDArray[np.bool_], lens: Intrinsics) -> float:
        """Return how high above the desk the picture is about the block's middle; 0 where it has no depth there."""
        column, row = np.rint(project(pose.position_m[None], camera.inverse(), lens)[0]).astype(int)
        distance = float(np.linalg.norm(pose.position_m - camera.position_m))
        half = max(1, round(_WINDOW * self._locator.manifest.block_size_m * lens.fx_px / distance))
        window = np.s_[max(0, row - half) : row + half + 1, max(0, column - half) : column + half + 1]
        shown = points[window][seen[window]]
        return float(np.percentile(camera.apply(shown)[:, 2], 75)) if len(shown) else 0.0
