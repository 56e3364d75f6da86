"""The sentences that the safety filter promises, each one asserted over every step of 10^5 hostile sequences.

`TANDEM_DEEP=1` (`make check-deep`) runs the full count, any other run 2,000 (`TANDEM_SEQUENCES`) of them.
"""

from __future__ import annotations

import math
import os

import numpy as np
import pytest
from numpy.typing import NDArray

from bridge.guards import GuardModel
from bridge.safety import SafetyFilter
from tests.bridge.safety_histories import DEEP, PERIOD_S, STEPS, Histories, again, clearances_m, draw
from urdf.description import ArmDescription, Rig, load_arm
from urdf.errors import PackageMissing
from urdf.pose import Array

pytestmark = pytest.mark.timeout(1800 if DEEP else 120)

#: What is promised, in figures of its own: a changed constant of the filter must not change them along.
ACCELERATION_RAD_S2, RETURN_SPEED_RAD_S, LAG_S, LIMIT_TOLERANCE_RAD = 20.0, 0.3, 0.2, 1.5e-3
MIN_DURATION_S, MAX_DURATION_S = 1e-3, 5.0
ROUNDING_RAD = 1e-12  # of sums of a few radians
ROUNDING_M = 1e-12
#: (arm, rig): the share of the sequences that it gets.
SHARES = {("dofbot", "table"): 0.4, ("dofbot", "hanging"): 0.3, ("ur5", "table"): 0.15, ("kuka_iiwa", "table"): 0.15}
SEQUENCES = 100_000 if DEEP else int(os.environ.get("TANDEM_SEQUENCES", "2000"))


class Told:
    """An arm on a rig and what its filter was told."""

    def __init__(self, name: str, rig_name: str) -> None:
        try:
            self.arm: ArmDescription = load_arm(name)
        except PackageMissing as error:
            pytest.skip(str(error))
        self.rig: Rig = self.arm.rig(rig_name)
        self.all: Histories = draw(self.arm, self.rig, round(SHARES[name, rig_name] * SEQUENCES), seed=20260101)

    @property
    def step(self) -> Array:
        return self.all.after - self.all.before

    @property
    def below(self) -> NDArray[np.bool_]:
        return self.all.before < self.arm.lower_rad

    @property
    def above(self) -> NDArray[np.bool_]:
        return self.all.before > self.arm.upper_rad

    @property
    def inside(self) -> NDArray[np.bool_]:
        return ~(self.below | self.above)


@pytest.fixture(scope="module", params=list(SHARES), ids="-".join)
def told(request: pytest.FixtureRequest) -> Told:
    return Told(*request.param)


def test_the_histories_are_hostile_and_go_everywhere(told: Told) -> None:
    """What follows would hold of a filter that never moves, or of an arm that never comes near anything."""
    if SEQUENCES < 2_000:
        pytest.skip("too few histories to go everywhere")
    said, sane = told.all, told.all.sane
    moved = np.abs(told.step).max(axis=1) > 1e-6
    assert 0.03 < np.mean(~sane) < 0.3
    assert np.mean(moved[sane]) > 0.4
    assert np.mean(~said.limited) > 0.02
    assert np.mean(~told.inside.all(axis=1)) > 0.05
    assert np.mean(np.array([r.startswith("guard") for r in said.reasons])) > 0.02
    for words in ("limit", "speed or braking distance", "does not follow", "not finite", "duration"):
        assert any(words in reason for reason in said.reasons), words
    near = (said.before > told.arm.upper_rad - 0.05) & told.inside
    assert near.any(axis=0).all()
    hit = clearances_m(told.arm, told.rig, said.before[::STEPS]).min(axis=1) < 0
    assert 0.05 < np.mean(hit) < 0.95


def test_every_output_is_finite_and_so_is_its_time(told: Told) -> None:
    assert np.isfinite(told.all.after).all()
    assert np.isfinite(told.all.velocity).all()
    assert (told.all.duration_s >= MIN_DURATION_S).all()
    assert (told.all.duration_s <= MAX_DURATION_S).all()


def test_the_state_is_the_last_output_and_its_velocity(told: Told) -> None:
    goes_on = ~told.all.first[1:]
    assert np.array_equal(told.all.before[1:][goes_on], told.all.after[:-1][goes_on])
    np.testing.assert_allclose(
        told.all.velocity * told.all.duration_s[:, None], told.step, rtol=1e-12, atol=ROUNDING_RAD
    )


