"""`tandem camera list`, `view`, `record` and `serve`: the cameras of this computer, and of others.

`serve` runs on the arm's own computer as well: nothing here is loaded before it is needed.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bridge.errors import StaleFrame
from bridge.keys import KeyRing
from bridge.link import default_endpoint
from bridge.ports import Frame
from calibration.artifacts import utc_now
from hardware.cameras.newest import CameraStatistics, NewestCamera
from hardware.cameras.remote import FrameSender
from hardware.errors import CameraMissing, SettingRefused
from scripts.cli import data_root, emit_json, say
from scripts.exit_codes import BAD_INPUT, DONE, INTERRUPTED
from scripts.programs.camera_choice import CameraChoice, open_camera
from scripts.programs.camera_devices import video_devices
from scripts.programs.camera_look import HalfBlocks, Look, default_picture, draw_look, figures_in_words, look
from scripts.programs.host import Host
from scripts.programs.picture_file import check_picture
from scripts.programs.robot_file import RobotFile, RobotFileError
from scripts.serve import StopRequests

if TYPE_CHECKING:
    from bridge.frames import Picture
    from hardware.cameras.recorded import FilmWriter, FolderWriter

_JPEG_QUALITY = 90
_FILM_HZ = 30.0
_LOOK_S = 0.5


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


@dataclass(frozen=True)
class CameraRecordArgs:
    """Record a camera: as a folder of pictures without loss, with depth and intrinsics, or as a film."""

    camera: str = "uvc:0"
    """Which camera, as for `tandem camera view`."""
    out: Path | None = None
    """A folder that is new or empty, or a film: FILE.mp4 or .avi. Default: recordings/NAME_UTC in the data folder."""
    seconds: float = 10.0
    """How long, in s. Ctrl-C ends it sooner; what is written stays."""
    rate: float | None = None
    """Pictures a second at most. Default: each that comes."""
    key: Path | None = None
    """Our key file, for a remote camera that is served with keys."""
    json: bool = False
    """Print one JSON object as the last line of stdout."""


@dataclass(frozen=True)
class CameraServeArgs:
    """Serve a camera: on this computer, or with keys over the network. Ends on Ctrl-C or SIGTERM."""

    camera: str = "uvc:0"
    """Which camera, as for `tandem camera view`."""
    endpoint: str = ""
    """Where: ipc://PATH, tcp://127.0.0.1:PORT, or with keys tcp://0.0.0.0:PORT. Default: a socket of this user's."""
    keys: bool = False
    """Let in who has a key alone (`tandem keys new NAME`)."""
    quality: int = _JPEG_QUALITY
    """Of the JPEG that goes over tcp, 1 to 100. On this computer pictures go as they are."""
    seconds: float | None = None
    """How long, in s. Default: until told to stop."""
    json: bool = False
    """Print one JSON object as the last line of stdout."""


@dataclass(frozen=True, slots=True)
class CameraRow:
    """A camera of the list."""

    camera: str
    name: str
    details: str
    usable: bool


@dataclass(frozen=True, slots=True)
class CameraFigures:
    """The JSON line of `view`, `record` and `serve`. `written`: a picture, a folder or a film."""

    camera: str
    statistics: CameraStatistics
    calibrated: bool
    written: Path | None = None
    pictures_written: int = 0
    pictures_sent: int = 0


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
        say(f"tandem camera view: --seconds must be above 0, got {args.seconds}", args.json)
        return BAD_INPUT
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


# Record --------------------------------------------------------------------------------------------
def run_record(args: CameraRecordArgs) -> int:
    """Record a camera; return the exit code."""
    choice = CameraChoice.parse(args.camera)
    if not args.seconds > 0 or (args.rate is not None and not args.rate > 0):
        say("tandem camera record: --seconds and --rate must be above 0", args.json)
        return BAD_INPUT
    out = args.out or data_root() / "recordings" / f"{choice.name}_{utc_now()}"
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        say(f"tandem camera record: {out} exists: name another, nothing is written over", args.json)
        return BAD_INPUT
    stopped = False
    with open_camera(args.camera, key=args.key) as camera:
        writer = _writer(out, choice.name, args.rate)
        note = _Note(args.seconds, args.rate, writer.write, args.json)
        try:
            seen = look(camera, args.seconds, note)
        except KeyboardInterrupt:
            stopped = True
            seen = None
        finally:
            writer.close()
        statistics, calibrated = camera.statistics(), bool(seen and seen.frame.intrinsics.is_known)
    note.end()
    say(f"{writer.written} pictures of {args.camera} in {out}: {figures_in_words(statistics)}", args.json)
    if writer.written:
        kind = "video" if out.suffix else "folder"
        say(f"play it: tandem camera view --camera {kind}:{out}", args.json)
    emit_json(CameraFigures(args.camera, statistics, calibrated, out, writer.written), args.json)
    return INTERRUPTED if stopped else DONE


