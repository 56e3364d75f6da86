from __future__ import annotations

import itertools
import re

import numpy as np
import pytest
from numpy.typing import NDArray

from bridge.encoding import GRASP_STATE, Phase
from bridge.errors import PolicyWaits
from bridge.loop import LoopStatistics, run_episode
from bridge.observation import Observed, state_of
from tests.bridge.desk import PERIOD_NS, PERIOD_S, RIG, START_NS, Bench, bench

Action = NDArray[np.float32]


class Counting:
    """A policy that goes straight for the block and remembers when it was asked."""

    def __init__(self, at: Bench, repeat: int = 1) -> None:
        self._at = at
        self._repeat = repeat
        self.asked_ns: list[int] = []
        self.actions: list[Action] = []

    def act(self, observation: Observed) -> Action:
        self.asked_ns.append(self._at.clock.now_ns())
        motion = state_of(observation)[:2] * (0.1 / (0.010 * self._repeat))
        action = (motion / max(1.0, float(np.linalg.norm(motion)))).astype(np.float32)
        self.actions.append(action)
        return action


def periods(at: Bench, count: int) -> None:
    for _ in range(count):
        at.loop.observe()
        at.loop.apply(at.loop.no_action)


def sent_ms(at: Bench) -> list[float]:
    return [(c.stamp_ns - START_NS) / 1e6 for c in at.arm.commands]


# Time -----------------------------------------------------------------------------------------------


def test_periods_end_at_multiples_of_50_ms_whatever_the_work_takes() -> None:
    at = bench()
    work_ms = itertools.cycle([1.0, 12.0, 30.0])
    at.desk.work_ms = lambda: next(work_ms)
    at.loop.begin()
    for k in range(1, 31):
        periods(at, 1)
        assert at.clock.now_ns() == START_NS + k * PERIOD_NS
    statistics = at.loop.statistics
    assert statistics.commands_sent == 30
    assert statistics.missed_deadlines == 0
    assert statistics.loop_hz == pytest.approx(20.0)
    assert statistics.work_ms == pytest.approx([1.0, 12.0, 30.0] * 10)
    assert statistics.p99_loop_ms == pytest.approx(30.0)
    assert all(c.duration_s == PERIOD_S for c in at.arm.commands)
    assert [c.seq for c in at.arm.commands] == list(range(1, 31))


def test_lost_periods_are_not_caught_up() -> None:
    at = bench()
    work_ms = iter([5.0, 5.0, 185.0, 5.0, 5.0, 5.0])  # the third look takes more than three periods
    at.desk.work_ms = lambda: next(work_ms)
    at.loop.begin()
    periods(at, 6)
    # 0 and 50 as planned; the late one ends at 285 and the next begins there: 285, 335, 385.
    assert sent_ms(at) == pytest.approx([5.0, 55.0, 285.0, 290.0, 340.0, 390.0])
    statistics = at.loop.statistics
    assert statistics.missed_deadlines == 1
    assert statistics.commands_sent == 6
    assert at.clock.now_ns() == START_NS + round(435e6)
    assert statistics.loop_hz == pytest.approx(6 / 0.435)
    assert statistics.p99_loop_ms == pytest.approx(np.percentile([5, 5, 185, 5, 5, 5], 99))


def test_work_that_ends_on_the_deadline_has_met_it() -> None:
    at = bench()
    at.desk.work_ms = lambda: 50.0
    at.loop.begin()
    periods(at, 3)
    assert at.loop.statistics.missed_deadlines == 0
    assert at.clock.now_ns() == START_NS + 3 * PERIOD_NS


def test_time_between_attempts_is_no_lateness() -> None:
    at = bench()
    at.loop.begin()
    periods(at, 2)
    at.clock.work(10_000.0)
    at.loop.begin()
    periods(at, 2)
    assert at.loop.statistics.missed_deadlines == 0
    assert at.loop.statistics.loop_hz == pytest.approx(20.0)


def test_statistics_of_nothing_are_zero() -> None:
    assert LoopStatistics().loop_hz == 0.0
    assert LoopStatistics().p99_loop_ms == 0.0


# Waiting --------------------------------------------------------------------------------------------


