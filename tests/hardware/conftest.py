from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from bridge.clock import MonotonicClock
from hardware.buses.dofbot_serial import DofbotSerialBus, SerialSettings
from hardware.virtual.dofbot_board import DofbotBoard
from hardware.virtual.plant import FreePlant
from urdf.description import ArmDescription, load_arm

FAST = SerialSettings(wake_s=0.05)


@pytest.fixture
def clock() -> MonotonicClock:
    return MonotonicClock()


@pytest.fixture(scope="session")
def dofbot() -> ArmDescription:
    return load_arm("dofbot")


@pytest.fixture
def plant(clock: MonotonicClock) -> FreePlant:
    return FreePlant(clock)


@pytest.fixture
def board(clock: MonotonicClock, plant: FreePlant) -> Iterator[DofbotBoard]:
    board = DofbotBoard(plant, np.random.default_rng(7), clock.now_ns(), torque_on=True)
    with board.run_in_thread(clock):
        yield board
    board.close()


@pytest.fixture
def bus(board: DofbotBoard, clock: MonotonicClock) -> Iterator[DofbotSerialBus]:
    with DofbotSerialBus(board.port, clock, FAST) as bus:
        yield bus
