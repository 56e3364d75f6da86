"""RealSenseSource: colour, and depth aligned to it, of an Intel RealSense through its own SDK.

Depth is as the camera measures it: no hole is filled unless that is asked for, because what fills a hole invents a
surface. The intrinsics are the device's own. Needs the system package libusb-1.0-0.

The sensors are driven one by one into the SDK's syncer and not through its pipeline: the pipeline knows no
`software_device`, and what the tests drive shall be what drives the camera.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyrealsense2 as rs
from numpy.typing import NDArray

from bridge.clock import MonotonicClock
from bridge.ports import Clock, Frame, Intrinsics
from calibration.lens import project
from hardware.errors import CameraError, CameraLost, CameraMissing, SettingRefused
from urdf.pose import Array, Pose

_SLICE_MS = 100
#: How long a camera that is there may be silent: the SDK's own pipeline gives up after five seconds.
_SILENT_S = 2.0
#: A stamp that is older than this is on another clock than ours.
_OLDEST_MS = 2000.0
#: The device's lens model has to be met this closely by OpenCV's (px).
_LENS_TOLERANCE_PX = 0.1
_FISHEYE_COEFFICIENTS = 4


@dataclass(frozen=True, slots=True)
class RealSenseSettings:
    """The size of both pictures (px) and their rate.

    848 x 480 is where a D435 sees depth best, and a D405 has it too; a D415 sees best at 1280 x 720.
    """

    width_px: int = 848
    height_px: int = 480
    rate_hz: int = 30
    fill_holes: bool = False
    """Let the SDK invent depth where none was measured."""


class RealSenseSource:
    """One camera, the one of that serial number or the only one."""

    def __init__(
        self,
        serial: str = "",
        settings: RealSenseSettings | None = None,
        clock: Clock | None = None,
        name: str = "",
        find: Callable[[], rs.device] | None = None,
        silent_s: float = _SILENT_S,
    ) -> None:
        """Touch nothing yet. `find` gives the device; the default looks for the serial number on USB."""
        self.name = name or (f"realsense:{serial}" if serial else "realsense")
        self._settings, self._clock = settings or RealSenseSettings(), clock or MonotonicClock()
        self._find = find or (lambda: find_device(serial))
        self._silent_ns = round(silent_s * 1e9)
        self._device: rs.device | None = None
        self._running: list[rs.sensor] = []
        self._align = rs.align(rs.stream.color)
        self._fill = rs.hole_filling_filter() if self._settings.fill_holes else None
        self._seq = self._heard_ns = 0

    def open(self) -> None:
        """Take the camera and start both streams; raises CameraMissing or SettingRefused."""
        self._device = self._find()
        self._syncer = rs.syncer()
        try:
            for sensor, profiles in self._chosen(self._device):
                sensor.open(profiles)
                self._running.append(sensor)
                sensor.start(self._syncer)
        except RuntimeError as error:
            raise CameraMissing(f"{self.name} does not start: {error}; is another program using it?") from error
        self._heard_ns = self._clock.now_ns()

    def grab(self) -> Frame | None:
        """Wait for the next pair of pictures; raises CameraLost where none comes any more."""
        assert self._device is not None
        done, pair = self._syncer.try_wait_for_frames(_SLICE_MS)
        now_ns = self._clock.now_ns()
        if not done:
            if not self._device.is_connected():
                raise CameraLost(f"{self.name} was unplugged; it is looked for again and again")
            if now_ns - self._heard_ns > self._silent_ns:
                raise CameraLost(
                    f"{self.name} is silent for {(now_ns - self._heard_ns) * 1e-9:.1f} s: use its own USB 3 cable and "
                    "a port that is not shared"
                )
            return None
        if not (pair.get_color_frame() and pair.get_depth_frame()):
            return None
        self._heard_ns = now_ns
        aligned = self._align.process(pair)
        color, depth = aligned.get_color_frame(), aligned.get_depth_frame()
        units_m = depth.get_units()
        filled = self._fill.process(depth) if self._fill is not None else depth
        self._seq += 1
        return Frame(
            self.name,
            self._seq,
            now_ns - round(_age_ms(pair.get_color_frame()) * 1e6),
            np.array(color.get_data(), dtype=np.uint8),
            self._intrinsics(color),
            _metres(filled, units_m),
        )

    def missing(self) -> str:
        """Return nothing: what is wrong with a camera that is there shows when it stays silent."""
        return ""

    def close(self) -> None:
        """Give the camera back; calling it twice is harmless."""
        for sensor in self._running:
            try:
                sensor.stop()
                sensor.close()
            except RuntimeError:  # it was unplugged while it ran
                continue
        self._running.clear()
        self._device = None
        self._known = None

    _known: Intrinsics | None = None

    def _intrinsics(self, color: rs.frame) -> Intrinsics:
        if self._known is None:
            self._known = intrinsics_of(color.profile.as_video_stream_profile().intrinsics)
        return self._known

    def _chosen(self, device: rs.device) -> list[tuple[rs.sensor, list[rs.stream_profile]]]:
        """Return what to start of which sensor: a D405 has both streams in one, others have two sensors."""
        wanted = {rs.stream.color: rs.format.rgb8, rs.stream.depth: rs.format.z16}
        asked, offered = self._settings, list[str]()
        chosen: list[tuple[rs.sensor, list[rs.stream_profile]]] = []
        for sensor in device.query_sensors():
            profiles: list[rs.stream_profile] = []
            for profile in sensor.get_stream_profiles():
                kind = profile.stream_type()
                if wanted.get(kind) != profile.format():
                    continue
                video = profile.as_video_stream_profile()
                offered.append(f"{video.width()}x{video.height()} at {profile.fps()}/s")
                if (video.width(), video.height(), profile.fps()) == (asked.width_px, asked.height_px, asked.rate_hz):
                    profiles.append(profile)
                    del wanted[kind]
            if profiles:
                chosen.append((sensor, profiles))
        if wanted:
            lacking = " and ".join("colour" if kind == rs.stream.color else "depth" for kind in wanted)
            raise SettingRefused(
                f"{self.name} has no {lacking} of {asked.width_px}x{asked.height_px} px at {asked.rate_hz}/s; it has "
                f"{', '.join(sorted(set(offered))) or 'neither colour nor depth'} (less over USB 2)"
            )
        return chosen


@dataclass(frozen=True, slots=True)
class RealSenseInfo:
    """A RealSense that is plugged in."""

    name: str
    serial: str
    firmware: str
    usb: str


def list_devices() -> list[RealSenseInfo]:
    """Return the cameras that are plugged in."""
    kinds = rs.camera_info.name, rs.camera_info.serial_number, rs.camera_info.firmware_version
    found: list[RealSenseInfo] = []
    for device in rs.context().query_devices():
        texts = [device.get_info(k) if device.supports(k) else "" for k in (*kinds, rs.camera_info.usb_type_descriptor)]
        found.append(RealSenseInfo(*texts))
    return found


def find_device(serial: str) -> rs.device:
    """Return the camera of that serial number, or the only one there is; raises CameraMissing."""
    devices = list(rs.context().query_devices())
    serials = [d.get_info(rs.camera_info.serial_number) for d in devices]
    there = f"there {'are' if len(serials) > 1 else 'is'} {', '.join(serials) or 'none'}"
    if serial and serial not in serials:
        raise CameraMissing(f"no RealSense {serial} is plugged in; {there}")
    if not devices:
        raise CameraMissing("no RealSense is plugged in, or udev does not let this user open it (docs/cameras.md)")
    if not serial and len(devices) > 1:
        raise CameraMissing(f"several RealSenses are plugged in: say which, realsense:SERIAL; {there}")
    return devices[serials.index(serial)] if serial else devices[0]


def intrinsics_of(device: rs.intrinsics) -> Intrinsics:
    """Return what the SDK says of a lens as OpenCV's model; raises CameraError where that is farther off than 0.1 px.

    The SDK's three Brown-Conrady models differ from OpenCV's in where the tangential terms are taken, so OpenCV's five
    coefficients are fitted to the SDK's own projection; its Kannala-Brandt is OpenCV's fisheye.
    Ref: librealsense src/rs.cpp, rs2_project_point_to_pixel.
    """
    size = device.width, device.height, device.fx, device.fy, device.ppx, device.ppy
    grid = np.stack(np.meshgrid(np.linspace(0, device.width - 1, 16), np.linspace(0, device.height - 1, 12)), -1)
    pixels = grid.reshape(-1, 2)
    corners = np.array([rs.rs2_deproject_pixel_to_point(device, [float(u), float(v)], 1.0) for u, v in pixels])
    # Some models are only ever projected with: there the SDK's rays of the pixels reach too far, and shorter ones fit.
    rays = np.concatenate([corners * (s, s, 1.0) for s in (1.0, 0.85, 0.7, 0.5)])
    seen_px = np.array([rs.rs2_project_point_to_pixel(device, [float(v) for v in ray]) for ray in rays])
    inside = np.all((seen_px >= -0.5) & (seen_px <= (device.width - 0.5, device.height - 0.5)), axis=1)
    rays, seen_px = rays[inside], seen_px[inside]
    if device.model == rs.distortion.kannala_brandt4:
        found = Intrinsics(*size, tuple(device.coeffs[:_FISHEYE_COEFFICIENTS]), "fisheye")
    else:
        found = Intrinsics(*size, _brown_conrady(rays, (seen_px - size[4:]) / size[2:4]))
    off_px = float(np.linalg.norm(project(rays, Pose.identity(), found) - seen_px, axis=1).max())
    if not off_px < _LENS_TOLERANCE_PX:
        raise CameraError(
            f"the device's lens model ({device.model.name}, {device.coeffs}) is {off_px:.2f} px from OpenCV's: "
            "calibrate this camera with `tandem calibrate camera`"
        )
    return found


def _brown_conrady(rays: Array, seen: Array) -> tuple[float, ...]:
    """Return k1 k2 p1 p2 k3 that bend rays (n, 3) with z = 1 to where they are seen (n, 2), by least squares."""
    x, y = rays[:, 0] / rays[:, 2], rays[:, 1] / rays[:, 2]
    r2 = x * x + y * y
    columns = [
        np.concatenate(pair)
        for pair in (
            (x * r2, y * r2),
            (x * r2**2, y * r2**2),
            (2 * x * y, r2 + 2 * y * y),
            (r2 + 2 * x * x, 2 * x * y),
            (x * r2**3, y * r2**3),
        )
    ]
    coefficients, *_ = np.linalg.lstsq(np.stack(columns, axis=1), np.concatenate((seen[:, 0] - x, seen[:, 1] - y)))
    return tuple(float(c) for c in coefficients)


def _age_ms(frame: rs.frame) -> float:
    """Return how old a picture is: its stamp is of the time of day, unless the SDK says that it is the camera's own."""
    if frame.frame_timestamp_domain == rs.timestamp_domain.hardware_clock:
        return 0.0
    age_ms = time.time() * 1e3 - frame.timestamp
    return age_ms if 0.0 <= age_ms < _OLDEST_MS else 0.0


def _metres(depth: rs.frame, units_m: float) -> NDArray[np.float32]:
    return np.asarray(depth.get_data(), dtype=np.uint16) * np.float32(units_m)
