from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import ArrayLike

from bridge.encoding import Phase
from bridge.grasp import GraspAttempt
from bridge.messages import RobotState
from bridge.ports import BlockSighting, Kinematics
from tests.bridge.desk import ARM, BLOCK_RAD, PERIOD_S, RIG
from tests.bridge.numeric_ik import NumericKinematics
from urdf.errors import Unreachable
from urdf.pose import Array, Pose

STILL = np.zeros(2, dtype=np.float32)
BLOCK = Pose.from_rotvec([0.02, 0.15, 0.015], [0.0, 0.0, 0.2])


class Attempt:
    """A GraspAttempt whose arm is where the last target was, its jaws no further closed than `jaws_stop_rad`."""

    def __init__(
        self,
        block: Pose = BLOCK,
        kinematics: Kinematics | None = None,
        jaws_stop_rad: float = BLOCK_RAD,
        start_rad: Array = RIG.home_rad,
    ) -> None:
        self.grasp = GraspAttempt(ARM, RIG, kinematics or NumericKinematics(ARM, RIG), PERIOD_S)
        self.block = block
        self._jaws_stop_rad = jaws_stop_rad
        self.target_rad = np.array(start_rad)
        self.periods = 0
        self.grasp.begin(self.state())

    def state(self) -> RobotState:
        position = self.target_rad.copy()
        position[-1] = min(position[-1], self._jaws_stop_rad)
        return RobotState(0, 0, tuple(position.tolist()), (0.0,) * 6, (0.0,) * 6)

    def step(self, action: ArrayLike = STILL) -> None:
        now_ns = self.periods * 50_000_000
        missing = self.grasp.see(self.state(), BlockSighting(self.block, now_ns), "", now_ns)
        self.target_rad = self.grasp.command(np.asarray(action, dtype=np.float32), missing)
        self.periods += 1

    def step_to_block(self) -> None:
        """Straight for the block."""
        motion = (self.block.position_m - self.tool.position_m)[:2] / 0.010
        self.step(motion / max(1.0, float(np.hypot(*motion))))

    def run_to(self, phase: Phase) -> int:
        """Go on towards the block until a phase begins; return the periods it took."""
        before = self.periods
        while self.grasp.phase != phase:
            self.step_to_block()
            assert self.periods - before < 300
        return self.periods - before

    @property
    def tool(self) -> Pose:
        """Where the target puts the tool; in the table rig desk and base are one."""
        return ARM.base_from_tool(self.target_rad)


def test_nothing_jumps_when_an_attempt_begins() -> None:
    attempt = Attempt()
    attempt.step()
    assert np.abs(attempt.target_rad - RIG.home_rad).max() < 0.15
    low = Attempt(start_rad=RIG.home_rad + np.array([0.2, 0.0, 0.1, 0.0, 0.1, 0.3]))
    start = low.target_rad
    low.step()
    assert low.target_rad[-1] == start[-1]  # the jaws stay as they are


def test_the_tool_sinks_a_millimetre_a_period_and_rests_at_the_grasp_height() -> None:
    attempt = Attempt()
    heights_mm = []
    while attempt.grasp.phase == Phase.DESCEND:
        attempt.step_to_block()
        heights_mm.append(1000 * attempt.tool.position_m[2])
    expected = [max(18.0, 60.0 - k) for k in range(1, len(heights_mm) + 1)]
    assert heights_mm == pytest.approx(expected, abs=0.5)
    assert 0.2 <= heights_mm.count(pytest.approx(18.0, abs=0.2)) * PERIOD_S <= 0.4  # until the arm has arrived too
    assert len(heights_mm) <= 100


def test_sideways_it_goes_where_the_action_says_and_no_further_than_10_mm() -> None:
    attempt = Attempt()
    x, y, _ = ARM.base_from_tool(RIG.home_rad).position_m
    attempt.step(np.array([1.0, 0.0]))
    np.testing.assert_allclose(attempt.tool.position_m[:2], [x + 0.010, y], atol=2e-5)
    attempt.step(np.array([1.0, -1.0]))
    diagonal = 0.010 / math.sqrt(2)
    np.testing.assert_allclose(attempt.tool.position_m[:2], [x + 0.010 + diagonal, y - diagonal], atol=2e-5)


