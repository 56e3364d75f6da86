from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from importlib.util import find_spec

import numpy as np
import pytest

from urdf.pose import Array, Pose, skew

needs_scipy = pytest.mark.skipif(find_spec("scipy") is None, reason="SciPy is not part of the base install")

Sampler = Callable[[np.random.Generator], Array]


def axis(rng: np.random.Generator) -> Array:
    v = rng.normal(size=3)
    return v / np.linalg.norm(v)


def anywhere(rng: np.random.Generator) -> Array:
    return axis(rng) * rng.uniform(0.0, math.pi)


def near_identity(rng: np.random.Generator) -> Array:
    return axis(rng) * 1e-7


def around_the_series(rng: np.random.Generator) -> Array:
    """Angles on both sides of the thresholds below which the closed forms give way to series."""
    return axis(rng) * 10.0 ** rng.uniform(-8.0, -2.0)


def near_half_turn(rng: np.random.Generator) -> Array:
    return axis(rng) * (math.pi - 10.0 ** rng.uniform(-9.0, -3.0))


def about_one_axis(rng: np.random.Generator) -> Array:
    return np.eye(3)[rng.integers(3)] * rng.choice([0.0, math.pi / 2, -math.pi / 2, math.pi])


SAMPLERS: list[Sampler] = [anywhere, near_identity, around_the_series, near_half_turn, about_one_axis]
COUNT = 60

each_sampler = pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda s: s.__name__)


def rotation_matrix(rotvec: Array) -> Array:
    """Return Rodrigues' rotation in the half-angle form, which stays exact near zero."""
    angle = float(np.linalg.norm(rotvec))
    n = rotvec / angle if angle else rotvec
    k = np.array([[0.0, -n[2], n[1]], [n[2], 0.0, -n[0]], [-n[1], n[0], 0.0]])
    return np.eye(3) + math.sin(angle) * k + 2.0 * math.sin(angle / 2) ** 2 * (k @ k)


def draw(sampler: Sampler, rng: np.random.Generator) -> tuple[Pose, Array]:
    """Return a random pose and its matrix, built without Pose."""
    position, rotvec = rng.uniform(-1.0, 1.0, 3), sampler(rng)
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation_matrix(rotvec), position
    return Pose.from_rotvec(position, rotvec), matrix


@each_sampler
def test_a_rotation_vector_becomes_rodrigues_matrix(sampler: Sampler) -> None:
    rng = np.random.default_rng(1)
    for _ in range(COUNT):
        pose, matrix = draw(sampler, rng)
        np.testing.assert_allclose(pose.as_matrix(), matrix, atol=1e-14)
        assert np.linalg.norm(pose.quat_xyzw) == pytest.approx(1.0, abs=1e-15)
        assert pose.quat_xyzw[3] >= 0.0


@each_sampler
def test_a_matrix_and_its_pose_turn_into_each_other(sampler: Sampler) -> None:
    rng = np.random.default_rng(2)
    for _ in range(COUNT):
        _, matrix = draw(sampler, rng)
        np.testing.assert_allclose(Pose.from_matrix(matrix).as_matrix(), matrix, atol=1e-14)


@pytest.mark.parametrize(
    "samplers", list(itertools.product(SAMPLERS, SAMPLERS)), ids=lambda p: "-".join(s.__name__ for s in p)
)
def test_the_group_axioms_hold(samplers: tuple[Sampler, Sampler]) -> None:
    rng = np.random.default_rng(3)
    one = Pose.identity()
    for _ in range(20):
        (a, ma), (b, mb), (c, _) = draw(samplers[0], rng), draw(samplers[1], rng), draw(anywhere, rng)
        np.testing.assert_allclose((a @ b).as_matrix(), ma @ mb, atol=1e-14)
        np.testing.assert_allclose(a.inverse().as_matrix(), np.linalg.inv(ma), atol=1e-14)
        assert ((a @ b) @ c).is_close(a @ (b @ c), 1e-14, 1e-14)
        assert (a @ one).is_close(a, 1e-15, 1e-15)
        assert (one @ a).is_close(a, 1e-15, 1e-15)
        assert (a @ a.inverse()).is_close(one, 1e-14, 1e-14)
        assert (a.inverse() @ a).is_close(one, 1e-14, 1e-14)
        assert (a @ b).inverse().is_close(b.inverse() @ a.inverse(), 1e-14, 1e-14)


