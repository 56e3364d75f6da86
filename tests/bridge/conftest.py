"""A robot of setpoints, its server on a socket, and a client of that."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

from bridge.clock import MonotonicClock
from bridge.remote import RemoteRobot
from bridge.server import RobotServer
from tests.bridge.benches import ARM, SetpointRobot, ipc, serving

CLOCK = MonotonicClock()


@pytest.fixture
def robot() -> SetpointRobot:
    return SetpointRobot(CLOCK)


@pytest.fixture
def server(robot: SetpointRobot, tmp_path: Path) -> Generator[RobotServer]:
    with serving(robot, ipc(tmp_path), CLOCK) as running:
        yield running


@pytest.fixture
def remote(server: RobotServer) -> Generator[RemoteRobot]:
    with RemoteRobot(server.endpoint, ARM, CLOCK) as connected:
        yield connected
