"""An arm that is taken from pose to pose, and one that is played a motion: simulated, so that time costs nothing."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from bridge.messages import JointCommand
from calibration.errors import CalibrationError
from scripts.programs.actuator_run import MotionPlayer
from scripts.programs.posing import SETTLE_S, PosedArm
from sim.sim_robot import SimRobot
from sim.world import ArmWorld
from urdf.description import load_arm

ARM = load_arm("dofbot")
RIG = ARM.rig("table")
STEPS = np.full(6, 0.0015)


@pytest.fixture(scope="module")
def robot() -> Iterator[SimRobot]:
    robot = SimRobot(ArmWorld(ARM, RIG), 0.05)
    yield robot
    robot.close()


def test_it_stands_where_it_was_sent_and_tells_what_was_read_after_it_settled(robot: SimRobot) -> None:
    robot.reset(RIG.home_rad, None)
    arm = PosedArm(robot, STEPS, 0.05, robot)
    goal = RIG.home_rad + np.array([0.3, 0.2, 0.1, 0.2, 0.5, 0.0])
    arm.move_to(goal)
    there_ns = robot.now_ns()
    standing = arm.stand()
    assert standing.from_ns >= there_ns + round(SETTLE_S * 1e9)
    np.testing.assert_allclose(standing.reading_rad, goal, atol=0.012)


def test_it_asks_until_what_shall_be_seen_has_been_seen_and_gives_up_after_a_while(robot: SimRobot) -> None:
    robot.reset(RIG.home_rad, None)
    arm = PosedArm(robot, STEPS, 0.05, robot)
    asked = 0

    def look(since_ns: int) -> bool:
        nonlocal asked
        asked += 1
        return asked == 7

    arm.stand(look)
    assert asked == 7
    with pytest.raises(CalibrationError, match="no fresh picture"):
        arm.stand(lambda since_ns: False)


def test_an_arm_that_is_held_on_its_way_is_not_sampled(robot: SimRobot) -> None:
    robot.reset(RIG.home_rad, None)
    arm = PosedArm(robot, STEPS, 0.05, robot)
    floor = np.array([0.5463, -1.4, -0.2, -1.5, 0.5899, -1.57])  # straight down into the desk
    arm.move_to(floor)
    with pytest.raises(CalibrationError, match="from where it was sent"):
        arm.stand()


def test_an_arm_that_moves_is_not_sampled(robot: SimRobot) -> None:
    robot.reset(RIG.home_rad, None)
    arm = PosedArm(robot, STEPS, 0.05, robot)

    pushes = 0

    def push(since_ns: int) -> bool:
        nonlocal pushes
        pushes += 1
        arm.target_rad = arm.target_rad + np.array([0.01, 0, 0, 0, 0, 0])
        return pushes == 10

    with pytest.raises(CalibrationError, match="moved by"):
        arm.stand(push)


def test_a_played_motion_leaves_a_log_of_what_was_sent_and_read(robot: SimRobot) -> None:
    robot.reset(RIG.home_rad, None)
    sent_ns: list[int] = []

    def written(sent: JointCommand) -> int:
        sent_ns.append(robot.now_ns())
        return robot.now_ns()

    player = MotionPlayer(robot, written, 0.05, robot)
    targets = RIG.home_rad + 0.1 * np.sin(np.arange(40) * 0.2)[:, None] * np.array([1, 0, 0, 0, 1, 0])
    assert player.play(targets, lambda k: None, lambda: False)
    assert player.log.sent_ns == sent_ns
    np.testing.assert_allclose(player.log.sent_rad, targets, atol=1e-9)
    log = player.log.as_log(RIG.home_rad)
    assert log.moves[0].target_rad.tolist() == RIG.home_rad.tolist()
    assert len(log.reading_s) == pytest.approx(6 * 40, abs=12)
    first = log.reading_rad[log.reading_joint == 0]
    assert np.ptp(first) == pytest.approx(0.2, abs=0.02)
    assert not player.play(targets, lambda k: None, lambda: True)
    player.log.late = 30
    with pytest.raises(CalibrationError, match="too busy"):
        player.log.as_log(RIG.home_rad)
