"""What every Robot promises, whatever is behind it. A new Robot joins by a line in ROBOTS."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from bridge.clock import MonotonicClock
from bridge.delayed import DelayedRobot
from bridge.guards import GuardModel
from bridge.messages import JointCommand
from bridge.ports import Clock, Robot
from bridge.remote import RemoteRobot
from calibration.servo import ServoCalibration
from hardware.buses.dofbot_serial import DofbotSerialBus, SerialSettings
from hardware.servo_robot import ServoRobot
from hardware.virtual.dofbot_board import BoardManners, DofbotBoard
from hardware.virtual.plant import FreePlant
from tests.bridge.benches import serving
from urdf.description import load_arm
from urdf.pose import Array

PERIOD_S = 0.05
ARM = load_arm("dofbot")
RIG = ARM.rig("table")
START = np.array([0.0, -0.9, -0.6, -0.6, 0.0, -1.0])
NEAR = START + np.array([0.15, 0.1, -0.1, 0.05, -0.1, 0.2])
TICK_RAD = 1.5e-3  # the coarsest Robot counts in servo ticks
STANDING_RAD = 0.01  # a loaded arm sags by less than this


@dataclass(frozen=True, slots=True)
class Bench:
    """A robot that stands at START, and the clock by which its time passes (a simulated robot is its own)."""

    robot: Robot
    clock: Clock
    commands_late: int = 0  # `send` answers for the command of so many periods ago

    def command(self, target: Array, seq: int, duration_s: float = PERIOD_S) -> JointCommand:
        return JointCommand(seq, self.clock.now_ns(), tuple(np.asarray(target).tolist()), duration_s)

    def wait(self, duration_s: float) -> None:
        self.clock.sleep_until(self.clock.now_ns() + round(duration_s * 1e9))

    def stream(self, target: Array, periods: int, first_seq: int = 1) -> list[JointCommand]:
        """Send one target period by period; return what was really sent."""
        start_ns = self.clock.now_ns()
        sent: list[JointCommand] = []
        for k in range(periods):
            sent.append(self.robot.send(self.command(target, first_seq + k)))
            self.clock.sleep_until(start_ns + round((k + 1) * PERIOD_S * 1e9))
        return sent

    def position(self) -> Array:
        return np.array(self.robot.read_state().position_rad)


@contextlib.contextmanager
def servo_robot(_folder: Path) -> Iterator[Bench]:
    """A ServoRobot on the virtual board, over a pty."""
    clock = MonotonicClock()
    calibration = ServoCalibration.nominal(ARM, "unit7")
    plant = FreePlant(clock, calibration.to_ticks(START))
    manners = BoardManners(read_s=(0.005, 0.008))
    board = DofbotBoard(plant, np.random.default_rng(1), clock.now_ns(), manners=manners, torque_on=True)
    with board.run_in_thread(clock):
        bus = DofbotSerialBus(board.port, clock, SerialSettings(wake_s=0.05))
        robot = ServoRobot.connect(bus, calibration, ARM, RIG, clock, period_s=PERIOD_S)
        try:
            yield Bench(robot, clock)
        finally:
            robot.close()
    board.close()


@contextlib.contextmanager
def remote_robot(folder: Path) -> Iterator[Bench]:
    """A RemoteRobot, over the link, over a ServoRobot on the virtual board."""
    with (
        servo_robot(folder) as near,
        serving(near.robot, f"ipc://{folder}/arm.sock", near.clock) as server,
        RemoteRobot(server.endpoint, ARM, near.clock) as robot,
    ):
        yield Bench(robot, near.clock)


@contextlib.contextmanager
def sim_robot(_folder: Path) -> Iterator[Bench]:
    """A SimRobot, which is its own clock."""
    pytest.importorskip("pybullet", reason="the simulator is not part of the base install")
    from sim.sim_robot import SimRobot
    from sim.world import ArmWorld

    robot = SimRobot(ArmWorld(ARM, RIG), PERIOD_S)
    robot.reset(START, None)
    try:
        yield Bench(robot, robot)
    finally:
        robot.close()


@contextlib.contextmanager
def delayed_robot(folder: Path) -> Iterator[Bench]:
    """A SimRobot one period away in both directions."""
    with sim_robot(folder) as near:
        yield Bench(DelayedRobot(near.robot, action_periods=1, observation_periods=1), near.clock, commands_late=1)


ROBOTS: dict[str, Callable[[Path], contextlib.AbstractContextManager[Bench]]] = {
    "servo": servo_robot,
    "remote": remote_robot,
    "sim": sim_robot,
    "delayed": delayed_robot,
}


@pytest.fixture(params=ROBOTS)
def bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Generator[Bench]:
    with ROBOTS[request.param](tmp_path_factory.mktemp("r")) as made:
        yield made


def test_the_state_describes_the_arm_at_once(bench: Bench) -> None:
    began = time.perf_counter()
    first, second = bench.robot.read_state(), bench.robot.read_state()
    assert time.perf_counter() - began < 0.04
    count = len(bench.robot.description.joint_names)
    assert len(first.position_rad) == len(first.velocity_rad_s) == len(first.reading_age_s) == count
    assert second.seq >= first.seq
    assert abs(bench.clock.now_ns() - second.stamp_ns) < 50e6
    assert min(second.reading_age_s) >= 0
    assert second.torque_on
    assert second.fault == ""
    np.testing.assert_allclose(first.position_rad, START, atol=STANDING_RAD)


def test_time_passing_makes_new_states(bench: Bench) -> None:
    first = bench.robot.read_state()
    bench.wait(2 * PERIOD_S)
    second = bench.robot.read_state()
    assert second.seq > first.seq
    assert second.stamp_ns > first.stamp_ns


def test_the_arm_goes_where_it_is_sent(bench: Bench) -> None:
    sent = bench.stream(NEAR, 16)
    np.testing.assert_allclose(sent[-1].position_rad, NEAR, atol=TICK_RAD)
    np.testing.assert_allclose(bench.position(), NEAR, atol=0.02)
    assert not bench.robot.read_state().holding


def test_send_returns_what_was_really_sent_under_the_callers_number(bench: Bench) -> None:
    far = START + np.array([0.29, 0.0, 0.0, 0.0, 0.0, 0.0])  # near enough to go at once, too far for one period
    sent = [bench.robot.send(bench.command(far, seq=41 + k)) for k in range(1 + bench.commands_late)][-1]
    assert sent.seq == 41
    step = np.array(sent.position_rad) - START
    allowed = ARM.max_speed_rad_s * PERIOD_S + 2 * TICK_RAD
    assert (np.abs(step) <= allowed).all()
    assert step[0] > 0.5 * allowed[0]


def test_nothing_outside_the_limits_is_sent(bench: Bench) -> None:
    for joint in (0, 3):
        target = START.copy()
        target[joint] = ARM.upper_rad[joint] + 1.0
        sent = bench.stream(target, 18, first_seq=1 + 100 * joint)
        positions = np.array([s.position_rad for s in sent])
        assert (positions <= ARM.upper_rad + TICK_RAD).all()
        assert (positions >= ARM.lower_rad - TICK_RAD).all()


def test_nothing_below_the_desk_is_sent(bench: Bench) -> None:
    guards = GuardModel(ARM, RIG)
    under = np.array([0.0, -1.5, -1.2, -0.3, 0.0, -1.0])
    assert guards.clearances_m(under[None]).min() < -0.02
    sent = bench.stream(under, 25)
    assert min(guards.clearances_m(np.array([s.position_rad]))[0].min() for s in sent) > -1e-3
    assert bench.robot.read_state().holding


def test_hold_stops_a_moving_arm_and_the_next_command_resumes(bench: Bench) -> None:
    far = START + np.array([1.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    bench.stream(far, 4)
    moving = bench.position()
    bench.robot.hold()
    assert bench.robot.read_state().holding
    bench.wait(0.5)
    stopped = bench.position()
    bench.wait(0.2)
    np.testing.assert_allclose(bench.position(), stopped, atol=5e-3)
    assert stopped[0] - START[0] > 0.05
    assert stopped[0] - moving[0] < 0.6
    assert stopped[0] < far[0] - 0.1
    bench.stream(stopped + 0.01, 3, first_seq=100)
    assert not bench.robot.read_state().holding


def test_holding_twice_is_holding(bench: Bench) -> None:
    bench.robot.hold()
    bench.robot.hold()
    bench.wait(0.2)
    np.testing.assert_allclose(bench.position(), START, atol=STANDING_RAD)


def test_an_arm_that_hears_nothing_stays_where_it_is(bench: Bench) -> None:
    bench.stream(NEAR, 16)
    bench.wait(0.5)
    np.testing.assert_allclose(bench.position(), NEAR, atol=0.02)


def test_closing_twice_is_harmless(bench: Bench) -> None:
    bench.robot.close()
    bench.robot.close()
