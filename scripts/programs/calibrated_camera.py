"""CalibratedCamera: a camera whose frames carry the geometry that was measured, not what it says of itself."""

from __future__ import annotations

from pathlib import Path

from bridge.ports import Camera, Frame, Intrinsics
from calibration.board_file import BoardFile
from calibration.camera_file import CameraCalibration
from calibration.errors import NotCalibrated
from perception.systematic import MEASURED_PRINT, UNMEASURED_PRINT, Systematic
from urdf.description import ArmDescription
from urdf.errors import UnknownName

#: The camera that looks at arm and block; its file is camera_desk.json.
DESK_CAMERA = "desk"
#: The file of the printed board around the blocks, as `tandem board make desk` leaves it.
DESK_BOARD_NAME = "desk"


def measured_lens(camera: str, serial: str, description: ArmDescription, data: Path) -> Intrinsics | None:
    """Return what was measured of a camera of one robot, None where nothing was; raises as CameraCalibration.load."""
    try:
        return CameraCalibration.load(camera, serial, description, data).intrinsics()
    except NotCalibrated:
        return None


def how_well_known(camera: str, serial: str, description: ArmDescription, data: Path) -> Systematic:
    """Return how well the lens of a camera and the prints of a desk are known, for the covariance of what is seen.

    A lens that nobody measured counts as exact: it is what the camera says of itself, and how well is not known.
    """
    try:
        printed = MEASURED_PRINT if BoardFile.load(DESK_BOARD_NAME, data).measured_utc else UNMEASURED_PRINT
    except UnknownName:  # no such board was made here: somebody else printed it
        printed = UNMEASURED_PRINT
    try:
        return Systematic(CameraCalibration.load(camera, serial, description, data).covariance(), printed)
    except NotCalibrated:
        return Systematic(None, printed)


class CalibratedCamera:
    """A camera whose frames carry the geometry that was measured, where there is one."""

    def __init__(self, camera: Camera, lens: Intrinsics | None) -> None:
        self._camera, self._lens = camera, lens

    def read(self, max_age_s: float) -> Frame:
        """Return the newest frame; raises StaleFrame."""
        frame = self._camera.read(max_age_s)
        if self._lens is None:
            return frame
        return Frame(frame.name, frame.seq, frame.stamp_ns, frame.rgb, self._lens, frame.depth_m)

    def close(self) -> None:
        """Release the camera."""
        self._camera.close()
