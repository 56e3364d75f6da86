"""`tandem camera` and cameras by name: films and folders are the cameras, and one that is served."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest

from bridge.errors import EndpointRefused, StaleFrame
from bridge.ports import Intrinsics
from calibration.artifacts import utc_now
from calibration.camera_file import CameraCalibration
from calibration.errors import NotCalibrated
from hardware.cameras.recorded import RecordedCamera
from hardware.errors import CameraMissing, SettingRefused
from scripts.camera import CameraViewArgs, run_view
from scripts.camera_record import CameraRecordArgs, run_record
from scripts.doctor import DoctorArgs
from scripts.doctor import run as run_doctor
from scripts.main import main
from scripts.programs.camera_choice import CameraChoice, CameraSettings, open_camera, open_robot_camera
from scripts.programs.camera_look import half_blocks
from scripts.programs.robot_file import RobotFile
from tests.hardware.cameras.camera_bench import write_video
from urdf.description import load_arm
from urdf.errors import UnknownName

LENS = Intrinsics(64, 48, 60.0, 60.0, 32.0, 24.0)


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "data"
    monkeypatch.setenv("TANDEM_DATA", str(root))
    monkeypatch.delenv("DISPLAY", raising=False)
    return root


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "film.avi"
    write_video(path, 12)
    return path


@pytest.mark.parametrize(
    ("text", "name", "kind", "where"),
    [
        ("uvc:0", "uvc0", "uvc", "0"),
        ("uvc:/dev/v4l/by-id/usb-046d_C270-video-index0", "usb-046d_C270-video-index0", "uvc", None),
        ("desk=uvc:2,width=640,height=480", "desk", "uvc", "2"),
        ("realsense", "realsense", "realsense", ""),
        ("realsense:0123", "realsense0123", "realsense", "0123"),
        ("video:/tmp/a,b.avi", "a-b.avi", "video", "/tmp/a,b.avi"),
        ("folder:/tmp/x=y/z", "z", "folder", "/tmp/x=y/z"),
        ("remote:tcp://10.0.0.7:5560", "10.0.0.7-5560", "remote", "tcp://10.0.0.7:5560"),
        ("lab:wrist", "wrist", "lab", "wrist"),
    ],
)
def test_a_camera_is_read_from_its_name(text: str, name: str, kind: str, where: str | None) -> None:
    choice = CameraChoice.parse(text)
    assert (choice.name, choice.kind) == (name, kind)
    assert where is None or choice.where == where


def test_settings_stand_behind_the_name() -> None:
    choice = CameraChoice.parse("uvc:0,width=1280,height=720,rate=30,exposure=8.5,fourcc=MJPG")
    assert choice.settings == CameraSettings(1280, 720, 30.0, 8.5, "MJPG")
    assert CameraChoice.parse("realsense,holes=fill").settings.fill_holes


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("webcam:0", UnknownName, "uvc:0"),
        ("uvc", UnknownName, "uvc:0"),
        ("uvc:0,width=wide", SettingRefused, "expected such as width=640"),
        ("uvc:0,holes=fill", SettingRefused, "which a uvc camera has not"),
        ("realsense,exposure=8", SettingRefused, "leave out exposure"),
        ("video:a.avi,rate=3", SettingRefused, "a video camera gives what it gives"),
        ("uvc:97", CameraMissing, "there is no /dev/video97"),
        ("folder:/nowhere/at/all", CameraMissing, "there is no folder"),
        ("remote:tcp://10.0.0.7:5560", EndpointRefused, "with keys"),
        ("lab", Exception, "tandem lab"),
    ],
)
def test_what_cannot_be_opened_is_named(text: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        open_camera(text)


def test_a_look_ends_with_a_picture_and_figures(film: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_view(CameraViewArgs(f"desk=video:{film}", seconds=0.4, json=True)) == 0
    out, err = capsys.readouterr()
    found = json.loads(out.splitlines()[-1])
    assert found["statistics"]["width_px"] == 64
    assert found["statistics"]["pictures"] >= 5
    assert found["calibrated"] is False
    assert "tandem calibrate camera" in err
    picture = cv2.imread(str(data / "plots" / "camera_desk.png"))
    assert picture is not None
    assert picture.shape[1] > 1000


def test_a_recording_is_a_camera_again_and_nothing_is_written_over(
    film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "r"
    assert run_record(CameraRecordArgs(f"video:{film}", out, seconds=0.3)) == 0
    with open_camera(f"folder:{out}") as camera:
        assert camera.wait(5.0).rgb.shape == (48, 64, 3)
    before = sorted(out.iterdir())
    assert run_record(CameraRecordArgs(f"video:{film}", out, seconds=0.3)) == 2
    assert "nothing is written over" in capsys.readouterr().err
    assert sorted(out.iterdir()) == before


def test_a_film_lasts_as_long_as_was_recorded(film: Path, tmp_path: Path) -> None:
    out = tmp_path / "f.avi"
    assert run_record(CameraRecordArgs(f"video:{film}", out, seconds=1.0, rate=10.0)) == 0
    shown = cv2.VideoCapture(str(out))
    assert shown.get(cv2.CAP_PROP_FPS) == pytest.approx(10.0)
    assert 8 <= shown.get(cv2.CAP_PROP_FRAME_COUNT) <= 14
    shown.release()


def test_bad_words_are_bad_input(film: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["camera", "view", "--camera", "uvc:97"]) == 2
    assert main(["camera", "view", "--camera", f"video:{film}", "--seconds", "0"]) == 2
    assert main(["camera", "record", "--camera", f"video:{film}", "--out", "a.gif"]) == 2
    assert main(["camera", "serve", "--camera", f"video:{film}", "--endpoint", "tcp://0.0.0.0:5560"]) == 2
    assert "tandem keys new NAME" in capsys.readouterr().err


def test_a_served_camera_is_looked_through_from_elsewhere_and_ends_on_ctrl_c(film: Path, data: Path) -> None:
    words = ["camera", "serve", "--camera", f"video:{film}", "--endpoint", "tcp://127.0.0.1:*", "--keys", "--json"]
    key_path = data / "keys" / "clients" / "laptop.json"
    assert main(["keys", "new", "laptop"]) == 0
    process = subprocess.Popen(
        [sys.executable, "-m", "scripts.main", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    assert process.stderr is not None
    ready = None
    while ready is None:
        line = process.stderr.readline()
        assert line, process.wait()
        ready = re.search(r"ready: serving .* on (\S+)", line)
    with open_camera(f"remote:{ready[1]}", key=key_path) as camera:
        frame = camera.wait(10.0)
        assert frame.rgb.shape == (48, 64, 3)
        assert camera.wait(10.0, after=frame).stamp_ns > frame.stamp_ns
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=20)
    assert process.returncode == 130
    assert json.loads(out.splitlines()[-1])["pictures_sent"] >= 2


def test_the_doctor_looks_through_a_camera(film: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_doctor(DoctorArgs(camera=f"video:{film}", json=True))
    found = {f["subject"]: f for f in json.loads(capsys.readouterr().out.splitlines()[-1])["findings"]}
    assert re.match(r"64x48 px, [\d.]+ pictures/s, from capture to here", found[f"video:{film}"]["text"])
    run_doctor(DoctorArgs(camera="uvc:97", json=True))
    lost = {f["subject"]: f for f in json.loads(capsys.readouterr().out.splitlines()[-1])["findings"]}["uvc:97"]
    assert (lost["level"], "there is no /dev/video97" in lost["text"]) == ("fail", True)


def test_a_robots_camera_needs_somebody_who_knows_its_lens(film: Path, tmp_path: Path, data: Path) -> None:
    arm = load_arm("dofbot")
    with pytest.raises(NotCalibrated, match="tandem calibrate camera"):
        open_robot_camera(f"video:{film}", "desk", "mine", arm)
    CameraCalibration(
        schema_version=1, robot_serial="mine", arm=arm.name, arm_sha256=arm.sha256, created_utc=utc_now(),
        method="a test", residual=0.1, residual_unit="px", camera="desk", model="pinhole", width_px=64, height_px=48,
        fx_px=61.0, fy_px=62.0, cx_px=32.0, cy_px=24.0, distortion=(0.0,) * 5, sigma=(0.1,) * 9, fit_rms_px=0.1,
        scores=(), board="", views=(), refused=(),
    ).save(data)  # fmt: skip
    with open_robot_camera(f"video:{film}", "desk", "mine", arm) as camera:
        frame = camera.read(5.0)
        assert (frame.name, frame.intrinsics.fx_px) == ("desk", 61.0)
    folder = tmp_path / "known"
    folder.mkdir()
    cv2.imwrite(str(folder / "a.png"), np.zeros((48, 64, 3), dtype=np.uint8))
    (folder / "camera.json").write_bytes(msgspec.json.encode(RecordedCamera("a", 30.0, LENS)))
    with open_robot_camera(f"folder:{folder}", "other", "mine", arm) as camera:
        assert camera.read(5.0).intrinsics == LENS  # the camera knows, and nobody measured another
    larger = tmp_path / "large.avi"
    write_video(larger, 3, size_px=(128, 96))
    with pytest.raises(StaleFrame, match="calibrated at 64x48 px, gives 128x96 px"):
        open_robot_camera(f"video:{larger}", "desk", "mine", arm)


def test_robot_toml_names_its_cameras_as_a_command_line_does() -> None:
    old = RobotFile("dofbot", "table", "", "", camera_endpoint="ipc:///tmp/c", wrist_endpoint="ipc:///tmp/w")
    assert (old.desk_camera, old.wrist_camera) == ("remote:ipc:///tmp/c", "remote:ipc:///tmp/w")
    new = RobotFile("dofbot", "table", "", "", camera="uvc:0", camera_endpoint="ipc:///tmp/c")
    assert (new.desk_camera, new.wrist_camera) == ("uvc:0", "")


def test_a_picture_in_a_terminal_has_its_colours_in_half_lines() -> None:
    rgb = np.zeros((40, 40, 3), dtype=np.uint8)
    rgb[:20] = (255, 0, 0)
    rgb[20:] = (0, 0, 255)
    lines = half_blocks(rgb, 4)
    assert len(lines) == 2
    assert lines[0].count("▀") == 4
    assert "38;2;255;0;0" in lines[0]
    assert "38;2;0;0;255" in lines[1]
