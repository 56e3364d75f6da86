"""A camera in use: does it give pictures, how many, how late, and does anybody know its lens."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from bridge.errors import BridgeError
from calibration.errors import CalibrationError
from hardware.cameras.newest import CameraStatistics, NewestCamera
from hardware.errors import CameraError
from scripts.programs.camera_choice import open_camera
from scripts.programs.camera_look import figures_in_words
from scripts.programs.findings import Finding, fail, ok, warn
from urdf.errors import ArmError

_TOPIC = "Cameras"
_FIRST_PICTURE_S, _LOOK_S = 5.0, 2.0
#: A sighting is used for half a second; a loop decides 20 times a second, on pictures that are a decision old at most.
_SLOW_HZ, _TOO_SLOW_HZ = 8.0, 2.0
_LATE_MS, _TOO_LATE_MS = 100.0, 500.0


def camera(choice: str, key: Path | None, look_s: float = _LOOK_S) -> Iterator[Finding]:
    """Look through a camera for two seconds."""
    try:
        with open_camera(choice, key=key) as opened:
            frame = opened.wait(_FIRST_PICTURE_S)
            time.sleep(look_s)
            yield from _figures(choice, opened)
    except (CameraError, BridgeError, ArmError, CalibrationError) as error:
        yield fail(_TOPIC, choice, str(error), "`tandem camera list` names those that are there")
        return
    if frame.intrinsics.is_known:
        i = frame.intrinsics
        yield ok(_TOPIC, "lens", f"the camera knows its own: {i.model}, focal length {i.fx_px:.0f} px")
    else:
        yield ok(_TOPIC, "lens", "the camera does not know its own; what `tandem calibrate camera` measured is used")


def _figures(choice: str, opened: NewestCamera) -> Iterator[Finding]:
    found = opened.statistics()
    text = figures_in_words(found)
    if found.lost:
        yield warn(_TOPIC, choice, text, "a shorter cable, its own USB port, a supply that does not drop")
        return
    yield _rate(choice, text, found)
    late_ms = found.latency_p95_ms
    if late_ms is not None and late_ms > _LATE_MS:
        tell = fail if late_ms > _TOO_LATE_MS else warn
        advice = "a smaller size, a network cable instead of Wi-Fi, or a lower --quality of `tandem camera serve`"
        yield tell(_TOPIC, "latency", f"95 % of the pictures come within {late_ms:.0f} ms", advice)


def _rate(choice: str, text: str, found: CameraStatistics) -> Finding:
    rate_hz = found.rate_hz or 0.0
    advice = "more light, or a fixed exposure (uvc:0,exposure=10); fourcc=MJPG for large pictures over USB 2"
    if rate_hz < _TOO_SLOW_HZ:
        return fail(_TOPIC, choice, f"{text}: too few for anything that moves", advice)
    return warn(_TOPIC, choice, text, advice) if rate_hz < _SLOW_HZ else ok(_TOPIC, choice, text)
