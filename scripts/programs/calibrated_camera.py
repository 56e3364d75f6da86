"""CalibratedCamera: a camera whose frames carry the geometry that was measured, not what it says of itself."""

from __future__ import annotations

from pathlib import Path

from bridge.ports import Camera, Frame, Intrinsics
from calibration.board_file import DESK_BOARD_NAME, is_measured, load_board, load_desk_board
from calibration.board_spec import Board, find_board
from calibration.boards import DESK_BOARD, Target
from calibration.camera_file import CameraCalibration
from perception.systematic import MEASURED_PRINT, UNMEASURED_PRINT, Systematic

#: The camera that looks at arm and block; its file is camera_desk.json.
DESK_CAMERA = "desk"
#: Its boards are drawn to scale: what a person measured on paper says nothing of them.
_LAB = "lab"


def how_well_known(measured: CameraCalibration | None, data: Path) -> Systematic:
    """Return how well the lens of a camera and the prints of a desk are known, for the covariance of what is seen.

    A lens that nobody measured counts as exact: it is what the camera says of itself, and how well is not known. A
    board that was not made here somebody else printed, and measured it or not.
    """
    printed = MEASURED_PRINT if is_measured(DESK_BOARD_NAME, data) else UNMEASURED_PRINT
    return Systematic(None if measured is None else measured.covariance(), printed)


def printed_desk_board(robot: str, data: Path) -> Target:
    """Return the desk board before a robot as it came out of the printer; raises BadArtifact or BoardError."""
    return DESK_BOARD if robot == _LAB else load_desk_board(data)


def printed_board(name: str, robot: str, data: Path) -> Board:
    """Return a board that is held before a robot's camera, as it came out of the printer; raises UnknownName."""
    return find_board(name) if robot == _LAB else load_board(name, data)


class CalibratedCamera:
    """A camera whose frames carry the geometry that was measured, where there is one."""

    def __init__(self, camera: Camera, measured: CameraCalibration | None) -> None:
        self._camera = camera
        self._lens: Intrinsics | None = None if measured is None else measured.intrinsics()

    def read(self, max_age_s: float) -> Frame:
        """Return the newest frame; raises StaleFrame."""
        frame = self._camera.read(max_age_s)
        if self._lens is None:
            return frame
        return Frame(frame.name, frame.seq, frame.stamp_ns, frame.rgb, self._lens, frame.depth_m)

    def close(self) -> None:
        """Release the camera."""
        self._camera.close()
