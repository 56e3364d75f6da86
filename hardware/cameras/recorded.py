"""Recorded cameras: a video file, or a folder of pictures with depth and intrinsics, played at the pace of its making.

    FOLDER/camera.json             what camera it was (`RecordedCamera`); without it the intrinsics are unknown
    FOLDER/<anything>.png or .jpg  colours, shown in the order of their names
    FOLDER/<the same>.depth.png    depth beside it, 16 bit, in the unit that camera.json names

Names that end in `_<milliseconds>ms`, as `tandem camera record` gives them, say when each picture was taken; others
come at the rate of camera.json.
"""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from bridge.clock import MonotonicClock
from bridge.depth_coding import UNITS_UM, to_depth_m
from bridge.ports import Clock, Frame, Intrinsics
from calibration.artifacts import write_atomic
from hardware.cameras.uvc import open_capture
from hardware.errors import CameraMissing, RecordingOver

CAMERA_FILE = "camera.json"
_COLOUR_ENDS = (".png", ".jpg", ".jpeg")
_DEPTH_END = ".depth.png"
_TAKEN_AT = re.compile(r"_(\d+)ms$")
_ANY_RATE_HZ = 30.0
_MOST_COUNTS = 65535


class RecordedCamera(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What camera a folder of pictures is from; `intrinsics` is null where it was not calibrated."""

    name: str
    rate_hz: float = _ANY_RATE_HZ
    intrinsics: Intrinsics | None = None
    depth_unit_um: int = UNITS_UM[0]

    def __post_init__(self) -> None:
        if not 0 < self.rate_hz < float("inf"):
            raise ValueError(f"rate_hz must be positive, got {self.rate_hz}")
        if not 0 < self.depth_unit_um <= 65535:
            raise ValueError(f"depth_unit_um: 1 to 65535 µm, got {self.depth_unit_um}")


class Pace:
    """When the next picture of a recording is due, by the clock; a recording that began anew goes on from now."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began_ns: int | None = None

    def restart(self) -> None:
        """Count from the next picture."""
        self._began_ns = None

    def again(self, after_ms: float) -> None:
        """Begin anew that long after the first picture was due."""
        if self._began_ns is not None:
            self._began_ns += round(after_ms * 1e6)

    def wait(self, at_ms: float) -> int:
        """Wait until `at_ms` after the recording's first picture; return that moment, the picture's stamp (ns)."""
        if self._began_ns is None:
            self._began_ns = self._clock.now_ns() - round(at_ms * 1e6)
        due_ns = self._began_ns + round(at_ms * 1e6)
        self._clock.sleep_until(due_ns)
        late_ns = self._clock.now_ns() - due_ns
        if late_ns > 100_000_000:  # nobody looked for a while: what was missed is not shown in a hurry
            self._began_ns += late_ns
            due_ns += late_ns
        return due_ns


class VideoSource:
    """A video file, through the same capture as a USB camera."""

    def __init__(
        self,
        path: Path,
        clock: Clock | None = None,
        loop: bool = True,
        name: str = "",
    ) -> None:
        """Touch nothing yet. With `loop` it begins anew at its end, without it raises RecordingOver there."""
        self.name = name or f"video:{path}"
        self._path, self._loop = path, loop
        self._pace = Pace(clock or MonotonicClock())
        self._capture: cv2.VideoCapture | None = None
        self._index = self._seq = 0

    def open(self) -> None:
        """Open the file; raises CameraMissing."""
        self._pace.restart()
        self._reopen()

    def _reopen(self) -> None:
        self.close()
        self._capture = open_capture(str(self._path), self.name)
        rate_hz = self._capture.get(cv2.CAP_PROP_FPS)
        self._gap_ms = 1e3 / rate_hz if 0 < rate_hz < 1000 else 1e3 / _ANY_RATE_HZ
        self._index = 0

    def grab(self) -> Frame | None:
        """Return the next picture when it is due."""
        assert self._capture is not None
        done, bgr = self._capture.read()
        if not done:
            if not self._loop or self._index == 0:
                raise RecordingOver(f"{self.name} is over after {self._seq} pictures")
            self._pace.again(self._index * self._gap_ms)
            self._reopen()
            return None
        stamp_ns = self._pace.wait(self._index * self._gap_ms)
        self._index += 1
        self._seq += 1
        rgb = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)
        return Frame(self.name, self._seq, stamp_ns, rgb, Intrinsics.unknown(rgb.shape[1], rgb.shape[0]))

    def missing(self) -> str:
        """Return nothing: a file that is open has pictures."""
        return ""

    def close(self) -> None:
        """Close the file; calling it twice is harmless."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None


class FolderSource:
    """A folder of pictures."""

    def __init__(
        self,
        folder: Path,
        clock: Clock | None = None,
        loop: bool = True,
        name: str = "",
    ) -> None:
        """Touch nothing yet. With `loop` it begins anew at its end, without it raises RecordingOver there."""
        self.name = name or f"folder:{folder}"
        self._folder, self._loop = folder, loop
        self._pace = Pace(clock or MonotonicClock())
        self._files: list[Path] = []
        self._index = self._seq = 0
        self._last_ms = 0.0
        self.camera = RecordedCamera(folder.name)
        """What camera.json says, once the folder is open."""

    def open(self) -> None:
        """Look what there is; raises CameraMissing where there are no pictures, or camera.json is none."""
        if not self._folder.is_dir():
            raise CameraMissing(f"{self.name}: there is no folder {self._folder}")
        self._files = sorted(
            path
            for path in self._folder.iterdir()
            if path.suffix.lower() in _COLOUR_ENDS and not path.name.endswith(_DEPTH_END) and path.name[0] != "."
        )
        if not self._files:
            raise CameraMissing(f"{self.name}: there are no pictures ({', '.join(_COLOUR_ENDS)}) in {self._folder}")
        self.camera = read_camera(self._folder)
        self._index = 0
        self._pace.restart()

    def grab(self) -> Frame | None:
        """Return the next picture when it is due; raises CameraMissing for one that cannot be read."""
        if self._index == len(self._files):
            if not self._loop:
                raise RecordingOver(f"{self.name} is over after {self._seq} pictures")
            self._index = 0
            self._pace.again(self._last_ms + 1e3 / self.camera.rate_hz)
        path = self._files[self._index]
        rgb, depth_m = read_picture(path), self._depth_m(path)
        taken = _TAKEN_AT.search(path.stem)
        self._last_ms = float(taken[1]) if taken else self._index * 1e3 / self.camera.rate_hz
        stamp_ns = self._pace.wait(self._last_ms)
        self._index += 1
        self._seq += 1
        intrinsics = _fitting(self.camera.intrinsics, rgb, str(path))
        if depth_m is not None and depth_m.shape != rgb.shape[:2]:
            raise CameraMissing(f"{path}: its depth has {depth_m.shape} pixels and its colours {rgb.shape[:2]}")
        return Frame(self.name, self._seq, stamp_ns, rgb, intrinsics, depth_m)

    def missing(self) -> str:
        """Return nothing: a folder that is open has pictures."""
        return ""

    def close(self) -> None:
        """Nothing is held."""

    def _depth_m(self, path: Path) -> NDArray[np.float32] | None:
        depth_path = path.with_name(path.stem + _DEPTH_END)
        if not depth_path.exists():
            return None
        counts = cv2.imread(str(depth_path), cv2.IMREAD_UNCHANGED)
        if counts is None or counts.dtype != np.uint16 or counts.ndim != 2:
            raise CameraMissing(f"{depth_path}: a PNG of one channel with 16 bit is expected")
        return to_depth_m(np.asarray(counts, dtype=np.uint16), self.camera.depth_unit_um)


def read_picture(path: Path) -> NDArray[np.uint8]:
    """Return a picture's colours (H, W, 3) RGB; raises CameraMissing."""
    bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if bgr is None:
        raise CameraMissing(f"{path} cannot be read as a picture")
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def read_camera(folder: Path) -> RecordedCamera:
    """Return what a folder's camera.json says, strictly; nothing is known without one. Raises CameraMissing."""
    path = folder / CAMERA_FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=RecordedCamera)
    except FileNotFoundError:
        return RecordedCamera(folder.name)
    except (OSError, ValueError) as error:
        raise CameraMissing(f"{path} is no description of a camera: {error}") from error


