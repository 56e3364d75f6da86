from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from calibration.boards import BLOCK, DESK_BOARD, detect_markers
from sim.errors import SimError
from sim.lab import LabWorld
from sim.lab_camera import LabRenderer
from sim.lab_scene import LAB_INTRINSICS, nominal_camera
from sim.lab_truth import LabTruth, TruthFile
from sim.world import PHYSICS_HZ
from urdf.description import load_arm
from urdf.kinematics import PinocchioKinematics
from urdf.pose import Array, Pose

ARM = load_arm("dofbot")
RIG = ARM.rig("table")
ON, OFF = np.ones(6, dtype=np.bool_), np.zeros(6, dtype=np.bool_)


@pytest.fixture
def truth_path(tmp_path: Path) -> Path:
    return tmp_path / "truth.json"


@pytest.fixture
def lab(truth_path: Path) -> Iterator[LabWorld]:
    lab = LabWorld(ARM, RIG, LabTruth.draw(5, 6), truth_path)
    yield lab
    lab.close()


def move(lab: LabWorld, target_rad: Array, duration_s: float) -> None:
    """Ramp the setpoints as a servo board would."""
    start, steps = lab.positions_rad(), round(duration_s * PHYSICS_HZ)
    for k in range(1, steps + 1):
        lab.drive(start + (target_rad - start) * k / steps, ON)
        lab.step(1 / PHYSICS_HZ)


def test_truth_differs_from_the_training_world_by_no_more_than_it_may() -> None:
    nominal = nominal_camera(RIG)
    truths = [LabTruth.draw(seed, 6) for seed in range(200)]
    zeros = np.degrees([t.servo_zero_rad for t in truths])
    assert np.abs(zeros).max() <= 1.0 < np.abs(zeros).max() + 0.02
    assert all(0.060 <= t.dead_time_s <= 0.120 for t in truths)
    assert all(0.020 <= t.block_mass_kg <= 0.050 and t.block_friction >= 0.6 for t in truths)
    moved = [nominal.distance_to(t.desk_from_camera(nominal)) for t in truths]
    assert max(m for m, _ in moved) <= 0.005 + 1e-12
    assert max(a for _, a in moved) <= math.radians(2.0) + 1e-9
    assert np.median([m for m, _ in moved]) > 0.001
    assert np.median([a for _, a in moved]) > math.radians(0.5)


def test_a_seed_has_one_truth_and_the_file_tells_it(lab: LabWorld, truth_path: Path) -> None:
    assert TruthFile.load(truth_path) == TruthFile(LabTruth.draw(5, 6))
    assert LabTruth.draw(5, 6) != LabTruth.draw(6, 6)
    assert truth_path.stat().st_mode & 0o077 == 0


def test_servos_measure_their_own_zero_and_the_joints_stand_elsewhere(lab: LabWorld) -> None:
    move(lab, RIG.home_rad, 1.0)
    move(lab, RIG.home_rad, 0.3)
    assert lab.positions_rad() == pytest.approx(RIG.home_rad, abs=0.003)
    angles, _ = lab.scene()
    really = np.array([angles[name] for name in ARM.joint_names[:-1]])
    zeros = np.array(LabTruth.draw(5, 6).servo_zero_rad)[:-1]
    assert really - lab.positions_rad()[:-1] == pytest.approx(zeros, abs=1e-9)


def test_without_torque_a_raised_arm_falls_and_with_torque_it_stays(lab: LabWorld) -> None:
    move(lab, RIG.home_rad, 1.0)
    height_m = (RIG.desk_from_base @ ARM.base_from_tool(lab.positions_rad())).position_m[2]
    for _ in range(PHYSICS_HZ):
        lab.drive(RIG.home_rad, ON)
        lab.step(1 / PHYSICS_HZ)
    stayed_m = (RIG.desk_from_base @ ARM.base_from_tool(lab.positions_rad())).position_m[2]
    for _ in range(PHYSICS_HZ):
        lab.drive(RIG.home_rad, OFF)
        lab.step(1 / PHYSICS_HZ)
    fallen_m = (RIG.desk_from_base @ ARM.base_from_tool(lab.positions_rad())).position_m[2]
    assert abs(stayed_m - height_m) < 0.002
    assert fallen_m < height_m - 0.03


def test_time_is_kept_in_whole_physics_steps_with_nothing_lost(lab: LabWorld) -> None:
    for _ in range(100):
        lab.step(0.001)
    assert lab.physics_steps == 24  # 0.1 s at 240 Hz


def test_block_is_placed_flat_in_the_area_at_any_yaw_allowed(lab: LabWorld) -> None:
    move(lab, RIG.home_rad, 1.0)
    rng, yaws = np.random.default_rng(1), []
    for _ in range(40):
        lab.place_block(rng)
        block = lab.block_truth()
        assert RIG.contains(block.position_m[:2])
        assert block.position_m[2] == pytest.approx(0.015)
        yaws.append(block.yaw_rad)
    assert max(np.abs(yaws)) <= math.pi / 4
    assert min(yaws) < -0.4
    assert max(yaws) > 0.4


def test_a_hand_does_not_reach_under_the_arm(lab: LabWorld) -> None:
    kinematics = PinocchioKinematics(ARM, RIG)
    low = kinematics.solve(np.array([*RIG.area_center_m, 0.02]), 0.0)
    move(lab, np.append(low[:5], -1.57), 1.0)
    rng = np.random.default_rng(2)
    for _ in range(20):
        lab.place_block(rng)
        before = lab.block_truth()
        for _ in range(24):
            lab.drive(np.append(low[:5], -1.57), ON)
            lab.step(1 / PHYSICS_HZ)
        assert lab.block_truth().distance_to(before)[0] < 0.001, "the block was put into the arm and was thrown out"
    with pytest.raises(SimError, match="the arm is in the way"):
        lab.place_block(rng, tries=0)


