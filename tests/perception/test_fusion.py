from __future__ import annotations

import numpy as np
import pytest

from bridge.ports import BlockSighting
from perception.errors import PoseUncertain
from perception.fusion import SPEED_SIGMA_M_S, FusedSource, fuse, grown
from urdf.pose import Array, Pose

PLACE = Pose.from_rpy([0.10, 0.20, 0.015], [0.0, 0.0, 0.4])


def covariance(x_m: float, y_m: float) -> Array:
    return np.diag([x_m, y_m, 0.001, 0.01, 0.01, 0.02]) ** 2


def seen(x_m: float, y_m: float, spread: Array | None, stamp_ns: int = 0, ids: tuple[int, ...] = ()) -> BlockSighting:
    moved = Pose(PLACE.position_m + np.array([x_m, y_m, 0.0]), PLACE.quat_xyzw)
    return BlockSighting(moved, stamp_ns, ids, spread)


class Fixed:
    """A source that says what it was told to."""

    def __init__(self, sighting: BlockSighting | None, missing: str = "") -> None:
        self.sighting, self._missing = sighting, missing

    def read_block(self) -> BlockSighting | None:
        return self.sighting

    def missing(self) -> str:
        return self._missing


class StoppedClock:
    def now_ns(self) -> int:
        return 1_000_000_000

    def sleep_until(self, deadline_ns: int) -> None:
        raise AssertionError("nothing sleeps here")


def test_each_axis_follows_the_camera_that_sees_it_well() -> None:
    # One camera knows x ten times better, the other y; by hand, the weights are 100 / 101 and 1 / 101.
    fused = fuse(
        [
            seen(0.002, 0.000, covariance(0.001, 0.010), ids=(2,)),
            seen(0.000, 0.003, covariance(0.010, 0.001), ids=(4, 2)),
        ]
    )
    x, y, _ = fused.base_from_block.position_m - PLACE.position_m
    assert x == pytest.approx(0.002 * 100 / 101)
    assert y == pytest.approx(0.003 * 100 / 101)
    assert fused.marker_ids == (2, 4)
    assert fused.covariance is not None
    assert np.sqrt(fused.covariance[0, 0]) == pytest.approx(0.001 / np.sqrt(1.01))


def test_the_order_of_the_cameras_does_not_matter() -> None:
    a = seen(0.002, 0.001, covariance(0.001, 0.004), stamp_ns=10)
    b = BlockSighting(PLACE @ Pose.exp([0.0, 0.001, 0.0, 0.01, 0.0, 0.03]), 10, (), covariance(0.002, 0.003))
    one, other = fuse([a, b]), fuse([b, a])
    assert one.base_from_block.is_close(other.base_from_block, 1e-5, 1e-4)
    assert one.covariance == pytest.approx(other.covariance)


def test_errors_of_fused_sightings_are_as_large_as_claimed() -> None:
    rng = np.random.default_rng(3)
    spreads = [covariance(0.001, 0.010), covariance(0.010, 0.001)]
    scaled = []
    for _ in range(300):
        draws = [rng.multivariate_normal(np.zeros(6), s) for s in spreads]
        sightings = [
            BlockSighting(
                Pose(PLACE.position_m + d[:3], (Pose.from_rotvec(np.zeros(3), d[3:]) @ PLACE).quat_xyzw), 0, (), s
            )
            for d, s in zip(draws, spreads, strict=True)
        ]
        fused = fuse(sightings)
        error = fused.base_from_block.position_m - PLACE.position_m
        assert fused.covariance is not None
        scaled.append(float(error @ np.linalg.solve(fused.covariance[:3, :3], error)))
    assert np.mean(scaled) == pytest.approx(3.0, rel=0.18)


def test_an_old_sighting_counts_less() -> None:
    fresh, old = seen(0.0, 0.0, covariance(0.001, 0.001), 10**9), seen(0.01, 0.0, covariance(0.001, 0.001), 0)
    fused = fuse([old, fresh])
    assert fused.stamp_ns == 10**9
    # By hand: a second later its spread is that of the speed, 50 mm, and its weight 1 : 2501.
    assert fused.base_from_block.position_m[0] - PLACE.position_m[0] == pytest.approx(0.01 / 2502, rel=1e-3)
    assert grown(np.zeros((6, 6)), 2.0)[0, 0] == pytest.approx((2 * SPEED_SIGMA_M_S) ** 2)


def test_cameras_that_contradict_each_other_are_an_error() -> None:
    with pytest.raises(PoseUncertain, match=r"20\.0 mm .* calibrate the cameras' places again"):
        fuse([seen(0.0, 0.0, covariance(0.001, 0.001)), seen(0.02, 0.0, covariance(0.001, 0.001))])


def test_without_a_covariance_there_is_nothing_to_weigh() -> None:
    with pytest.raises(ValueError, match="none of 1 sightings"):
        fuse([seen(0.0, 0.0, None)])


def test_a_source_of_several_leaves_out_what_is_old_and_says_what_all_lack() -> None:
    now_ns = StoppedClock().now_ns()
    fresh = Fixed(seen(0.0, 0.0, covariance(0.001, 0.001), now_ns - 10_000_000))
    old = Fixed(seen(0.5, 0.0, covariance(0.001, 0.001), now_ns - 900_000_000), "no marker of the block")
    never = Fixed(None, "no picture yet")
    both = FusedSource([fresh, old, never], clock=StoppedClock()).read_block()
    assert both is not None
    assert both.base_from_block.is_close(PLACE)
    assert FusedSource([fresh, never]).missing() == ""
    assert FusedSource([old, never, never]).missing() == "no marker of the block; no picture yet"
    assert FusedSource([never]).read_block() is None
    last = FusedSource([old, never], clock=StoppedClock()).read_block()
    assert last is not None
    assert last.stamp_ns == now_ns - 900_000_000, "its age is the caller's to judge"


def test_while_two_contradict_each_other_the_last_sighting_ages_and_the_reason_is_told() -> None:
    now_ns, spread = StoppedClock().now_ns(), covariance(0.001, 0.001)
    one, other = Fixed(seen(0.0, 0.0, spread, now_ns - 10)), Fixed(seen(0.0, 0.0, spread, now_ns - 10))
    eyes = FusedSource([one, other], clock=StoppedClock())
    agreed = eyes.read_block()
    assert agreed is not None
    other.sighting = seen(0.02, 0.0, spread, now_ns)
    assert eyes.read_block() is agreed
    assert "20.0 mm" in eyes.missing()
    other.sighting = seen(0.001, 0.0, spread, now_ns)
    assert eyes.read_block() is not agreed
    assert eyes.missing() == ""
