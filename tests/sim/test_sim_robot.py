from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from bridge.messages import JointCommand
from calibration.actuator import ActuatorModel, ServoErrors
from sim.sim_robot import SimRobot, TrueBlock
from sim.world import ArmWorld
from urdf.description import load_arm
from urdf.pose import Array, Pose

ARM = load_arm("dofbot")
RIG = ARM.rig("table")
HOME = RIG.home_rad
PERIOD_NS = 50_000_000
DEAD_TIME_S = 0.080


@pytest.fixture(scope="module")
def world() -> Iterator[ArmWorld]:
    world = ArmWorld(ARM, RIG)
    yield world
    world.close()


@pytest.fixture
def robot(world: ArmWorld) -> SimRobot:
    model = ActuatorModel(tuple(ARM.max_speed_rad_s.tolist()), dead_time_s=DEAD_TIME_S, skew_s=0.0)
    return SimRobot(world, 0.05, model)


def send(robot: SimRobot, target: Array, duration_s: float = 0.05) -> JointCommand:
    return robot.send(JointCommand(1, robot.now_ns(), tuple(target.tolist()), duration_s))


def at_ms(robot: SimRobot, time_ms: float) -> Array:
    robot.sleep_until(round(time_ms * 1e6))
    return np.array(robot.read_state().position_rad)


def turned(joint: int, angle_rad: float) -> Array:
    target = HOME.copy()
    target[joint] += angle_rad
    return target


