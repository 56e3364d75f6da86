"""Where a camera that stands still is: by the desk board, over several pictures."""

from __future__ import annotations

import contextlib
import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from bridge.ports import Frame
from calibration.boards import DESK_BOARD, Target, desk_from_board, detect_markers
from perception.errors import PerceptionError, PoseUncertain
from perception.locate import CameraFix, fix_camera
from urdf.description import Rig
from urdf.pose import Array, Pose

_BOARD_AGE_S = 2.0  # the camera stands still, so a board hidden by the arm for a moment is no loss
#: A board whose print was not measured puts a camera at 0.4 m some 4 mm off; what differs by more was moved.
_MOVED_M, _MOVED_RAD = 0.015, math.radians(3.0)


@dataclass(frozen=True, slots=True)
class KnownPlace:
    """Where a camera that stands is, measured beforehand: for whenever the board is not seen, or instead of it."""

    camera: CameraFix
    instead_of_board: bool = False


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


class BoardWatch:
    """Where a camera that stands still is, by the desk board in its pictures. A board that is hidden is remembered.

    A picture's own board costs as much to find as its block, and tells of a camera that stands still what the picture
    before told: it is left for `settle`, when the block's place is out.
    """

    def __init__(self, rig: Rig, board: Target = DESK_BOARD, known: KnownPlace | None = None) -> None:
        """`board`: the desk board as it was printed; `known`: the camera's place, where it was measured beforehand."""
        self._board = board
        self._desk_from_board = desk_from_board(rig)
        self._known = known
        self._filter = CameraFilter()
        self._newest: CameraFix | None = None
        self._unsettled: tuple[Frame, Mapping[int, Array] | None] | None = None

    def fix(self, frame: Frame, seen_px: Mapping[int, Array] | None = None) -> CameraFix:
        """Return where the camera is, by the pictures before this one where they tell.

        `seen_px`: the markers of the whole picture, by whom they are known. Once the board was not seen for 2 s, the
        place that was measured beforehand holds; without one that raises TargetNotSeen or PoseUncertain.
        """
        if self._known is not None and self._known.instead_of_board:
            return self._known.camera
        self.settle()
        if self._newest is None or self._filter.age_s(frame.stamp_ns) > _BOARD_AGE_S:
            try:
                return self._take_in(frame, seen_px)
            except PerceptionError:
                if self._known is None:
                    raise
                return self._still_there(self._known.camera)
        self._unsettled = (frame, seen_px)
        return self._newest

    def settle(self) -> None:
        """Look for the board in the picture that `fix` was last asked for; `fix` does it at the latest."""
        unsettled, self._unsettled = self._unsettled, None
        if unsettled is not None:
            with contextlib.suppress(PerceptionError):  # hidden for now: `fix` says so when it was for too long
                self._take_in(*unsettled)

    def _still_there(self, known: CameraFix) -> CameraFix:
        """Return the place measured beforehand; raises PoseUncertain where the board has shown another since."""
        if self._newest is not None:
            apart = known.desk_from_camera.inverse() @ self._newest.desk_from_camera
            way_m, turn_rad = float(np.linalg.norm(apart.position_m)), float(np.linalg.norm(apart.rotvec_rad()))
            if way_m > _MOVED_M or turn_rad > _MOVED_RAD:
                raise PoseUncertain(
                    f"the desk board is hidden, and it last showed the camera {1000 * way_m:.0f} mm and "
                    f"{math.degrees(turn_rad):.0f} degrees from where it was measured: it was moved since. Uncover the "
                    "board, or run tandem calibrate hand-eye again"
                )
        return known

    def _take_in(self, frame: Frame, seen_px: Mapping[int, Array] | None) -> CameraFix:
        known_px = detect_markers(frame.rgb) if seen_px is None else seen_px
        seen = fix_camera(known_px, frame.intrinsics, self._desk_from_board, self._board)
        steady = self._filter.add(seen.desk_from_camera, frame.stamp_ns)
        self._newest = CameraFix(steady, seen.covariance, seen.by_systematic)
        return self._newest
