"""A Dofbot-SE: its virtual board on a pty, and the serial bus that has opened it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from bridge.ports import Clock
from calibration.servo import ServoCalibration
from hardware.buses.dofbot_serial import DofbotSerialBus, SerialSettings
from hardware.virtual.dofbot_board import BoardManners, DofbotBoard
from hardware.virtual.plant import UPRIGHT_TICKS, FreePlant
from urdf.description import ArmDescription

QUICK = BoardManners(read_s=(0.005, 0.008))  # the real one's 50 to 80 ms are too long to wait for


@contextlib.contextmanager
def open_bench(
    clock: Clock,
    start_ticks: Sequence[float] = UPRIGHT_TICKS,
    link: Path | None = None,
    manners: BoardManners = QUICK,
) -> Iterator[tuple[DofbotBoard, DofbotSerialBus]]:
    plant = FreePlant(clock, start_ticks)
    board = DofbotBoard(plant, np.random.default_rng(1), clock.now_ns(), manners=manners, link=link, torque_on=True)
    try:
        with board.run_in_thread(clock), DofbotSerialBus(board.port, clock, SerialSettings(wake_s=0.05)) as bus:
            yield board, bus
    finally:
        board.close()


def nominal_calibration(description: ArmDescription) -> ServoCalibration:
    return ServoCalibration.nominal(description, "unit7")
