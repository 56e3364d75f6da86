"""MarkerLocator: the block by its markers, the camera by the desk board that lies around it."""

from __future__ import annotations

from collections.abc import Set

import numpy as np

from bridge.ports import BlockSighting, Frame
from calibration.boards import BLOCK, DESK_BOARD, Target, see_markers
from perception.block_source import sighting_in_base
from perception.board_watch import BoardWatch, KnownPlace
from perception.locate import locate_block
from perception.systematic import EXACT, Systematic
from urdf.description import Rig
from urdf.pose import Array

#: Around the markers that were found, so many times their larger side: the block's other faces, and where it goes.
_AROUND = 1.5
_LEAST_AROUND_PX = 40


class MarkerLocator:
    """A BlockLocator by markers: any on the block, and two of the desk board unless the camera's place is known.

    The block is looked for where it was a picture before, and everywhere where a marker is missing there.
    """

    name = "markers"

    def __init__(
        self, rig: Rig, systematic: Systematic = EXACT, board: Target = DESK_BOARD, known: KnownPlace | None = None
    ) -> None:
        """`systematic`: how well lens and prints are known; it counts in the covariance of every sighting.

        `board`: the desk board as it was printed; `known`: the camera's place, where it was measured beforehand.
        """
        self._rig, self._systematic = rig, systematic
        self._watch = BoardWatch(rig, board, known)
        self._within: tuple[slice, slice] | None = None
        self._block_ids: Set[int] = set()

    def locate(self, frame: Frame) -> BlockSighting:
        """Return where the block is; raises TargetNotSeen or PoseUncertain."""
        # The board has corners enough; the block has few, so every edge of its prints counts.
        seen_px, fits = see_markers(frame.rgb, frame.intrinsics, BLOCK.ids, self._within)
        is_whole = self._within is None
        if not is_whole and not self._block_ids <= seen_px.keys():
            seen_px, fits = see_markers(frame.rgb, frame.intrinsics, BLOCK.ids)
            is_whole = True
        self._block_ids = seen_px.keys() & set(BLOCK.ids)
        corners_px = [seen_px[n] for n in self._block_ids]
        self._within = _around(np.concatenate(corners_px), frame.rgb.shape) if corners_px else None
        camera = self._watch.fix(frame, seen_px if is_whole else None)
        fix = locate_block(seen_px, frame.intrinsics, camera, fits, systematic=self._systematic)
        return sighting_in_base(self._rig, fix.desk_from_block, fix.covariance, frame.stamp_ns, fix.marker_ids)

    def settle(self) -> None:
        """Look at the board of the last picture."""
        self._watch.settle()


def _around(corners_px: Array, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Return the rows and columns of a picture of that shape around some corners (n, 2)."""
    low, high = corners_px.min(axis=0), corners_px.max(axis=0)
    more = max(_AROUND * float((high - low).max()), _LEAST_AROUND_PX)
    (left, top), (right, bottom) = np.maximum(low - more, 0).astype(int), (high + more).astype(int) + 1
    return slice(int(top), min(int(bottom), shape[0])), slice(int(left), min(int(right), shape[1]))