def test_the_jaws_turn_five_degrees_a_period_to_the_nearest_face() -> None:
    attempt = Attempt(Pose.from_rotvec([0.0, 0.155, 0.015], [0.0, 0.0, math.radians(40.0)]))
    headings = []
    for _ in range(30):
        attempt.step_to_block()
        headings.append(math.degrees(attempt.tool.yaw_rad))
    start = math.degrees(ARM.base_from_tool(RIG.home_rad).yaw_rad)
    turned = [(h - start + 90.0) % 180.0 - 90.0 for h in headings]
    goal = (40.0 - start + 90.0) % 180.0 - 90.0
    expected = [math.copysign(min(5.0 * k, abs(goal)), goal) for k in range(1, 31)]
    assert turned == pytest.approx(expected, abs=0.2)


def test_the_phases_follow_one_another_with_their_pauses() -> None:
    attempt = Attempt()
    assert 42 <= attempt.run_to(Phase.CLOSE) <= 100  # 42 mm at a millimetre each, and a quarter of a second
    assert attempt.run_to(Phase.LIFT) * PERIOD_S < 3.0
    assert attempt.target_rad[-1] > BLOCK_RAD  # squeezing
    lift = attempt.run_to(Phase.HOLD)
    assert lift == pytest.approx(42 / 2 + 0.25 / PERIOD_S, abs=1)  # 2 mm each
    assert attempt.tool.position_m[2] == pytest.approx(0.060, abs=0.0002)
    assert attempt.run_to(Phase.DONE) * PERIOD_S == pytest.approx(0.5)
    held = attempt.target_rad
    attempt.step()
    np.testing.assert_array_equal(attempt.target_rad, held)


def test_the_arm_stands_still_while_the_jaws_close() -> None:
    attempt = Attempt()
    attempt.run_to(Phase.CLOSE)
    before = attempt.target_rad
    attempt.step(np.array([1.0, 1.0]))  # a policy has no say here
    np.testing.assert_array_equal(attempt.target_rad[:-1], before[:-1])
    assert attempt.target_rad[-1] > before[-1]


def test_jaws_that_closed_on_nothing_lift_nothing() -> None:
    attempt = Attempt(jaws_stop_rad=math.inf)
    attempt.run_to(Phase.CLOSE)
    low_m = attempt.tool.position_m[2]
    while attempt.grasp.phase == Phase.CLOSE:
        attempt.step()
    assert attempt.grasp.phase == Phase.DONE
    assert not attempt.grasp.closed_on_something
    assert attempt.tool.position_m[2] == pytest.approx(low_m)


def test_the_block_can_be_set_down_again() -> None:
    attempt = Attempt()
    attempt.run_to(Phase.DONE)
    low, opened, high = attempt.grasp.release_poses()
    assert ARM.base_from_tool(low).position_m[2] == pytest.approx(0.018, abs=0.0002)
    assert low[-1] > BLOCK_RAD
    np.testing.assert_array_equal(opened[:-1], low[:-1])
    assert opened[-1] == high[-1] == -1.57
    assert ARM.base_from_tool(high).position_m[2] == pytest.approx(0.060, abs=0.0002)


# The block's pose -----------------------------------------------------------------------------------


def test_the_block_is_followed_from_afar_and_latched_within_6_cm() -> None:
    attempt = Attempt()
    attempt.step()
    moved = Pose.from_rotvec([-0.03, 0.16, 0.015], [0.0, 0.0, -0.1])
    attempt.block = moved
    attempt.step()
    assert attempt.grasp.block is not None
    assert attempt.grasp.block.is_close(moved)
    while np.linalg.norm(moved.position_m - attempt.tool.position_m) >= 0.06:
        attempt.step_to_block()
    attempt.step()
    attempt.block = Pose.from_rotvec([0.05, 0.17, 0.015], [0.0, 0.0, 0.4])  # a picture that is wrong: half hidden
    attempt.step()
    assert attempt.grasp.block.is_close(moved)


