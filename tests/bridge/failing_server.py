"""`tandem serve` with a clock that fails once: python -m ... PORT ROBOT ENDPOINT ON_EXIT SECONDS."""

from __future__ import annotations

import sys
from typing import get_args

from bridge.clock import MonotonicClock
from bridge.exits import OnExit
from calibration.servo import ServoCalibration
from hardware.buses.dofbot_serial import DofbotSerialBus
from hardware.servo_robot import ServoRobot
from scripts.cli import data_root, say
from scripts.programs.stop_requests import StopRequests
from scripts.serve import serve_robot
from urdf.description import load_arm


class ClockFault(Exception):
    """What a defect in the server looks like from outside."""


class FailingClock(MonotonicClock):
    """The server's clock: fails once, some time after the first reading."""

    def __init__(self, after_s: float) -> None:
        self._due_ns: int | None = None
        self._after_ns = round(after_s * 1e9)

    def now_ns(self) -> int:
        now_ns = super().now_ns()
        self._due_ns = self._due_ns or now_ns + self._after_ns
        if now_ns >= self._due_ns:
            self._due_ns = 1 << 62
            raise ClockFault("the clock failed")
        return now_ns


def main(port: str, name: str, endpoint: str, word: str, after_s: str) -> None:
    on_exit: OnExit = next(known for known in get_args(OnExit) if known == word)
    arm = load_arm("dofbot")
    rig, clock = arm.rig("table"), MonotonicClock()
    calibration = ServoCalibration.load(name, arm, data_root())
    robot = ServoRobot.connect(DofbotSerialBus(port, clock), calibration, arm, rig, clock)
    with StopRequests().listening() as stop:
        serve_robot(robot, rig, endpoint, FailingClock(float(after_s)), on_exit, stop, say)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4], sys.argv[5])
