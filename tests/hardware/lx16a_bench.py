"""A virtual chain of LX-16A servos in the Dofbot's arm, and the bus that drives it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from bridge.ports import Clock
from calibration.servo import ServoCalibration
from hardware.buses.half_duplex import HalfDuplexSettings
from hardware.buses.lx16a import Lx16aBus
from hardware.virtual.lx16a_board import Lx16aBoard
from hardware.virtual.plant import FreePlant
from hardware.virtual.pty_port import run_in_thread
from tests.hardware.nominal_servos import nominal_servos
from urdf.description import ArmDescription

#: Upright, the gripper open; and where it lies without torque.
UPRIGHT_TICKS = (500, 500, 500, 500, 500, 100)
SAGGED_TICKS = (500, 775, 715, 590, 500, 100)
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
) -> Iterator[tuple[Lx16aBoard, Lx16aBus]]:
    """Run a board on a pty of its own and open a bus on it."""
    plant = FreePlant(clock, start_ticks=start_ticks, sagged_ticks=SAGGED_TICKS)
    board = Lx16aBoard(plant, clock.now_ns(), link=link, torque_on=torque_on)
    board.faults.echo = echo
    with run_in_thread(board, clock):
        try:
            with Lx16aBus(board.port, clock=clock, settings=settings) as bus:
                yield board, bus
        finally:
            board.close()


def nominal_calibration(description: ArmDescription) -> ServoCalibration:
    """Return the counts of a Dofbot's joints on these servos: 1000 over 240 degrees, so the wrist's roll ends early."""
    #          zero, ticks per rad, range: shoulder, elbow and wrist turn against their servos
    servos = [
        (500.0, 238.732, 125, 875),
        (500.0, -238.732, 125, 875),
        (500.0, -238.732, 125, 875),
        (500.0, -238.732, 125, 875),
        (500.0, 238.732, 125, 1000),
        (760.0, 420.833, 99, 802),  # the jaws: 101 degrees of the servo per radian
    ]
    return nominal_servos(description, "virtual-lx16a", servos)
