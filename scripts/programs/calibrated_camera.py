"""CalibratedCamera: a camera whose frames carry the geometry that was measured, not what it says of itself."""

from __future__ import annotations

from pathlib import Path

from bridge.ports import Camera, Frame, Intrinsics
from calibration.board_file import is_measured
from calibration.camera_file import CameraCalibration
from perception.systematic import MEASURED_PRINT, UNMEASURED_PRINT, Systematic

#: The camera that looks at arm and block; its file is camera_desk.json.
DESK_CAMERA = "desk"
#: The file of the printed board around the blocks, as `tandem board make desk` leaves it.
DESK_BOARD_NAME = "desk"


def how_well_known(measured: CameraCalibration | None, data: Path) -> Systematic:
    """Return how well the lens of a camera and the prints of a desk are known, for the covariance of what is seen.

    A lens that nobody measured counts as exact: it is what the camera says of itself, and how well is not known. A
    board that was not made here somebody else printed, and measured it or not.
    """
    printed = MEASURED_PRINT if is_measured(DESK_BOARD_NAME, data) else UNMEASURED_PRINT
    return Systematic(None if measured is None else measured.covariance(), printed)


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
