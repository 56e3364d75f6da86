"""A server in front of real drivers: what goes wrong on the bus is refused in words, and the server goes on."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from bridge.errors import CommandRefused
from bridge.remote import RemoteRobot
from hardware.servo_robot import ServoRobot
from tests.bridge.benches import eventually, ipc, serving
from tests.hardware.servo_benches import ARM, BENCHES, CLOCK, START, ServoBench, command


@dataclass(frozen=True, slots=True)
class Served:
    bench: ServoBench
    robot: ServoRobot
    remote: RemoteRobot


@pytest.fixture
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder: Path = tmp_path_factory.mktemp("b")
    with BENCHES[request.param](folder) as bench, contextlib.closing(bench):
        robot = bench.connect()
        with serving(robot, ipc(folder), CLOCK) as server, RemoteRobot(server.endpoint, ARM, CLOCK) as remote:
            yield Served(bench, robot, remote)


def on(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("served", names, indirect=True)


@on("dofbot_serial")
def test_what_keeps_a_fault_from_being_cleared_is_said_and_ends_no_server(served: Served) -> None:
    served.bench.absent.add(3)
    assert eventually(lambda: "servo 3" in served.robot.read_state().fault, 8.0)
    with pytest.raises(CommandRefused, match=r"WrongServo.*servo 3 does not answer"):
        served.remote.clear()
    assert "servo 3" in served.remote.read_state().fault
    served.bench.absent.clear()
    served.remote.clear()
    assert served.remote.read_state().fault == ""


@on("dofbot_serial")
def test_clearing_waits_for_an_arm_that_is_still_falling(served: Served) -> None:
    served.robot.torque_off()
    began_s = time.monotonic()
    served.remote.clear()
    assert time.monotonic() - began_s > 0.5  # longer than a server may be silent otherwise
    assert served.remote.read_state().torque_on
    np.testing.assert_allclose(served.remote.read_state().position_rad, served.bench.stands_rad(), atol=0.02)


@on("lx16a", "sts", "dofbot_i2c")
def test_a_move_longer_than_servos_can_count_is_written_as_their_longest(served: Served) -> None:
    sent = served.remote.send(command(START, 1, 1e6))
    assert sent.duration_s == 30.0
    served.remote.send(command(START, 2))
