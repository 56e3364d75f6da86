"""A learned locator as a source of sightings: a network that always says the same, in the lab's wrist camera."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bridge.messages import RobotState
from bridge.observation import CameraView, ImageKind
from bridge.ports import Frame
from calibration.lens import project
from perception.arm_track import ArmTrack
from perception.errors import LocatorUnfit
from perception.learned import SCHEMA, LearnedLocator, LocatorManifest, save_locator
from perception.learned_eye import LearnedEye
from perception.plane import find_desk
from perception.rgbd import DepthLocator, MountedCamera
from perception.view import view_intrinsics
from scripts.programs.arm_mask import RenderedArmMask
from sim.lab_depth import LabDepthEye
from sim.lab_truth import LabTruth
from urdf.description import load_arm
from urdf.pose import Pose

ARM = load_arm("dofbot")
RIG = ARM.rig("table")
MOUNT = ARM.camera("wrist", RIG)
SIDE = 64
LENS = view_intrinsics(MOUNT, CameraView("wrist", ImageKind.DEPTH))
STANDING = Pose.from_rpy([*RIG.area_center_m, 0.015], [0.0, 0.0, 0.4])


def always(folder: Path, outputs: np.ndarray) -> LearnedLocator:
    """Return a locator that says `outputs` (9,) of every picture."""
    size = 2 * SIDE * SIDE
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["pictures"], ["flat"]),
            helper.make_node("MatMul", ["flat", "nothing"], ["zero"]),
            helper.make_node("Add", ["zero", "said"], ["outputs"]),
        ],
        "always",
        [helper.make_tensor_value_info("pictures", TensorProto.FLOAT, ["n", 2, SIDE, SIDE])],
        [helper.make_tensor_value_info("outputs", TensorProto.FLOAT, ["n", 9])],
        [
            numpy_helper.from_array(np.zeros((size, 9), np.float32), "nothing"),
            numpy_helper.from_array(outputs.astype(np.float32), "said"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    manifest = LocatorManifest(
        SCHEMA, ARM.name, ARM.sha256, "table", "wrist", (ImageKind.DEPTH,), SIDE, MOUNT.fov_y_rad, 0.030, "mild", 1,
        1.0, 0.001, 0.003, 0.02, "by hand", "", {}, "", "",
    )  # fmt: skip
    pictures = np.zeros((2, 2, SIDE, SIDE), np.float32)
    return save_locator(
        folder,
        manifest,
        model.SerializeToString(),
        pictures,
        lambda p: np.tile(outputs.astype(np.float32), (len(p), 1)),
    )


@pytest.fixture(scope="module")
def lab() -> Iterator[LabDepthEye]:
    eye = LabDepthEye(ARM, RIG, LabTruth.draw(3, len(ARM.joint_names), "0"))
    yield eye
    eye.close()


@pytest.fixture(scope="module")
def mask() -> Iterator[RenderedArmMask]:
    mask = RenderedArmMask(ARM, RIG)
    yield mask
    mask.close()


def eye_of(locator: LearnedLocator, mask: RenderedArmMask) -> LearnedEye:
    count, track = len(ARM.joint_names), ArmTrack()
    track.add(RobotState(0, 10**9, tuple(RIG.home_rad.tolist()), (0.0,) * count, (0.0,) * count))
    mounted = MountedCamera(ARM, RIG, MOUNT, covariance=np.diag([1e-6] * 3 + [1e-4] * 3))
    return LearnedEye(locator, mounted, track, DepthLocator(mounted, track, mask))


def outputs_at(frame: Frame, place: Pose, there: float = 8.0) -> np.ndarray:
    """Return what a network says that sees the block at a place, to two pixels; `there`: how surely at all."""
    believed = MountedCamera(ARM, RIG, MOUNT).pose(RIG.home_rad)
    assert frame.depth_m is not None
    rows, columns = np.indices(frame.depth_m.shape)
    flat = np.stack([columns - frame.intrinsics.cx_px, rows - frame.intrinsics.cy_px], axis=-1) / frame.intrinsics.fx_px
    points = np.concatenate([flat, np.ones((*flat.shape[:2], 1))], axis=2) * frame.depth_m[..., None]
    camera = find_desk(points[frame.depth_m > 0], believed).desk_from_camera
    pixel = project(place.position_m[None], camera.inverse(), LENS)[0]
    column, row = pixel / ((SIDE - 1) / 2) - 1.0
    sure = math.log(2 / (SIDE / 2))
    return np.array([column, row, sure, sure, 0.0, 1.0, 0.0, math.log(0.05), there])


def test_a_standing_block_is_where_the_network_says_with_its_covariance(
    lab: LabDepthEye, mask: RenderedArmMask, tmp_path: Path
) -> None:
    frame = lab.draw(ARM.joint_angles(RIG.home_rad), STANDING, 1, 10**9)
    off = Pose(
        STANDING.position_m + np.array([0.004, 0.0, 0.0]), STANDING.quat_xyzw
    )  # it errs by 4 mm: that must be seen
    sighting = eye_of(always(tmp_path, outputs_at(frame, off)), mask).locate(frame)
    found = RIG.desk_from_base @ sighting.base_from_block
    np.testing.assert_allclose(found.position_m, off.position_m, atol=3e-4)
    assert sighting.covariance is not None
    assert sighting.stamp_ns == 10**9
    sigma_m = np.sqrt(np.linalg.eigvalsh(sighting.covariance[:2, :2]))
    assert (sigma_m > 0.001).all(), "a pixel of so wide a picture is a millimetre, and the mounting's is in it"
    assert (sigma_m < 0.02).all()


@pytest.mark.parametrize("there", [8.0, -8.0], ids=["seen where nothing stands", "not seen"])
def test_where_the_network_is_wrong_the_block_is_looked_for_by_its_shape(
    lab: LabDepthEye, mask: RenderedArmMask, tmp_path: Path, there: float
) -> None:
    frame = lab.draw(ARM.joint_angles(RIG.home_rad), STANDING, 1, 10**9)
    elsewhere = Pose(STANDING.position_m + np.array([0.05, 0.0, 0.0]), STANDING.quat_xyzw)
    sighting = eye_of(always(tmp_path, outputs_at(frame, elsewhere, there)), mask).locate(frame)
    found = RIG.desk_from_base @ sighting.base_from_block
    np.testing.assert_allclose(found.position_m, STANDING.position_m, atol=0.006)


def test_a_locator_of_another_camera_is_refused_before_anything_is_looked_at(
    mask: RenderedArmMask, tmp_path: Path
) -> None:
    locator, track = always(tmp_path, np.zeros(9)), ArmTrack()
    other = MountedCamera(ARM, RIG, ARM.camera("wrist_reference", RIG))
    with pytest.raises(LocatorUnfit, match="wrist_reference"):
        LearnedEye(locator, other, track, DepthLocator(other, track, mask))
