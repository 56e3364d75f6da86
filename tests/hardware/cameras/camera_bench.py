"""A video and a RealSense for the tests of cameras: OpenCV writes the one, the SDK's software_device is the other."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pyrealsense2 as rs
from numpy.typing import NDArray

from bridge.errors import StaleFrame
from hardware.cameras.newest import NewestCamera


def write_video(path: Path, pictures: int, rate_hz: float = 30.0, size_px: tuple[int, int] = (64, 48)) -> None:
    """Write a video whose picture n is gray, 40 + 10 n."""
    # MJPG in AVI: every picture is a JPEG of its own.
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), rate_hz, size_px)
    assert writer.isOpened()
    for n in range(pictures):
        writer.write(np.full((size_px[1], size_px[0], 3), 40 + 10 * n, dtype=np.uint8))
    writer.release()


def until(what: Callable[[], bool], timeout_s: float = 10.0) -> bool:
    """Wait until something holds; return whether it did."""
    end = time.monotonic() + timeout_s
    while not what():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def is_fresh(camera: NewestCamera, max_age_s: float) -> bool:
    """Whether a picture of that age can be read."""
    try:
        camera.read(max_age_s)
    except StaleFrame:
        return False
    return True


class SoftwareRealSense:
    """A RealSense that is software inside the SDK: two sensors whose pictures are pushed by hand."""

    def __init__(
        self,
        size_px: tuple[int, int] = (64, 48),
        focal_px: float = 60.0,
        model: rs.distortion = rs.distortion.brown_conrady,
        coefficients: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0, 0.0),
        baseline_m: float = 0.0,
        unit_m: float = 1e-4,
    ) -> None:
        self.size_px, self._unit_m, self._count = size_px, unit_m, 0
        self.device = rs.software_device()
        self.device.register_info(rs.camera_info.name, "Software D405")
        self.device.register_info(rs.camera_info.serial_number, "000123")
        self.intrinsics = self._lens(focal_px, model, coefficients)
        plain = self._lens(focal_px, rs.distortion.brown_conrady, (0.0,) * 5)
        self._depth_sensor = self.device.add_sensor("Stereo Module")
        self._color_sensor = self.device.add_sensor("RGB Camera")
        self._depth = self._depth_sensor.add_video_stream(self._stream(rs.stream.depth, 1, rs.format.z16, 2, plain))
        color = self._stream(rs.stream.color, 2, rs.format.rgb8, 3, self.intrinsics)
        self._color = self._color_sensor.add_video_stream(color)
        self._depth_sensor.add_read_only_option(rs.option.depth_units, unit_m)
        beside = rs.extrinsics()
        beside.rotation, beside.translation = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0], [baseline_m, 0.0, 0.0]
        self._depth.register_extrinsics_to(self._color, beside)
        self.device.create_matcher(rs.matchers.default)

    @contextmanager
    def streaming(
        self,
        counts: NDArray[np.uint16],
        age_s: float = 0.0,
        domain: rs.timestamp_domain = rs.timestamp_domain.system_time,
    ) -> Iterator[None]:
        """Send 30 pairs a second, as a camera does; of each, red is its number. They are stamped `age_s` ago."""
        stop, began_s = threading.Event(), time.time()

        def stream() -> None:
            for n in itertools.count():
                stop.wait(began_s + n / 30 - time.time())
                if stop.is_set():
                    return
                color = np.full((*self.size_px[::-1], 3), (n % 256, 100, 200), dtype=np.uint8)
                self._push(color, counts, (began_s + n / 30 - age_s) * 1e3, domain)

        thread = threading.Thread(target=stream)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def _push(
        self, color: NDArray[np.uint8], counts: NDArray[np.uint16], stamp_ms: float, domain: rs.timestamp_domain
    ) -> None:
        self._count += 1
        width_px = self.size_px[0]
        for sensor, profile, pixels, size in (
            (self._depth_sensor, self._depth, counts, 2),
            (self._color_sensor, self._color, color, 3),
        ):
            frame = rs.software_video_frame()
            frame.pixels, frame.stride, frame.bpp = pixels, width_px * size, size
            frame.timestamp, frame.domain, frame.frame_number = stamp_ms, domain, self._count
            frame.profile = profile.as_video_stream_profile()
            if size == 2:
                frame.depth_units = self._unit_m
            sensor.on_video_frame(frame)

    def _lens(self, focal_px: float, model: rs.distortion, coefficients: tuple[float, ...]) -> rs.intrinsics:
        lens = rs.intrinsics()
        lens.width, lens.height = self.size_px
        lens.fx = lens.fy = focal_px
        lens.ppx, lens.ppy = self.size_px[0] / 2, self.size_px[1] / 2
        lens.model, lens.coeffs = model, [*coefficients]
        return lens

    def _stream(self, kind: rs.stream, uid: int, form: rs.format, size: int, lens: rs.intrinsics) -> rs.video_stream:
        stream = rs.video_stream()
        stream.type, stream.index, stream.uid = kind, 0, uid
        stream.width, stream.height = self.size_px
        stream.fps, stream.bpp, stream.fmt, stream.intrinsics = 30, size, form, lens
        return stream
