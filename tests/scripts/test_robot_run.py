"""What the camera must have shown before a lift is judged."""

from __future__ import annotations

import numpy as np

from bridge.ports import BlockSighting
from scripts.programs.robot_run import STEADY_M, stands_still
from urdf.pose import Pose


def sightings(*heights_m: float) -> list[BlockSighting]:
    still = np.array([0.0, 0.0, 0.0, 1.0])
    return [BlockSighting(Pose(np.array([0.2, 0.0, height]), still), i) for i, height in enumerate(heights_m)]


def test_a_block_stands_still_when_two_pictures_in_a_row_agree() -> None:
    assert stands_still(sightings(0.02, 0.06, 0.06 + STEADY_M / 2))


def test_a_block_that_rises_or_was_seen_once_does_not_stand_still() -> None:
    assert not stands_still(sightings(0.02, 0.02 + 2 * STEADY_M))
    assert not stands_still(sightings(0.06, 0.06, 0.06 - 2 * STEADY_M))
    assert not stands_still(sightings(0.06))
    assert not stands_still([])