def test_a_joint_that_is_inside_its_limits_stays_inside(told: Told) -> None:
    """Without any tolerance."""
    assert (told.all.after >= told.arm.lower_rad)[told.inside].all()
    assert (told.all.after <= told.arm.upper_rad)[told.inside].all()


def test_no_joint_is_faster_than_it_can_brake_in_the_room_that_it_has(told: Told) -> None:
    """v <= sqrt(2 a room), v the mean speed of the step, room what lay before the joint when it began.

    The discrete rule asks for more: after steps that shrink by a T^2 each, the last one still ends inside. In units of
    a T^2, a step of v = k + f (k whole, 0 <= f < 1) needs (k + 1) v - k (k + 1) / 2 of room, which is
    (v^2 + k + f (2 - f)) / 2 >= v^2 / 2. And the next step may be one unit shorter: (v - 1)^2 <= 2 (room - v), the same
    rule from where it ends.
    """
    unit_rad_s = ACCELERATION_RAD_S2 * told.all.duration_s[:, None]
    speed = np.abs(told.step) / told.all.duration_s[:, None]
    ahead = np.where(told.step > 0, told.arm.upper_rad - told.all.before, told.all.before - told.arm.lower_rad)
    left = np.where(told.step > 0, told.arm.upper_rad - told.all.after, told.all.after - told.arm.lower_rad)
    room, rest = ahead[told.inside], left[told.inside]
    spare = 1e-9  # rad/s; a rounding of the position divided by the shortest time
    assert (speed[told.inside] <= np.sqrt(2 * ACCELERATION_RAD_S2 * room) + spare).all()
    slower = np.maximum(speed - unit_rad_s, 0.0)[told.inside]
    assert (slower <= np.sqrt(2 * ACCELERATION_RAD_S2 * rest) + spare).all()


def test_no_joint_is_faster_than_its_own_speed_limit(told: Told) -> None:
    most = told.arm.max_speed_rad_s * told.all.duration_s[:, None]
    assert (np.abs(told.step) <= most + ROUNDING_RAD).all()


def test_one_common_scale_keeps_the_shape_of_the_path(told: Told) -> None:
    """The step of the arm's joints is s times what was asked, 0 <= s <= 1, whatever stopped it.

    Asked: the way to the target, whose angles within a servo count of a limit mean the limit, and the way back to the
    limits for a joint that is outside.
    """
    rows = told.all.sane
    nearest = np.clip(told.all.target, told.arm.lower_rad, told.arm.upper_rad)[rows]
    means_limit = (np.abs(told.all.target[rows] - nearest) < LIMIT_TOLERANCE_RAD) | ~told.inside[rows]
    asked = (np.where(means_limit, nearest, told.all.target[rows]) - told.all.before[rows])[:, :-1]
    step = told.step[rows][:, :-1]
    longest = np.abs(asked).argmax(axis=1)[:, None]
    whole = np.take_along_axis(asked, longest, axis=1)
    scale = np.take_along_axis(step, longest, axis=1) / np.where(whole == 0.0, 1.0, whole)
    assert (scale >= 0.0).all()
    assert (scale <= 1.0 + 1e-12).all()
    np.testing.assert_allclose(step, scale * asked, atol=1e-11)