@each_sampler
def test_exp_undoes_log_and_log_undoes_exp(sampler: Sampler) -> None:
    rng = np.random.default_rng(4)
    for _ in range(COUNT):
        pose, _ = draw(sampler, rng)
        assert Pose.exp(pose.log()).is_close(pose, 1e-12, 1e-12)
        twist = np.concatenate([rng.uniform(-1.0, 1.0, 3), sampler(rng)])
        # At a half turn the axis may come back reversed: compare the pose there, the twist everywhere else.
        if np.linalg.norm(twist[3:]) < math.pi - 1e-9:
            np.testing.assert_allclose(Pose.exp(twist).log(), twist, atol=1e-9)
        assert Pose.exp(Pose.exp(twist).log()).is_close(Pose.exp(twist), 1e-12, 1e-12)


def test_log_keeps_its_digits_where_the_angle_vanishes() -> None:
    for angle in (1e-3, 1e-5, 1e-7, 1e-9, 1e-12):
        twist = Pose.from_rotvec([0.3, -0.2, 0.1], [angle, 0.0, 0.0]).log()
        assert twist[3] == pytest.approx(angle, rel=1e-12)
        # To first order the translation is p - w x p / 2.
        expected = np.array([0.3, -0.2, 0.1]) - 0.5 * np.cross([angle, 0, 0], [0.3, -0.2, 0.1])
        np.testing.assert_allclose(twist[:3], expected, atol=max(angle * angle, 1e-15))


@needs_scipy
@each_sampler
def test_exp_is_the_exponential_of_the_twists_matrix(sampler: Sampler) -> None:
    from scipy.linalg import expm

    rng = np.random.default_rng(5)
    for _ in range(COUNT):
        twist = np.concatenate([rng.uniform(-1.0, 1.0, 3), sampler(rng)])
        generator = np.zeros((4, 4))
        x, y, z = twist[3:]
        generator[:3, :3] = [[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]]
        generator[:3, 3] = twist[:3]
        np.testing.assert_allclose(Pose.exp(twist).as_matrix(), expm(generator), atol=1e-10)


@needs_scipy
@each_sampler
def test_scipy_agrees_on_quaternions_vectors_and_angles(sampler: Sampler) -> None:
    from scipy.spatial.transform import Rotation

    rng = np.random.default_rng(6)
    for _ in range(COUNT):
        rotvec = sampler(rng)
        pose, referee = Pose.from_rotvec(np.zeros(3), rotvec), Rotation.from_rotvec(rotvec)
        np.testing.assert_allclose(pose.quat_xyzw, referee.as_quat(canonical=True), atol=1e-9)
        np.testing.assert_allclose(pose.rotation, referee.as_matrix(), atol=1e-14)
        assert Pose(np.zeros(3), referee.as_quat()).is_close(pose, 0.0, 1e-14)
        assert np.linalg.norm(pose.rotvec_rad()) == pytest.approx(referee.magnitude(), abs=1e-12)
        other = Rotation.from_rotvec(anywhere(rng))
        between = pose.distance_to(Pose(np.zeros(3), other.as_quat()))[1]
        assert between == pytest.approx((referee.inv() * other).magnitude(), abs=1e-12)
        rpy = rng.uniform(-3.0, 3.0, 3)
        fixed_axes = Rotation.from_euler("xyz", rpy)
        np.testing.assert_allclose(Pose.from_rpy(np.zeros(3), rpy).rotation, fixed_axes.as_matrix(), atol=1e-14)


@each_sampler
def test_points_move_as_the_matrix_moves_them(sampler: Sampler) -> None:
    rng = np.random.default_rng(7)
    points = rng.uniform(-1.0, 1.0, (4, 5, 3))
    for _ in range(COUNT):
        pose, matrix = draw(sampler, rng)
        homogeneous = np.concatenate([points, np.ones((4, 5, 1))], axis=-1)
        np.testing.assert_allclose(pose.apply(points), (homogeneous @ matrix.T)[..., :3], atol=1e-14)
        np.testing.assert_allclose(pose.apply(points[0, 0]), (matrix @ homogeneous[0, 0])[:3], atol=1e-14)


