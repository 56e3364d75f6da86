"""The lab's wrist camera in colour: the desk's board lies where its geometry says, behind whatever stands before it."""

from __future__ import annotations

import numpy as np
import pytest

from calibration.boards import DESK_BOARD, desk_from_board, detect_markers
from sim.lab_depth import WRIST_CAMERA, LabDepthEye
from sim.lab_truth import LabTruth
from urdf.description import load_arm
from urdf.pose import Pose

ARM = load_arm("dofbot")
RIG = ARM.rig("table")
BLOCK = Pose.from_rpy([*RIG.area_center_m, 0.015], [0.0, 0.0, 0.3])


@pytest.mark.parametrize("level", ["0", "mild"])
def test_the_board_s_markers_are_seen_where_the_wrist_camera_really_is(level: str) -> None:
    truth = LabTruth.draw(2, len(ARM.joint_names), level)
    eye = LabDepthEye(ARM, RIG, truth)
    angles = ARM.joint_angles(RIG.home_rad)
    frame = eye.draw(angles, BLOCK, 0, 0)
    eye.close()
    mount = ARM.camera(WRIST_CAMERA, RIG)
    link = RIG.desk_from_base @ Pose.from_matrix(ARM.chain.link_matrices(angles)[mount.link])
    camera = link @ mount.link_from_camera @ Pose.from_rotvec(truth.wrist_shift_m, truth.wrist_turn_rad)
    seen = {n: c for n, c in detect_markers(frame.rgb).items() if n in DESK_BOARD.ids}
    assert len(seen) >= 8
    camera_from_board = camera.inverse() @ desk_from_board(RIG)
    for marker in DESK_BOARD.markers:
        if marker.id in seen:
            x, y, z = camera_from_board.apply(marker.corners_m()).T
            i = frame.intrinsics
            expected_px = np.stack([i.fx_px * x / z + i.cx_px, i.fy_px * y / z + i.cy_px], axis=1)
            assert np.abs(seen[marker.id] - expected_px).max() < 1.2


def test_the_block_stands_before_the_board() -> None:
    eye = LabDepthEye(ARM, RIG, LabTruth.draw(2, len(ARM.joint_names), "0"))
    angles, far = ARM.joint_angles(RIG.home_rad), Pose.from_rpy([1.0, 1.0, 0.015], [0.0, 0.0, 0.0])
    with_it, without = (eye.draw(angles, block, 0, 0).rgb.astype(int) for block in (BLOCK, far))
    eye.close()
    changed = np.abs(with_it - without).max(axis=2) > 40
    red, _, blue = with_it[changed].mean(axis=0)
    assert 500 < changed.sum() < 10_000
    assert red > 2 * blue, "the block is orange, and the paper is not"
