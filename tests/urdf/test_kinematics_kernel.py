from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("numba")

from urdf.kinematics_kernel import BEST_TILT, RESIDUAL, advance, square_distances
from urdf.pose import Array

#: The tool stands upright, its jaws along x. So the heading's row of the Jacobian is that of the turn about z.
UPRIGHT = np.diag([1.0, -1.0, -1.0, 1.0])
CONE_RAD = math.radians(40.0)
ROWS = [0, 1, 2, 5]


def step_from(q: Array, world: Array, goal: Array, limit_rad: float = 3.0, placement: Array = UPRIGHT) -> Array:
    """Return where one step leads whose goal is so far away that the tool is not righted."""
    end, progress = q.copy(), np.array([math.inf, 0.3, math.inf, math.inf])
    limits = np.stack((np.full(len(q), -limit_rad), np.full(len(q), limit_rad)))
    assert not advance(world, placement, goal, limits, CONE_RAD, True, end, np.empty(len(q)), progress)
    assert progress[RESIDUAL] == pytest.approx(float(np.linalg.norm(goal[:3] - placement[:3, 3])))
    assert progress[BEST_TILT] == math.inf
    return end


@pytest.mark.parametrize("count", [5, 6, 7])
def test_a_step_is_the_shortest_that_meets_position_and_heading(count: int) -> None:
    rng = np.random.default_rng(count)
    for _ in range(100):
        world, goal = rng.normal(size=(6, count)), rng.uniform(0.02, 0.05, 4)
        expected = np.linalg.lstsq(world[ROWS], goal, rcond=None)[0]
        if np.linalg.cond(world[ROWS]) < 10:
            np.testing.assert_allclose(step_from(np.zeros(count), world, goal), expected, atol=1e-6)


def test_a_joint_that_would_leave_its_limit_stands_still_and_the_others_do_its_work() -> None:
    rng = np.random.default_rng(1)
    met = 0
    for _ in range(200):
        world, goal = rng.normal(size=(6, 6)), rng.uniform(0.02, 0.05, 4)
        q = np.zeros(6)
        q[2] = 0.5  # the limit
        free = np.linalg.lstsq(world[ROWS], goal, rcond=None)[0]
        others = np.delete(world[ROWS], 2, axis=1)
        if free[2] > 1e-3 and np.linalg.cond(others) < 10:
            end = step_from(q, world, goal, limit_rad=0.5)
            assert end[2] == 0.5
            np.testing.assert_allclose(np.delete(end, 2), np.linalg.lstsq(others, goal, rcond=None)[0], atol=1e-6)
            met += 1
    assert met > 20


def test_a_step_ends_at_the_limits_and_is_never_longer_than_agreed() -> None:
    rng = np.random.default_rng(2)
    for _ in range(200):
        world, goal = 0.1 * rng.normal(size=(6, 5)), np.append(rng.normal(size=3), 0.5)
        assert np.abs(step_from(np.zeros(5), world, goal)).max() <= 0.6 + 1e-12
        assert np.abs(step_from(np.zeros(5), world, goal, limit_rad=0.1)).max() <= 0.1


@pytest.mark.parametrize("x", [1.0, 1e-2, 1e-5])
def test_jaws_that_stand_upright_and_joints_that_all_do_the_same_are_no_trouble(x: float) -> None:
    # The jaws' axis is (x, 0, z), so its heading turns by wz - z / x wx; 1e-12 keeps it from a division by zero.
    z = math.sqrt(1 - x * x)
    steep = np.array([[x, 0.0, z, 0.0], [0.0, -1.0, 0.0, 0.0], [z, 0.0, -x, 0.0], [0.0, 0.0, 0.0, 1.0]])
    rng = np.random.default_rng(3)
    for _ in range(100):
        column, goal = rng.normal(size=6), rng.uniform(0.02, 0.05, 4)
        row = np.append(column[:3], column[5] - x * z / (x * x + 1e-12) * column[3])
        expected = row @ goal / (5 * row @ row)  # five equal joints share the one thing they can do
        end = step_from(np.zeros(5), np.outer(column, np.ones(5)), goal, placement=steep)
        np.testing.assert_allclose(end, np.full(5, expected), atol=1e-7)


def test_distances_are_numpys() -> None:
    rng = np.random.default_rng(4)
    rows, key = rng.normal(size=(300, 5)), rng.normal(size=5)
    np.testing.assert_array_equal(square_distances(rows, key), ((rows - key) ** 2).sum(axis=1))
