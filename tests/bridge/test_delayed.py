from __future__ import annotations

import numpy as np
import pytest

from bridge.clock import MonotonicClock
from bridge.delayed import DelayedRobot, DelayedSource
from bridge.errors import BridgeError
from bridge.messages import JointCommand
from bridge.ports import BlockSighting
from tests.bridge.benches import START, SetpointRobot
from urdf.pose import Array, Pose


def command(seq: int, joint1_rad: float) -> JointCommand:
    target: Array = START.copy()
    target[0] = joint1_rad
    return JointCommand(seq, seq, tuple(target.tolist()), 0.05)


def drive(robot: DelayedRobot, periods: int, first: int = 1) -> tuple[list[float], list[int]]:
    """Read and send once per period, 0.01 rad further each time; return joint 1 as read and the numbers answered."""
    seen: list[float] = []
    answered: list[int] = []
    for k in range(first, first + periods):
        seen.append(round(robot.read_state().position_rad[0], 6))
        answered.append(robot.send(command(k, 0.01 * k)).seq)
    return seen, answered


@pytest.fixture
def arm() -> SetpointRobot:
    return SetpointRobot(MonotonicClock())


def test_without_delays_it_is_the_robot_itself(arm: SetpointRobot) -> None:
    robot = DelayedRobot(arm, 0, 0)
    assert robot.description is arm.description
    assert drive(robot, 5) == ([0.0, 0.01, 0.02, 0.03, 0.04], [1, 2, 3, 4, 5])
    assert [c.seq for c in arm.commands] == [1, 2, 3, 4, 5]


def test_commands_reach_the_arm_so_many_periods_later(arm: SetpointRobot) -> None:
    robot = DelayedRobot(arm, 2, 0)
    seen, answered = drive(robot, 6)
    assert [c.seq for c in arm.commands] == [1, 2, 3, 4]
    assert seen == [0.0, 0.0, 0.0, 0.01, 0.02, 0.03]
    assert answered[2:] == [1, 2, 3, 4]


def test_while_the_first_command_is_under_way_the_answer_is_where_the_arm_stands(arm: SetpointRobot) -> None:
    robot = DelayedRobot(arm, 1, 0)
    sent = robot.send(command(7, 0.02))
    assert sent.seq == 7
    assert not arm.commands
    np.testing.assert_array_equal(sent.position_rad, START)


def test_states_are_those_of_so_many_periods_ago(arm: SetpointRobot) -> None:
    robot = DelayedRobot(arm, 0, 2)
    seen, answered = drive(robot, 6)
    assert seen == [0.0, 0.0, 0.0, 0.01, 0.02, 0.03]
    assert answered == [1, 2, 3, 4, 5, 6]


def test_a_state_counts_once_per_period_however_often_it_is_read(arm: SetpointRobot) -> None:
    robot = DelayedRobot(arm, 0, 1)
    for k in range(1, 5):
        for _ in range(3):
            robot.read_state()
        robot.send(command(k, 0.01 * k))
    assert robot.read_state().position_rad[0] == pytest.approx(0.03)


def test_a_period_in_which_nobody_looked_has_a_state_all_the_same(arm: SetpointRobot) -> None:
    robot = DelayedRobot(arm, 0, 1)
    for k in range(1, 5):
        robot.send(command(k, 0.01 * k))
    assert robot.read_state().position_rad[0] == pytest.approx(0.03)


def test_both_delays_add_up(arm: SetpointRobot) -> None:
    seen, _ = drive(DelayedRobot(arm, 1, 2), 7)
    assert seen == [0.0, 0.0, 0.0, 0.0, 0.01, 0.02, 0.03]


def test_holding_is_at_once_and_voids_what_is_under_way(arm: SetpointRobot) -> None:
    robot = DelayedRobot(arm, 2, 3)
    drive(robot, 5)
    robot.hold()
    assert len(arm.hold_times_ns) == 1
    assert robot.read_state().holding  # not the state of three periods ago
    stands = arm.position_rad[0]
    robot.send(command(6, 0.06))
    robot.send(command(7, 0.07))
    assert arm.position_rad[0] == stands
    assert [c.seq for c in arm.commands] == [1, 2, 3]
    robot.send(command(8, 0.08))
    assert arm.commands[-1].seq == 6


@pytest.mark.parametrize(("action", "observation", "name"), [(-1, 0, "action_periods"), (0, -2, "observation_periods")])
def test_a_negative_delay_is_refused(arm: SetpointRobot, action: int, observation: int, name: str) -> None:
    with pytest.raises(BridgeError, match=name):
        DelayedRobot(arm, action, observation)


class ByHand:
    """Sightings that a test lays out; nothing is seen after the last."""

    def __init__(self, sightings: list[BlockSighting | None]) -> None:
        self._sightings = sightings

    def read_block(self) -> BlockSighting | None:
        return self._sightings.pop(0) if self._sightings else None

    def missing(self) -> str:
        return "the block's markers"


def test_sightings_are_those_of_so_many_periods_ago_gaps_and_stamps_included() -> None:
    sightings: list[BlockSighting | None] = [BlockSighting(Pose.identity(), stamp_ns) for stamp_ns in (10, 20, 30)]
    sightings.insert(2, None)
    source = DelayedSource(ByHand(list(sightings)), 2)
    first, second, third = sightings[0], sightings[1], sightings[3]
    assert [source.read_block() for _ in range(7)] == [first, first, first, second, None, third, None]
    assert source.missing() == "the block's markers"
    undelayed = DelayedSource(ByHand(list(sightings)), 0)
    assert [undelayed.read_block() for _ in range(4)] == sightings


def test_a_negative_delay_of_sightings_is_refused() -> None:
    with pytest.raises(BridgeError, match="periods must be at least 0, got -1"):
        DelayedSource(ByHand([]), -1)