class FolderWriter:
    """Writes frames as such a folder, without loss: PNG."""

    def __init__(self, folder: Path, name: str, rate_hz: float | None) -> None:
        """Make the folder; raises FileExistsError where it holds something already."""
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise FileExistsError(f"{folder} is not empty: name another folder")
        self.folder, self.written = folder, 0
        self._name, self._rate_hz = name, rate_hz or _ANY_RATE_HZ
        self._first_ns: int | None = None
        self._unit_um = 0

    def write(self, frame: Frame) -> None:
        """Write one frame; the first says what camera it is, and in which unit its depth is."""
        if self._first_ns is None:
            self._first_ns = frame.stamp_ns
            self._unit_um = UNITS_UM[1] if _is_in_whole_mm(frame.depth_m) else UNITS_UM[0]
            known = frame.intrinsics if frame.intrinsics.is_known else None
            camera = RecordedCamera(self._name, self._rate_hz, known, self._unit_um)
            data = msgspec.json.format(msgspec.json.encode(camera), indent=2)
            write_atomic(self.folder / CAMERA_FILE, data + b"\n")
        stem = f"{self.written:06d}_{round((frame.stamp_ns - self._first_ns) * 1e-6):07d}ms"
        if frame.depth_m is not None:
            counts = np.rint(np.nan_to_num(frame.depth_m.astype(np.float64), posinf=0.0) * (1e6 / self._unit_um))
            counts[counts > _MOST_COUNTS] = 0.0  # too far for 16 bits: a hole, and not a wrong distance
            _write_png(self.folder / f"{stem}{_DEPTH_END}", counts.astype(np.uint16))
        _write_png(self.folder / f"{stem}.png", cv2.cvtColor(frame.rgb, cv2.COLOR_RGB2BGR))
        self.written += 1

    def close(self) -> None:
        """Nothing is held: every picture is whole on the disk."""