class _Note:
    """Passes on as many pictures as are wanted, and keeps a line of a terminal up to date."""

    def __init__(self, seconds: float, rate_hz: float | None, write: Callable[[Frame], None], json: bool) -> None:
        self._seconds, self._gap_s, self._write = seconds, 1.0 / rate_hz if rate_hz else 0.0, write
        self._line = sys.stderr if sys.stderr.isatty() and not json else None
        self._due_s = 0.0
        self._count = 0

    def __call__(self, frame: Frame, at_s: float) -> bool:
        if at_s >= self._due_s:
            self._due_s = max(self._due_s + self._gap_s, at_s - self._gap_s)
            self._write(frame)
            self._count += 1
            if self._line is not None:
                left_s = max(0.0, self._seconds - at_s)
                print(f"\rrecording: {self._count} pictures, {left_s:.0f} s left ", end="", file=self._line, flush=True)
        return True

    def end(self) -> None:
        """Leave the line."""
        if self._line is not None:
            print(file=self._line)


def _writer(out: Path, name: str, rate_hz: float | None) -> FolderWriter | FilmWriter:
    from hardware.cameras.recorded import FilmWriter, FolderWriter

    if out.suffix.lower() in (".mp4", ".avi"):
        return FilmWriter(out, rate_hz or _FILM_HZ)
    if out.suffix:
        raise SettingRefused(f"--out {out}: a folder, or a film that ends in .mp4 or .avi")
    return FolderWriter(out, name, rate_hz)


# Serve ---------------------------------------------------------------------------------------------
def run_serve(args: CameraServeArgs) -> int:
    """Serve a camera until told to stop; return the exit code."""
    choice = CameraChoice.parse(args.camera)
    ring = KeyRing(data_root() / "keys") if args.keys else None
    endpoint = args.endpoint or default_endpoint(f"camera-{choice.name}")
    if not 1 <= args.quality <= 100 or (args.seconds is not None and not args.seconds > 0):
        say("tandem camera serve: --quality is 1 to 100, and --seconds above 0", args.json)
        return BAD_INPUT
    with StopRequests().listening() as stop, open_camera(args.camera) as camera:
        sender = FrameSender(
            endpoint, ring=ring, to_jpeg=_jpeg(endpoint, args.quality), tell=lambda t: say(t, args.json)
        )
        try:
            _first_words(camera, sender, ring, args)
            _pass_on(camera, sender, stop, args)
        finally:
            sender.close()
        statistics = camera.statistics()
    say(f"served: {sender.sent} pictures sent; {figures_in_words(statistics)}", args.json)
    emit_json(CameraFigures(args.camera, statistics, False, pictures_sent=sender.sent), args.json)
    return INTERRUPTED if stop.first is signal.SIGINT else DONE


def _jpeg(endpoint: str, quality: int) -> Callable[[Picture], bytes] | None:
    if endpoint.startswith("ipc://"):
        return None
    from hardware.cameras.jpeg import to_jpeg

    return to_jpeg(quality)


def _first_words(camera: NewestCamera, sender: FrameSender, ring: KeyRing | None, args: CameraServeArgs) -> None:
    try:
        sender.send(camera.wait(5.0))
    except StaleFrame as error:
        sender.trouble = str(error)
        say(str(error), args.json)
    say(f"ready: serving {args.camera} on {sender.endpoint}", args.json)
    if ring is not None:
        who = ", ".join(sorted(ring.allowed().values())) or "nobody yet: tandem keys new NAME"
        say(f"let in: {who}", args.json)
    address = sender.endpoint.replace("//0.0.0.0", "//THIS_MACHINE")
    key = " --key data/keys/NAME.json" if ring is not None else ""
    say(f"look through it: tandem camera view --camera remote:{address}{key}", args.json)


def _pass_on(camera: NewestCamera, sender: FrameSender, stop: StopRequests, args: CameraServeArgs) -> None:
    """Hand every picture to the sender, and tell when there are none."""
    end_s = time.monotonic() + (args.seconds if args.seconds is not None else float("inf"))
    frame: Frame | None = None
    while not stop.requested() and time.monotonic() < end_s:
        try:
            frame = camera.wait(_LOOK_S, after=frame)
        except StaleFrame as error:
            if camera.trouble and camera.trouble != sender.trouble:
                say(str(error), args.json)
            sender.trouble = camera.trouble
            continue
        sender.send(frame)
        if sender.trouble:
            say(f"pictures come again: {figures_in_words(camera.statistics())}", args.json)
            sender.trouble = ""
