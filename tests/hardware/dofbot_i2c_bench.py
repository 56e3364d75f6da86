"""A Dofbot on I2C: its virtual board on a wire, and the bus that has opened it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import numpy as np

from bridge.ports import Clock
from calibration.servo import ServoCalibration
from hardware.buses.dofbot_i2c import DofbotI2cBus
from hardware.virtual.dofbot_smbus import DofbotSmbusBoard, SmbusManners
from hardware.virtual.plant import UPRIGHT_TICKS, FreePlant
from urdf.description import ArmDescription


@contextlib.contextmanager
def open_bench(
    clock: Clock, start_ticks: Sequence[float] = UPRIGHT_TICKS, manners: SmbusManners | None = None
) -> Iterator[tuple[DofbotSmbusBoard, DofbotI2cBus]]:
    plant = FreePlant(clock, start_ticks)
    board = DofbotSmbusBoard(plant, np.random.default_rng(1), clock, manners=manners, torque_on=True)
    with board.wire.run_in_thread(), DofbotI2cBus("/dev/i2c-1", clock, open_bus=board.wire.open) as bus:
        yield board, bus


def nominal_calibration(description: ArmDescription) -> ServoCalibration:
    return ServoCalibration.nominal(description, "unit7")