def test_the_block_is_told_in_the_base_frame_and_known_in_the_desk_frame() -> None:
    rig = ARM.rig("hanging")
    grasp = GraspAttempt(ARM, rig, NumericKinematics(ARM, rig), PERIOD_S)
    state = RobotState(0, 0, tuple(rig.home_rad.tolist()), (0.0,) * 6, (0.0,) * 6)
    grasp.begin(state)
    # Upside-down by half a turn about y, 0.4 m up: (x, y, z) of the desk is (-x, y, 0.4 - z) of the base.
    grasp.see(state, BlockSighting(Pose(np.array([-0.02, 0.11, 0.385]), np.array([0.0, 0.0, 0.0, 1.0])), 0), "", 0)
    assert grasp.block is not None
    np.testing.assert_allclose(grasp.block.position_m, [0.02, 0.11, 0.015], atol=1e-12)


def test_there_is_no_observation_before_the_block_was_seen() -> None:
    attempt = Attempt()
    with pytest.raises(ValueError, match="before the block has been seen"):
        attempt.grasp.observe()


@pytest.mark.parametrize(
    ("sighting", "missing", "said"),
    [
        (None, "", "the block has not been seen"),
        (None, "marker 5 of the desk board", "marker 5 of the desk board"),
        (BlockSighting(BLOCK, 0), "marker 2", "the block was last seen 2.5 s ago; marker 2"),
        (BlockSighting(BLOCK, 0), "", "the block was last seen 2.5 s ago; no newer sighting"),
        (BlockSighting(BLOCK, 600_000_000), "", ""),
        (BlockSighting(BLOCK, 600_000_000), "marker 2", ""),  # seen lately is seen
    ],
)
def test_what_is_missing_is_said_in_words(sighting: BlockSighting | None, missing: str, said: str) -> None:
    attempt = Attempt()
    assert attempt.grasp.see(attempt.state(), sighting, missing, 2_500_000_000) == said


def test_waiting_keeps_the_target_and_ends_after_eight_seconds() -> None:
    attempt = Attempt()
    for _ in range(160):
        np.testing.assert_array_equal(attempt.grasp.command(STILL, "a marker is missing"), RIG.home_rad)
    assert attempt.grasp.phase == Phase.DESCEND
    attempt.grasp.command(STILL, "a marker is missing")
    attempt.grasp.command(STILL, "a marker is missing")
    assert attempt.grasp.phase == Phase.DONE


def test_patience_begins_anew_with_every_sighting() -> None:
    attempt = Attempt()
    for _ in range(2):
        attempt.step()
        for _ in range(150):
            attempt.grasp.command(STILL, "a marker is missing")
    assert attempt.grasp.phase == Phase.DESCEND


# Places the arm cannot reach ------------------------------------------------------------------------


class Walled:
    """A Kinematics that reaches nothing to the right of a wall, or nothing below a floor."""

    def __init__(self, wall_x_m: float = math.inf, floor_m: float = 0.0) -> None:
        self._inner = NumericKinematics(ARM, RIG)
        self._wall_x_m, self._floor_m = wall_x_m, floor_m
        self.tool_in_desk = self._inner.tool_in_desk

    def solve(
        self, desk_position_m: Array, yaw_rad: float, near_rad: Array | None = None, patient: bool = True
    ) -> Array:
        if desk_position_m[0] > self._wall_x_m or desk_position_m[2] < self._floor_m:
            raise Unreachable(desk_position_m, 0.01, "joint1")
        return self._inner.solve(desk_position_m, yaw_rad, near_rad)


def test_where_sideways_is_out_of_reach_the_tool_goes_down_alone() -> None:
    attempt = Attempt(kinematics=Walled(wall_x_m=-0.0801))
    x_m = []
    for _ in range(5):
        attempt.step(np.array([1.0, 0.0]))
        x_m.append(attempt.tool.position_m[0])
    assert x_m[0] == pytest.approx(-0.085, abs=1e-4)
    assert max(x_m) <= -0.0801
    assert attempt.tool.position_m[2] == pytest.approx(0.055, abs=1e-4)
    assert attempt.grasp.unreachable_count == 4


def test_an_attempt_that_cannot_go_down_stays_and_still_ends() -> None:
    attempt = Attempt(kinematics=Walled(floor_m=0.0495), jaws_stop_rad=math.inf)
    attempt.run_to(Phase.DONE)
    assert attempt.tool.position_m[2] >= 0.0495
    assert attempt.grasp.unreachable_count > 0
