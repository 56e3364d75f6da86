"""`tandem camera record`: a camera's pictures on disk, as a folder or a film."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bridge.ports import Frame
from calibration.artifacts import utc_now
from hardware.errors import SettingRefused
from scripts.cli import data_root, emit_json, refuse, say
from scripts.exit_codes import DONE, INTERRUPTED
from scripts.programs.camera_choice import CameraChoice, open_camera
from scripts.programs.camera_figures import CameraFigures
from scripts.programs.camera_look import figures_in_words, look

if TYPE_CHECKING:
    from hardware.cameras.recorded import FilmWriter, FolderWriter

_FILM_HZ = 30.0


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


def run_record(args: CameraRecordArgs) -> int:
    """Record a camera; return the exit code."""
    choice = CameraChoice.parse(args.camera)
    if not args.seconds > 0 or (args.rate is not None and not args.rate > 0):
        return refuse("tandem camera record: --seconds and --rate must be above 0")
    out = args.out or data_root() / "recordings" / f"{Path(choice.name).stem}_{utc_now()}"
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        return refuse(f"tandem camera record: {out} exists: name another, nothing is written over")
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
