"""A Dofbot's joints on hobby servos: a virtual PCA9685 on a wire, and the bus that has opened it."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence

from bridge.ports import Clock
from calibration.servo import ServoCalibration
from hardware.buses.pca9685 import Pca9685Bus
from hardware.virtual.pca9685_smbus import Pca9685Board
from hardware.virtual.plant import FreePlant
from tests.hardware.nominal_servos import nominal_servos
from urdf.description import ArmDescription

IDS = (1, 2, 3, 4, 5, 6)
MIDDLE, PER_RAD = 307, 409.6 / math.pi  # 1500 us; 180 degrees over 2000 us of a period of 20 ms
LOWEST, HIGHEST = 102, 512
UPRIGHT = (307, 307, 307, 307, 307, 110)
SAGGED = (307, 400, 380, 340, 307, 110)
GRIPPER_GEAR = 1.7


@contextlib.contextmanager
def open_bench(clock: Clock, start_ticks: Sequence[float] = UPRIGHT) -> Iterator[tuple[Pca9685Board, Pca9685Bus]]:
    board = Pca9685Board(FreePlant(clock, start_ticks, sagged_ticks=SAGGED), clock)
    with board.wire.run_in_thread(), Pca9685Bus("/dev/i2c-1", IDS, clock, open_bus=board.wire.open) as bus:
        yield board, bus


def nominal_calibration(description: ArmDescription) -> ServoCalibration:
    return nominal_servos(description, "unit7", [_servo(description, index) for index in range(6)])


def _servo(description: ArmDescription, index: int) -> tuple[float, float, int, int]:
    lower, upper = float(description.lower_rad[index]), float(description.upper_rad[index])
    scale = PER_RAD * GRIPPER_GEAR if index == 5 else PER_RAD
    zero = LOWEST + 5 - scale * lower if index == 5 else float(MIDDLE)
    return zero, scale, max(LOWEST, round(zero + scale * lower)), min(HIGHEST, round(zero + scale * upper))
