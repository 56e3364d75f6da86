from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from bridge.ports import Intrinsics
from calibration.boards import BLOCK, DESK_BOARD, Target
from perception.markers import Corners, Prior, estimate, project, refine, residual_px, solve
from urdf.pose import Array, Pose

INTRINSICS = Intrinsics(640, 480, 510.0, 512.0, 319.5, 239.5, (0.05, -0.02, 0.001, 0.0, 0.0))


def corners_of(target: Target, ids: tuple[int, ...], camera_from_target: Pose) -> Corners:
    """Corners as a perfect camera sees them, computed with SciPy and the textbook lens model."""
    chosen = [m for m in target.markers if m.id in ids]
    object_m = np.concatenate([m.corners_m() for m in chosen])
    rotation = Rotation.from_quat(camera_from_target.quat_xyzw)
    x, y, z = (rotation.apply(object_m) + camera_from_target.position_m).T
    x, y = x / z, y / z
    k1, k2, p1, p2, k3 = INTRINSICS.distortion
    r2 = x * x + y * y
    radial = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3
    u = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
    v = y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y
    image = np.stack([INTRINSICS.fx_px * u + INTRINSICS.cx_px, INTRINSICS.fy_px * v + INTRINSICS.cy_px], axis=1)
    return Corners(tuple(m.id for m in chosen), object_m, image)


def slanted(rng: np.random.Generator) -> Pose:
    """A pose in front of the camera, faces +x, +y and +z towards it."""
    toward = Pose.from_rpy([0.0, 0.0, 0.0], [math.radians(-125), math.radians(-5), math.radians(rng.uniform(110, 160))])
    turn = Pose.from_rotvec([0.0, 0.0, 0.0], rng.uniform(-0.15, 0.15, 3))
    return Pose(np.array([*rng.uniform(-0.05, 0.05, 2), rng.uniform(0.3, 0.5)]), (toward @ turn).quat_xyzw)


def test_projection_agrees_with_the_textbook() -> None:
    pose = slanted(np.random.default_rng(1))
    corners = corners_of(BLOCK, (0, 2, 4), pose)
    assert project(corners.object_m, pose, INTRINSICS) == pytest.approx(corners.image_px, abs=1e-6)
    assert residual_px(corners, pose, INTRINSICS) < 1e-6


@pytest.mark.parametrize(
    ("target", "ids"), [(BLOCK, (0, 2, 4)), (BLOCK, (0, 4)), (DESK_BOARD, DESK_BOARD.ids)], ids=str
)
def test_several_markers_give_the_pose(target: Target, ids: tuple[int, ...]) -> None:
    rng = np.random.default_rng(2)
    for _ in range(20):
        pose = slanted(rng)
        best = solve(corners_of(target, ids, pose), INTRINSICS)[0]
        assert best.camera_from_target.is_close(pose, 1e-4, 1e-3)


@pytest.mark.parametrize("marker_id", BLOCK.ids)
def test_a_single_marker_gives_both_twins_and_one_of_them_is_true(marker_id: int) -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        face = next(m for m in BLOCK.markers if m.id == marker_id)
        seen = Pose.from_rotvec([*rng.uniform(-0.05, 0.05, 2), 0.4], [math.pi - rng.uniform(0.3, 0.8), 0.0, 0.0])
        pose = seen @ face.target_from_marker.inverse()
        fits = solve(corners_of(BLOCK, (marker_id,), pose), INTRINSICS)
        assert len(fits) == 2
        assert any(f.camera_from_target.is_close(pose, 1e-4, 1e-3) for f in fits)
        apart_m, apart_rad = fits[0].camera_from_target.distance_to(fits[1].camera_from_target)
        assert apart_rad > 0.3, "the twin is another pose, not the same one twice"
        assert fits[1].residual_px < 2.0, "and it explains the corners almost as well"
        assert apart_m < 0.05


def test_refinement_reaches_the_pose_from_a_bad_start() -> None:
    rng = np.random.default_rng(4)
    pose = slanted(rng)
    corners = corners_of(BLOCK, (0, 2, 4), pose)
    start = pose @ Pose.exp(np.array([0.004, -0.003, 0.005, 0.1, -0.08, 0.09]))
    twist, cost = refine(corners, INTRINSICS, lambda t: start @ Pose.exp(t), np.zeros(6))
    assert (start @ Pose.exp(twist)).is_close(pose, 1e-6, 1e-5)
    assert cost < 1e-6


