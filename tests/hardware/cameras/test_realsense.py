"""A RealSense through its own SDK, whose software_device is the camera."""

from __future__ import annotations

import time

import cv2
import numpy as np
import pytest

pytest.importorskip("pyrealsense2", reason="pyrealsense2 has wheels for the workstation only")

import pyrealsense2 as rs

from bridge.ports import Frame
from calibration.lens import project
from hardware.cameras.newest import NewestCamera
from hardware.cameras.realsense import RealSenseSettings, RealSenseSource, find_device, intrinsics_of
from hardware.errors import CameraError, CameraLost, CameraMissing, SettingRefused
from tests.hardware.cameras.camera_bench import SoftwareRealSense
from urdf.pose import Pose

SETTINGS = RealSenseSettings(64, 48, 30)
COUNTS = np.full((48, 64), 2000, dtype=np.uint16)


def source_of(
    camera: SoftwareRealSense, settings: RealSenseSettings = SETTINGS, silent_s: float = 2.0
) -> RealSenseSource:
    source = RealSenseSource("000123", settings, find=lambda: camera.device, silent_s=silent_s)
    source.open()
    return source


def frame_of(source: RealSenseSource) -> Frame:
    """Return the next pair: the SDK passes the first picture of a stream on alone."""
    end = time.monotonic() + 10.0
    while time.monotonic() < end:
        frame = source.grab()
        if frame is not None:
            return frame
    raise AssertionError("no pair of pictures in 10 s")


def grab_on(source: RealSenseSource) -> None:
    for _ in range(50):
        source.grab()


def frame_from(camera: SoftwareRealSense, counts: np.ndarray, settings: RealSenseSettings = SETTINGS) -> Frame:
    source = source_of(camera, settings)
    with camera.streaming(counts):
        frame = frame_of(source)
    source.close()
    return frame


@pytest.mark.parametrize("unit_m", [1e-4, 1e-3], ids=["D405", "D435"])
def test_colours_and_depth_come_as_the_sdk_has_them(unit_m: float) -> None:
    camera = SoftwareRealSense(unit_m=unit_m)
    counts = np.kron(np.random.default_rng(0).integers(1, 65536, (6, 8), dtype=np.uint16), np.ones((8, 8), np.uint16))
    frame = frame_from(camera, counts)
    assert frame.depth_m is not None
    assert frame.depth_m.dtype == np.float32
    # Same lens, no baseline: aligned is as it was. The SDK's alignment rounds: here it leaves 2 holes in 100
    # pixels, and a pixel at an edge may be its neighbour's.
    inside = np.kron(np.ones((6, 8), dtype=bool), np.pad(np.ones((6, 6), dtype=bool), 1)) & (frame.depth_m > 0)
    assert np.count_nonzero(inside) > 0.95 * 6 * 8 * 36
    np.testing.assert_array_equal(frame.depth_m[inside], (counts * np.float32(unit_m))[inside])
    assert (frame.intrinsics.fx_px, frame.intrinsics.cx_px, frame.intrinsics.model) == (60.0, 32.0, "pinhole")


def test_depth_is_where_the_colours_see_it() -> None:
    camera = SoftwareRealSense(baseline_m=0.05)
    counts = np.full((48, 64), 10000, dtype=np.uint16)  # 1 m
    counts[20:28, 20:28] = (
        5000  # and a thing at 0.5 m, which lies 60 px/m * 0.05 m / 0.5 m = 6 px to the right in colour
    )
    frame = frame_from(camera, counts)
    assert frame.depth_m is not None
    rows, columns = np.nonzero(np.abs(frame.depth_m - 0.5) < 1e-6)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (20, 27, 26, 33)
    assert np.all(frame.depth_m[:, :2] == 0.0)  # 3 px: what the colours see and the depth camera cannot, is a hole


def test_a_hole_stays_a_hole_unless_it_is_asked_to_be_filled() -> None:
    counts = COUNTS.copy()
    counts[10:14, 10:14] = 0
    for fill, hole_m in ((False, 0.0), (True, 0.2)):
        camera = SoftwareRealSense()
        depth_m = frame_from(camera, counts, RealSenseSettings(64, 48, 30, fill_holes=fill)).depth_m
        assert depth_m is not None
        np.testing.assert_allclose(depth_m[10:14, 10:14], hole_m, atol=1e-6)