def test_without_a_block_the_arm_stands_still_under_commands_until_patience_ends() -> None:
    at = bench()
    at.desk.seen = False
    at.desk.reason = "marker 3 of the block is not in the picture"
    policy = Counting(at)
    run_episode(at.loop, policy, 1)
    assert policy.asked_ns == []
    assert len(at.arm.commands) == pytest.approx(8.0 / PERIOD_S, abs=2)  # 8 s
    np.testing.assert_array_equal([c.position_rad for c in at.arm.commands], [RIG.home_rad] * len(at.arm.commands))
    assert np.diff(sent_ms(at)) == pytest.approx(50.0)  # a robot that hears nothing would hold by itself
    statistics = at.loop.statistics
    assert statistics.commands_held == statistics.commands_sent
    assert at.loop.gave_up == "marker 3 of the block is not in the picture"
    assert all(step.waiting_for == at.loop.gave_up for step in at.tape.steps)


def test_a_block_that_appears_in_time_is_grasped() -> None:
    at = bench()
    at.desk.seen = False
    looks = itertools.count()

    def look() -> float:
        at.desk.seen = next(looks) >= 40  # two seconds
        return 0.0

    at.desk.work_ms = look
    run_episode(at.loop, Counting(at), 1)
    assert at.loop.gave_up == ""
    assert at.loop.statistics.commands_held == 40
    waiting = [step for step in at.tape.steps if step.waiting_for]
    assert len(waiting) == 40
    assert waiting[0].waiting_for == "the block has not been seen"
    assert at.tape.steps[-1].phase == Phase.DONE
    assert at.arm.position_rad[-1] == pytest.approx(-0.39)


def test_a_sighting_older_than_two_seconds_halts_the_descent_until_a_newer_one_comes() -> None:
    at = bench()
    at.loop.begin()
    at.desk.stamp_ns = at.clock.now_ns()  # the last picture that shows the block
    at.desk.reason = "no marker of the block"
    held_at = None
    for k in range(1, 60):
        before = at.arm.position_rad.copy()
        at.loop.observe()
        age_s = (k - 1) * PERIOD_S
        if age_s <= 2.0:
            assert at.loop.waiting_for == ""
        else:
            held_at = held_at if held_at is not None else before
            told = re.fullmatch(r"the block was last seen (.*) s ago; no marker of the block", at.loop.waiting_for)
            assert told is not None
            assert float(told[1]) == pytest.approx(age_s, abs=0.051)
            np.testing.assert_array_equal(at.arm.position_rad, held_at)
        at.loop.apply(at.loop.no_action)
    assert at.loop.statistics.commands_held == 59 - 41
    at.desk.stamp_ns = None
    periods(at, 1)
    assert at.loop.waiting_for == ""
    assert held_at is not None
    assert not np.array_equal(at.arm.position_rad, held_at)


def test_waiting_does_not_ask_the_policy() -> None:
    at = bench()
    looks = itertools.count()

    def look() -> float:
        at.desk.stamp_ns = START_NS - 3_000_000_000 if 3 <= next(looks) < 23 else None
        return 0.0

    at.desk.work_ms = look
    policy = Counting(at)
    run_episode(at.loop, policy, 1)
    during = [t for t in policy.asked_ns if START_NS + 3 * PERIOD_NS <= t < START_NS + 23 * PERIOD_NS]
    assert during == []
    assert at.loop.statistics.commands_held == 20
    assert at.loop.gave_up == ""


def test_once_the_tool_is_near_the_block_the_eyes_are_not_needed() -> None:
    at = bench()
    policy = Counting(at)
    at.loop.begin()
    latched = False
    while at.loop.attempt.phase != Phase.DONE:
        observation = at.loop.observe()
        assert observation is not None
        distance_m = 0.1 * float(np.linalg.norm(observation[2:5]))  # block_from_tool in 10 cm
        if latched:
            assert at.loop.waiting_for == ""
        elif distance_m < 0.06:
            latched, at.desk.seen, at.desk.reason = True, False, "the gripper hides the marker"
        at.loop.apply(policy.act(observation))
    assert latched
    assert at.loop.statistics.commands_held == 0