def test_a_prior_decides_what_the_corners_leave_open() -> None:
    pose = slanted(np.random.default_rng(5))
    corners = corners_of(BLOCK, (0, 2, 4), pose)

    def pose_of(values: Array) -> Pose:  # the second parameter changes nothing that a camera sees
        return pose @ Pose.exp(np.array([values[0], 0.0, 0.0, 0.0, 0.0, 0.0]))

    prior = Prior(np.array([9.0, 3.0]), np.array([math.inf, 0.5]))
    best, cost = refine(corners, INTRINSICS, pose_of, np.array([0.003, 0.0]), prior)
    assert best == pytest.approx([0.0, 3.0], abs=1e-6)
    assert cost < 1e-6


def shaken(corners: Corners, sigma_px: float, rng: np.random.Generator) -> Corners:
    spread = np.tile(sigma_px**2 * np.eye(8), (len(corners.ids), 1, 1))
    noisy = corners.image_px + rng.normal(0.0, sigma_px, corners.image_px.shape)
    return Corners(corners.ids, corners.object_m, noisy, spread)


@pytest.mark.parametrize(("ids", "sigma_px"), [((4,), 0.02), ((0, 2, 4), 0.2)], ids=["one marker", "three markers"])
def test_errors_of_a_pose_are_as_large_as_claimed(ids: tuple[int, ...], sigma_px: float) -> None:
    rng = np.random.default_rng(6)
    scaled = []
    for _ in range(150):
        pose = slanted(rng)
        found = estimate(shaken(corners_of(BLOCK, ids, pose), sigma_px, rng), INTRINSICS)
        assert found is not None
        turned = Rotation.from_quat(found.camera_from_target.quat_xyzw) * Rotation.from_quat(pose.quat_xyzw).inv()
        error = np.concatenate([found.camera_from_target.position_m - pose.position_m, turned.as_rotvec()])
        scaled.append(float(error @ np.linalg.solve(found.covariance, error)))
    # Chi squared of six numbers: 6 on average, and with 150 draws within 10 % of that nine times in ten. Where few
    # corners leave more than they should the claim grows, so it errs towards the careful side.
    assert 3.5 < np.mean(scaled) < 6.6
    assert np.mean(np.array(scaled) > 12.6) < 0.08  # one in twenty


def test_twins_that_corners_cannot_tell_apart_are_owned_up_to() -> None:
    rng = np.random.default_rng(7)
    flips = chances = 0.0
    covered: list[bool] = []
    for _ in range(200):
        seen = Pose.from_rotvec([0.0, 0.0, 0.4], [math.pi - rng.uniform(0.25, 0.6), 0.0, 0.0])
        pose = seen @ BLOCK.markers[4].target_from_marker.inverse()
        found = estimate(shaken(corners_of(BLOCK, (4,), pose), 0.3, rng), INTRINSICS)
        assert found is not None
        if found.twin is None:
            continue
        flipped = found.twin.distance_to(pose)[1] < found.camera_from_target.distance_to(pose)[1]
        flips, chances = flips + flipped, chances + found.twin_chance
        error = found.camera_from_target.position_m - pose.position_m
        covered.append(bool(error @ np.linalg.solve(found.covariance[:3, :3], error) < 11.3))
    assert flips > 6, "with corners this poor some poses are flipped"
    # As many as are announced; rather fewer, since corners that fit badly make the odds more careful.
    assert 0.6 < flips / chances < 1.2
    assert np.mean(covered) > 0.97, "the covariance spans both"


def test_where_it_was_a_moment_ago_tells_the_twin_from_the_pose() -> None:
    rng = np.random.default_rng(8)
    right = {True: 0, False: 0}
    for _ in range(60):
        seen = Pose.from_rotvec([0.0, 0.0, 0.4], [math.pi - 0.4, 0.0, 0.0])
        pose = seen @ BLOCK.markers[4].target_from_marker.inverse()
        corners = shaken(corners_of(BLOCK, (4,), pose), 0.4, rng)
        before = pose @ Pose.exp(np.array([0.0, 0.0, 0.0, *rng.normal(0.0, 0.05, 3)]))
        for known in (True, False):
            found = estimate(corners, INTRINSICS, before if known else None)
            assert found is not None
            right[known] += found.camera_from_target.distance_to(pose)[1] < 0.4
    assert right[True] > right[False]
    assert right[True] >= 58
