"""An arm is let go where it has been read to lie, and nowhere else: the last command is no proof."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from hardware.errors import RelaxBlocked
from hardware.servo_robot import ServoRobot
from hardware.virtual.dofbot_board import BoardManners
from hardware.virtual.plant import FreePlant
from tests.bridge.benches import eventually
from tests.hardware.servo_benches import BENCHES, START, ServoBench, command, dofbot_serial

REST = START + np.array([0.0, 0.3, 0.0, 0.0, 0.0, 0.0])


@pytest.fixture
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ServoBench]:
    with BENCHES[request.param](tmp_path) as bench, contextlib.closing(bench):
        yield bench


def on(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("bench", names, indirect=True)


class Leaving:
    """Something that ends the arm's motion, in a thread of its own, and what became of it."""

    def __init__(self, leave: Callable[[], None]) -> None:
        self.failure: Exception | None = None
        self._leave = leave
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._leave()
        except RelaxBlocked as error:
            self.failure = error

    def end(self) -> None:
        self._thread.join(10.0)
        time.sleep(0.1)  # what was written has been heard


def wait_until_it_is_there(robot: ServoRobot, bench: ServoBench) -> None:
    """Return once the rest pose has been sent and reached, before the arm has settled."""
    assert eventually(lambda: float(np.abs(bench.aims_rad() - REST).max()) < 0.01, 3.0)
    time.sleep(0.1)
    assert robot.read_state().torque_on


@on("dofbot_serial", "sts")  # one that is read slowly, one quickly
def test_an_arm_that_is_caught_just_before_its_rest_pose_keeps_its_torque_and_presses_on_nothing(
    bench: ServoBench,
) -> None:
    robot = bench.connect()
    plant = bench.rack.plant
    assert isinstance(plant, FreePlant)
    leaving = Leaving(lambda: robot.relax(REST))
    assert eventually(lambda: bench.stands_rad()[1] > REST[1] - 0.2, 3.0)
    plant.blocked[1] = True
    caught_at = bench.stands_rad()
    leaving.end()
    assert isinstance(leaving.failure, RelaxBlocked)
    assert all(bench.rack.torque_on)
    np.testing.assert_allclose(bench.stands_rad()[1], caught_at[1], atol=0.02)
    np.testing.assert_allclose(bench.aims_rad()[1], caught_at[1], atol=0.02)


@pytest.mark.parametrize("leave", ["relax", "close"])
def test_who_ends_while_the_arm_is_looked_for_leaves_no_servo_that_presses(tmp_path: Path, leave: str) -> None:
    """A servo that presses in vain cuts its torque after 3 s: the arm would fall when everybody has gone."""
    with dofbot_serial(tmp_path, BoardManners()) as bench, contextlib.closing(bench):
        robot, plant = bench.connect(), bench.rack.plant
        assert isinstance(plant, FreePlant)
        plant.blocked[1] = True
        if leave == "relax":
            with pytest.raises(RelaxBlocked):
                robot.relax(REST)
        else:
            robot.send(command(REST, duration_s=0.3))
            assert eventually(lambda: "Astray" in robot.read_state().fault, 5.0)
        robot.close()
        time.sleep(0.1)
        assert all(bench.rack.torque_on)
        np.testing.assert_allclose(bench.aims_rad()[1], bench.stands_rad()[1], atol=0.02)


@on("dofbot_serial")
def test_a_hold_while_the_arm_settles_keeps_its_torque(bench: ServoBench) -> None:
    robot = bench.connect()
    leaving = Leaving(lambda: robot.relax(REST))
    wait_until_it_is_there(robot, bench)
    robot.hold()
    leaving.end()
    assert "hold" in str(leaving.failure)
    assert all(bench.rack.torque_on)


@on("lx16a")
def test_who_wants_it_stopped_while_it_settles_keeps_its_torque(bench: ServoBench) -> None:
    robot, stop = bench.connect(), threading.Event()
    leaving = Leaving(lambda: robot.relax(REST, stop.is_set))
    wait_until_it_is_there(robot, bench)
    stop.set()
    leaving.end()
    assert leaving.failure is None
    assert all(bench.rack.torque_on)
    assert robot.read_state().holding


@on("lx16a")
def test_letting_go_ends_a_walk_and_no_servo_is_commanded_after_it(bench: ServoBench) -> None:
    robot = bench.connect()
    leaving = Leaving(lambda: robot.park(START + np.array([0.6, 0.0, 0.0, 0.0, 0.0, 0.0])))
    time.sleep(0.3)
    robot.torque_off()
    time.sleep(0.05)
    commanded = bench.commanded_ns()
    leaving.end()
    assert isinstance(leaving.failure, RelaxBlocked)
    assert bench.commanded_ns() == commanded
    assert not any(bench.rack.torque_on)


@on("sts")
def test_a_servo_that_complains_without_torque_is_not_commanded(
    bench: ServoBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hardware.servo_reader.VITALS_S", 0.05)
    robot = bench.connect()
    robot.torque_off()
    assert eventually(lambda: not any(bench.rack.torque_on))
    commanded = bench.commanded_ns()
    assert bench.temperature_c is not None
    bench.temperature_c[1] = 90
    assert eventually(lambda: "Overheated" in robot.read_state().fault, 3.0)
    assert eventually(lambda: not robot._latch.adrift, 5.0)  # it has been looked for, and found
    assert bench.commanded_ns() == commanded
