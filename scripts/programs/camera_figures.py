"""CameraFigures: what the camera commands came to, as their JSON line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hardware.cameras.newest import CameraStatistics


@dataclass(frozen=True, slots=True)
class CameraFigures:
    """The JSON line of `view`, `record` and `serve`. `written`: a picture, a folder or a film."""

    camera: str
    statistics: CameraStatistics
    calibrated: bool
    written: Path | None = None
    pictures_written: int = 0
    pictures_sent: int = 0
