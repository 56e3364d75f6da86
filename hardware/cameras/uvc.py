"""UvcSource: a USB camera through OpenCV. Every setting is read back after it was set: cameras round, and say nothing.

A picture's stamp is the kernel's, of the moment at which the camera began to send it, where the driver gives one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from bridge.clock import MonotonicClock
from bridge.ports import Clock, Frame, Intrinsics
from hardware.errors import CameraLost, CameraMissing, SettingRefused, port_holders

# V4L2_CID_EXPOSURE_AUTO: V4L2_EXPOSURE_MANUAL and V4L2_EXPOSURE_APERTURE_PRIORITY, which is a webcam's automatic.
_MANUAL, _AUTOMATIC = 1.0, 3.0
#: V4L2_CID_EXPOSURE_ABSOLUTE counts in 100 µs.
_EXPOSURES_PER_MS = 10.0
_RATE_TOLERANCE, _EXPOSURE_TOLERANCE = 0.02, 0.15
#: A kernel's stamp that is older than this is on another clock than ours.
_OLDEST_NS = 2_000_000_000
_REAL_DEVICE = re.compile(r"/dev/video(\d+)")


@dataclass(frozen=True, slots=True)
class UvcSettings:
    """What a camera is asked for; None leaves it as the camera has it. Sizes in pixels, exposure in ms.

    With a fixed exposure pictures do not smear in the dark, and the frame rate does not drop.
    """

    width_px: int | None = None
    height_px: int | None = None
    rate_hz: float | None = None
    exposure_ms: float | None = None
    fourcc: str | None = None
    """How the camera packs its pictures: MJPG for large ones over USB 2, YUYV for small ones without artefacts."""

    def __post_init__(self) -> None:
        for name in ("width_px", "height_px", "rate_hz", "exposure_ms"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise SettingRefused(f"{name} must be positive, got {value}")
        if self.fourcc is not None and len(self.fourcc) != 4:
            raise SettingRefused(f"fourcc {self.fourcc!r}: four letters are expected, such as MJPG or YUYV")


class UvcSource:
    """A camera at /dev/videoN, at another path, or whatever else OpenCV opens by name."""

    def __init__(
        self,
        device: str,
        settings: UvcSettings | None = None,
        clock: Clock | None = None,
        name: str = "",
    ) -> None:
        """Touch nothing yet. `device` is a path, or the N of /dev/videoN."""
        self.device = f"/dev/video{device}" if device.isdecimal() else device
        self.name = name or f"uvc:{device}"
        self._settings = settings or UvcSettings()
        self._clock = clock or MonotonicClock()
        self._capture: cv2.VideoCapture | None = None
        self._seq = 0

    def open(self) -> None:
        """Open the camera, set what was asked for, and look whether it is so."""
        capture = open_capture(self.device, self.name)
        self._capture = capture
        # The order matters: a driver offers rates for the size that is set, and sizes for the packing.
        if self._settings.fourcc is not None:
            self._set_fourcc(capture, self._settings.fourcc)
        for number, value in (
            (cv2.CAP_PROP_FRAME_WIDTH, self._settings.width_px),
            (cv2.CAP_PROP_FRAME_HEIGHT, self._settings.height_px),
            (cv2.CAP_PROP_FPS, self._settings.rate_hz),
        ):
            if value is not None:
                capture.set(number, value)
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # a driver without it keeps four, which the thread empties
        self._check_size_and_rate(capture)
        if self._settings.exposure_ms is not None:
            self._set_exposure(capture, self._settings.exposure_ms)
        self._check_picture(capture)

    def grab(self) -> Frame:
        """Wait for the next picture; raises CameraLost where none comes any more."""
        assert self._capture is not None
        done, bgr = self._capture.read()
        now_ns = self._clock.now_ns()
        if not done:
            there = Path(self.device).exists()
            why = "it sends no pictures any more" if there else "it was unplugged"
            raise CameraLost(f"{self.name} ({self.device}) is lost: {why}; it is looked for again and again")
        rgb = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)
        height_px, width_px = rgb.shape[:2]
        self._seq += 1
        lens = Intrinsics.unknown(width_px, height_px)
        return Frame(self.name, self._seq, self._stamp_ns(self._capture, now_ns), rgb, lens)

    def missing(self) -> str:
        """Return nothing: an open camera sends pictures."""
        return ""

    def close(self) -> None:
        """Give the camera back; calling it twice is harmless."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None

    def _stamp_ns(self, capture: cv2.VideoCapture, now_ns: int) -> int:
        """Return the kernel's stamp of the picture where there is one on the monotonic clock, else when it was here.

        Ref: OpenCV modules/videoio/src/cap_v4l.cpp, POS_MSEC is v4l2_buffer.timestamp; linux uvc_video.c.
        """
        if capture.getBackendName() != "V4L2":
            return now_ns
        stamp_ns = round(capture.get(cv2.CAP_PROP_POS_MSEC) * 1e6)
        return stamp_ns if 0 <= now_ns - stamp_ns < _OLDEST_NS else now_ns

    def _set_fourcc(self, capture: cv2.VideoCapture, fourcc: str) -> None:
        capture.set(cv2.CAP_PROP_FOURCC, float(cv2.VideoWriter.fourcc(*fourcc)))
        number = int(capture.get(cv2.CAP_PROP_FOURCC))
        got = number.to_bytes(4, "little", signed=number < 0).decode("latin-1").strip("\0 ")
        if got != fourcc:
            raise self._refused("pictures packed as", fourcc, got or "something that it does not tell")

    def _check_size_and_rate(self, capture: cv2.VideoCapture) -> None:
        asked = self._settings
        got_px = round(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), round(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        want_px = asked.width_px or got_px[0], asked.height_px or got_px[1]
        if want_px != got_px:
            raise self._refused("pictures of", f"{want_px[0]}x{want_px[1]} px", f"{got_px[0]}x{got_px[1]} px")
        rate_hz = capture.get(cv2.CAP_PROP_FPS)
        if asked.rate_hz is not None and abs(rate_hz - asked.rate_hz) > _RATE_TOLERANCE * asked.rate_hz:
            raise self._refused("a rate of", f"{asked.rate_hz:g} pictures/s", f"{rate_hz:g} pictures/s")

    def _set_exposure(self, capture: cv2.VideoCapture, exposure_ms: float) -> None:
        capture.set(cv2.CAP_PROP_AUTO_EXPOSURE, _MANUAL)
        capture.set(cv2.CAP_PROP_EXPOSURE, exposure_ms * _EXPOSURES_PER_MS)
        got_ms = capture.get(cv2.CAP_PROP_EXPOSURE) / _EXPOSURES_PER_MS
        is_manual = capture.get(cv2.CAP_PROP_AUTO_EXPOSURE) == _MANUAL
        if not is_manual or abs(got_ms - exposure_ms) > max(_EXPOSURE_TOLERANCE * exposure_ms, 1 / _EXPOSURES_PER_MS):
            capture.set(cv2.CAP_PROP_AUTO_EXPOSURE, _AUTOMATIC)
            raise self._refused("an exposure of", f"{exposure_ms:g} ms", f"{got_ms:g} ms" if is_manual else "automatic")

    def _check_picture(self, capture: cv2.VideoCapture) -> None:
        """Compare what comes with what the driver says."""
        done, picture = capture.read()
        if not done:
            raise CameraMissing(
                f"{self.name} ({self.device}) opens, but no picture comes: {_who_holds(Path(self.device))}"
            )
        height_px, width_px = picture.shape[:2]
        got = f"{width_px}x{height_px} px"
        if (self._settings.width_px or width_px, self._settings.height_px or height_px) != (width_px, height_px):
            raise self._refused("pictures of", f"{self._settings.width_px}x{self._settings.height_px} px", got)

    def _refused(self, what: str, asked: str, got: str) -> SettingRefused:
        number = _REAL_DEVICE.fullmatch(self.device)
        hint = f"`v4l2-ctl --device {number[1]} --list-formats-ext --list-ctrls` says what it can" if number else ""
        return SettingRefused(
            f"{self.name}: {what} {asked} were asked for, it gives {got}. "
            f"Ask for that, or for nothing{'; ' if hint else ''}{hint}"
        )


def open_capture(target: str, name: str) -> cv2.VideoCapture:
    """Return OpenCV's capture of a device or a file; raises CameraMissing, which says why not."""
    path, is_device = Path(target), target.startswith("/dev/")
    if "://" not in target and not path.exists():
        raise CameraMissing(
            f"{name}: there is no {target}; {_cameras_there()}" if is_device else f"there is no {target}"
        )
    if "://" not in target and not os.access(path, os.R_OK | os.W_OK if is_device else os.R_OK):
        fix = (
            "join the group video with `sudo usermod -aG video $USER` and log in again"
            if is_device
            else "see its rights"
        )
        raise CameraMissing(f"{name}: {target} may not be opened by this user: {fix}")
    number = _REAL_DEVICE.fullmatch(str(path.resolve())) if is_device else None
    with quiet_opencv():
        capture = cv2.VideoCapture(int(number[1]), cv2.CAP_V4L2) if number else cv2.VideoCapture(target)
    if not capture.isOpened():
        why = _who_holds(path) if is_device else "OpenCV reads no pictures from it"
        raise CameraMissing(f"{name}: {target} cannot be opened as a camera: {why}")
    return capture


def _who_holds(device: Path) -> str:
    """Return which other program has a camera, as far as this account can see, and what to do."""
    holders = port_holders(device)
    if holders:
        return f"it is in use, held by {', '.join(holders)}: end that program and try again"
    return "another program may be using it, one that this account cannot see: end that, or plug the camera in anew"


@contextmanager
def quiet_opencv() -> Generator[None]:
    """Keep OpenCV from writing to the terminal what the error says better."""
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)


def _cameras_there() -> str:
    found = sorted(str(path) for path in Path("/dev").glob("video[0-9]*"))
    return f"there {'are' if len(found) > 1 else 'is'} {', '.join(found)}" if found else "none is plugged in here"
