"""LearnedEye: the block by a learned locator, in the pictures of a camera that the arm carries."""

from __future__ import annotations

from bridge.ports import BlockSighting, Frame
from perception.arm_track import ArmTrack
from perception.block_source import sighting_in_base
from perception.learned import LearnedLocator
from perception.on_desk import by_camera
from perception.rgbd import MountedCamera


class LearnedEye:
    """A BlockLocator that needs no marker, no desk in sight and no mask of the arm; the block stands on the desk."""

    name = "a learned locator"

    def __init__(self, locator: LearnedLocator, mounted: MountedCamera, track: ArmTrack) -> None:
        """Raises LocatorUnfit where it was trained for another camera, arm or rig."""
        locator.check(mounted.description, mounted.rig.name, mounted.mount)
        self._locator, self._mounted, self._track = locator, mounted, track

    def locate(self, frame: Frame) -> BlockSighting:
        """Return where the block is; raises PerceptionError."""
        desk_from_camera = self._mounted.pose(self._track.at(frame.stamp_ns))
        found = self._locator.locate(frame, self._mounted.mount, desk_from_camera)
        moves = by_camera(desk_from_camera, found.desk_from_block.position_m)
        covariance = found.covariance + moves @ self._mounted.covariance_on_desk(desk_from_camera) @ moves.T
        return sighting_in_base(self._mounted.rig, found.desk_from_block, covariance, frame.stamp_ns)
