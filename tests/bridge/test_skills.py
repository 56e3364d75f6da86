from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from bridge.messages import RobotState
from bridge.skills import CloseGripper, MoveJoints
from urdf.description import load_arm

ARM = load_arm("dofbot")
PERIOD_S = 0.05
OPEN_RAD, CLOSED_RAD = -1.57, 0.10
BLOCK_RAD = -0.39  # 30 mm apart, by the measured table between -0.5 (35.1 mm) and -0.3 (25.0 mm)


def opening_m(g_rad: float) -> float:
    """Return the gap between the pads: cranks of 5 and 29.7 mm, pads 13.4 mm inside pivots at 12.4 mm."""
    return 2 * (-0.001 + 0.005 * math.cos(g_rad) - 0.0297 * math.sin(g_rad))


class Jaws:
    """Jaws that follow their command at 2 rad/s as far as something lets them; read every `every` periods."""

    def __init__(self, stop_rad: float, every: int = 1, delay_s: float = 0.0) -> None:
        self._stop_rad = stop_rad
        self._every = every
        self._delay_s = delay_s
        self._g_rad = OPEN_RAD
        self._period = 0
        self._read_rad, self._age_s = OPEN_RAD, 0.0

    def state(self) -> RobotState:
        position = (0.0,) * 5 + (self._read_rad,)
        age_s = 0.0 if self._every == 1 else self._age_s
        return RobotState(self._period, 0, position, (0.0,) * 6, (0.0,) * 5 + (age_s + self._delay_s,))

    def follow(self, command_rad: float) -> None:
        """One period: the jaws move, and perhaps the gripper's servo is read."""
        moved = min(command_rad, self._g_rad + 2.0 * PERIOD_S, self._stop_rad)
        self._g_rad = max(self._g_rad, moved)
        self._period += 1
        self._age_s += PERIOD_S
        if self._period % self._every == 0:
            self._read_rad, self._age_s = self._g_rad, 0.0

    @property
    def g_rad(self) -> float:
        return self._g_rad


def close(jaws: Jaws, on_command: Callable[[float], None] = lambda _: None) -> tuple[CloseGripper, float, int]:
    """Run the skill to its end; return it, the last command and the periods it took."""
    skill = CloseGripper(ARM, OPEN_RAD, PERIOD_S)
    command, periods = OPEN_RAD, 0
    while not skill.finished:
        command = skill.step(jaws.state())
        on_command(command)
        jaws.follow(command)
        periods += 1
        assert periods < 200
    return skill, command, periods


def test_the_jaws_close_on_a_block_and_squeeze_by_less_than_2_mm() -> None:
    skill, command, periods = close(Jaws(BLOCK_RAD))
    assert skill.contact_rad == pytest.approx(BLOCK_RAD)
    squeeze_mm = 1000 * (opening_m(BLOCK_RAD) - opening_m(command))
    assert 1.0 <= squeeze_mm <= 2.0
    assert periods * PERIOD_S < 3.0  # a second for the way, and the time to notice


def test_once_finished_the_command_stands_still_whatever_is_read() -> None:
    jaws = Jaws(BLOCK_RAD)
    skill, command, _ = close(jaws)
    for reading in (OPEN_RAD, 0.0, BLOCK_RAD):
        state = RobotState(0, 0, (0.0,) * 5 + (reading,), (0.0,) * 6, (0.0,) * 6)
        assert skill.step(state) == command


def test_the_command_never_goes_back_nor_far_ahead_nor_faster_than_a_radian_a_second() -> None:
    jaws, commands, leads = Jaws(BLOCK_RAD), [OPEN_RAD], []

    def watch(command: float) -> None:
        leads.append(command - jaws.g_rad)
        commands.append(command)

    close(jaws, watch)
    steps = np.diff(commands[:-1])  # the last is the squeeze
    assert (steps >= 0.0).all()
    assert steps.max() <= 1.0 * PERIOD_S + 1e-9
    assert max(leads) <= 0.30 + 1e-9


@pytest.mark.parametrize(("every", "delay_s"), [(2, 0.0), (4, 0.0), (6, 0.0), (3, 0.05)])
def test_readings_that_come_late_end_in_the_same_grip(every: int, delay_s: float) -> None:
    """A board that reads one servo a period tells of the gripper every sixth; its readings are 50 ms old or more."""
    skill, command, periods = close(Jaws(BLOCK_RAD, every, delay_s))
    assert skill.contact_rad == pytest.approx(BLOCK_RAD)
    assert 1.0 <= 1000 * (opening_m(BLOCK_RAD) - opening_m(command)) <= 2.0
    assert periods * PERIOD_S < 6.0