def test_no_output_is_deeper_in_the_floor_or_in_the_arm_than_the_last(told: Told) -> None:
    """Check by check: a hit may get shallower while another stays, none gets deeper and no new one appears."""
    for rows in np.array_split(np.arange(len(told.all.before)), max(len(told.all.before) // 20_000, 1)):
        before = clearances_m(told.arm, told.rig, told.all.before[rows])
        after = clearances_m(told.arm, told.rig, told.all.after[rows])
        assert (after >= np.minimum(before, 0.0) - ROUNDING_M).all()
        promised = np.where(np.isfinite(told.all.clearance_m[rows]), told.all.clearance_m[rows], -math.inf)
        assert (before.min(axis=1) >= promised - ROUNDING_M).all()


def test_a_joint_outside_its_limits_only_moves_inward_and_slowly(told: Told) -> None:
    inward = np.where(told.below, told.step, -told.step)
    far = np.where(told.below, told.arm.lower_rad, told.arm.upper_rad)
    beyond = np.abs(far - told.all.before)
    outside = ~told.inside
    assert (inward[outside] >= 0.0).all()
    most = RETURN_SPEED_RAD_S * told.all.duration_s[:, None]
    assert (np.abs(told.step) <= most + ROUNDING_RAD)[outside].all()
    assert (inward <= beyond + (told.arm.upper_rad - told.arm.lower_rad))[outside].all()


def test_where_nothing_may_be_sent_the_last_output_stays(told: Told) -> None:
    """To the bit, whenever the question is none, and whenever the answer says `held`."""
    assert told.all.held[~told.all.sane].all()
    refused = ~told.all.sane
    assert np.array_equal(told.all.after[refused], told.all.before[refused])
    assert (told.all.velocity[refused] == 0.0).all()
    assert (told.all.duration_s[refused] == PERIOD_S).all()
    assert (np.abs(told.step[told.all.held]) < 1e-9).all()
    assert all(reason for reason, limited in zip(told.all.reasons, told.all.limited, strict=True) if limited)


def test_no_arm_joint_runs_away_from_what_is_measured(told: Told) -> None:
    rows = told.all.sane
    step, duration_s = told.step[rows][:, :-1], told.all.duration_s[rows][:, None]
    lead = np.sign(step) * (told.all.after - told.all.measured)[rows][:, :-1]
    most = told.arm.max_speed_rad_s[:-1] * (duration_s + LAG_S)
    assert (lead <= most + ROUNDING_RAD)[step != 0.0].all()


def test_the_same_question_has_the_same_answer_and_leaves_no_trace(told: Told) -> None:
    """A new filter, asked one question out of order and with arrays that cannot be written, answers to the bit."""
    rows = np.random.default_rng(3).permutation(len(told.all.before))[: 20_000 if DEEP else 400]
    for row in rows:
        state, position, duration_s = again(told.arm, told.rig, told.all, int(row))
        assert np.array_equal(position, told.all.after[row])
        assert duration_s == told.all.duration_s[row]
        assert np.array_equal(state.velocity_rad_s, told.all.velocity[row])


def test_no_clearance_changes_by_more_than_a_step_can_change_it(told: Told) -> None:
    """What lets the filter count a clearance down instead of computing it."""
    rng, guards = np.random.default_rng(4), GuardModel(told.arm, told.rig)
    span = told.arm.upper_rad - told.arm.lower_rad
    start = rng.uniform(told.arm.lower_rad - 0.1 * span, told.arm.upper_rad + 0.1 * span, (5_000, len(span)))
    step = rng.normal(0.0, 1.0, start.shape) * 10.0 ** rng.uniform(-4, 0, (len(start), 1))
    single = rng.random(len(start)) < 0.5  # one joint alone comes nearest to the bound
    step[single] *= np.eye(len(span))[rng.integers(0, len(span), int(single.sum()))]
    change = np.abs(clearances_m(told.arm, told.rig, start + step) - clearances_m(told.arm, told.rig, start)).max(1)
    most = np.array([guards.most_change_m(s) for s in step])
    assert (change <= most + ROUNDING_M).all()
    assert (change / np.maximum(most, 1e-12)).max() > 0.5


def test_a_reachable_state_near_a_limit_brakes_into_it_whatever_the_clock_does() -> None:
    """At every change of the period in mid-flight the arm still ends on the limit, never past it."""
    arm = load_arm("dofbot")
    safety, rng = SafetyFilter(arm, arm.rig("table"), PERIOD_S), np.random.default_rng(5)
    for _ in range(500 if DEEP else 60):
        state = safety.initial(np.array([rng.uniform(-1.5, 1.0), 0.0, 0.0, 0.0, 0.0, -1.0]))
        target = state.position_rad + np.array([9.0, 0.0, 0.0, 0.0, 0.0, 0.0])
        for duration_s in 10.0 ** rng.uniform(-3.0, 0.5, 400):
            room = arm.upper_rad[0] - state.position_rad[0]
            state, output = safety.step(state, target, state.position_rad, float(duration_s))
            assert state.velocity_rad_s[0] <= math.sqrt(2 * ACCELERATION_RAD_S2 * room) + 1e-9
            assert output.position_rad[0] <= arm.upper_rad[0]
        assert state.position_rad[0] == pytest.approx(arm.upper_rad[0], abs=1e-6)
