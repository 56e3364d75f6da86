"""Servos by camera, against arms whose truth is drawn here: projected with URDF kinematics and a pinhole by hand."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest

from bridge.guards import GuardModel
from bridge.ports import Intrinsics
from calibration.boards import GRIPPER, desk_from_board
from calibration.errors import CalibrationError
from calibration.marker_chain import MarkerChain, Placing, square_m
from calibration.marker_problem import PlaceReference
from calibration.marker_start import plane_pose, solve_placing
from calibration.servo import ServoCalibration
from calibration.servo_poses import SightPlanner
from calibration.servo_vision import MarkerSample, VisionKnowledge, fit_servos
from calibration.servo_vision_file import ServoVisionReport, recalibrated
from urdf.description import load_arm
from urdf.pose import Array, Pose

ARM = load_arm("dofbot")
RIG = ARM.rig("table")
LENS = Intrinsics(640, 480, 510.0, 510.0, 319.5, 239.5)
MOUNT = GRIPPER.markers[0].target_from_marker
SIZE_M = GRIPPER.markers[0].size_m
#: In front of the arm, looking back and down at it.
_DOWN_RAD = math.radians(36.0)
CAMERA = Pose.from_matrix(
    [
        [-1.0, 0.0, 0.0, 0.0],
        [0.0, math.sin(_DOWN_RAD), -math.cos(_DOWN_RAD), 0.44],
        [0.0, -math.cos(_DOWN_RAD), -math.sin(_DOWN_RAD), 0.30],
        [0.0, 0.0, 0.0, 1.0],
    ]
)
BOARD = RIG.desk_from_base.inverse() @ desk_from_board(RIG)
STEP_RAD = np.radians([180 / 2200] * 4 + [270 / 3320])


def seen_by_hand(joints_rad: Array, camera: Pose, mount: Pose) -> Array:
    """Return the corners (4, 2) in normalised coordinates."""
    h = SIZE_M / 2
    corners = [[-h, h, 0], [h, h, 0], [h, -h, 0], [-h, -h, 0]]
    x, y, z = (camera.inverse() @ ARM.base_from_tool(joints_rad) @ mount).apply(corners).T
    return np.stack([x / z, y / z], axis=-1)


def chain() -> MarkerChain:
    return MarkerChain(ARM, square_m(SIZE_M))


@pytest.fixture(scope="module")
def poses() -> Array:
    planner = SightPlanner(ARM, RIG, chain(), Placing(CAMERA, MOUNT), LENS)
    return planner.plan(RIG.home_rad, 26, np.random.default_rng(2), np.full(5, 0.003)).poses_rad


@dataclass(frozen=True)
class Hidden:
    zero_rad: Array
    scale: Array
    samples: list[MarkerSample]
    known: VisionKnowledge


def hidden_arm(poses: Array, seed: int = 0) -> Hidden:
    rng = np.random.default_rng(seed)
    zero, scale = np.radians(rng.uniform(-4.0, 4.0, 5)), rng.uniform(0.95, 1.05, 5)
    camera = CAMERA @ Pose.from_rotvec(rng.normal(size=3) * 0.008, rng.normal(size=3) * 0.04)
    samples = []
    for pose in poses[:, :5]:
        servo = np.round(pose / STEP_RAD) * STEP_RAD
        corners = seen_by_hand(scale * servo + zero, camera, MOUNT) + rng.normal(size=(4, 2)) * 0.3 / LENS.fx_px
        samples.append(MarkerSample(servo, corners))
    known = VisionKnowledge(
        SIZE_M, 0.3 / LENS.fx_px, STEP_RAD / math.sqrt(12), camera.inverse() @ BOARD,
        PlaceReference(BOARD, 0.001, math.radians(0.2)), PlaceReference(MOUNT, 0.002, np.radians([3.0, 3.0, 0.3])),
    )  # fmt: skip
    return Hidden(zero, scale, samples, known)


def test_what_a_corner_does_when_anything_moves_is_what_two_projections_differ_by() -> None:
    rng, e = np.random.default_rng(0), 1e-6
    q = RIG.home_rad[:5] + rng.uniform(-0.3, 0.3, 5)
    seen = chain().see(q[None], Placing(CAMERA, MOUNT))
    np.testing.assert_allclose(seen.image[0], seen_by_hand(q, CAMERA, MOUNT), atol=1e-12)
    for k, nudge in enumerate(e * np.eye(5)):
        slope = (seen_by_hand(q + nudge, CAMERA, MOUNT) - seen_by_hand(q - nudge, CAMERA, MOUNT)).ravel() / (2 * e)
        np.testing.assert_allclose(seen.by_joint[0, :, k], slope, atol=1e-5)
    for k, twist in enumerate(e * np.eye(6)):
        there, back = Placing(CAMERA, MOUNT).moved(twist, 0 * twist), Placing(CAMERA, MOUNT).moved(-twist, 0 * twist)
        slope = seen_by_hand(q, there.base_from_camera, MOUNT) - seen_by_hand(q, back.base_from_camera, MOUNT)
        np.testing.assert_allclose(seen.by_base[0, :, k], slope.ravel() / (2 * e), atol=1e-5)
        slope = seen_by_hand(q, CAMERA, Pose.exp(twist) @ MOUNT) - seen_by_hand(q, CAMERA, Pose.exp(-twist) @ MOUNT)
        np.testing.assert_allclose(seen.by_tool[0, :, k], slope.ravel() / (2 * e), atol=1e-5)


def test_a_camera_and_a_marker_are_found_from_poses_alone() -> None:
    rng = np.random.default_rng(1)
    camera = Pose.from_rotvec(rng.normal(size=3), rng.normal(size=3))
    mount = Pose.from_rotvec(rng.normal(size=3), rng.normal(size=3))
    tools = [Pose.from_rotvec(rng.normal(size=3), rng.normal(size=3)) for _ in range(6)]
    found = solve_placing(tools, [camera.inverse() @ tool @ mount for tool in tools])
    assert found.base_from_camera.is_close(camera, 1e-9, 1e-9)
    assert found.tool_from_marker.is_close(mount, 1e-9, 1e-9)


def test_a_square_is_found_from_its_picture() -> None:
    pose = Pose.from_rpy([0.02, 0.03, 0.4], [3.0, 0.4, 0.5])
    points = pose.apply(square_m(0.03))
    assert plane_pose(points[:, :2] / points[:, 2:], square_m(0.03)).is_close(pose, 1e-9, 1e-9)


@pytest.mark.parametrize("seed", [0, 1])
def test_hidden_zeros_and_scales_are_found_and_so_is_how_sure_that_is(poses: Array, seed: int) -> None:
    hidden = hidden_arm(poses, seed)
    fit = fit_servos(hidden.samples, ARM, hidden.known)
    off = fit.errors.zero_rad - hidden.zero_rad
    assert np.degrees(np.abs(off[1:4])).max() < 0.2
    assert np.degrees(np.abs(off[[0, 4]])).max() < 0.5
    np.testing.assert_allclose(fit.errors.scale, hidden.scale, atol=0.004)
    assert (np.abs(off) < 4 * fit.zero_std_rad).all()
    assert fit.held == ()
    assert fit.dropped == ()
    assert fit.kept_residual * LENS.fx_px == pytest.approx(0.3, abs=0.1)


def test_without_references_the_outer_zeros_stay_as_they_were_and_are_named(poses: Array) -> None:
    hidden = hidden_arm(poses)
    fit = fit_servos(hidden.samples, ARM, replace(hidden.known, board=None, camera_from_board=None, mount=None))
    assert fit.held == ("joint1 zero", "joint5 zero")
    assert fit.errors.zero_rad[[0, 4]].tolist() == [0.0, 0.0]
    assert np.degrees(fit.zero_std_rad[[0, 4]]).min() > 2.9
    assert np.degrees(np.abs(fit.errors.zero_rad - hidden.zero_rad)[1:4]).max() < 0.3
    np.testing.assert_allclose(fit.errors.scale, hidden.scale, atol=0.005)


def test_a_joint_that_stood_still_has_neither_zero_nor_scale_measured(poses: Array) -> None:
    still = poses.copy()
    still[:, 2] = still[0, 2]
    hidden = hidden_arm(still)
    fit = fit_servos(hidden.samples, ARM, hidden.known)
    assert "joint3 scale" in fit.held
    assert fit.errors.scale[2] == 1.0


def test_wild_corners_are_left_out_by_number(poses: Array) -> None:
    hidden = hidden_arm(poses)
    samples = list(hidden.samples)
    for number in (3, 11):
        samples[number] = replace(samples[number], corners=samples[number].corners + 12.0 / LENS.fx_px)
    fit = fit_servos(samples, ARM, hidden.known)
    assert {3, 11} <= set(fit.dropped)
    assert len(fit.dropped) <= 4
    assert np.degrees(np.abs(fit.errors.zero_rad - hidden.zero_rad)[1:4]).max() < 0.3


def test_what_cannot_be_samples_of_an_arm_is_refused(poses: Array) -> None:
    hidden = hidden_arm(poses)
    known, samples = hidden.known, hidden.samples
    with pytest.raises(CalibrationError, match="at least 12"):
        fit_servos(samples[:11], ARM, known)
    with pytest.raises(CalibrationError, match="stayed where it was"):
        fit_servos([replace(s, corners=samples[0].corners) for s in samples], ARM, known)
    with pytest.raises(CalibrationError, match="hardly moved"):
        fit_servos([replace(s, servo_rad=samples[0].servo_rad) for s in samples], ARM, known)
    with pytest.raises(CalibrationError, match="sample 5: every angle"):
        fit_servos([*samples[:5], replace(samples[5], corners=samples[5].corners * math.nan), *samples[6:]], ARM, known)
    turned = [replace(s, corners=t.corners) for s, t in zip(samples, samples[7:] + samples[:7], strict=True)]
    with pytest.raises(CalibrationError, match="do not fit any arm"):
        fit_servos(turned, ARM, known)
    with pytest.raises(CalibrationError, match=r"11 of 14 samples fit one arm.*take more poses"):
        fit_servos([*samples[:11], *turned[11:14]], ARM, known)


def test_poses_are_seen_and_safe_however_wrong_the_servos_are(poses: Array) -> None:
    assert len(poses) >= 20
    rng, guards = np.random.default_rng(5), GuardModel(ARM, RIG)
    for pose in poses:
        assert (pose >= ARM.lower_rad).all()
        assert (pose <= ARM.upper_rad).all()
        corners = seen_by_hand(pose[:5], CAMERA, MOUNT) * LENS.fx_px + [LENS.cx_px, LENS.cy_px]
        assert ((corners > 20) & (corners < [620, 460])).all()
        wrong = np.tile(pose, (20, 1))
        wrong[:, :5] = wrong[:, :5] * rng.uniform(0.95, 1.05, (20, 5)) + np.radians(rng.uniform(-4, 4, (20, 5)))
        assert guards.clearances_m(wrong).min() > 0.0
    assert np.degrees(np.ptp(poses[:, :5], axis=0)).min() > 60.0


def test_a_camera_that_looks_elsewhere_is_refused_before_anything_moves() -> None:
    away = CAMERA @ Pose.from_rpy([0.0, 0.0, 0.0], [0.0, math.pi, 0.0])
    planner = SightPlanner(ARM, RIG, chain(), Placing(away, MOUNT), LENS)
    with pytest.raises(CalibrationError, match="would see the marker in 0 of"):
        planner.plan(RIG.home_rad, 20, np.random.default_rng(0), np.full(5, 0.003))


def test_the_new_file_reads_the_same_counts_as_the_joint_really_stands(poses: Array) -> None:
    hidden = hidden_arm(poses)
    fit = fit_servos(hidden.samples, ARM, hidden.known)
    before = ServoCalibration.nominal(ARM, "unit1")
    after = recalibrated(before, fit, ARM, (96, 4000), 0.3)
    ticks = (1500, 2210, 1890, 2400, 1300, 2000)
    expected = fit.errors.scale * before.to_rad(ticks)[:5] + fit.errors.zero_rad
    np.testing.assert_allclose(after.to_rad(ticks)[:5], expected, atol=1e-12)
    assert after.joints[-1] == before.joints[-1]
    for servo, lower, upper in zip(after.joints[:-1], ARM.lower_rad, ARM.upper_rad, strict=False):
        ends = sorted((servo.to_rad(servo.lower_ticks), servo.to_rad(servo.upper_ticks)))
        assert ends[0] >= lower - 0.002
        assert ends[1] <= upper + 0.002
    report = ServoVisionReport.of(fit, "unit1", ARM, LENS.fx_px)
    assert [j.joint for j in report.joints] == list(ARM.joint_names[:-1])
    assert report.samples == len(hidden.samples)