def test_fixed_axis_angles_follow_the_urdf_convention() -> None:
    # Roll about x first, then yaw about the parent's z: the child's y axis goes to z and stays there.
    quarter = math.pi / 2
    pose = Pose.from_rpy([1.0, 2.0, 3.0], [quarter, 0.0, quarter])
    np.testing.assert_allclose(pose.rotation @ [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], atol=1e-15)
    np.testing.assert_allclose(pose.rotation @ [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], atol=1e-15)
    np.testing.assert_allclose(pose.position_m, [1.0, 2.0, 3.0])


def test_yaw_is_the_heading_of_the_x_axis() -> None:
    for yaw in (-3.0, -0.5, 0.0, 0.7, 2.0):
        assert Pose.from_rotvec(np.zeros(3), [0.0, 0.0, yaw]).yaw_rad == pytest.approx(yaw)
    pitched = Pose.from_rpy(np.zeros(3), [0.0, 0.6, 0.4])  # x axis = (cos p cos y, cos p sin y, -sin p)
    assert pitched.yaw_rad == pytest.approx(0.4)


def test_skew_is_the_cross_product() -> None:
    a, b = np.array([0.3, -1.2, 2.0]), np.array([-0.7, 0.1, 0.9])
    np.testing.assert_allclose(skew(a) @ b, np.cross(a, b), atol=1e-15)


def test_distances_are_those_of_position_and_angle() -> None:
    a = Pose.from_rotvec([1.0, 0.0, 0.0], [0.0, 0.0, 0.2])
    b = Pose.from_rotvec([1.0, 0.3, 0.4], [0.0, 0.0, 0.5])
    assert a.distance_to(b) == pytest.approx((0.5, 0.3))
    assert a.is_close(b, 0.51, 0.31)
    assert not a.is_close(b, 0.49, 0.31)
    assert not a.is_close(b, 0.51, 0.29)


def test_a_pose_cannot_be_written_to_and_keeps_no_hold_on_what_it_was_made_of() -> None:
    position, quat = np.array([1.0, 2.0, 3.0]), np.array([0.0, 0.0, 0.0, 1.0])
    pose = Pose(position, quat)
    position[0] = quat[0] = 9.0
    np.testing.assert_array_equal(pose.position_m, [1.0, 2.0, 3.0])
    np.testing.assert_array_equal(pose.quat_xyzw, [0.0, 0.0, 0.0, 1.0])
    with pytest.raises(ValueError, match="read-only"):
        pose.position_m[0] = 0.0
    with pytest.raises(ValueError, match="read-only"):
        pose.quat_xyzw[0] = 0.0
    with pytest.raises(AttributeError):
        pose.position_m = np.zeros(3)  # type: ignore[misc]


def test_quaternions_are_normalised_and_kept_on_one_half_of_the_sphere() -> None:
    np.testing.assert_allclose(Pose(np.zeros(3), np.array([0.0, 0.0, 0.0, -5.0])).quat_xyzw, [0.0, 0.0, 0.0, 1.0])
    np.testing.assert_allclose(Pose(np.zeros(3), np.array([3.0, 0.0, 0.0, -4.0])).quat_xyzw, [-0.6, 0.0, 0.0, 0.8])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        Pose(np.array([0.0, bad, 0.0]), np.array([0.0, 0.0, 0.0, 1.0]))
    with pytest.raises(ValueError, match="finite"):
        Pose(np.zeros(3), np.array([0.0, 0.0, bad, 1.0]))
    with pytest.raises(ValueError, match="finite"):
        Pose.from_rotvec(np.zeros(3), [0.0, bad, 0.0])
    with pytest.raises(ValueError, match="finite"):
        Pose.exp([0.0, 0.0, 0.0, bad, 0.0, 0.0])


def test_wrong_shapes_and_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(3,\)"):
        Pose(np.zeros(2), np.array([0.0, 0.0, 0.0, 1.0]))
    with pytest.raises(ValueError, match=r"\(4,\)"):
        Pose(np.zeros(3), np.zeros(3))
    with pytest.raises(ValueError, match="no rotation"):
        Pose(np.zeros(3), np.zeros(4))


def test_matrices_that_are_no_rigid_transform_are_refused() -> None:
    mirrored, stretched = np.eye(4), np.eye(4)
    mirrored[0, 0] = -1.0
    stretched[0, 0] = 1.01
    for matrix in (mirrored, stretched, np.eye(3), np.full((4, 4), np.nan)):
        with pytest.raises(ValueError, match=r"right-handed|finite"):
            Pose.from_matrix(matrix)
