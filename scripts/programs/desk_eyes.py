"""The cameras that look at the desk in a run: one or several, each with its lens and its place as measured."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np

from bridge.errors import StaleFrame
from bridge.ports import Camera, Frame
from calibration.camera_file import CameraCalibration
from calibration.hand_eye_file import HandEyeCalibration
from calibration.hand_eye_sample import Mount
from hardware.errors import SettingRefused
from perception.board_watch import KnownPlace
from perception.locate import CameraFix
from perception.systematic import Systematic
from scripts.programs.calibrated_camera import CalibratedCamera, how_well_known
from scripts.programs.camera_choice import CameraChoice
from urdf.description import ArmDescription, Rig

#: A lens does not age.
_FIRST_PICTURE_S, _ANY_AGE_S = 5.0, 60.0


class CameraPlace(StrEnum):
    """By what it is known where a camera that looks at the desk is.

    `board`: by the desk board in its pictures; `hand-eye`: as `tandem calibrate hand-eye` measured it, whatever the
    board shows; `auto`: by the board, and as it was measured where the board is not seen.
    """

    AUTO = "auto"
    BOARD = "board"
    HAND_EYE = "hand-eye"


@dataclass(frozen=True, slots=True)
class DeskChoice:
    """Which cameras look at the desk (none: robot.toml's), by name, and how it is known where they are."""

    cameras: tuple[str, ...] = ()
    place: CameraPlace = CameraPlace.AUTO

    def names(self) -> tuple[str, ...]:
        """Return what the cameras are called, each once; raises UnknownName or SettingRefused."""
        names = tuple(CameraChoice.parse(text).name for text in self.cameras)
        for name in names:
            if names.count(name) > 1:
                raise SettingRefused(
                    f"two cameras are called {name!r}: give each a name of its own, such as --camera left=uvc:0 "
                    "--camera right=uvc:1; their calibrations are found by it"
                )
        return names


@dataclass(frozen=True, slots=True)
class MeasuredFolder:
    """Where a robot's measured facts are: its arm, and its folder data/robots/ROBOT."""

    description: ArmDescription
    rig: Rig
    robot: str
    data: Path


@dataclass(frozen=True, slots=True)
class DeskEye:
    """A camera that looks at the desk: its frames bear the measured lens. `known`: its place, where that is asked."""

    camera: Camera
    systematic: Systematic
    known: KnownPlace | None


def desk_eyes(cameras: Mapping[str, Camera], place: CameraPlace, folder: MeasuredFolder) -> list[DeskEye]:
    """Return opened cameras, by name, with all that was measured of them.

    Raises NotCalibrated where a place is asked for that nobody measured, ForeignCalibration where it was measured with
    another camera, other intrinsics, or one in the hand.
    """
    return [_desk_eye(name, camera, place, folder) for name, camera in cameras.items()]


def _desk_eye(name: str, camera: Camera, place: CameraPlace, folder: MeasuredFolder) -> DeskEye:
    measured = CameraCalibration.find(name, folder.robot, folder.description, folder.data)
    calibrated = CalibratedCamera(camera, measured)
    return DeskEye(calibrated, how_well_known(measured, folder.data), _known(name, calibrated, place, folder))


def _known(name: str, camera: Camera, place: CameraPlace, folder: MeasuredFolder) -> KnownPlace | None:
    """Return where `tandem calibrate hand-eye` found a camera before the arm, in the desk's frame."""
    if place is CameraPlace.BOARD:
        return None
    measured = HandEyeCalibration.find(name, folder.robot, folder.description, folder.data)
    if measured is None:
        if place is CameraPlace.HAND_EYE:
            HandEyeCalibration.load(name, folder.robot, folder.description, folder.data)  # raises: there is none
        return None
    intrinsics = first_frame(camera).intrinsics
    measured.check_camera(name, intrinsics, Mount.EYE_TO_HAND)
    desk_from_base = folder.rig.desk_from_base
    turn = np.kron(np.eye(2), desk_from_base.rotation)
    covariance = turn @ measured.covariance_matrix @ turn.T
    fix = CameraFix.known(desk_from_base @ measured.pose, intrinsics, covariance)
    return KnownPlace(fix, instead_of_board=place is CameraPlace.HAND_EYE)


def first_frame(camera: Camera) -> Frame:
    """Return the first picture of a camera, for its lens; raises StaleFrame where none comes within five seconds."""
    end_s = time.monotonic() + _FIRST_PICTURE_S
    while True:
        try:
            return camera.read(_ANY_AGE_S)
        except StaleFrame:
            if time.monotonic() > end_s:
                raise
        time.sleep(0.05)