def test_jaws_still_on_their_way_are_not_taken_for_jaws_that_touch() -> None:
    """A gripper that has not begun to move for 150 ms, and estimates between readings, deceive nobody."""
    skill = CloseGripper(ARM, OPEN_RAD, PERIOD_S)
    for period in range(8):
        # The estimate moves along with the command, the last reading is old: no evidence of contact.
        estimate = OPEN_RAD + 0.02 * period
        skill.step(RobotState(period, 0, (0.0,) * 5 + (estimate,), (0.0,) * 6, (0.0,) * 5 + (0.2 + 0.05 * period,)))
        assert not skill.finished


def test_jaws_that_begin_half_a_second_late_are_not_taken_for_jaws_that_touch() -> None:
    """A bus that stalls reads the same open jaws again and again, well behind the command."""
    skill, jaws = CloseGripper(ARM, OPEN_RAD, PERIOD_S), Jaws(BLOCK_RAD)
    for _ in range(10):
        skill.step(jaws.state())
    assert not skill.finished
    while not skill.finished:
        jaws.follow(skill.step(jaws.state()))
    assert skill.contact_rad == pytest.approx(BLOCK_RAD)


def test_a_machine_that_stalls_while_the_jaws_are_on_their_way_is_no_contact() -> None:
    """One reading just before the stall and one just after it agree; the command has gone on meanwhile."""
    skill = CloseGripper(ARM, OPEN_RAD, PERIOD_S)
    #: (age of the gripper's reading [s], what it says [rad]), period by period.
    seen = [(0.0, -1.57), (0.05, -1.57), (0.0, -1.50), (0.05, -1.50), (0.0, -1.42), (0.05, -1.42), (0.10, -1.42)]
    stall = [(0.15, -1.42), (0.20, -1.42), (0.25, -1.42), (0.03, -1.42), (0.08, -1.42)]
    for age_s, reading in [*seen, *stall]:
        skill.step(RobotState(0, 0, (0.0,) * 5 + (reading,), (0.0,) * 6, (0.0,) * 5 + (age_s,)))
        assert not skill.finished


def test_nothing_between_the_jaws_ends_without_contact() -> None:
    skill, command, _ = close(Jaws(stop_rad=math.inf))
    assert skill.contact_rad is None
    assert command == pytest.approx(CLOSED_RAD)


def test_an_edge_that_stops_the_jaws_just_short_of_closed_ends_without_contact() -> None:
    skill, command, _ = close(Jaws(stop_rad=0.02))
    assert skill.contact_rad is None
    assert command == pytest.approx(CLOSED_RAD)


def test_narrower_jaws_begin_where_they_are() -> None:
    narrow = load_arm("dofbot-se")
    skill = CloseGripper(narrow, -0.571, PERIOD_S)
    first = skill.step(RobotState(0, 0, (0.0,) * 5 + (-0.571,), (0.0,) * 6, (0.0,) * 6))
    assert -0.571 < first <= -0.571 + PERIOD_S + 1e-9


# Joint motions --------------------------------------------------------------------------------------


@pytest.mark.parametrize("speed_rad_s", [0.3, 0.8, 2.0])
def test_no_joint_is_faster_than_asked_and_every_path_is_straight(speed_rad_s: float) -> None:
    start, goal = np.array([0.0, 0.5, -1.0, 0.2, 0.0, -1.5]), np.array([1.0, 0.0, -1.2, 0.2, -0.4, 0.1])
    skill = MoveJoints(start, goal, speed_rad_s, PERIOD_S)
    path = [start]
    while not skill.finished:
        path.append(skill.step())
    steps = np.diff(path, axis=0)
    assert np.abs(steps).max() <= speed_rad_s * PERIOD_S + 1e-12
    assert np.abs(steps).max() > 0.8 * speed_rad_s * PERIOD_S  # and hardly slower
    np.testing.assert_allclose(path[-1], goal, atol=1e-15)
    # In joint space the way is a straight line: every point divides it in one proportion for all joints.
    shares = (np.array(path) - start)[:, [0, 1, 2, 4, 5]] / (goal - start)[[0, 1, 2, 4, 5]]
    np.testing.assert_allclose(shares, shares[:, :1] * np.ones(5), atol=1e-12)
    # Slow at both ends: the first and the last step are the smallest.
    sizes = np.abs(steps).max(axis=1)
    assert sizes[0] < 0.5 * sizes.max()
    assert sizes[-1] < 0.5 * sizes.max()


def test_a_motion_to_where_the_arm_is_takes_one_period() -> None:
    here = np.array([0.1, -0.2, 0.3, 0.4, -0.5, -1.0])
    skill = MoveJoints(here, here, 0.5, PERIOD_S)
    assert not skill.finished
    np.testing.assert_array_equal(skill.step(), here)
    assert skill.finished
    np.testing.assert_array_equal(skill.step(), here)
