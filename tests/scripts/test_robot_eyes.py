"""The eyes of a run: which cameras are opened for which policy, and what they see over a real socket."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from bridge.clock import MonotonicClock
from bridge.errors import PolicyMismatch
from bridge.messages import RobotState
from bridge.observation import CameraView, ImageKind, ObservationSpec
from bridge.ports import Frame, Intrinsics
from calibration.board_file import BoardFile
from calibration.board_spec import BOARDS
from perception.block_source import CameraBlockSource
from perception.errors import ViewTooNarrow
from scripts.programs.robot_eyes import EyesKind, needs_wrist, open_eyes
from scripts.programs.robot_file import RobotFile, RobotFileError
from sim.lab_camera import LabRenderer
from sim.lab_depth import LabDepthEye
from sim.lab_scene import LAB_INTRINSICS, nominal_camera
from sim.lab_truth import LabTruth
from tests.scripts.sending import Sending
from urdf.description import load_arm
from urdf.errors import UnknownName
from urdf.pose import Pose

ARM = load_arm("dofbot")
RIG = ARM.rig("table")
STATE = ObservationSpec()
DEPTH = ObservationSpec(state=False, proprioception=True, views=(CameraView("wrist", ImageKind.DEPTH),))
BLOCK = Pose.from_rpy([*RIG.area_center_m, 0.015], [0.0, 0.0, 0.3])


def robot(camera_endpoint: str = "", wrist_endpoint: str = "") -> RobotFile:
    return RobotFile(
        arm="dofbot", rig="table", port="", endpoint="", camera_endpoint=camera_endpoint, wrist_endpoint=wrist_endpoint
    )


@pytest.fixture(autouse=True)
def _own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TANDEM_DATA", str(tmp_path))


@pytest.fixture(scope="module")
def frame() -> Frame:
    eye = LabDepthEye(ARM, RIG, LabTruth.draw(1, len(ARM.joint_names), "0"))
    frame = eye.draw(ARM.joint_angles(RIG.home_rad), BLOCK, 0, 0)
    eye.close()
    return frame


@pytest.fixture
def wrist(frame: Frame, tmp_path: Path) -> Iterator[str]:
    endpoint = f"ipc://{tmp_path}/wrist"
    sending = Sending(endpoint, frame)
    yield endpoint
    sending.close()


def test_a_policy_that_reads_depth_sees_and_finds_the_block_without_a_marker(wrist: str) -> None:
    count = len(ARM.joint_names)
    with ExitStack() as stack:
        eyes = open_eyes(robot(wrist_endpoint=wrist), ARM, RIG, DEPTH, EyesKind.AUTO, stack)
        assert isinstance(eyes.source, CameraBlockSource)
        assert eyes.source.locator.name == "depth"
        assert eyes.on_state is not None
        assert eyes.pictures is not None
        end_s = time.monotonic() + 20.0
        while eyes.source.read_block() is None and time.monotonic() < end_s:
            now = MonotonicClock().now_ns()
            eyes.on_state(RobotState(0, now, tuple(RIG.home_rad.tolist()), (0.0,) * count, (0.0,) * count))
            time.sleep(0.02)
        sighting = eyes.source.read_block()
        assert sighting is not None, eyes.source.missing()
        found = RIG.desk_from_base @ sighting.base_from_block
        np.testing.assert_allclose(found.position_m, BLOCK.position_m, atol=0.006)
        picture = eyes.pictures.read()["wrist_depth"]
        assert picture.shape == (1, 64, 64)
        assert picture.dtype == np.float16


def test_who_needs_which_camera(tmp_path: Path) -> None:
    assert not needs_wrist(STATE, EyesKind.AUTO)
    assert needs_wrist(STATE, EyesKind.DEPTH)
    assert needs_wrist(STATE, EyesKind.LEARNED)
    assert not needs_wrist(STATE, EyesKind.COLOUR)
    assert needs_wrist(DEPTH, EyesKind.MARKERS)
    with ExitStack() as stack:
        desk = robot(camera_endpoint=f"ipc://{tmp_path}/desk")
        source = open_eyes(desk, ARM, RIG, STATE, EyesKind.AUTO, stack).source
        assert isinstance(source, CameraBlockSource)
        assert source.locator.name == "markers"
        by_colour = open_eyes(desk, ARM, RIG, STATE, EyesKind.COLOUR, stack).source
        assert isinstance(by_colour, CameraBlockSource)
        assert by_colour.locator.name == "colour"
        with pytest.raises(RobotFileError, match="wrist"):
            open_eyes(desk, ARM, RIG, DEPTH, EyesKind.AUTO, stack)
        with pytest.raises(RobotFileError, match="wrist"):
            open_eyes(desk, ARM, RIG, STATE, EyesKind.LEARNED, stack)
        with pytest.raises(RobotFileError, match="needs eyes"):
            open_eyes(robot(), ARM, RIG, STATE, EyesKind.MARKERS, stack)
        with pytest.raises(RobotFileError, match=r"names no camera.*tandem camera list"):
            open_eyes(robot(), ARM, RIG, STATE, EyesKind.AUTO, stack)
        other = ObservationSpec(views=(CameraView("desk", ImageKind.RGB),))
        with pytest.raises(PolicyMismatch, match="'desk'"):
            open_eyes(desk, ARM, RIG, other, EyesKind.AUTO, stack)


def test_too_narrow_a_lens_is_refused_before_anything_moves(frame: Frame, tmp_path: Path) -> None:
    i = frame.intrinsics
    narrow = Frame(
        "wrist", 0, 0, frame.rgb, Intrinsics(i.width_px, i.height_px, 600.0, 600.0, i.cx_px, i.cy_px), frame.depth_m
    )
    endpoint = f"ipc://{tmp_path}/narrow"
    sending = Sending(endpoint, narrow)
    with ExitStack() as stack:
        stack.callback(sending.close)
        with pytest.raises(ViewTooNarrow, match="65 degrees"):
            open_eyes(robot(wrist_endpoint=endpoint), ARM, RIG, DEPTH, EyesKind.AUTO, stack)


def test_a_locator_that_nobody_has_trained_is_named_with_what_makes_one(wrist: str) -> None:
    with ExitStack() as stack, pytest.raises(UnknownName, match="tandem train-locator"):
        open_eyes(robot(wrist_endpoint=wrist), ARM, RIG, STATE, EyesKind.LEARNED, stack)


@pytest.mark.parametrize("kind", [EyesKind.MARKERS, EyesKind.COLOUR])
def test_the_measured_scale_of_the_desk_board_is_what_a_run_sees_by(kind: EyesKind, tmp_path: Path) -> None:
    aside_m = np.array([0.04, 0.0, 0.0])
    block = Pose(BLOCK.position_m + aside_m, BLOCK.quat_xyzw)
    renderer = LabRenderer(ARM, RIG, LAB_INTRINSICS, nominal_camera(RIG), tmp_path, np.random.default_rng(0))
    rgb = renderer.draw(ARM.joint_angles(RIG.home_rad), block)
    renderer.close()
    BoardFile.of("desk", BOARDS["desk"], "A4").measured(147.3, 196.4).save(tmp_path)  # 98.2 % both ways
    sending = Sending(f"ipc://{tmp_path}/desk", Frame("desk", 0, 0, rgb, LAB_INTRINSICS))
    places: dict[str, Pose] = {}
    for name in ("unit1", "lab"):
        with ExitStack() as stack:
            eyes = open_eyes(robot(f"ipc://{tmp_path}/desk"), ARM, RIG, STATE, kind, stack, name)
            end_s = time.monotonic() + 20.0
            while (sighting := eyes.source.read_block()) is None and time.monotonic() < end_s:
                time.sleep(0.02)
            assert sighting is not None, eyes.source.missing()
            places[name] = RIG.desk_from_base @ sighting.base_from_block
    sending.close()
    # A board that is 1.8 % smaller is nearer, and all that lies on its plane shrinks about its middle.
    shift_m = places["unit1"].position_m - places["lab"].position_m
    assert shift_m[0] == pytest.approx(-0.018 * aside_m[0], abs=0.0002)
    np.testing.assert_allclose(places["lab"].position_m, block.position_m, atol=0.001)  # the lab's board is to scale
