"""CameraArtifact: what every file about one camera of one robot has in common: its name on disk, and how it is read.

data/robots/<serial>/calibration/<what>_<camera>.json
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar, Self

from calibration.artifacts import Artifact, load_artifact, save_artifact
from calibration.errors import CalibrationError, ForeignCalibration, NotCalibrated
from urdf.description import ArmDescription

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}")


class CameraArtifact(Artifact, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something measured of one camera. A kind of it says what its files are called, and which command makes one."""

    what: ClassVar[str]
    how: ClassVar[str]

    camera: str

    def __post_init__(self) -> None:
        super().__post_init__()
        check_camera_name(self.camera)

    def save(self, data_root: Path) -> Path:
        """Write to data/robots/<serial>/calibration/<what>_<camera>.json (and history/); return the path."""
        return save_artifact(self, self.file_name(self.camera), data_root)

    @classmethod
    def file_name(cls, camera: str) -> str:
        """Return the name of a camera's file; raises CalibrationError on an unusable camera name."""
        check_camera_name(camera)
        return f"{cls.what}_{camera}"

    @classmethod
    def load(cls, camera: str, serial: str, description: ArmDescription, data_root: Path) -> Self:
        """Read what was measured of a camera; raises NotCalibrated, BadArtifact or ForeignCalibration."""
        how = cls.how.format(camera=camera, serial=serial)
        calibration = load_artifact(cls, cls.file_name(camera), serial, data_root, how)
        calibration.check_belongs(serial, description)
        if calibration.camera != camera:
            raise ForeignCalibration(f"this was measured of camera {calibration.camera!r}, not of {camera!r}: {how}")
        return calibration

    @classmethod
    def find(cls, camera: str, serial: str, description: ArmDescription, data_root: Path) -> Self | None:
        """Return what was measured of a camera, None where nothing ever was; else raises as `load` does."""
        try:
            return cls.load(camera, serial, description, data_root)
        except NotCalibrated:
            return None


def check_camera_name(camera: str) -> None:
    """Raise CalibrationError on a name that is no file name."""
    if not _NAME.fullmatch(camera):
        raise CalibrationError(f"camera name {camera!r}: expected 1-40 letters, digits, '_', '-' or '.'")