class FilmWriter:
    """Writes the colours of frames as a film, each shown until the next one came."""

    def __init__(self, path: Path, rate_hz: float) -> None:
        """Touch nothing before the first frame; raises FileExistsError where the file is there."""
        if path.exists():
            raise FileExistsError(f"{path} exists: name another file")
        self.written = 0
        self._path, self._rate_hz = path, rate_hz
        self._film: cv2.VideoWriter | None = None
        self._first_ns = self._shown = 0

    def write(self, frame: Frame) -> None:
        """Write one frame, as often as the time since the last one takes."""
        if self._film is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            code = cv2.VideoWriter.fourcc(*("mp4v" if self._path.suffix.lower() == ".mp4" else "MJPG"))
            size = frame.rgb.shape[1], frame.rgb.shape[0]
            self._film, self._first_ns = cv2.VideoWriter(str(self._path), code, self._rate_hz, size), frame.stamp_ns
            if not self._film.isOpened():
                raise OSError(f"OpenCV cannot write a film to {self._path}")
        due = max(1, round((frame.stamp_ns - self._first_ns) * 1e-9 * self._rate_hz) + 1 - self._shown)
        for _ in range(due):
            self._film.write(cv2.cvtColor(frame.rgb, cv2.COLOR_RGB2BGR))
        self._shown += due
        self.written += 1

    def close(self) -> None:
        """Give the film its end; without it no program plays it."""
        if self._film is not None:
            self._film.release()
            self._film = None


def _is_in_whole_mm(depth_m: NDArray[np.float32] | None) -> bool:
    """Return whether this is the depth of a camera that counts millimetres, which sees farther than 6.5 m."""
    if depth_m is None:
        return False
    mm = depth_m[np.isfinite(depth_m) & (depth_m > 0)].astype(np.float64) * 1e3
    return bool(mm.size) and bool(np.abs(mm - np.rint(mm)).max() < 1e-2)


def _write_png(path: Path, picture: cv2.typing.MatLike) -> None:
    done, data = cv2.imencode(".png", picture, (cv2.IMWRITE_PNG_COMPRESSION, 1))
    if not done:
        raise OSError(f"OpenCV made no PNG for {path}")
    write_atomic(path, data.tobytes())


def _fitting(known: Intrinsics | None, rgb: NDArray[np.uint8], what: str) -> Intrinsics:
    height_px, width_px = rgb.shape[:2]
    if known is None:
        return Intrinsics.unknown(width_px, height_px)
    if (known.width_px, known.height_px) != (width_px, height_px):
        raise CameraMissing(
            f"{what}: a picture of {width_px}x{height_px} px, and intrinsics of {known.width_px}x{known.height_px} px"
        )
    return known
