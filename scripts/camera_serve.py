"""`tandem camera serve`: a camera for other computers. Runs on the arm's own as well, and loads little there."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.errors import StaleFrame
from bridge.keys import KeyRing
from bridge.link import default_endpoint
from bridge.ports import Frame
from hardware.cameras.newest import NewestCamera
from hardware.cameras.remote import FrameSender
from scripts.cli import data_root, emit_json, refuse, say
from scripts.exit_codes import DONE, INTERRUPTED
from scripts.programs.camera_choice import CameraChoice, open_camera
from scripts.programs.camera_figures import CameraFigures
from scripts.programs.camera_look import figures_in_words
from scripts.programs.stop_requests import StopRequests

if TYPE_CHECKING:
    from bridge.frames import Picture

_JPEG_QUALITY = 90
_LOOK_S = 0.5


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


def run_serve(args: CameraServeArgs) -> int:
    """Serve a camera until told to stop; return the exit code."""
    choice = CameraChoice.parse(args.camera)
    ring = KeyRing(data_root() / "keys") if args.keys else None
    endpoint = args.endpoint or default_endpoint(f"camera-{choice.name}")
    if not 1 <= args.quality <= 100 or (args.seconds is not None and not args.seconds > 0):
        return refuse("tandem camera serve: --quality is 1 to 100, and --seconds above 0")
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
