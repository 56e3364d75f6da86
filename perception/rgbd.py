"""A camera that the arm carries, and the block by its shape in that camera's depth."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bridge.ports import BlockSighting, Frame, Intrinsics
from calibration.boards import BLOCK_SIZE_M
from perception.arm_track import ArmTrack
from perception.block_source import sighting_in_base
from perception.cloud import depth_of
from perception.depth import DepthFix, locate_in_depth
from urdf.description import DESK, ArmDescription, CameraMount, Rig
from urdf.pose import Array, Pose


class ArmMask(Protocol):
    """Whoever knows what the arm looks like."""

    def __call__(
        self, depth_m: NDArray[np.float32], intrinsics: Intrinsics, desk_from_camera: Pose, position_rad: Array
    ) -> NDArray[np.bool_]:
        """Return which pixels (H, W) of a depth picture show the arm at joints (n,)."""
        ...


class MountedCamera:
    """Where a camera of the arm is for any joints: `desk_from_camera`, by kinematics and mounting.

    `link_from_camera`: as a hand-eye calibration found it (default: as arm.toml says). `covariance` (6, 6): of the
    errors x y z [m] and small rotation [rad] of that mounting, in the camera's own axes. `joint_offset_rad` (k,): what
    that calibration adds to what the first k joints read.
    """

    def __init__(
        self,
        description: ArmDescription,
        rig: Rig,
        mount: CameraMount,
        link_from_camera: Pose | None = None,
        covariance: Array | None = None,
        joint_offset_rad: Array | None = None,
    ) -> None:
        self.description, self.rig, self.mount = description, rig, mount
        self.link_from_camera = link_from_camera or mount.link_from_camera
        self.covariance = covariance
        self._offset_rad = np.zeros(len(description.joint_names))
        if joint_offset_rad is not None:
            self._offset_rad[: len(joint_offset_rad)] = joint_offset_rad

    def pose(self, position_rad: Array) -> Pose:
        """Return `desk_from_camera` for joints (n,)."""
        if self.mount.link == DESK:
            return self.link_from_camera
        angles = self.description.joint_angles(position_rad + self._offset_rad)
        link = Pose.from_motion(self.description.chain.link_matrix(self.mount.link, angles))
        return self.rig.desk_from_base @ link @ self.link_from_camera

    def covariance_on_desk(self, desk_from_camera: Pose) -> Array:
        """Return the mounting's covariance (6, 6) along and about the desk's axes; zero where it was not measured."""
        if self.covariance is None:
            return np.zeros((6, 6))
        turn = np.kron(np.eye(2), desk_from_camera.rotation)
        return turn @ self.covariance @ turn.T

    def block_covariance(self, fix: DepthFix) -> Array:
        """Return the covariance (6, 6) of a block's pose in the desk frame: the picture's and the mounting's.

        Height and tilt of the camera come from the desk in the picture, so of the mounting's six errors three are left:
        along the desk, and about the vertical.
        """
        total = fix.covariance.copy()
        if self.covariance is None:
            return total
        camera = fix.desk.desk_from_camera
        own = self.covariance_on_desk(camera)
        dx, dy, _ = fix.desk_from_block.position_m - camera.position_m
        # Columns: x, y of the camera and its turn about the vertical.
        onto_block = np.zeros((6, 3))
        onto_block[0], onto_block[1], onto_block[5] = (1.0, 0.0, -dy), (0.0, 1.0, dx), (0.0, 0.0, 1.0)
        return total + onto_block @ own[np.ix_([0, 1, 5], [0, 1, 5])] @ onto_block.T


class DepthLocator:
    """A BlockLocator by the block's shape in depth.

    A camera on the arm is where the arm was when the picture was taken: give `track` the arm's states as they are read.
    """

    name = "depth"

    def __init__(
        self, mounted: MountedCamera, track: ArmTrack, arm_mask: ArmMask | None = None, size_m: float = BLOCK_SIZE_M
    ) -> None:
        self._mounted, self._track, self._arm_mask, self._size_m = mounted, track, arm_mask, size_m

    def locate(self, frame: Frame) -> BlockSighting:
        """Return where the block is; raises PerceptionError."""
        depth = depth_of(frame)
        joints = self._track.at(frame.stamp_ns)
        desk_from_camera = self._mounted.pose(joints)
        mask = None
        if self._arm_mask is not None:
            mask = self._arm_mask(depth, frame.intrinsics, desk_from_camera, joints)
        fix = locate_in_depth(depth, frame.intrinsics, desk_from_camera, mask, self._size_m)
        covariance = self._mounted.block_covariance(fix)
        return sighting_in_base(self._mounted.rig, fix.desk_from_block, covariance, frame.stamp_ns)

    def settle(self) -> None:
        """Nothing waits: the arm tells where the camera is."""
