"""The eyes of a run: who sees the block, and who makes the pictures that a policy reads."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum

from bridge.errors import PolicyMismatch
from bridge.messages import RobotState
from bridge.observation import ObservationSpec
from bridge.ports import BlockSource, Camera
from bridge.sensing import PictureSource
from hardware.cameras.remote import RemoteCamera
from perception.arm_track import ArmTrack
from perception.pictures import CameraPictures
from perception.rgbd import DepthBlockSource, MountedCamera
from perception.tracker import BlockTracker
from scripts.programs.arm_mask import RenderedArmMask
from scripts.programs.robot_file import RobotFile, RobotFileError
from urdf.description import ArmDescription, Rig

#: The camera whose pictures come through `wrist_endpoint`.
WRIST = "wrist"


class EyesKind(StrEnum):
    """By what the block is found: markers in a camera's picture, or its shape in the depth camera's."""

    AUTO = "auto"
    MARKERS = "markers"
    DEPTH = "depth"


@dataclass(frozen=True, slots=True)
class Eyes:
    """What a run sees with. `camera`: the one whose pictures are recorded; `on_state` wants every state of the arm."""

    source: BlockSource
    pictures: PictureSource | None
    camera: Camera
    on_state: Callable[[RobotState], None] | None


def needs_wrist(spec: ObservationSpec, kind: EyesKind) -> bool:
    """Return whether a run needs the depth camera at the wrist."""
    return bool(spec.views) or kind is EyesKind.DEPTH


def check_views(spec: ObservationSpec) -> None:
    """Raise PolicyMismatch where a policy reads pictures of a camera that no robot has."""
    for view in spec.views:
        if view.camera != WRIST:
            raise PolicyMismatch(
                f"the policy reads pictures of camera {view.camera!r}; on an arm there are those of {WRIST!r} alone: "
                "`tandem evaluate` and `tandem observe` play it in simulation"
            )


def open_eyes(
    address: RobotFile, description: ArmDescription, rig: Rig, spec: ObservationSpec, kind: EyesKind, stack: ExitStack
) -> Eyes:
    """Open the cameras of a robot; `stack` closes them.

    A policy that reads pictures has the block found in depth as well, unless markers are asked for: no marker is
    needed. Raises RobotFileError where robot.toml names no such camera, and PolicyMismatch for pictures of another.
    """
    check_views(spec)
    by_depth = kind is EyesKind.DEPTH or (kind is EyesKind.AUTO and (bool(spec.views) or not address.camera_endpoint))
    wrist = _remote(address.wrist_endpoint, stack) if address.wrist_endpoint else None
    if (by_depth or spec.views) and wrist is None:
        raise RobotFileError(
            f"robot.toml of this {address.arm} names no wrist_endpoint: a depth camera at the wrist is needed here "
            "(the lab has one when it is started with --wrist)"
        )
    pictures = CameraPictures({WRIST: wrist}, spec, description, rig) if spec.views and wrist is not None else None
    if by_depth and wrist is not None:
        mounted = MountedCamera(description, rig, description.camera(WRIST, rig))
        mask, track = RenderedArmMask(description, rig), ArmTrack()
        stack.callback(mask.close)
        source = DepthBlockSource(wrist, mounted, track, mask)
        stack.callback(source.close)
        return Eyes(source, pictures, wrist, track.add)
    if not address.camera_endpoint:
        raise RobotFileError(f"robot.toml of this {address.arm} names no camera_endpoint: a policy needs eyes")
    camera = _remote(address.camera_endpoint, stack)
    tracker = BlockTracker(camera, rig)
    stack.callback(tracker.close)
    return Eyes(tracker, pictures, camera, None)


def _remote(endpoint: str, stack: ExitStack) -> RemoteCamera:
    camera = RemoteCamera(endpoint)
    stack.callback(camera.close)
    return camera
