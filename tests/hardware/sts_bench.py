"""A virtual chain of Feetech STS3215 servos in the Dofbot's arm, and the bus that drives it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from bridge.ports import Clock
from calibration.servo import ServoCalibration
from hardware.buses.half_duplex import HalfDuplexSettings
from hardware.buses.sts import StsBus, StsSettings
from hardware.virtual.plant import FreePlant
from hardware.virtual.pty_port import run_in_thread
from hardware.virtual.sts_board import StsBoard
from tests.hardware.nominal_servos import nominal_servos
from urdf.description import ArmDescription

#: Upright, the gripper open; and where it lies without torque.
UPRIGHT_TICKS = (2048, 2048, 2048, 2048, 2048, 1000)
SAGGED_TICKS = (2048, 2799, 2635, 2294, 2048, 1000)
#: A busy machine may put a process aside for longer than a servo takes to answer.
PATIENT = HalfDuplexSettings(reply_timeout_s=0.25, quiet_s=0.05, echo_wait_s=0.1)


@contextlib.contextmanager
def open_bench(
    clock: Clock,
    settings: HalfDuplexSettings = PATIENT,
    link: Path | None = None,
    torque_on: bool = True,
    echo: bool = False,
    start_ticks: Sequence[float] = UPRIGHT_TICKS,
) -> Iterator[tuple[StsBoard, StsBus]]:
    """Run a board on a pty of its own and open a bus on it."""
    plant = FreePlant(clock, start_ticks=start_ticks, sagged_ticks=SAGGED_TICKS)
    board = StsBoard(plant, clock.now_ns(), link=link, torque_on=torque_on)
    board.faults.echo = echo
    with run_in_thread(board, clock):
        try:
            with StsBus(board.port, clock=clock, settings=StsSettings(line=settings)) as bus:
                yield board, bus
        finally:
            board.close()


def nominal_calibration(description: ArmDescription) -> ServoCalibration:
    """Return the counts of a Dofbot's joints on these servos: 4096 a turn."""
    #          zero, ticks per rad, range: shoulder, elbow and wrist turn against their servos
    servos = [
        (2048.0, 651.8986, 1024, 3072),
        (2048.0, -651.8986, 1024, 3072),
        (2048.0, -651.8986, 1024, 3072),
        (2048.0, -651.8986, 1024, 3072),
        (2048.0, 651.8986, 1024, 4095),
        (2804.0, 1149.1556, 1000, 2919),  # the jaws: 101 degrees of the servo per radian
    ]
    return nominal_servos(description, "virtual-sts", servos)
