from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from calibration.boards import DESK_BOARD, GRIPPER, board_image, desk_from_board, detect_markers
from calibration.lens import project
from sim.lab import LabWorld
from sim.lab_camera import HeldBoard, LabRenderer
from sim.lab_levels import HARD, LEVELS
from sim.lab_scene import LAB_INTRINSICS, nominal_camera
from sim.lab_truth import LabTruth
from sim.world import PHYSICS_HZ
from urdf.description import load_arm
from urdf.errors import UnknownName
from urdf.pose import Array, Pose

ARM = load_arm("dofbot")
RIG = ARM.rig("table")
ON = np.ones(6, dtype=np.bool_)
TRUTH = LabTruth.draw(1, 6, "hard")


@pytest.fixture(scope="module")
def hard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabWorld]:
    lab = LabWorld(ARM, RIG, TRUTH, tmp_path_factory.mktemp("lab") / "truth.json")
    yield lab
    lab.close()


def go_to(lab: LabWorld, servo_rad: Array, seconds: float = 0.6) -> None:
    start, steps = lab.positions_rad(), round(seconds * PHYSICS_HZ)
    for k in range(1, steps + 60):
        lab.drive(start + (servo_rad - start) * min(1.0, k / steps), ON)
        lab.step(1 / PHYSICS_HZ)


def joints(lab: LabWorld) -> Array:
    angles, _ = lab.scene()
    return np.array([angles[name] for name in ARM.joint_names[:-1]])


def test_level_0_hides_nothing() -> None:
    truth = LabTruth.draw(7, 6, "0")
    servos = truth.servos(ARM.gripper.open_rad)
    assert not np.any(servos.zero_rad)
    assert np.all(servos.scale == 1.0)
    assert not any((*truth.camera_shift_m, *truth.camera.distortion, *truth.sag_rad_per_nm, *truth.stick_rad))
    assert truth.camera.intrinsics(LAB_INTRINSICS) == LAB_INTRINSICS
    assert truth.tool_from_marker(Pose.identity()).distance_to(Pose.identity()) == (0.0, 0.0)


def test_hard_reaches_as_far_as_it_says_and_no_further() -> None:
    truths = [LabTruth.draw(seed, 6, "hard") for seed in range(200)]
    zeros = np.degrees([t.servo_zero_rad for t in truths])
    scales = np.array([t.servo_scale for t in truths])
    assert 3.9 < np.abs(zeros).max() <= 4.0
    assert 0.049 < np.abs(scales - 1).max() <= 0.05
    assert all(0.060 <= t.dead_time_s <= 0.150 for t in truths)
    assert 0.5 <= np.degrees([t.backlash_rad for t in truths]).min() < np.degrees(HARD.backlash_rad[1]) <= 1.0
    shifts = [math.hypot(*t.camera_shift_m) for t in truths]
    turns = [math.hypot(*t.camera_turn_rad) for t in truths]
    assert 0.014 < max(shifts) <= 0.015
    assert math.radians(4.9) < max(turns) <= math.radians(5.0)


def test_an_unknown_level_is_refused_with_the_valid_ones() -> None:
    with pytest.raises(UnknownName, match="mild"):
        LabTruth.draw(0, 6, "harder")
    assert list(LEVELS) == ["0", "mild", "hard"]


def test_servos_misread_by_zero_and_scale_and_are_right_where_the_jaws_are_open() -> None:
    servos = TRUTH.servos(ARM.gripper.open_rad)
    assert servos.joint_rad(np.full(6, ARM.gripper.open_rad))[-1] == pytest.approx(ARM.gripper.open_rad)
    expected = np.array(TRUTH.servo_scale)[:5] * 0.3 + np.array(TRUTH.servo_zero_rad)[:5]
    assert servos.joint_rad(np.full(6, 0.3))[:5] == pytest.approx(expected)


def test_the_arm_sags_under_its_own_weight_and_no_servo_tells(hard: LabWorld) -> None:
    reaching = np.array([0.0, -1.0, -0.5, -0.3, 0.0, -1.57])
    go_to(hard, reaching)
    believed = TRUTH.servos(ARM.gripper.open_rad).joint_rad(hard.positions_rad())[:5]
    given_way = joints(hard) - believed
    # The weight turns the outstretched shoulder on in the way that it is bent, and the base, upright, not at all.
    assert math.radians(0.1) < -given_way[1] < math.radians(1.5)
    assert abs(given_way[0]) < 1e-5
    low, high = (RIG.desk_from_base @ ARM.base_from_tool(np.append(q, -1.57)) for q in (joints(hard), believed))
    assert low.position_m[2] < high.position_m[2] - 0.0005


def test_a_joint_stays_on_the_side_that_it_came_from(hard: LabWorld) -> None:
    pose = np.array([0.0, -0.3, -0.5, -0.8, 0.0, -1.57])
    stops = []
    for side in (-0.15, 0.15):
        go_to(hard, pose + np.array([side, 0, 0, 0, 0, 0]))
        go_to(hard, pose)
        stops.append(hard.positions_rad()[0])
    assert stops[1] - stops[0] == pytest.approx(2 * TRUTH.stick_rad[0], rel=0.15)


def test_the_camera_shows_marker_and_board_through_its_own_lens(tmp_path: Path) -> None:
    face = TRUTH.tool_from_marker(GRIPPER.markers[0].target_from_marker)
    camera = TRUTH.desk_from_camera(nominal_camera(RIG))
    eye = LabRenderer(ARM, RIG, LAB_INTRINSICS, camera, tmp_path, np.random.default_rng(0), TRUTH.camera, face)
    try:
        seen = detect_markers(eye.draw(ARM.joint_angles(RIG.home_rad), Pose.identity()))
        lens = TRUTH.camera.intrinsics(LAB_INTRINSICS)
        tool = RIG.desk_from_base @ ARM.base_from_tool(RIG.home_rad)
        square = GRIPPER.markers[0].corners_m()
        in_marker = GRIPPER.markers[0].target_from_marker.inverse().apply(square)
        expected = project(in_marker, camera.inverse() @ tool @ face, lens)
        assert np.abs(seen[40] - expected).max() < 0.7
        board = [seen[m.id] - project(m.corners_m(), camera.inverse() @ desk_from_board(RIG), lens)
                 for m in DESK_BOARD.markers if m.id in seen]  # fmt: skip
        assert np.sqrt(np.mean(np.array(board) ** 2)) < 0.35

        place = Pose.from_rotvec([-0.10, -0.08, 0.32], [0.3, -0.4, 0.1])
        eye.hold_up(HeldBoard(board_image(4), 4000.0, place))
        held = detect_markers(eye.draw(ARM.joint_angles(RIG.home_rad), Pose.identity()))
        height, width = board_image(4).shape[:2]
        for marker in (m for m in DESK_BOARD.markers if m.id in held):
            on_sheet = marker.corners_m() * [1.0, -1.0, 1.0] + [width / 8000, height / 8000, 0.0]
            assert np.abs(held[marker.id] - project(on_sheet, place, lens)).max() < 0.8
        assert len(held) >= 8
    finally:
        eye.close()
