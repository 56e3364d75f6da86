"""DepthBlockSource: keeps up with a depth camera in the background and always knows the newest place of the block."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bridge.clock import MonotonicClock
from bridge.errors import StaleFrame
from bridge.ports import BlockSighting, Camera, Clock, Frame, Intrinsics
from calibration.boards import BLOCK_SIZE_M
from perception.arm_track import ArmTrack
from perception.cloud import depth_of
from perception.depth import DepthFix, locate_in_depth
from perception.errors import PerceptionError
from urdf.description import DESK, ArmDescription, CameraMount, Rig
from urdf.pose import Array, Pose

_POLL_NS = 10_000_000


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

    def block_covariance(self, fix: DepthFix) -> Array:
        """Return the covariance (6, 6) of a block's pose in the desk frame: the picture's and the mounting's.

        Height and tilt of the camera come from the desk in the picture, so of the mounting's six errors three are left:
        along the desk, and about the vertical.
        """
        total = fix.covariance.copy()
        if self.covariance is None:
            return total
        camera = fix.desk.desk_from_camera
        turn = np.zeros((6, 6))
        turn[:3, :3] = turn[3:, 3:] = camera.rotation
        own = turn @ self.covariance @ turn.T
        dx, dy, _ = fix.desk_from_block.position_m - camera.position_m
        # Columns: x, y of the camera and its turn about the vertical.
        onto_block = np.zeros((6, 3))
        onto_block[0], onto_block[1], onto_block[5] = (1.0, 0.0, -dy), (0.0, 1.0, dx), (0.0, 0.0, 1.0)
        return total + onto_block @ own[np.ix_([0, 1, 5], [0, 1, 5])] @ onto_block.T


class DepthBlockSource:
    """A BlockSource around a depth camera. Only the newest frame is processed; a sighting bears that frame's stamp.

    A camera on the arm is where the arm was when the picture was taken: give `track` the arm's states as they are read.
    `locate` turns a depth picture into a place (default: `locate_in_depth`).
    """

    def __init__(
        self,
        camera: Camera,
        mounted: MountedCamera,
        track: ArmTrack,
        arm_mask: ArmMask | None = None,
        size_m: float = BLOCK_SIZE_M,
        max_frame_age_s: float = 0.5,
        clock: Clock | None = None,
        on_fix: Callable[[Frame, DepthFix], None] | None = None,
    ) -> None:
        self._camera, self._mounted, self._track, self._arm_mask = camera, mounted, track, arm_mask
        self._size_m, self._max_frame_age_s = size_m, max_frame_age_s
        self._clock, self._on_fix = clock or MonotonicClock(), on_fix
        self._base_from_desk = mounted.rig.desk_from_base.inverse()
        self._lock = threading.Lock()
        self._sighting: BlockSighting | None = None
        self._missing = "no picture yet"
        self._failure: BaseException | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="depth block source", daemon=True)
        self._thread.start()

    def read_block(self) -> BlockSighting | None:
        """Return the newest sighting, None when the block has never been seen; its age is the caller's to judge."""
        self._check()
        with self._lock:
            return self._sighting

    def missing(self) -> str:
        """Say in words why the newest picture told nothing; empty if it did."""
        self._check()
        with self._lock:
            return self._missing

    def close(self) -> None:
        """Stop the thread; the camera stays its owner's. Calling it twice is harmless."""
        self._stop.set()
        self._thread.join(timeout=2.0)

    def process(self, frame: Frame) -> BlockSighting | None:
        """Locate the block in one frame and remember it; return None, with the reason in `missing`, where it is not."""
        try:
            sighting, reason = self._locate(frame), ""
        except PerceptionError as error:
            sighting, reason = None, str(error)
        with self._lock:
            self._missing = reason
            self._sighting = sighting or self._sighting
        return sighting

    def _locate(self, frame: Frame) -> BlockSighting:
        depth = depth_of(frame)
        joints = self._track.at(frame.stamp_ns)
        desk_from_camera = self._mounted.pose(joints)
        mask = None
        if self._arm_mask is not None:
            mask = self._arm_mask(depth, frame.intrinsics, desk_from_camera, joints)
        fix = locate_in_depth(depth, frame.intrinsics, desk_from_camera, mask, self._size_m)
        if self._on_fix is not None:
            self._on_fix(frame, fix)
        turn = np.zeros((6, 6))
        turn[:3, :3] = turn[3:, 3:] = self._base_from_desk.rotation
        covariance = turn @ self._mounted.block_covariance(fix) @ turn.T
        return BlockSighting(self._base_from_desk @ fix.desk_from_block, frame.stamp_ns, (), covariance)

    def _run(self) -> None:
        last_seq: int | None = None
        try:
            while not self._stop.is_set():
                try:
                    frame = self._camera.read(self._max_frame_age_s)
                except StaleFrame as error:
                    with self._lock:
                        self._missing = f"no fresh picture: {error}"
                else:
                    if frame.seq != last_seq:
                        self.process(frame)
                        last_seq = frame.seq
                self._clock.sleep_until(self._clock.now_ns() + _POLL_NS)
        except BaseException as error:  # a dead thread must not look like a block that stands still
            self._failure = error
            raise

    def _check(self) -> None:
        if self._failure is not None:
            raise PerceptionError(f"the depth block source stopped: {self._failure}") from self._failure
