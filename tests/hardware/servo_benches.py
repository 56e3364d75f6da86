"""Every board whose servos can be read, with its cable and its wire, behind one face."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bridge.clock import MonotonicClock
from bridge.messages import JointCommand
from calibration.servo import ServoCalibration
from hardware.buses.half_duplex import HalfDuplexSettings
from hardware.servo_bus import ServoBus
from hardware.servo_robot import ServoRobot
from hardware.virtual.chain_wire import ChainFaults
from hardware.virtual.dofbot_board import BoardFaults, BoardManners
from hardware.virtual.servo_rack import ServoRack
from tests.hardware import dofbot_i2c_bench, dofbot_serial_bench, lx16a_bench, sts_bench
from urdf.description import load_arm
from urdf.pose import Array

ARM = load_arm("dofbot")
RIG = ARM.rig("table")
PERIOD_S = 0.05
START = np.array([0.2, -0.9, -0.6, -0.6, 0.1, -1.0])
CLOCK = MonotonicClock()
#: Three times three timeouts make a servo silent: the benches' own patience would be what most tests wait for.
BRISK = HalfDuplexSettings(reply_timeout_s=0.08, quiet_s=0.02, echo_wait_s=0.05)


@dataclass(frozen=True, slots=True)
class ServoBench:
    """A board, the bus that has opened it, and what leads to it."""

    bus: ServoBus
    rack: ServoRack
    calibration: ServoCalibration
    unplug: Callable[[], None]
    replug: Callable[[], None]
    #: The times [ns] of all frames that command something: a count, or the torque.
    commanded_ns: Callable[[], list[int]]
    press_k1: Callable[[], None] | None = None
    faults: ChainFaults | BoardFaults | None = None
    temperature_c: dict[int, int] | None = None
    set_supply_v: Callable[[float], None] | None = None
    #: The ids of servos that are not there.
    absent: set[int] = field(default_factory=set[int])
    _robots: list[ServoRobot] = field(default_factory=list[ServoRobot])

    def connect(self, move_time_s: float | None = None) -> ServoRobot:
        robot = ServoRobot.connect(
            self.bus, self.calibration, ARM, RIG, CLOCK, period_s=PERIOD_S, move_time_s=move_time_s
        )
        self._robots.append(robot)
        return robot

    def stands_rad(self) -> Array:
        """Where the joints are, in truth (n,)."""
        return self.calibration.to_rad(self.rack.positions_ticks())

    def aims_rad(self) -> Array:
        """The last targets that the servos have heard (n,)."""
        return self.calibration.to_rad(self.rack.target_ticks)

    def close(self) -> None:
        for robot in self._robots:
            robot.close()


def command(target: Array, seq: int = 1, duration_s: float = PERIOD_S) -> JointCommand:
    return JointCommand(seq, CLOCK.now_ns(), tuple(np.asarray(target).tolist()), duration_s)


def stream(robot: ServoRobot, target: Array, periods: int) -> list[JointCommand]:
    start_ns, sent = CLOCK.now_ns(), list[JointCommand]()
    for k in range(periods):
        sent.append(robot.send(command(target, k)))
        CLOCK.sleep_until(start_ns + round((k + 1) * PERIOD_S * 1e9))
    return sent


@contextlib.contextmanager
def dofbot_serial(folder: Path, manners: BoardManners = dofbot_serial_bench.QUICK) -> Iterator[ServoBench]:
    calibration = dofbot_serial_bench.nominal_calibration(ARM)
    ticks, link = calibration.to_ticks(START), folder / "servos"
    with dofbot_serial_bench.open_bench(CLOCK, ticks, link, manners) as (board, bus):
        moving = (0x1D, 0x1A, *range(0x11, 0x18))
        yield ServoBench(
            bus,
            board.rack,
            calibration,
            board.unplug,
            board.replug,
            lambda: [f.stamp_ns for f in list(board.heard) if f.command in moving and not f.swallowed],
            lambda: board.press_k1(CLOCK.now_ns()),
            board.faults,
            absent=board.faults.absent_servos,
        )


@contextlib.contextmanager
def dofbot_i2c(_folder: Path) -> Iterator[ServoBench]:
    calibration = dofbot_i2c_bench.nominal_calibration(ARM)
    with dofbot_i2c_bench.open_bench(CLOCK, calibration.to_ticks(START)) as (board, bus):
        moving = (0x1D, 0x1A, *range(0x11, 0x18))
        yield ServoBench(
            bus,
            board.rack,
            calibration,
            board.wire.unplug,
            board.wire.replug,
            lambda: [w.stamp_ns for w in list(board.wire.writes) if w.register in moving],
            board.press_k1,
        )


@contextlib.contextmanager
def lx16a(folder: Path, echo: bool = False) -> Iterator[ServoBench]:
    calibration = lx16a_bench.nominal_calibration(ARM)
    ticks, link = calibration.to_ticks(START), folder / "servos"
    with lx16a_bench.open_bench(CLOCK, BRISK, link=link, start_ticks=ticks, echo=echo) as (board, bus):
        yield ServoBench(
            bus,
            board.rack,
            calibration,
            board.pty.unplug,
            board.pty.plug_in,
            lambda: [r.stamp_ns for r in list(board.wire.heard) if r.code in (1, 31)],
            faults=board.faults,
            temperature_c=board.temperature_c,
            set_supply_v=lambda volts: setattr(board, "supply_v", volts),
        )


@contextlib.contextmanager
def sts(folder: Path, echo: bool = False) -> Iterator[ServoBench]:
    calibration = sts_bench.nominal_calibration(ARM)
    ticks, link = calibration.to_ticks(START), folder / "servos"
    with sts_bench.open_bench(CLOCK, BRISK, link=link, start_ticks=ticks, echo=echo) as (board, bus):
        yield ServoBench(
            bus,
            board.rack,
            calibration,
            board.pty.unplug,
            board.pty.plug_in,
            lambda: [r.stamp_ns for r in list(board.wire.heard) if r.code in (3, 0x83)],
            faults=board.faults,
            temperature_c=board.temperature_c,
            set_supply_v=lambda volts: setattr(board, "supply_v", volts),
        )


BENCHES: dict[str, Callable[[Path], contextlib.AbstractContextManager[ServoBench]]] = {
    "dofbot_serial": dofbot_serial,
    "dofbot_i2c": dofbot_i2c,
    "lx16a": lx16a,
    "sts": sts,
}
