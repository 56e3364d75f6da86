"""What every Robot promises, whatever is behind it. A new Robot joins by a line in ROBOTS."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
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
from hardware.servo_bus import ServoBus
from hardware.servo_robot import ServoRobot
from tests.bridge.benches import serving
from tests.hardware import dofbot_i2c_bench, dofbot_serial_bench, lx16a_bench, pca9685_bench, sts_bench
from urdf.description import load_arm
from urdf.pose import Array

PERIOD_S = 0.05
ARM = load_arm("dofbot")
RIG = ARM.rig("table")
START = np.array([0.0, -0.9, -0.6, -0.6, 0.0, -1.0])
NEAR = START + np.array([0.15, 0.1, -0.1, 0.05, -0.1, 0.2])
STANDING_RAD = 0.01  # a loaded arm sags by less than this, and a standing one is known so well


@dataclass(frozen=True, slots=True)
class Bench:
    """A robot that stands at START, and the clock by which its time passes (a simulated robot is its own)."""

    robot: Robot
    clock: Clock
    commands_late: int = 0  # `send` answers for the command of so many periods ago
    tick_rad: float = 1e-9  # what one count of its servos is

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
def standing(
    bus: ServoBus, calibration: ServoCalibration, clock: Clock, assume_rad: Array | None = None
) -> Iterator[Bench]:
    """A ServoRobot on a bus whose board has its arm at START."""
    robot = ServoRobot.connect(bus, calibration, ARM, RIG, clock, period_s=PERIOD_S, assume_rad=assume_rad)
    try:
        yield Bench(robot, clock, tick_rad=max(1.0 / abs(joint.ticks_per_rad) for joint in calibration.joints))
    finally:
        robot.close()


@contextlib.contextmanager
def dofbot_serial(_folder: Path) -> Iterator[Bench]:
    """A ServoRobot on a virtual Dofbot-SE, over a pty."""
    clock, calibration = MonotonicClock(), dofbot_serial_bench.nominal_calibration(ARM)
    opened = dofbot_serial_bench.open_bench(clock, calibration.to_ticks(START))
    with opened as (_, bus), standing(bus, calibration, clock) as bench:
        yield bench


@contextlib.contextmanager
def dofbot_i2c(_folder: Path) -> Iterator[Bench]:
    """A ServoRobot on a virtual Dofbot, over I2C."""
    clock, calibration = MonotonicClock(), dofbot_i2c_bench.nominal_calibration(ARM)
    opened = dofbot_i2c_bench.open_bench(clock, calibration.to_ticks(START))
    with opened as (_, bus), standing(bus, calibration, clock) as bench:
        yield bench


@contextlib.contextmanager
def lx16a(_folder: Path) -> Iterator[Bench]:
    """A ServoRobot on a virtual chain of LX-16A servos, over a pty."""
    clock, calibration = MonotonicClock(), lx16a_bench.nominal_calibration(ARM)
    opened = lx16a_bench.open_bench(clock, start_ticks=calibration.to_ticks(START))
    with opened as (_, bus), standing(bus, calibration, clock) as bench:
        yield bench


@contextlib.contextmanager
def sts(_folder: Path) -> Iterator[Bench]:
    """A ServoRobot on a virtual chain of STS3215 servos, over a pty."""
    clock, calibration = MonotonicClock(), sts_bench.nominal_calibration(ARM)
    opened = sts_bench.open_bench(clock, start_ticks=calibration.to_ticks(START))
    with opened as (_, bus), standing(bus, calibration, clock) as bench:
        yield bench


@contextlib.contextmanager
def pca9685(_folder: Path) -> Iterator[Bench]:
    """A ServoRobot in open loop, on a virtual PCA9685: its state is the model of its commands."""
    clock, calibration = MonotonicClock(), pca9685_bench.nominal_calibration(ARM)
    opened = pca9685_bench.open_bench(clock, calibration.to_ticks(START))
    with opened as (_, bus), standing(bus, calibration, clock, assume_rad=START) as bench:
        yield bench


@contextlib.contextmanager
def remote_robot(folder: Path) -> Iterator[Bench]:
    """A RemoteRobot, over the link, over a ServoRobot on a virtual Dofbot-SE."""
    with dofbot_serial(folder) as near:
        assert isinstance(near.robot, ServoRobot)
        with (
            serving(near.robot, f"ipc://{folder}/arm.sock", near.clock) as server,
            RemoteRobot(server.endpoint, ARM, near.clock) as robot,
        ):
            yield replace(near, robot=robot)


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
    "dofbot_serial": dofbot_serial,
    "dofbot_i2c": dofbot_i2c,
    "lx16a": lx16a,
    "sts": sts,
    "pca9685": pca9685,
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


def test_the_arm_goes_where_it_is_sent_and_stays_there(bench: Bench) -> None:
    sent = bench.stream(NEAR, 12)
    np.testing.assert_allclose(sent[-1].position_rad, NEAR, atol=bench.tick_rad)
    np.testing.assert_allclose(bench.position(), NEAR, atol=0.02)
    assert not bench.robot.read_state().holding
    bench.wait(0.4)  # and hears nothing
    np.testing.assert_allclose(bench.position(), NEAR, atol=0.02)


def test_send_returns_what_was_really_sent_under_the_callers_number(bench: Bench) -> None:
    far = START + np.array([0.29, 0.0, 0.0, 0.0, 0.0, 0.0])  # near enough to go at once, too far for one period
    sent = [bench.robot.send(bench.command(far, seq=41 + k)) for k in range(1 + bench.commands_late)][-1]
    assert sent.seq == 41
    step = np.array(sent.position_rad) - START
    allowed = ARM.max_speed_rad_s * PERIOD_S + 2 * bench.tick_rad
    assert (np.abs(step) <= allowed).all()
    assert step[0] > 0.5 * allowed[0]


def test_nothing_outside_the_limits_is_sent(bench: Bench) -> None:
    bench.stream(START, 1)  # near, so that what follows is followed at once
    target = START.copy()
    target[3] = ARM.upper_rad[3] + 1.0
    sent = bench.stream(target, 18, first_seq=100)
    positions = np.array([s.position_rad for s in sent])
    assert (positions <= ARM.upper_rad + bench.tick_rad).all()
    assert (positions >= ARM.lower_rad - bench.tick_rad).all()
    assert positions[-1][3] > ARM.upper_rad[3] - 0.1  # it went as far as it may


def test_nothing_below_the_desk_is_sent(bench: Bench) -> None:
    guards = GuardModel(ARM, RIG)
    under = np.array([0.0, -1.5, -1.2, -0.3, 0.0, -1.0])
    assert guards.clearances_m(under[None]).min() < -0.02
    sent = bench.stream(START, 1) + bench.stream(under, 10, first_seq=100)
    rounding_m = 1e-3 + guards.most_change_m(np.append(np.full(5, bench.tick_rad / 2), 0.0))
    assert min(guards.clearances_m(np.array([s.position_rad]))[0].min() for s in sent) > -rounding_m
    assert bench.robot.read_state().holding


def test_hold_stops_a_moving_arm_and_the_next_command_resumes(bench: Bench) -> None:
    far = START + np.array([1.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    bench.stream(START, 1)
    bench.stream(far, 4, first_seq=100)
    moving = bench.position()
    bench.robot.hold()
    assert bench.robot.read_state().holding
    bench.wait(0.4)
    stopped = bench.position()
    bench.wait(0.1)
    np.testing.assert_allclose(bench.position(), stopped, atol=STANDING_RAD)
    assert stopped[0] - START[0] > 0.05
    assert stopped[0] - moving[0] < 0.6
    assert stopped[0] < far[0] - 0.1
    bench.stream(stopped + 0.01, 3, first_seq=200)
    assert not bench.robot.read_state().holding


def test_holding_and_closing_twice_are_harmless(bench: Bench) -> None:
    bench.robot.hold()
    bench.robot.hold()
    bench.wait(0.2)
    np.testing.assert_allclose(bench.position(), START, atol=STANDING_RAD)
    bench.robot.close()
    bench.robot.close()