@pytest.mark.parametrize("seed", [0, 4])
@pytest.mark.parametrize("rig_name", ["table", "hanging"])
def test_a_block_is_gripped_lifted_and_held_and_the_camera_sees_it_all_along(
    truth_path: Path, rig_name: str, seed: int
) -> None:
    rig, truth = ARM.rig(rig_name), LabTruth.draw(seed, 6)
    lab, kinematics = LabWorld(ARM, rig, truth, truth_path), PinocchioKinematics(ARM, rig)
    camera = truth.desk_from_camera(nominal_camera(rig))
    eye = LabRenderer(ARM, rig, LAB_INTRINSICS, camera, truth_path.parent, np.random.default_rng(0))
    rng = np.random.default_rng(seed)
    move(lab, rig.home_rad, 1.0)
    for number in (1, 2):
        lab.place_block(rng)
        assert lab.begin_attempt() == number
        block, g = lab.block_truth(), -1.57
        near = lab.positions_rad()
        for height_m, grip, seconds in ((0.06, g, 1.0), (0.018, g, 0.7), (0.018, -0.33, 1.0), (0.06, -0.33, 1.4)):
            arm_rad = kinematics.solve(np.array([*block.position_m[:2], height_m]), block.yaw_rad, near)[:5]
            near = np.append(arm_rad, grip)
            move(lab, near, seconds)
            seen = detect_markers(eye.draw(*lab.scene()))
            assert any(n in seen for n in BLOCK.ids), f"no marker of the block at height {height_m}, grip {grip}"
            assert sum(n in seen for n in DESK_BOARD.ids) >= 6
        move(lab, near, 1.0)
        outcome = lab.end_attempt()
        assert outcome is not None
        assert outcome.success
        assert outcome.held_s >= 0.5
        assert outcome.highest_m == pytest.approx(0.042, abs=0.008)
        move(lab, np.append(near[:5], -1.57), 0.5)
        move(lab, rig.home_rad, 1.0)
    assert [o.success for o in TruthFile.load(truth_path).outcomes] == [True, True]
    eye.close()
    lab.close()


def test_a_block_left_alone_or_let_go_too_soon_is_no_success(lab: LabWorld, truth_path: Path) -> None:
    move(lab, RIG.home_rad, 1.0)
    lab.place_block(np.random.default_rng(3))
    lab.begin_attempt()
    lab.step(0.2)
    left_alone = lab.end_attempt()
    assert left_alone is not None
    assert not left_alone.success
    lab.begin_attempt()
    lab.put_block(Pose.from_rpy([0.0, 0.155, 0.30], [0.0, 0.0, 0.0]))  # in the air for a quarter of a second
    lab.step(1.0)
    dropped = lab.end_attempt()
    assert dropped is not None
    assert dropped.highest_m > 0.2
    assert 0.1 < dropped.held_s < 0.5
    assert not dropped.success
    assert lab.end_attempt() is None
    assert [o.success for o in TruthFile.load(truth_path).outcomes] == [False, False]


def test_a_new_attempt_ends_the_one_under_way(lab: LabWorld, truth_path: Path) -> None:
    assert [lab.begin_attempt(), lab.begin_attempt()] == [1, 2]
    assert [o.attempt for o in TruthFile.load(truth_path).outcomes] == [1]


def test_the_picture_shows_every_face_where_it_really_is(tmp_path: Path) -> None:
    camera = nominal_camera(RIG)
    eye = LabRenderer(ARM, RIG, LAB_INTRINSICS, camera, tmp_path, np.random.default_rng(0))
    angles = ARM.joint_angles(RIG.home_rad)
    shown: dict[int, float] = {}
    for yaw_deg in (15, 105, 195, 285):  # every side face comes round to the front
        block = Pose.from_rpy([0.01, 0.16, 0.015], [0.0, 0.0, math.radians(yaw_deg)])
        seen = detect_markers(eye.draw(angles, block))
        for marker in (m for m in BLOCK.markers if m.id in seen):
            points = camera.inverse().apply(block.apply(marker.corners_m()))
            expected = points @ LAB_INTRINSICS.matrix().T
            shown[marker.id] = float(np.abs(seen[marker.id] - expected[:, :2] / expected[:, 2:]).max())
    eye.close()
    assert set(shown) == set(BLOCK.ids)
    assert max(shown.values()) < 1.0


def test_the_arm_shades_the_desk_and_hides_what_is_behind_it(tmp_path: Path) -> None:
    eye = LabRenderer(ARM, RIG, LAB_INTRINSICS, nominal_camera(RIG), tmp_path, np.random.default_rng(0))
    block = Pose.from_rpy([0.0, 0.155, 0.015], [0.0, 0.0, 0.2])
    with_block = eye.draw(ARM.joint_angles(RIG.home_rad), block)
    without = eye.draw(ARM.joint_angles(RIG.home_rad), Pose.from_rpy([5.0, 5.0, 5.0], [0.0, 0.0, 0.0]))
    eye.close()
    changed = np.abs(with_block.astype(int) - without.astype(int)).max(axis=2) > 25
    rows, columns = np.nonzero(changed)
    assert 1_000 < changed.sum() < 10_000, "block and shadow cover a few thousand pixels"
    assert rows.min() > 100
    assert columns.min() > 100
