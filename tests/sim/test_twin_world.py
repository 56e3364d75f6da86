from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pybullet as bullet
import pytest

from sim.pinhole import view_matrix
from sim.twin_world import BASES_Y_M, REFERENCE_SPEED_RAD_S, REFERENCE_VIEW, TwinWorld, reference_limits
from urdf.description import load_arm
from urdf.pose import Array

ARM = reference_limits(load_arm("kuka_iiwa"))


@pytest.fixture
def twins() -> Iterator[TwinWorld]:
    world = TwinWorld(ARM)
    yield world
    world.close()
    world.close()


def upright(twins: TwinWorld) -> Array:
    return twins.commanded_rad(0).copy()


def test_the_camera_is_the_references() -> None:
    expected = bullet.computeViewMatrixFromYawPitchRoll([0, 0, 0.7], 1.1, 90, -25, 0, 2)
    np.testing.assert_allclose(view_matrix(REFERENCE_VIEW.desk_from_camera()), expected, atol=1e-6)


def test_the_bases_are_fixed_where_the_references_are(twins: TwinWorld) -> None:
    for arm, y_m in zip(twins.arms, BASES_Y_M, strict=True):
        position, _ = bullet.getBasePositionAndOrientation(arm, physicsClientId=twins.client)
        dynamics = bullet.getDynamicsInfo(arm, -1, physicsClientId=twins.client)
        assert dynamics[0] == 0.0, "a fixed base has no mass"
        assert position[1] == pytest.approx(y_m)
    assert BASES_Y_M == (-0.3, 0.3)


def test_an_arm_goes_where_it_is_sent_and_the_other_stays(twins: TwinWorld) -> None:
    wanted = upright(twins)
    wanted[3] = 1.0
    for _ in range(60):
        twins.command(0, wanted)
        twins.step()
    assert twins.position_rad(0)[3] == pytest.approx(1.0, abs=0.02)
    np.testing.assert_allclose(twins.position_rad(1)[:7], 0.0, atol=0.02)


def test_no_command_leaves_the_limits_or_the_speed(twins: TwinWorld) -> None:
    before = upright(twins)
    for target in (9.0, -9.0):
        for _ in range(25):
            wanted = upright(twins)
            wanted[3] = wanted[5] = target
            sent = twins.command(1, wanted)
            twins.step()
            assert (np.abs(sent.position_rad - before)[:7] <= REFERENCE_SPEED_RAD_S / 30 + 1e-9).all()
            assert (sent.position_rad <= ARM.upper_rad + 1e-9).all()
            assert (sent.position_rad >= ARM.lower_rad - 1e-9).all()
            before = sent.position_rad


def test_what_is_no_number_holds_the_arm(twins: TwinWorld) -> None:
    before = upright(twins)
    sent = twins.command(0, np.full(8, np.nan))
    assert sent.held
    np.testing.assert_array_equal(sent.position_rad, before)


def test_both_arms_are_in_the_picture_the_left_one_on_the_left(twins: TwinWorld) -> None:
    twins.paint(0, [(0.9, 0.1, 0.1, 1.0)])
    rgb, _, bodies = twins.picture(160, 160)
    columns = [np.nonzero(bodies == arm)[1].mean() for arm in twins.arms]
    assert columns[0] < 80 < columns[1]
    painted = rgb[bodies == twins.arms[0]].astype(np.int64)
    assert (painted[:, 0] > painted[:, 1] + 20).mean() > 0.9
    assert min(np.nonzero(bodies == arm)[0].min() for arm in twins.arms) > 0, "nothing is cut off at the top"
