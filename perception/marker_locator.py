"""MarkerLocator: the block by its markers, the camera by the desk board that lies around it."""

from __future__ import annotations

from bridge.ports import BlockSighting, Frame
from calibration.boards import BLOCK, see_markers
from perception.block_source import sighting_in_base
from perception.board_watch import BoardWatch
from perception.locate import locate_block
from perception.systematic import EXACT, Systematic
from urdf.description import Rig


class MarkerLocator:
    """A BlockLocator by markers: any on the block, and two of the desk board."""

    name = "markers"

    def __init__(self, rig: Rig, systematic: Systematic = EXACT) -> None:
        """`systematic`: how well lens and prints are known; it counts in the covariance of every sighting."""
        self._rig, self._systematic = rig, systematic
        self._watch = BoardWatch(rig)

    def locate(self, frame: Frame) -> BlockSighting:
        """Return where the block is; raises TargetNotSeen or PoseUncertain."""
        # The board has corners enough; the block has few, so every edge of its prints counts.
        seen_px, fits = see_markers(frame.rgb, frame.intrinsics, BLOCK.ids)
        camera = self._watch.fix(seen_px, frame.intrinsics, frame.stamp_ns)
        fix = locate_block(seen_px, frame.intrinsics, camera, fits, systematic=self._systematic)
        return sighting_in_base(self._rig, fix.desk_from_block, fix.covariance, frame.stamp_ns, fix.marker_ids)

    def settle(self) -> None:
        """Look at the board of the last picture."""
        self._watch.settle()
