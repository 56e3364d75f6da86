"""Videos and folders as cameras, and the folder that a recording is written as."""

from __future__ import annotations

from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest

from bridge.ports import Frame, Intrinsics
from hardware.cameras.newest import FrameSource
from hardware.cameras.recorded import FolderSource, FolderWriter, RecordedCamera, VideoSource, read_camera
from hardware.errors import CameraMissing, RecordingOver
from tests.hardware.cameras.camera_bench import write_video
from tests.hardware.hand_clock import HandClock

LENS = Intrinsics(64, 48, 60.0, 61.0, 31.5, 23.5, (0.1, -0.2, 0.0, 0.001, 0.0, 0.01, 0.02, 0.03), "rational")


def frames_of(source: FrameSource, count: int) -> list[Frame]:
    frames: list[Frame] = []
    while len(frames) < count:
        frame = source.grab()
        if frame is not None:
            frames.append(frame)
    return frames


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (48, 64, 3), dtype=np.uint8)


def test_a_video_plays_at_its_own_pace_and_begins_anew(tmp_path: Path) -> None:
    write_video(tmp_path / "v.avi", 4, rate_hz=20.0)
    clock = HandClock()
    source = VideoSource(tmp_path / "v.avi", clock=clock)
    source.open()
    frames = frames_of(source, 6)
    source.close()
    assert np.diff([f.stamp_ns for f in frames]).tolist() == pytest.approx([50e6] * 5)
    shades = [round(float(np.median(f.rgb)), -1) for f in frames]
    assert shades == [40, 50, 60, 70, 40, 50]
    assert [f.seq for f in frames] == [1, 2, 3, 4, 5, 6]


def test_a_video_that_is_shown_once_is_over_at_its_end(tmp_path: Path) -> None:
    write_video(tmp_path / "v.avi", 3)
    source = VideoSource(tmp_path / "v.avi", clock=HandClock(), loop=False)
    source.open()
    frames_of(source, 3)
    with pytest.raises(RecordingOver, match="after 3 pictures"):
        source.grab()
    source.close()


@pytest.mark.parametrize("unit_m", [1e-4, 1e-3], ids=["D405", "D435"])
def test_what_is_written_is_what_is_played_bit_for_bit(tmp_path: Path, unit_m: float) -> None:
    counts = np.random.default_rng(0).integers(0, 65536, (3, 48, 64), dtype=np.uint16)
    writer = FolderWriter(tmp_path / "r", "wrist", 10.0)
    depths = [c * np.float32(unit_m) for c in counts]
    for n, at_ms in enumerate((0, 40, 130)):
        writer.write(Frame("wrist", n, 5_000_000_000 + at_ms * 1_000_000, picture(n), LENS, depths[n]))
    clock = HandClock()
    source = FolderSource(tmp_path / "r", clock=clock)
    source.open()
    frames = frames_of(source, 3)
    assert (source.camera.name, source.camera.rate_hz) == ("wrist", 10.0)
    assert np.diff([f.stamp_ns for f in frames]).tolist() == [40_000_000, 90_000_000]
    for n, frame in enumerate(frames):
        np.testing.assert_array_equal(frame.rgb, picture(n))
        assert frame.depth_m is not None
        np.testing.assert_array_equal(frame.depth_m, depths[n])
        assert frame.intrinsics == LENS


def test_a_depth_that_the_unit_of_the_recording_cannot_hold_becomes_a_hole(tmp_path: Path) -> None:
    writer = FolderWriter(tmp_path / "r", "sim", None)
    writer.write(Frame("sim", 0, 0, picture(0), LENS, np.full((48, 64), 0.12345, dtype=np.float32)))
    writer.write(Frame("sim", 1, 1, picture(1), LENS, np.full((48, 64), 7.0, dtype=np.float32)))
    source = FolderSource(tmp_path / "r", clock=HandClock())
    source.open()
    near, far = frames_of(source, 2)
    assert near.depth_m is not None
    assert far.depth_m is not None
    assert near.depth_m.max() == pytest.approx(0.12345, abs=0.00006)
    assert far.depth_m.max() == 0.0


def test_any_folder_of_pictures_is_a_camera_whose_intrinsics_are_unknown(tmp_path: Path) -> None:
    for name in ("b.jpg", "a.png"):
        cv2.imwrite(str(tmp_path / name), np.full((48, 64, 3), ord(name[0]), dtype=np.uint8))
    source = FolderSource(tmp_path, clock=HandClock(), loop=False)
    source.open()
    first, second = frames_of(source, 2)
    assert (int(np.median(first.rgb)), int(np.median(second.rgb))) == (ord("a"), ord("b"))
    assert second.stamp_ns - first.stamp_ns == pytest.approx(1e9 / 30, abs=2)
    assert not first.intrinsics.is_known
    with pytest.raises(RecordingOver):
        source.grab()


def test_what_is_no_recording_is_named(tmp_path: Path) -> None:
    with pytest.raises(CameraMissing, match="there is no folder"):
        FolderSource(tmp_path / "none").open()
    with pytest.raises(CameraMissing, match="there are no pictures"):
        FolderSource(tmp_path).open()
    (tmp_path / "a.png").write_bytes(b"no picture")
    source = FolderSource(tmp_path)
    source.open()
    with pytest.raises(CameraMissing, match=r"a\.png cannot be read"):
        source.grab()


@pytest.mark.parametrize(
    "change",
    [{"rate_hz": 0}, {"colour": 1}, {"depth_unit_um": 0}, {"intrinsics": {"width_px": 64}}, {"rate_hz": "30"}],
    ids=str,
)
def test_a_description_that_does_not_add_up_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    fields = {**msgspec.to_builtins(RecordedCamera("a", 30.0, LENS)), **change}
    (tmp_path / "camera.json").write_bytes(msgspec.json.encode(fields))
    with pytest.raises(CameraMissing, match=r"camera\.json is no description"):
        read_camera(tmp_path)


def test_intrinsics_and_depth_of_another_size_are_refused(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((24, 32, 3), dtype=np.uint8))
    data = msgspec.json.encode(RecordedCamera("a", 30.0, LENS))
    (tmp_path / "camera.json").write_bytes(data)
    source = FolderSource(tmp_path, clock=HandClock())
    source.open()
    with pytest.raises(CameraMissing, match="32x24 px, and intrinsics of 64x48 px"):
        source.grab()
    (tmp_path / "camera.json").unlink()
    cv2.imwrite(str(tmp_path / "a.depth.png"), np.zeros((24, 30), dtype=np.uint16))
    plain = FolderSource(tmp_path, clock=HandClock())
    plain.open()
    with pytest.raises(CameraMissing, match="its depth has"):
        plain.grab()


def test_a_recording_is_not_written_over_another(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("here")
    with pytest.raises(FileExistsError, match="not empty"):
        FolderWriter(tmp_path, "wrist", None)