# The episode ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("repeat", [1, 3, 4])
def test_the_policy_decides_every_so_many_periods_of_the_descent(repeat: int) -> None:
    at = bench()
    policy = Counting(at, repeat)
    run_episode(at.loop, policy, repeat)
    descent = [step for step in at.tape.steps if step.phase == Phase.DESCEND]
    assert set(np.diff(policy.asked_ns)) == {repeat * PERIOD_NS}
    assert policy.asked_ns[0] == START_NS
    assert len(policy.asked_ns) == -(-(len(descent) + 1) // repeat)  # the step that ends the descent was one of it
    for k, step in enumerate(descent):
        np.testing.assert_array_equal(step.action, policy.actions[k // repeat])


def test_an_attempt_goes_through_its_phases_and_the_recorder_sees_each_period() -> None:
    at = bench()
    run_episode(at.loop, Counting(at), 1)
    phases = [phase for phase, _ in itertools.groupby(step.phase for step in at.tape.steps)]
    assert phases == [Phase.DESCEND, Phase.CLOSE, Phase.LIFT, Phase.HOLD, Phase.DONE]
    assert len(at.tape.steps) == at.loop.statistics.commands_sent == len(at.arm.commands)
    for step, command in zip(at.tape.steps, at.arm.commands, strict=True):
        assert step.sent == command
        assert step.sighting is not None
    holding = [step for step in at.tape.steps if step.phase == Phase.HOLD]
    assert len(holding) == pytest.approx(0.5 / PERIOD_S, abs=1)  # half a second


def test_the_policy_sees_the_layout_it_was_promised() -> None:
    at = bench()
    at.loop.begin()
    observation = at.loop.observe()
    assert observation is not None
    assert observation.shape == (GRASP_STATE.size,)
    tool = at.arm.description.base_from_tool(RIG.home_rad).position_m
    in_m = np.array([0.03, 0.03, 0.1]) * observation[2:5]  # sideways in 3 cm, upwards in 10
    np.testing.assert_allclose(in_m, [0.02, 0.15, 0.015] - tool, atol=1e-6)


# Travel ---------------------------------------------------------------------------------------------


def test_travel_is_straight_slow_and_ends_with_a_rest() -> None:
    at = bench()
    goal = RIG.home_rad + np.array([0.5, -0.2, 0.0, 0.1, 0.0, 0.4])
    at.loop.move_to(goal, speed_rad_s=0.8, settle_s=0.4)
    path = np.array([RIG.home_rad, *(c.position_rad for c in at.arm.commands)])
    assert np.abs(np.diff(path, axis=0)).max() <= 0.8 * PERIOD_S + 1e-9
    np.testing.assert_allclose(path[-9:], [goal] * 9, atol=1e-12)  # arrived, and 0.4 s more
    assert not np.allclose(path[-10], goal, atol=1e-6)
    np.testing.assert_allclose(np.diff(sent_ms(at)), 50.0)
    np.testing.assert_allclose(at.loop.target_rad, goal)
    assert at.loop.statistics.missed_deadlines == 0


def test_travel_begins_where_the_arm_is_measured_to_be() -> None:
    at = bench()
    at.arm.position_rad = RIG.rest_rad.copy()
    at.loop.move_to(RIG.home_rad, speed_rad_s=0.5, settle_s=0.0)
    assert np.abs(np.array(at.arm.commands[0].position_rad) - RIG.rest_rad).max() <= 0.5 * PERIOD_S
    assert len(at.tape.steps) == len(at.arm.commands)


class Waiting(Counting):
    """A policy that waits in its first periods."""

    def act(self, observation: Observed) -> Action:
        if len(self.asked_ns) < 5:
            self.asked_ns.append(self._at.clock.now_ns())
            raise PolicyWaits("nobody is in the picture")
        return super().act(observation)


def test_while_a_policy_waits_the_arm_stands_and_the_record_says_why() -> None:
    at = bench()
    run_episode(at.loop, Waiting(at), 1)
    assert {step.waiting_for for step in at.tape.steps[:5]} == {"nobody is in the picture"}
    assert not at.tape.steps[5].waiting_for
    assert [step.sent.position_rad for step in at.tape.steps[:5]] == [at.tape.steps[0].sent.position_rad] * 5
    assert at.loop.statistics.commands_held == 5
