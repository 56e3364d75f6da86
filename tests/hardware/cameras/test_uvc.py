"""UvcSource through OpenCV's real capture; a video file is the camera, its name the plug."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from bridge.errors import StaleFrame
from bridge.ports import Intrinsics
from hardware.cameras.newest import CalibratedSource, NewestCamera
from hardware.cameras.uvc import UvcSettings, UvcSource
from hardware.errors import CameraLost, CameraMissing, SettingRefused
from tests.hardware.cameras.camera_bench import is_fresh, until, write_video


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "camera.avi"
    write_video(path, 12)
    return path


def test_pictures_come_in_order_stamped_and_as_rgb(video: Path) -> None:
    source = UvcSource(str(video))
    source.open()
    before_ns = time.monotonic_ns()
    first, second = source.grab(), source.grab()
    source.close()
    assert first.rgb.shape == (48, 64, 3)
    # opening looked at picture 0, to see that it comes
    assert np.median(first.rgb) == pytest.approx(50, abs=2)
    assert np.median(second.rgb) == pytest.approx(60, abs=2)
    assert before_ns <= first.stamp_ns <= second.stamp_ns <= time.monotonic_ns()
    assert second.seq == first.seq + 1
    assert not first.intrinsics.is_known


def test_settings_that_the_camera_has_are_taken(video: Path) -> None:
    source = UvcSource(str(video), UvcSettings(64, 48, 30.0, fourcc="MJPG"))
    source.open()
    assert source.grab().rgb.shape == (48, 64, 3)
    source.close()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (UvcSettings(width_px=1280, height_px=720), r"1280x720 px were asked for, it gives 64x48 px"),
        (UvcSettings(height_px=480), r"64x480 px were asked for, it gives 64x48 px"),
        (UvcSettings(rate_hz=60), r"60 pictures/s were asked for, it gives 30 pictures/s"),
        (UvcSettings(exposure_ms=8), r"an exposure of 8 ms were asked for"),
        (UvcSettings(fourcc="YUYV"), r"packed as YUYV were asked for, it gives MJPG"),
    ],
    ids=lambda v: "" if isinstance(v, str) else str(v),
)
def test_a_setting_that_the_camera_did_not_take_is_refused(video: Path, settings: UvcSettings, words: str) -> None:
    with pytest.raises(SettingRefused, match=words):
        NewestCamera(UvcSource(str(video), settings))


def test_a_calibration_is_what_the_pictures_carry_and_one_of_another_size_is_refused(video: Path) -> None:
    lens = Intrinsics(64, 48, 50.0, 50.0, 32.0, 24.0)
    with NewestCamera(CalibratedSource(UvcSource(str(video)), lens)) as camera:
        assert camera.wait(10.0).intrinsics is lens
    larger = Intrinsics(640, 480, 500.0, 500.0, 320.0, 240.0)
    with (
        NewestCamera(CalibratedSource(UvcSource(str(video)), larger)) as camera,
        pytest.raises(StaleFrame, match=r"calibrated at 640x480 px, gives 64x48 px"),
    ):
        camera.wait(0.5)


@pytest.mark.parametrize(
    "values", [{"width_px": 0}, {"rate_hz": float("nan")}, {"exposure_ms": -1.0}, {"fourcc": "MJPEG"}]
)
def test_settings_that_no_camera_has_are_refused_before_one_is_opened(values: dict[str, float]) -> None:
    with pytest.raises(SettingRefused):
        UvcSettings(**values)  # type: ignore[arg-type]


def test_what_is_no_camera_is_named(tmp_path: Path) -> None:
    with pytest.raises(CameraMissing, match="there is no /dev/video97; "):
        UvcSource("97").open()
    junk = tmp_path / "junk.avi"
    junk.write_bytes(b"no video")
    with pytest.raises(CameraMissing, match="OpenCV reads no pictures from it"):
        UvcSource(str(junk)).open()


def test_a_camera_that_is_unplugged_goes_stale_and_comes_back_when_it_is_plugged_in(video: Path) -> None:
    with NewestCamera(UvcSource(str(video))) as camera:
        assert until(lambda: is_fresh(camera, 10.0))
        elsewhere = video.rename(video.with_suffix(".unplugged"))
        assert until(lambda: f"there is no {video}" in camera.trouble)
        with pytest.raises(StaleFrame, match="there is no"):
            camera.read(0.01)
        seen = camera.statistics().pictures
        elsewhere.rename(video)
        assert until(lambda: camera.statistics().pictures > seen)
        assert is_fresh(camera, 10.0)
        assert camera.statistics().lost >= 1


def test_the_loss_of_a_camera_says_whether_it_was_unplugged(video: Path) -> None:
    source = UvcSource(str(video))
    source.open()
    video.unlink()
    with pytest.raises(CameraLost, match="it was unplugged"):
        [source.grab() for _ in range(20)]
    source.close()
    source.close()
