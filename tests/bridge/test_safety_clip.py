"""Why one common scale: what clipping each joint by itself does near the table, and what the filter does there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from bridge.safety import SafetyFilter
from tests.bridge.safety_histories import clearances_m
from urdf.description import Rig, load_arm
from urdf.pose import Array

ARM = load_arm("dofbot")
PERIOD_S = 0.05
NEAR_M, REACH_RAD = 0.02, 0.3
FLOORS = sum(g.link != ARM.chain.root for g in ARM.guards)


@dataclass(frozen=True, slots=True)
class Moves:
    """Straight ways in joint space from `start` to `end` (m, 6), above the floor all along."""

    rig: Rig
    start: Array
    end: Array

    def height_m(self, poses: Array) -> Array:
        return clearances_m(ARM, self.rig, poses)[:, :FLOORS].min(axis=1)


def near_table_moves(rig_name: str, poses: int) -> Moves:
    """Between poses whose lowest sphere is within 2 cm of the floor; no joint turns by more than 0.3 rad."""
    rig, rng = ARM.rig(rig_name), np.random.default_rng(11)
    moves = Moves(rig, *np.empty((2, 0, 6)))
    start = rng.uniform(ARM.lower_rad, ARM.upper_rad, (poses, 6))
    height = moves.height_m(start)
    start = np.repeat(start[(height > 0) & (height < NEAR_M)], 12, axis=0)
    end = np.clip(start + rng.uniform(-REACH_RAD, REACH_RAD, start.shape), ARM.lower_rad, ARM.upper_rad)
    height = moves.height_m(end)
    keep = (height > 0) & (height < NEAR_M)
    start, end = start[keep], end[keep]
    way = np.min([moves.height_m(start + part * (end - start)) for part in np.linspace(0, 1, 21)], axis=0)
    return Moves(rig, start[way > 1e-4], end[way > 1e-4])


def lowest_when_clipped_m(moves: Moves) -> Array:
    """Return (m,) the lowest height of the outputs when each joint goes as fast as it can by itself."""
    at, most = moves.start.copy(), ARM.max_speed_rad_s * PERIOD_S
    lowest = np.full(len(at), np.inf)
    while np.abs(moves.end - at).max() > 0:
        at = at + np.clip(moves.end - at, -most, most)
        lowest = np.minimum(lowest, moves.height_m(at))
    return lowest


@pytest.mark.parametrize(("rig_name", "poses", "share"), [("table", 15_000, 0.068), ("hanging", 4_000, 0.034)])
def test_clipping_each_joint_dips_below_the_table_where_the_filter_walks_straight_past_it(
    rig_name: str, poses: int, share: float
) -> None:
    """7 % of the moves of the standing arm, 3 % of the hanging one, up to 2 cm deep."""
    moves = near_table_moves(rig_name, poses)
    assert len(moves.start) > 500
    lowest = lowest_when_clipped_m(moves)
    assert float(np.mean(lowest < 0)) == pytest.approx(share, rel=0.4)
    assert -0.03 < lowest.min() < -0.005
    safety = SafetyFilter(ARM, moves.rig, PERIOD_S)
    dipped = np.flatnonzero(lowest < 0)[:50]
    for start, end in zip(moves.start[dipped], moves.end[dipped], strict=True):
        state = safety.initial(start)
        if clearances_m(ARM, moves.rig, np.stack([start, end])).min() < 0:
            continue  # folded into itself: another rule's business
        for _ in range(8):
            state, output = safety.step(state, end, state.position_rad, PERIOD_S)
            assert moves.height_m(output.position_rad[None])[0] > 0
            assert not output.reason.startswith("guard")
        np.testing.assert_allclose(state.position_rad, end, atol=1e-9)