@pytest.mark.parametrize(
    ("age_s", "domain", "is_told"),
    [
        (0.6, rs.timestamp_domain.system_time, True),
        (0.6, rs.timestamp_domain.global_time, True),
        (1e6, rs.timestamp_domain.system_time, False),  # a clock that was set while the camera ran
        (0.6, rs.timestamp_domain.hardware_clock, False),
    ],
)
def test_a_picture_is_stamped_at_capture(age_s: float, domain: rs.timestamp_domain, is_told: bool) -> None:
    camera = SoftwareRealSense()
    source = source_of(camera)
    with camera.streaming(COUNTS, age_s, domain):
        frame = frame_of(source)
        found_s = (time.monotonic_ns() - frame.stamp_ns) * 1e-9
    source.close()
    assert (found_s >= 0.59) is is_told
    assert found_s < 1.9  # and no day, and not in the future
    assert found_s >= 0.0


MODELS = [
    (rs.distortion.none, (0.0,) * 5),
    (rs.distortion.brown_conrady, (-0.056, 0.066, 0.0006, -0.0004, -0.021)),
    (rs.distortion.inverse_brown_conrady, (-0.056, 0.066, 0.0006, -0.0004, -0.021)),
    (rs.distortion.modified_brown_conrady, (0.16, -0.49, -0.0009, 0.0004, 0.45)),
    (rs.distortion.kannala_brandt4, (-0.01, 0.05, -0.04, 0.01, 0.0)),
]


@pytest.mark.parametrize(("model", "coefficients"), MODELS, ids=lambda v: getattr(v, "name", ""))
def test_every_lens_of_the_sdk_becomes_one_that_projects_alike(
    model: rs.distortion, coefficients: tuple[float, ...]
) -> None:
    lens = SoftwareRealSense((848, 480), 430.0, model, coefficients).intrinsics
    ours = intrinsics_of(lens)
    rng = np.random.default_rng(0)
    rays = [
        rs.rs2_deproject_pixel_to_point(lens, [float(u), float(v)], float(z))
        for u, v, z in zip(rng.uniform(0, 847, 50), rng.uniform(0, 479, 50), rng.uniform(0.1, 2.0, 50), strict=True)
    ]
    theirs_px = np.array([rs.rs2_project_point_to_pixel(lens, ray) for ray in rays])
    is_seen = np.all((theirs_px >= 0) & (theirs_px <= (847, 479)), axis=1)
    rays, theirs_px = np.array(rays)[is_seen], theirs_px[is_seen]
    assert len(rays) > 20
    assert ours.model == ("fisheye" if model == rs.distortion.kannala_brandt4 else "pinhole")
    np.testing.assert_allclose(project(rays, Pose.identity(), ours), theirs_px, atol=0.15)
    if ours.model == "pinhole":
        points = rays[:, None]
        opencv_px, _ = cv2.projectPoints(points, np.zeros(3), np.zeros(3), ours.matrix(), np.array(ours.distortion))
        np.testing.assert_allclose(opencv_px[:, 0], theirs_px, atol=0.15)


def test_a_lens_that_opencv_has_not_is_refused() -> None:
    lens = SoftwareRealSense((848, 480), 430.0, rs.distortion.ftheta, (0.93, 0.0, 0.0, 0.0, 0.0)).intrinsics
    with pytest.raises(CameraError, match="calibrate this camera"):
        intrinsics_of(lens)


def test_a_size_or_rate_that_the_camera_has_not_is_refused_and_what_it_has_is_told() -> None:
    camera = SoftwareRealSense()
    for settings, lacking in ((RealSenseSettings(640, 480, 30), "640x480"), (RealSenseSettings(64, 48, 90), "90/s")):
        with pytest.raises(SettingRefused, match=rf"no colour and depth of .*{lacking}.*it has 64x48 at 30/s"):
            source_of(camera, settings)


def test_a_camera_that_goes_silent_is_lost_and_starts_again() -> None:
    camera = SoftwareRealSense()
    source = source_of(camera, silent_s=0.3)
    with camera.streaming(COUNTS):
        frame_of(source)
    with pytest.raises(CameraLost, match="silent"):
        grab_on(source)
    source.close()
    source.close()
    source.open()
    with camera.streaming(COUNTS):
        frame_of(source)
    source.close()


def test_behind_the_thread_the_newest_pair_is_read() -> None:
    camera = SoftwareRealSense()
    with NewestCamera(RealSenseSource("", SETTINGS, find=lambda: camera.device)) as newest, camera.streaming(COUNTS):
        first = newest.wait(10.0)
        time.sleep(0.5)  # about fifteen pairs that nobody reads
        assert int(newest.read(5.0).rgb[0, 0, 0]) > int(first.rgb[0, 0, 0]) + 5
        assert newest.statistics().has_depth


def test_no_camera_is_told_with_its_serial_number() -> None:
    with pytest.raises(CameraMissing, match="no RealSense 424242 is plugged in; there is none"):
        find_device("424242")
