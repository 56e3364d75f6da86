"""`tandem camera list` and `view`: the cameras of this computer, and of others."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bridge.ports import Frame
from hardware.errors import CameraMissing
from scripts.cli import data_root, emit_json, refuse, say
from scripts.exit_codes import DONE
from scripts.programs.camera_choice import CameraChoice, open_camera
from scripts.programs.camera_devices import video_devices
from scripts.programs.camera_figures import CameraFigures
from scripts.programs.camera_look import HalfBlocks, Look, default_picture, draw_look, look
from scripts.programs.host import Host
from scripts.programs.picture_file import check_picture
from scripts.programs.robot_file import RobotFile, RobotFileError


@dataclass(frozen=True)
class CameraListArgs:
    """List the cameras that are plugged in here, by the names that --camera takes."""

    json: bool = False
    """Print one JSON object as the last line of stdout."""


@dataclass(frozen=True)
class CameraViewArgs:
    """Look through a camera: in a window, in the terminal, and as a picture with its figures."""

    camera: str = "uvc:0"
    """uvc:0, realsense:SERIAL, remote:ENDPOINT, video:FILE, folder:FOLDER or lab; settings behind it, such as
    uvc:0,width=1280,height=720,rate=30,exposure=8 (px, pictures/s, ms)."""
    seconds: float = 5.0
    """How long to look, in s."""
    window: bool | None = None
    """Show it in a window until q is pressed. Default: where there is a display."""
    out: Path | None = None
    """Where to write the picture, .png, .pdf or .svg. Default: plots/camera_NAME.png in the data folder."""
    key: Path | None = None
    """Our key file, for a remote camera that is served with keys."""
    json: bool = False
    """Print one JSON object as the last line of stdout: rates in pictures/s, times in ms."""


@dataclass(frozen=True, slots=True)
class CameraRow:
    """A camera of the list."""

    camera: str
    name: str
    details: str
    usable: bool


# List ----------------------------------------------------------------------------------------------
def run_list(args: CameraListArgs) -> int:
    """Print the table; return the exit code."""
    rows = [*_usb_cameras(), *_realsenses(args.json), *_labs()]
    width = max((len(row.camera) for row in rows), default=0)
    for row in rows:
        say(f"{row.camera:<{width}}  {row.name}{f', {row.details}' if row.details else ''}", args.json)
    if not rows:
        say(
            "no camera is plugged in here. A folder of pictures is one (--camera folder:FOLDER), a film (video:FILE),",
            args.json,
        )
        say(
            "one at another computer (remote:tcp://HOST:PORT, `tandem camera serve` there), and the lab's (lab)",
            args.json,
        )
    emit_json({"cameras": rows}, args.json)
    return DONE


def _usb_cameras() -> list[CameraRow]:
    host = Host()
    rows: list[CameraRow] = []
    for device in video_devices(host):
        details = f"uvc:{device.lasting} wherever it is plugged in" if device.lasting else ""
        if not device.may_use:
            details = f"may not be opened by {host.user}: {host.permission_fix(device.node)}"
        rows.append(CameraRow(device.choice, device.name, details, device.may_use))
    return rows


def _realsenses(json: bool) -> list[CameraRow]:
    try:
        from hardware.cameras.realsense import list_devices
    except ModuleNotFoundError:
        return []
    except ImportError as error:
        say(f"RealSense cameras cannot be looked for: {error}: sudo apt install libusb-1.0-0", json)
        return []
    rows: list[CameraRow] = []
    for found in list_devices():
        usb = f"USB {found.usb}" + (": too slow for depth and colour, use USB 3" if found.usb.startswith("2") else "")
        rows.append(CameraRow(f"realsense:{found.serial}", found.name, f"firmware {found.firmware}, {usb}", True))
    return rows


def _labs() -> list[CameraRow]:
    try:
        lab = RobotFile.load("lab", data_root())
    except RobotFileError:
        return []
    if not lab.is_alive:
        return []
    rows = [CameraRow("lab", "the lab's camera on the desk", "", True)] if lab.camera_endpoint else []
    return rows + (
        [CameraRow("lab:wrist", "the lab's depth camera at the wrist", "", True)] if lab.wrist_endpoint else []
    )


# View ----------------------------------------------------------------------------------------------
def run_view(args: CameraViewArgs) -> int:
    """Look through a camera; return the exit code."""
    choice = CameraChoice.parse(args.camera)
    if not args.seconds > 0:
        return refuse(f"tandem camera view: --seconds must be above 0, got {args.seconds}")
    path = args.out or default_picture(choice.name, data_root())
    check_picture(path, "the picture of a camera")
    display = bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    with open_camera(args.camera, key=args.key) as camera:
        show = _window(choice.name) if args.window or (args.window is None and display) else None
        seen = look(camera, args.seconds, show or _terminal(args.json))
    _write_look(seen, choice.name, path)
    say(f"{args.camera}: {seen.in_words()}", args.json)
    if not seen.frame.intrinsics.is_known:
        say(f"it is not calibrated: tandem calibrate camera --camera {args.camera}", args.json)
    say(f"picture: {path}", args.json)
    emit_json(CameraFigures(args.camera, seen.statistics, seen.frame.intrinsics.is_known, path), args.json)
    return DONE


def _write_look(seen: Look, name: str, path: Path) -> None:
    """Write the picture with its figures; where there is no matplotlib, as on the arm's own computer, what was seen."""
    try:
        draw_look(seen, name, path)
    except ModuleNotFoundError:
        import cv2

        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix.lower() != ".png" or not cv2.imwrite(str(path), cv2.cvtColor(seen.frame.rgb, cv2.COLOR_RGB2BGR)):
            raise


def _terminal(json: bool) -> Callable[[Frame, float], bool]:
    """Return what draws into a terminal, where stdout is one that shows colours."""
    if json or not sys.stdout.isatty() or os.environ.get("TERM") in (None, "dumb"):
        return lambda _frame, _at_s: True
    size = shutil.get_terminal_size()
    blocks = HalfBlocks(min(size.columns - 1, 100, int((size.lines - 3) * 2.6)), sys.stdout.write)

    def show(frame: Frame, _at_s: float) -> bool:
        blocks.show(frame)
        return True

    return show


def _window(name: str) -> Callable[[Frame, float], bool]:
    """Return what shows frames in a window until q or Esc; raises CameraMissing where OpenCV has no windows."""
    import cv2

    title = f"tandem: {name} (q ends)"
    try:
        cv2.namedWindow(title, cv2.WINDOW_NORMAL)
    except cv2.error as error:
        raise CameraMissing(
            "no window can be opened here: leave out --window, or take opencv-contrib-python"
        ) from error

    def show(frame: Frame, _at_s: float) -> bool:
        cv2.imshow(title, cv2.cvtColor(frame.rgb, cv2.COLOR_RGB2BGR))
        return cv2.waitKey(1) & 0xFF not in (ord("q"), 27)

    return show
