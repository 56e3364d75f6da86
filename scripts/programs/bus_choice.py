"""Which servo bus an arm is on, by name. Only the one that is asked for is imported."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from bridge.ports import Clock
from hardware.guards import ANY_SERVO_LIMITS, LX16A_LIMITS, STS_LIMITS, VitalsLimits
from hardware.servo_bus import ServoBus

BusKind = Literal["dofbot-serial", "dofbot-i2c", "lx16a", "sts", "pca9685"]


def open_bus(kind: BusKind, port: str, servo_ids: Sequence[int], clock: Clock) -> ServoBus:
    """Open the bus at `port`, which moves nothing and changes no torque; raises PortError or BusLost.

    `port` is a serial port, or for dofbot-i2c and pca9685 an I2C one such as /dev/i2c-1. The Dofbot's boards have
    servos 1 to 6, whatever `servo_ids` says; on the others those are the servos that are addressed.
    """
    if kind == "dofbot-serial":
        from hardware.buses.dofbot_serial import DofbotSerialBus

        return DofbotSerialBus(port, clock)
    if kind == "lx16a":
        from hardware.buses.lx16a import Lx16aBus

        return Lx16aBus(port, servo_ids, clock)
    if kind == "sts":
        from hardware.buses.sts import StsBus

        return StsBus(port, servo_ids, clock)
    if kind == "dofbot-i2c":
        from hardware.buses.dofbot_i2c import DofbotI2cBus

        return DofbotI2cBus(port, clock)
    from hardware.buses.pca9685 import Pca9685Bus

    return Pca9685Bus(port, servo_ids, clock)


def vitals_limits(kind: BusKind) -> VitalsLimits:
    """Return how warm servos of such a bus may be, and how they are fed, before the arm is stopped."""
    return {"lx16a": LX16A_LIMITS, "sts": STS_LIMITS}.get(kind, ANY_SERVO_LIMITS)


def line_speed(kind: BusKind) -> str:
    """Return how fast the bus talks, in words."""
    return "1,000,000 baud" if kind == "sts" else "I2C" if kind in ("dofbot-i2c", "pca9685") else "115,200 baud"


def ticks_range(kind: BusKind) -> tuple[int, int]:
    """Return the lowest and the highest count that a servo of such a bus takes, without one at hand."""
    if kind == "lx16a":
        from hardware.buses import lx16a_frames as servos
    elif kind == "sts":
        from hardware.buses import sts_frames as servos
    else:
        from hardware.buses import dofbot_registers as servos
    return servos.MIN_TICKS, servos.MAX_TICKS
