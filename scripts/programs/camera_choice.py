"""Cameras by their names on a command line and in robot.toml: `uvc:0`, `realsense:SERIAL`, `remote:ENDPOINT` and so on.

    [NAME=]KIND[:WHERE][,SETTING=VALUE ...]      desk=uvc:0,width=1280,height=720,exposure=8

Loads neither OpenCV nor the RealSense SDK before a camera is opened that needs it: the arm's own computer serves
cameras.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bridge.keys import ClientKey
from bridge.ports import Intrinsics
from calibration.camera_file import CameraCalibration
from hardware.cameras.newest import CalibratedSource, FrameSource, NewestCamera
from hardware.cameras.remote import RemoteSource
from hardware.errors import CameraMissing, SettingRefused
from scripts.cli import data_root
from scripts.programs.robot_file import RobotFile, RobotFileError
from urdf.description import ArmDescription
from urdf.errors import UnknownName

#: What `--camera` takes, for help texts and errors.
KINDS = (
    "uvc:0", "uvc:/dev/v4l/by-id/NAME", "realsense", "realsense:SERIAL", "remote:ENDPOINT", "video:FILE",
    "folder:FOLDER", "lab", "lab:wrist",
)  # fmt: skip
_SETTINGS = re.compile(r"((?:,(?:width|height|rate|exposure|fourcc|holes)=[^,]*)+)$")
_NAMED = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.-]*)=(.*)", re.DOTALL)
_FIRST_PICTURE_S = 5.0


@dataclass(frozen=True, slots=True)
class CameraSettings:
    """What is asked of a camera: sizes in px, pictures/s, exposure in ms; None leaves it as it is."""

    width_px: int | None = None
    height_px: int | None = None
    rate_hz: float | None = None
    exposure_ms: float | None = None
    fourcc: str | None = None
    fill_holes: bool = False


@dataclass(frozen=True, slots=True)
class CameraChoice:
    """A camera by its name, and what it is."""

    name: str
    kind: str
    where: str
    settings: CameraSettings

    @staticmethod
    def parse(text: str) -> CameraChoice:
        """Read it; raises UnknownName for another kind, SettingRefused for a setting that cannot be."""
        named = _NAMED.fullmatch(text)
        has_name = named is not None and ":" not in named[1] and "," not in named[1]
        rest = named[2] if named is not None and has_name else text
        found = _SETTINGS.search(rest)
        plain = rest[: found.start()] if found else rest
        kind, _, where = plain.partition(":")
        needs_where = kind in ("uvc", "remote", "video", "folder")
        if kind not in ("realsense", "lab") and not (needs_where and where):
            raise UnknownName("camera", text, KINDS)
        name = named[1] if named is not None and has_name else _name_of(kind, where)
        return CameraChoice(name, kind, where, _settings(found[1] if found else ""))


def open_camera(
    text: str,
    settings: CameraSettings | None = None,
    key: Path | None = None,
    lens: Intrinsics | None = None,
    data: Path | None = None,
    loop: bool = True,
) -> NewestCamera:
    """Open a camera by its name; whoever gets it closes it. With `loop` a recording begins anew where it ends.

    `settings` are asked for where the name does not say otherwise; `key` is our key file for a remote one; `lens`
    replaces what the camera says of itself. Where nobody knows its geometry, frames say so (`Intrinsics.is_known`).
    Raises UnknownName, CameraMissing, SettingRefused, EndpointRefused or KeyRefused.
    """
    choice = CameraChoice.parse(text)
    source = _source(choice, _merged(choice.settings, settings), key, data or data_root(), loop)
    if lens is not None:
        source = CalibratedSource(source, lens)
    return NewestCamera(source, open_now=choice.kind not in ("remote", "lab"))


def open_robot_camera(
    text: str, role: str, robot: str, description: ArmDescription, data: Path | None = None, key: Path | None = None
) -> NewestCamera:
    """Open the camera that a robot.toml names, with the calibration data/robots/ROBOT/calibration/camera_ROLE.json.

    Waits for its first picture. Raises NotCalibrated where neither such a file nor the camera itself knows its
    geometry, StaleFrame where no picture comes, and what `open_camera` raises.
    """
    root = data or data_root()
    measured = CameraCalibration.find(role, robot, description, root)
    lens = None if measured is None else measured.intrinsics()
    asked = CameraSettings(lens.width_px, lens.height_px) if lens is not None else None
    named = text if CameraChoice.parse(text).kind in ("remote", "lab") or _NAMED.fullmatch(text) else f"{role}={text}"
    camera = open_camera(named, asked, key, lens, root)
    try:
        if not camera.wait(_FIRST_PICTURE_S).intrinsics.is_known and lens is None:
            CameraCalibration.load(role, robot, description, root)  # raises: there is none
    except BaseException:
        camera.close()
        raise
    return camera


def _name_of(kind: str, where: str) -> str:
    last = where.rstrip("/").rpartition("/")[2] if kind != "uvc" or not where.isdecimal() else where
    text = re.sub(r"[^A-Za-z0-9_.-]+", "-", last).strip("-.")
    return f"{kind}{text}" if kind in ("uvc", "realsense") and text.isalnum() else text or kind


def _settings(text: str) -> CameraSettings:
    values = dict(part.split("=", 1) for part in text.split(",") if part)
    try:
        return CameraSettings(
            int(values["width"]) if "width" in values else None,
            int(values["height"]) if "height" in values else None,
            float(values["rate"]) if "rate" in values else None,
            float(values["exposure"]) if "exposure" in values else None,
            values.get("fourcc"),
            {"off": False, "fill": True}[values.get("holes", "off")],
        )
    except (ValueError, KeyError) as error:
        raise SettingRefused(
            f"camera settings {text.lstrip(',')!r}: expected such as width=640,height=480,rate=30,exposure=8 (px, "
            f"pictures/s, ms), fourcc=MJPG, holes=fill or holes=off: {error}"
        ) from error


def _merged(said: CameraSettings, asked: CameraSettings | None) -> CameraSettings:
    if asked is None:
        return said
    return CameraSettings(
        said.width_px or asked.width_px,
        said.height_px or asked.height_px,
        said.rate_hz or asked.rate_hz,
        said.exposure_ms or asked.exposure_ms,
        said.fourcc or asked.fourcc,
        said.fill_holes or asked.fill_holes,
    )


def _source(choice: CameraChoice, settings: CameraSettings, key: Path | None, data: Path, loop: bool) -> FrameSource:
    make: dict[str, Callable[[], FrameSource]] = {
        "uvc": lambda: _uvc(choice, settings),
        "realsense": lambda: _realsense(choice, settings),
        "remote": lambda: _remote(choice.where, key),
        "lab": lambda: _remote(_lab_endpoint(choice.where, data), None),
        "video": lambda: _recorded(choice, loop),
        "folder": lambda: _recorded(choice, loop),
    }
    if choice.kind not in ("uvc", "realsense") and choice.settings != CameraSettings():
        raise SettingRefused(
            f"a {choice.kind} camera gives what it gives: settings are asked for where it is plugged in"
        )
    try:
        return make[choice.kind]()
    except ModuleNotFoundError as error:
        extras = (
            "pi-camera] (the arm's own computer) or tandem-arm[workstation" if error.name == "cv2" else "workstation"
        )
        raise CameraMissing(
            f"a {choice.kind} camera needs the Python package {error.name!r}: pip install tandem-arm[{extras}]"
        ) from error
    except ImportError as error:  # a library of the system that a wheel leaves out
        libraries = {"realsense": "libusb-1.0-0"}.get(choice.kind, "libgl1 libglib2.0-0")
        raise CameraMissing(f"a {choice.kind} camera needs {error}: sudo apt install {libraries}") from error


def _uvc(choice: CameraChoice, settings: CameraSettings) -> FrameSource:
    from hardware.cameras.uvc import UvcSettings, UvcSource

    if settings.fill_holes:
        raise SettingRefused("holes=fill is for depth, which a uvc camera has not")
    asked = UvcSettings(
        settings.width_px, settings.height_px, settings.rate_hz, settings.exposure_ms, settings.fourcc
    )  # fmt: skip
    return UvcSource(choice.where, asked, name=choice.name)


def _realsense(choice: CameraChoice, settings: CameraSettings) -> FrameSource:
    from hardware.cameras.realsense import RealSenseSettings, RealSenseSource

    if settings.exposure_ms is not None or settings.fourcc is not None:
        raise SettingRefused("a realsense chooses its exposure and packing itself: leave out exposure and fourcc")
    usual = RealSenseSettings()
    asked = RealSenseSettings(
        settings.width_px or usual.width_px,
        settings.height_px or usual.height_px,
        round(settings.rate_hz or usual.rate_hz),
        settings.fill_holes,
    )
    return RealSenseSource(choice.where, asked, name=choice.name)


def _recorded(choice: CameraChoice, loop: bool) -> FrameSource:
    from hardware.cameras.recorded import FolderSource, VideoSource

    kind = VideoSource if choice.kind == "video" else FolderSource
    return kind(Path(choice.where).expanduser(), loop=loop, name=choice.name)


def _remote(endpoint: str, key: Path | None) -> FrameSource:
    return RemoteSource(endpoint, key=ClientKey.load(key) if key is not None else None)


def _lab_endpoint(which: str, data: Path) -> str:
    if which not in ("", "desk", "wrist"):
        raise UnknownName("camera of the lab", which, ("desk", "wrist"))
    lab = RobotFile.load("lab", data)
    endpoint = lab.wrist_endpoint if which == "wrist" else lab.camera_endpoint
    if not lab.is_alive or not endpoint:
        how = "tandem lab --wrist" if which == "wrist" else "tandem lab"
        raise RobotFileError(f"the lab does not run, or has no {which or 'desk'} camera: `{how}` starts it")
    return endpoint
