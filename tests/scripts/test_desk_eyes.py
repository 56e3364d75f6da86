"""Cameras that look at the desk: where they are by the board or as measured, and several as one, over real sockets."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from bridge.observation import ObservationSpec
from bridge.ports import BlockSighting, BlockSource
from calibration.artifacts import SCHEMA_VERSION, utc_now
from calibration.boards import DESK_BOARD, detect_markers
from calibration.errors import ForeignCalibration, NotCalibrated
from calibration.hand_eye_file import HandEyeCalibration, intrinsics_sha256
from calibration.hand_eye_sample import Mount
from hardware.errors import SettingRefused
from perception.fusion import FusedSource
from scripts.programs.desk_eyes import CameraPlace, DeskChoice
from scripts.programs.robot_eyes import EyesKind, open_eyes
from scripts.programs.robot_file import RobotFile
from sim.lab_camera import LabRenderer
from sim.lab_scene import LAB_INTRINSICS, look_at
from tests.perception.lab_pictures import ARM, RIG, LabEye, frame_of
from tests.scripts.sending import Sending
from urdf.pose import Pose

STATE = ObservationSpec()
MIDDLE_M = np.array([*RIG.area_center_m, 0.0])
BLOCK = Pose.from_rpy(MIDDLE_M + np.array([0.02, -0.01, 0.015]), [0.0, 0.0, 0.3])
#: What `tandem calibrate hand-eye` came to in the lab: half a millimetre, a tenth of a degree.
SIGMA = np.array([0.0005] * 3 + [0.0017] * 3)


@dataclass
class Served:
    """Two cameras of one scene, and the picture of the left one with a cloth over the board."""

    left: str
    right: str
    covered: str
    place: Pose


@pytest.fixture(autouse=True)
def _own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TANDEM_DATA", str(tmp_path / "data"))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("eyes")
    eye = LabEye(folder, seed=1)
    side = look_at(MIDDLE_M + np.array([0.26, 0.17, 0.26]), MIDDLE_M)
    other = LabRenderer(ARM, RIG, LAB_INTRINSICS, side, folder, np.random.default_rng(2))
    left, right = eye.picture(BLOCK), other.draw(ARM.joint_angles(RIG.home_rad), BLOCK)
    pictures = {"left": left, "right": right, "covered": cloth_over_the_board(left)}
    with ExitStack() as stack:
        stack.callback(eye.close)
        stack.callback(other.close)
        for name, picture in pictures.items():
            stack.callback(Sending(f"ipc://{folder}/{name}", frame_of(picture, 0, 0)).close)
        places = [f"remote:ipc://{folder}/{name}" for name in pictures]
        yield Served(*places, place=eye.desk_from_camera)


def cloth_over_the_board(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    covered = picture.copy()
    for number, corners_px in detect_markers(picture).items():
        if number in DESK_BOARD.ids:
            cv2.fillConvexPoly(covered, np.rint(corners_px).astype(np.int32), (90, 110, 90))
    assert not set(detect_markers(covered)) & set(DESK_BOARD.ids)
    return covered


def measured_at(desk_from_camera: Pose, camera: str = "left", mount: Mount = Mount.EYE_TO_HAND) -> HandEyeCalibration:
    pose = RIG.desk_from_base.inverse() @ desk_from_camera
    turn = np.kron(np.eye(2), RIG.desk_from_base.rotation.T)
    covariance = turn @ np.diag(SIGMA**2) @ turn.T
    return HandEyeCalibration(
        schema_version=SCHEMA_VERSION,
        robot_serial="lab",
        arm=ARM.name,
        arm_sha256=ARM.sha256,
        created_utc=utc_now(),
        method="drawn by a test",
        residual=0.5,
        residual_unit="mm",
        camera=camera,
        intrinsics_sha256=intrinsics_sha256(LAB_INTRINSICS),
        mount=mount,
        position_m=tuple(pose.position_m.tolist()),
        quat_xyzw=tuple(pose.quat_xyzw.tolist()),
        covariance=tuple(tuple(row) for row in ((covariance + covariance.T) / 2).tolist()),
        board="gripper",
        board_position_m=(0.0, 0.0, 0.0),
        board_quat_xyzw=(0.0, 0.0, 0.0, 1.0),
        joint_offset_rad=(0.0,) * ARM.arm_joint_count,
        corner_px=0.3,
        joint_factor=1.0,
        rotation_span_deg=60.0,
        condition=10.0,
        samples=("1", "2", "3", "4", "5"),
        left_out=(),
    )


def moved_by_its_own_uncertainty(desk_from_camera: Pose) -> Pose:
    offset = SIGMA * [1.0, -1.0, 1.0, 1.0, -1.0, 0.5]
    turn = Pose.from_rotvec(np.zeros(3), offset[3:]) @ Pose(np.zeros(3), desk_from_camera.quat_xyzw)
    return Pose(desk_from_camera.position_m + offset[:3], turn.quat_xyzw)


def open_desk(stack: ExitStack, place: CameraPlace, *cameras: str) -> BlockSource:
    address = RobotFile(arm="dofbot", rig="table", port="", endpoint="")
    return open_eyes(
        address, ARM, RIG, STATE, EyesKind.AUTO, stack, desk=DeskChoice(tuple(cameras), place)
    ).source  # fmt: skip


def first_sighting(source: BlockSource) -> BlockSighting:
    end_s = time.monotonic() + 20.0
    while (sighting := source.read_block()) is None and time.monotonic() < end_s:
        time.sleep(0.02)
    assert sighting is not None, source.missing()
    return sighting


def sigmas_off(sighting: BlockSighting) -> float:
    """Return how far a sighting is from the truth on the desk, in its own deviations of x and y."""
    found, turn = RIG.desk_from_base @ sighting.base_from_block, RIG.desk_from_base.rotation
    assert sighting.covariance is not None
    spread = (turn @ sighting.covariance[:3, :3] @ turn.T)[:2, :2]
    error = (found.position_m - BLOCK.position_m)[:2]
    return float(np.sqrt(error @ np.linalg.solve(spread, error)))


def test_with_the_board_covered_the_measured_place_finds_the_block_as_well_as_it_claims(
    served: Served, tmp_path: Path
) -> None:
    measured_at(moved_by_its_own_uncertainty(served.place)).save(tmp_path / "data")
    with ExitStack() as stack:
        sighting = first_sighting(open_desk(stack, CameraPlace.AUTO, f"left={served.covered}"))
    assert sigmas_off(sighting) < 3.0
    assert sighting.covariance is not None
    assert 0.0005 < np.sqrt(np.trace(sighting.covariance[:2, :2])) < 0.003, "the camera's place counts"


def test_with_the_board_covered_nothing_is_found_where_no_place_was_measured(served: Served) -> None:
    with ExitStack() as stack:
        source = open_desk(stack, CameraPlace.AUTO, f"left={served.covered}")
        end_s = time.monotonic() + 20.0
        while "board" not in source.missing() and time.monotonic() < end_s:
            time.sleep(0.02)
        assert "board" in source.missing()
        assert source.read_block() is None


def test_whoever_asks_for_the_measured_place_gets_it_although_the_board_is_seen(served: Served, tmp_path: Path) -> None:
    elsewhere = Pose(served.place.position_m + np.array([0.0, 0.05, 0.0]), served.place.quat_xyzw)
    measured_at(elsewhere).save(tmp_path / "data")
    shift_m = {}
    for place in (CameraPlace.HAND_EYE, CameraPlace.AUTO, CameraPlace.BOARD):
        with ExitStack() as stack:
            sighting = first_sighting(open_desk(stack, place, f"left={served.left}"))
        found = RIG.desk_from_base @ sighting.base_from_block
        shift_m[place] = float(np.linalg.norm((found.position_m - BLOCK.position_m)[:2]))
    assert shift_m[CameraPlace.HAND_EYE] == pytest.approx(0.05, abs=0.02)
    assert shift_m[CameraPlace.AUTO] < 0.002
    assert shift_m[CameraPlace.BOARD] < 0.002


def test_a_place_that_nobody_measured_or_of_a_camera_in_the_hand_is_refused(served: Served, tmp_path: Path) -> None:
    with ExitStack() as stack, pytest.raises(NotCalibrated, match="tandem calibrate hand-eye"):
        open_desk(stack, CameraPlace.HAND_EYE, f"left={served.left}")
    measured_at(served.place, mount=Mount.EYE_IN_HAND).save(tmp_path / "data")
    with ExitStack() as stack, pytest.raises(ForeignCalibration, match="--mount eye-to-hand"):
        open_desk(stack, CameraPlace.AUTO, f"left={served.left}")


def test_two_cameras_find_the_block_together_and_more_surely_than_either(served: Served) -> None:
    alone: list[BlockSighting] = []
    for camera in (f"left={served.left}", f"right={served.right}"):
        with ExitStack() as stack:
            alone.append(first_sighting(open_desk(stack, CameraPlace.AUTO, camera)))
    with ExitStack() as stack:
        source = open_desk(stack, CameraPlace.AUTO, f"left={served.left}", f"right={served.right}")
        assert isinstance(source, FusedSource)
        # Each grows by its age until it is fused: together they are surer where both pictures are fresh.
        alone_m2 = min(plane_m2(one) for one in alone)
        end_s = time.monotonic() + 20.0
        while True:
            both = first_sighting(source)
            if (both.marker_ids == ids_of(alone) and plane_m2(both) < alone_m2) or time.monotonic() > end_s:
                break
            time.sleep(0.02)
    assert both.marker_ids == ids_of(alone)
    assert plane_m2(both) < alone_m2
    assert sigmas_off(both) < 3.5


def plane_m2(sighting: BlockSighting) -> float:
    """Return how sure a place on the desk is: the trace of its covariance."""
    assert sighting.covariance is not None
    return float(np.trace(sighting.covariance[:2, :2]))


def ids_of(sightings: list[BlockSighting]) -> tuple[int, ...]:
    return tuple(sorted({n for s in sightings for n in s.marker_ids}))


def test_two_cameras_of_one_name_are_refused_before_they_are_opened() -> None:
    with pytest.raises(SettingRefused, match="left=uvc:0"):
        DeskChoice(("a=uvc:0", "a=uvc:1")).names()
