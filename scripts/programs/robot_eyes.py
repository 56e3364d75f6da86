"""The eyes of a run: who sees the block, and who makes the pictures that a policy reads."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

import numpy as np

from bridge.errors import PolicyMismatch
from bridge.messages import RobotState
from bridge.observation import ObservationSpec
from bridge.ports import BlockSource, Camera
from bridge.sensing import PictureSource
from calibration.boards import DESK_BOARD, Target
from calibration.hand_eye_file import HandEyeCalibration
from calibration.hand_eye_sample import Mount
from hardware.cameras.remote import RemoteCamera
from hardware.errors import SettingRefused
from perception.arm_track import ArmTrack
from perception.block_source import BlockLocator, CameraBlockSource
from perception.board_watch import KnownPlace
from perception.colour import ColourLocator
from perception.fusion import FusedSource
from perception.learned import LearnedLocator
from perception.learned_eye import LearnedEye
from perception.marker_locator import MarkerLocator
from perception.pictures import CameraPictures
from perception.rgbd import DepthLocator, MountedCamera
from perception.systematic import EXACT, Systematic
from perception.view import check_view
from scripts.cli import data_root
from scripts.programs.arm_mask import RenderedArmMask
from scripts.programs.calibrated_camera import DESK_CAMERA, printed_desk_board
from scripts.programs.camera_choice import open_robot_camera
from scripts.programs.desk_eyes import DeskChoice, MeasuredFolder, desk_eyes, first_frame
from scripts.programs.locator_run import newest_locator
from scripts.programs.robot_file import RobotFile, RobotFileError, robot_file_path
from urdf.description import ArmDescription, Rig

#: The depth camera on the arm, and the one that looks at the desk.
WRIST, DESK = "wrist", DESK_CAMERA
_ROBOTS_OWN = DeskChoice()


class EyesKind(StrEnum):
    """By what the block is found.

    By its markers or its colour in the desk camera's pictures; by its shape, or by a locator that was trained for it,
    in those of the camera at the wrist.
    """

    AUTO = "auto"
    MARKERS = "markers"
    COLOUR = "colour"
    DEPTH = "depth"
    LEARNED = "learned"

    @property
    def at_wrist(self) -> bool:
        """Whether it needs the camera at the wrist."""
        return self in (EyesKind.DEPTH, EyesKind.LEARNED)


@dataclass(frozen=True, slots=True)
class Eyes:
    """What a run sees with. `camera`: the one whose pictures are recorded; `on_state` wants every state of the arm."""

    source: BlockSource
    pictures: PictureSource | None
    camera: Camera
    on_state: Callable[[RobotState], None] | None


def needs_wrist(spec: ObservationSpec, kind: EyesKind, by_wrist: bool = False) -> bool:
    """Return whether a run needs the depth camera at the wrist."""
    return bool(spec.views) or kind.at_wrist or by_wrist


def check_views(spec: ObservationSpec) -> None:
    """Raise PolicyMismatch where a policy reads pictures of a camera that no robot has."""
    for view in spec.views:
        if view.camera != WRIST:
            raise PolicyMismatch(
                f"the policy reads pictures of camera {view.camera!r}; on an arm there are those of {WRIST!r} alone: "
                "`tandem evaluate` and `tandem observe` play it in simulation"
            )


def open_eyes(
    address: RobotFile,
    description: ArmDescription,
    rig: Rig,
    spec: ObservationSpec,
    kind: EyesKind,
    stack: ExitStack,
    robot: str = "lab",
    data: Path | None = None,
    desk: DeskChoice = _ROBOTS_OWN,
) -> Eyes:
    """Open the cameras of a robot; `stack` closes them.

    `desk` names cameras in place of robot.toml's desk camera, and says how it is known where they are. What several
    see is fused.

    `robot` is the name of its folder under `data`/robots: the cameras' lenses and the wrist camera's place are those
    that were measured there, where they were.

    A policy that reads pictures has the block found in depth as well, unless markers are asked for: no marker is
    needed. Raises RobotFileError where robot.toml names no such camera, and PolicyMismatch for pictures of another.
    """
    check_views(spec)
    root = data or data_root()
    has_desk = desk.names() or address.camera or address.camera_endpoint
    has_wrist = address.wrist or address.wrist_endpoint
    if not has_desk and not needs_wrist(spec, kind, bool(has_wrist)):
        raise RobotFileError(
            f"robot.toml of {robot!r} names no camera, and a policy needs eyes: write one into "
            f'{robot_file_path(robot, root)}, such as camera = "uvc:0" (`tandem camera list`), or say --camera'
        )
    by_wrist = kind.at_wrist or (kind is EyesKind.AUTO and (bool(spec.views) or not has_desk))
    wants_wrist = has_wrist and needs_wrist(spec, kind, by_wrist)
    wrist = _open(address, WRIST, robot, description, root, stack) if wants_wrist else None
    if (by_wrist or spec.views) and wrist is None:
        raise RobotFileError(
            f"robot.toml of this {address.arm} names neither wrist nor wrist_endpoint: a depth camera at the wrist "
            'is needed here, such as wrist = "realsense" (the lab has one when it is started with --wrist)'
        )
    if by_wrist and desk.cameras:
        raise SettingRefused(
            "--camera names cameras that look at the desk, and here the camera at the wrist finds the block: leave it "
            "out, or say --eyes markers"
        )
    pictures = CameraPictures({WRIST: wrist}, spec, description, rig) if spec.views and wrist is not None else None
    if by_wrist and wrist is not None:
        for view in spec.views:
            check_view(view, description.camera(WRIST, rig), first_frame(wrist).intrinsics)
        track = ArmTrack()
        locator = wrist_locator(kind, _mounted(wrist, robot, description, rig, root), track, stack)
        return Eyes(_source(wrist, locator, stack), pictures, wrist, track.add)
    key = Path(address.camera_key) if address.camera_key else None
    cameras: dict[str, Camera] = {}
    for text, name in zip(desk.cameras, desk.names(), strict=True):
        cameras[name] = open_robot_camera(text, name, robot, description, root, key)
        stack.callback(cameras[name].close)
    cameras = cameras or {DESK: _open(address, DESK, robot, description, root, stack)}
    eyes = desk_eyes(cameras, desk.place, MeasuredFolder(description, rig, robot, root))
    board = printed_desk_board(robot, root)
    sources = [_source(eye.camera, desk_locator(kind, rig, eye.systematic, board, eye.known), stack) for eye in eyes]
    source = sources[0] if len(sources) == 1 else FusedSource(sources)
    return Eyes(source, pictures, next(iter(cameras.values())), None)


def _source(camera: Camera, locator: BlockLocator, stack: ExitStack) -> CameraBlockSource:
    source = CameraBlockSource(camera, locator)
    stack.callback(source.close)
    return source


def desk_locator(
    kind: EyesKind,
    rig: Rig,
    systematic: Systematic = EXACT,
    board: Target = DESK_BOARD,
    known: KnownPlace | None = None,
) -> BlockLocator:
    """Return who finds the block in the desk camera's pictures.

    `board`: the desk board as it was printed; `known`: the camera's place, where it was measured beforehand.
    """
    if kind is EyesKind.COLOUR:
        return ColourLocator(rig, systematic, board=board, known=known)
    return MarkerLocator(rig, systematic, board, known)


def wrist_locator(kind: EyesKind, mounted: MountedCamera, track: ArmTrack, stack: ExitStack) -> BlockLocator:
    """Return who finds the block in the wrist camera's pictures; raises UnknownName or LocatorUnfit."""
    mask = RenderedArmMask(mounted.description, mounted.rig)
    stack.callback(mask.close)
    shape = DepthLocator(mounted, track, mask)
    if kind is EyesKind.LEARNED:
        return LearnedEye(LearnedLocator(newest_locator(data_root())), mounted, track, shape)
    return shape