def test_time_starts_at_zero_with_a_reset_and_moves_only_while_sleeping(robot: SimRobot) -> None:
    robot.reset(HOME, None)
    assert robot.now_ns() == 0
    robot.read_state()
    send(robot, HOME)
    assert robot.now_ns() == 0
    robot.sleep_until(PERIOD_NS)
    assert robot.now_ns() == PERIOD_NS  # 12 steps of 1/240 s are 50 ms exactly
    robot.sleep_until(PERIOD_NS // 2)  # passed already
    assert robot.now_ns() == PERIOD_NS
    robot.sleep_until(PERIOD_NS + 1)  # up to the first physics step that is not earlier
    assert robot.now_ns() == pytest.approx(13 / 240 * 1e9, abs=1)
    robot.reset(HOME, None)
    assert robot.now_ns() == 0


def test_state_is_fresh_and_counted(robot: SimRobot) -> None:
    robot.reset(HOME, None)
    first, second = robot.read_state(), robot.read_state()
    assert second.seq == first.seq + 1
    assert first.stamp_ns == robot.now_ns() == 0
    assert first.reading_age_s == (0.0,) * 6
    np.testing.assert_allclose(first.position_rad, HOME)
    assert not first.holding


def test_a_joint_moves_after_the_dead_time_at_the_commanded_pace(robot: SimRobot) -> None:
    robot.reset(HOME, None)
    send(robot, turned(0, 0.1), duration_s=0.2)
    before = at_ms(robot, 75.0)[0] - HOME[0]
    assert abs(before) < 0.002  # 80 ms of dead time
    # Half-way in time is half-way in angle; motors follow their setpoint within 20 ms (10 mrad at 0.5 rad/s).
    assert at_ms(robot, 180.0)[0] - HOME[0] == pytest.approx(0.05, abs=0.012)
    assert at_ms(robot, 400.0)[0] - HOME[0] == pytest.approx(0.1, abs=0.004)
    assert abs(robot.read_state().velocity_rad_s[0]) < 0.02


def test_no_joint_is_faster_than_its_servo(robot: SimRobot) -> None:
    robot.reset(HOME, None)
    previous, fastest = HOME[0], 0.0
    for k in range(1, 25):
        send(robot, turned(0, -1.2))
        position = at_ms(robot, 50.0 * k)[0]
        fastest = max(fastest, abs(position - previous) / 0.05)
        previous = position
    assert previous == pytest.approx(HOME[0] - 1.2, abs=0.02)
    # A Dofbot servo turns 200 degrees a second; what its inertia cost at the start, the joint catches up.
    assert math.degrees(fastest) < 212.0
    assert math.degrees(fastest) > 100.0


def test_what_leaves_the_limits_is_cut_and_the_answer_says_so(robot: SimRobot) -> None:
    robot.reset(HOME, None)
    sent = send(robot, HOME)
    for k in range(1, 40):
        sent = send(robot, turned(0, 3.0))
        assert sent.position_rad[0] <= math.pi / 2
        robot.sleep_until(k * PERIOD_NS)
    assert robot.read_state().position_rad[0] <= math.pi / 2 + 0.005
    assert sent.seq == 1
    assert sent.duration_s == 0.05


def test_a_command_that_is_refused_altogether_shows_as_holding(robot: SimRobot) -> None:
    robot.reset(HOME, None)
    # Half-way into the floor is far: the guard of the finger tips stops the arm above it, and there it holds.
    below = HOME.copy()
    below[1] -= 0.6
    for k in range(1, 30):
        send(robot, below)
        robot.sleep_until(k * PERIOD_NS)
    assert robot.read_state().holding
    assert robot.world.tool_pose().position_m[2] > 0.0


def test_hold_stops_within_the_dead_time(robot: SimRobot) -> None:
    robot.reset(HOME, None)
    send(robot, turned(0, 1.0), duration_s=1.0)
    at_ms(robot, 400.0)
    robot.hold()
    assert robot.read_state().holding
    stopped = at_ms(robot, 560.0)[0]
    assert at_ms(robot, 900.0)[0] == pytest.approx(stopped, abs=0.005)
    assert stopped - HOME[0] < 0.5


# Servos that err, lag and count ---------------------------------------------------------------------


def test_neither_command_nor_reading_tells_how_a_servo_errs(robot: SimRobot) -> None:
    errors = ServoErrors.of(np.array([0.05, -0.03, 0.0, 0.0, 0.02, 0.0]), np.array([0.95, 1.02, 1.0, 1.0, 1.0, 1.0]))
    robot.reset(HOME, None, errors)
    np.testing.assert_allclose(robot.read_state().position_rad, HOME)
    np.testing.assert_allclose(robot.world.joint_states()[0], errors.joint_rad(HOME), atol=1e-9)
    target = turned(0, 0.4)
    for k in range(1, 20):
        send(robot, target)
        robot.sleep_until(k * PERIOD_NS)
    np.testing.assert_allclose(robot.read_state().position_rad, target, atol=0.004)
    assert robot.world.joint_states()[0][0] == pytest.approx(0.95 * target[0] + 0.05, abs=0.004)
    robot.reset(HOME, None)
    np.testing.assert_allclose(robot.world.joint_states()[0], HOME, atol=1e-9)


def test_a_model_given_to_a_reset_lasts_until_the_next(robot: SimRobot) -> None:
    slow = replace(robot.model, dead_time_s=0.3)
    for model, moved_by in ((slow, 0.0), (None, 0.1)):
        robot.reset(HOME, None, None, model)
        send(robot, turned(0, 0.1), duration_s=0.05)
        assert at_ms(robot, 250.0)[0] - HOME[0] == pytest.approx(moved_by, abs=0.004)


def test_readings_come_in_counts_from_the_first_on(world: ArmWorld) -> None:
    robot = SimRobot(world, 0.05)
    steps = np.array(ActuatorModel.nominal(ARM).readback_rad)
    robot.reset(HOME, None)
    for k in range(1, 12):
        counts = np.array(robot.read_state().position_rad) / steps
        np.testing.assert_allclose(counts, np.round(counts), atol=1e-6)
        send(robot, turned(0, 0.003 * k))
        robot.sleep_until(k * PERIOD_NS)
    assert robot.read_state().position_rad[0] != pytest.approx(HOME[0], abs=1e-3)


def test_a_joint_that_turns_back_stands_still_until_the_gap_is_crossed(robot: SimRobot) -> None:
    gap = 0.04
    robot.reset(HOME, None, None, replace(robot.model, backlash_rad=(gap, 0.0, 0.0, 0.0, 0.0, 0.0)))
    send(robot, turned(0, 0.3), duration_s=0.3)
    forth = at_ms(robot, 600.0)[0]
    assert forth - HOME[0] == pytest.approx(0.3 - gap / 2, abs=0.003)
    send(robot, turned(0, 0.3 - 0.9 * gap), duration_s=0.05)
    assert at_ms(robot, 900.0)[0] == pytest.approx(forth, abs=1e-3)
    send(robot, HOME, duration_s=0.3)
    assert at_ms(robot, 1600.0)[0] - HOME[0] == pytest.approx(gap / 2, abs=0.003)


def test_a_servo_ignores_corrections_inside_its_dead_band(robot: SimRobot) -> None:
    robot.reset(HOME, None, None, replace(robot.model, dead_band_rad=(0.02,) * 6))
    send(robot, turned(0, 0.015))
    assert at_ms(robot, 400.0)[0] == pytest.approx(HOME[0], abs=1e-3)
    send(robot, turned(0, 0.03))
    assert at_ms(robot, 800.0)[0] == pytest.approx(HOME[0] + 0.03, abs=0.003)


def test_the_true_block_is_told_in_the_base_frame_with_its_time() -> None:
    rig = ARM.rig("hanging")
    world = ArmWorld(ARM, rig)
    robot = SimRobot(world, 0.05)
    robot.reset(rig.home_rad, Pose.from_rotvec([0.02, 0.11, 0.015], [0.0, 0.0, 0.3]))
    robot.sleep_until(PERIOD_NS)
    source = TrueBlock(robot)
    sighting = source.read_block()
    assert sighting is not None
    assert source.missing() == ""
    assert sighting.stamp_ns == PERIOD_NS
    # Upside-down by half a turn about y, 0.4 m up: x and z change sign.
    np.testing.assert_allclose(sighting.base_from_block.position_m, [-0.02, 0.11, 0.4 - 0.015], atol=1e-4)
    robot.close()
    robot.close()
