"""A robot whose servos cannot be read: what it says of itself is the model of its commands, and it says so."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import numpy as np
import pytest

from bridge.clock import MonotonicClock
from hardware.errors import NotMeasured, RobotFaulted
from hardware.servo_robot import ServoRobot
from tests.hardware import dofbot_serial_bench, pca9685_bench
from tests.hardware.servo_benches import ARM, CLOCK, RIG, START, command, stream

TICK_RAD = 7.7e-3
CALIBRATION = pca9685_bench.nominal_calibration(ARM)


@pytest.fixture
def opened() -> Iterator[tuple[pca9685_bench.Pca9685Board, ServoRobot]]:
    with pca9685_bench.open_bench(CLOCK, CALIBRATION.to_ticks(START)) as (board, bus):
        robot = ServoRobot.connect(bus, CALIBRATION, ARM, RIG, CLOCK, assume_rad=START)
        with contextlib.closing(robot):
            yield board, robot


def test_somebody_must_say_how_the_arm_stands() -> None:
    with pca9685_bench.open_bench(CLOCK) as (board, bus):
        with pytest.raises(NotMeasured, match="assume_rad"):
            ServoRobot.connect(bus, CALIBRATION, ARM, RIG, CLOCK)
        assert not any(board.torque_on)


def test_nobody_may_say_so_where_the_servos_do() -> None:
    calibration = dofbot_serial_bench.nominal_calibration(ARM)
    with (
        dofbot_serial_bench.open_bench(MonotonicClock()) as (board, bus),
        pytest.raises(ValueError, match="assume_rad must be None"),
    ):
        ServoRobot.connect(bus, calibration, ARM, RIG, CLOCK, assume_rad=START)
    assert not [f for f in board.heard if f.command in (0x1A, 0x1D)]


def test_its_readings_are_as_old_as_the_connection_and_none_is_made_up(
    opened: tuple[pca9685_bench.Pca9685Board, ServoRobot],
) -> None:
    _, robot = opened
    first = robot.read_state()
    time.sleep(0.2)
    second = robot.read_state()
    assert first.reading_rad == second.reading_rad == ()
    assert len(set(second.reading_age_s)) == 1
    assert second.reading_age_s[0] - first.reading_age_s[0] == pytest.approx(
        (second.stamp_ns - first.stamp_ns) * 1e-9, abs=1e-3
    )


def test_it_goes_where_it_is_sent_and_its_state_with_it(
    opened: tuple[pca9685_bench.Pca9685Board, ServoRobot],
) -> None:
    board, robot = opened
    target = START + np.array([0.2, 0.1, 0, 0, -0.1, 0.1])
    stream(robot, target, 8)
    time.sleep(0.2)
    np.testing.assert_allclose(CALIBRATION.to_rad(board.plant.positions_ticks()), target, atol=TICK_RAD)
    np.testing.assert_allclose(robot.read_state().position_rad, target, atol=TICK_RAD)


def test_a_chip_that_comes_back_is_driven_again_only_when_somebody_says_so(
    opened: tuple[pca9685_bench.Pca9685Board, ServoRobot],
) -> None:
    board, robot = opened
    stream(robot, START, 1)
    board.wire.unplug()
    with contextlib.suppress(RobotFaulted):
        for k in range(40):
            robot.send(command(START, k))
            time.sleep(0.02)
    assert "BusLost" in robot.read_state().fault
    board.wire.replug()
    before = len(board.wire.writes)
    robot.hold()
    with pytest.raises(RobotFaulted, match="Recover"):
        robot.send(command(START))
    assert len(board.wire.writes) == before
    robot.recover()
    assert robot.read_state().fault == ""
    robot.send(command(START))
    np.testing.assert_allclose(CALIBRATION.to_rad(board.plant.positions_ticks()), START, atol=TICK_RAD)