def _open(
    address: RobotFile, role: str, robot: str, description: ArmDescription, data: Path, stack: ExitStack
) -> Camera:
    """Open a camera by its name in robot.toml, or at its endpoint; `stack` closes it."""
    named, endpoint = (
        (address.wrist, address.wrist_endpoint) if role == WRIST else (address.camera, address.camera_endpoint)
    )
    key = Path(address.camera_key) if address.camera_key else None
    camera = open_robot_camera(named, role, robot, description, data, key) if named else RemoteCamera(endpoint)
    stack.callback(camera.close)
    return camera


def _mounted(wrist: Camera, robot: str, description: ArmDescription, rig: Rig, data: Path) -> MountedCamera:
    """Return where the wrist camera is: as `tandem calibrate hand-eye` measured it, else as arm.toml says.

    Raises ForeignCalibration where it was measured with another camera, other intrinsics, or one that stands.
    """
    mount = description.camera(WRIST, rig)
    measured = HandEyeCalibration.find(WRIST, robot, description, data)
    if measured is None:
        return MountedCamera(description, rig, mount)
    measured.check_camera(WRIST, first_frame(wrist).intrinsics, Mount.EYE_IN_HAND)
    turn = np.kron(np.eye(2), measured.pose.rotation.T)  # from the tool's axes to the camera's
    return MountedCamera(
        description,
        rig,
        replace(mount, link=description.tool_link),
        description.link_from_tool @ measured.pose,
        turn @ measured.covariance_matrix @ turn.T,
        np.array(measured.joint_offset_rad),
    )
