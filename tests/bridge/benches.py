"""What the link's tests stand on: a robot made of setpoints, clocks, and a server that runs beside the test."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path

import numpy as np

from bridge.clock import MonotonicClock
from bridge.errors import CommandRefused
from bridge.messages import JointCommand, RobotState
from bridge.ports import Clock, RelaxingRobot
from bridge.safety import SafetyFilter
from bridge.server import RobotServer
from bridge.server_settings import ServerSettings
from urdf.description import ArmDescription, load_arm
from urdf.pose import Array

PERIOD_S = 0.05
ARM = load_arm("dofbot")
START = np.array([0.0, -0.9, -0.6, -0.6, 0.0, -1.0])


class ShiftedClock:
    """A monotonic clock of another machine."""

    def __init__(self, ahead_s: float) -> None:
        self._ahead_ns = round(ahead_s * 1e9)

    def now_ns(self) -> int:
        return time.monotonic_ns() + self._ahead_ns

    def sleep_until(self, deadline_ns: int) -> None:
        MonotonicClock().sleep_until(deadline_ns - self._ahead_ns)


class SetpointRobot:
    """A Robot whose joints are where they were last sent, through the safety filter. Remembers what reached it."""

    def __init__(self, clock: Clock, start_rad: Array = START) -> None:
        self._clock = clock
        self._filter = SafetyFilter(ARM, ARM.rig("table"), PERIOD_S)
        self._safety = self._filter.initial(start_rad)
        self._seq = 0
        self._holding = False
        self.commands: list[JointCommand] = []
        self.hold_times_ns: list[int] = []
        self.let_go_ns: list[int] = []
        self.recoveries = 0
        self.trouble = ""

    @property
    def description(self) -> ArmDescription:
        return ARM

    @property
    def position_rad(self) -> Array:
        return self._safety.position_rad

    def read_state(self) -> RobotState:
        self._seq += 1
        position = tuple(self._safety.position_rad.tolist())
        return RobotState(self._seq, self._clock.now_ns(), position, (0.0,) * 6, (0.0,) * 6, holding=self._holding)

    def send(self, command: JointCommand) -> JointCommand:
        self.commands.append(command)
        target = np.array(command.position_rad)
        self._safety, output = self._filter.step(self._safety, target, self._safety.position_rad, command.duration_s)
        self._holding = output.held
        sent = tuple(output.position_rad.tolist())
        return JointCommand(command.seq, command.stamp_ns, sent, output.duration_s, command.ttl_s)

    def hold(self) -> None:
        self._holding = True
        self.hold_times_ns.append(self._clock.now_ns())

    def relax(self, rest_rad: Array, should_stop: Callable[[], bool]) -> None:
        self.park(rest_rad, should_stop)
        self.torque_off()

    def park(self, rest_rad: Array, should_stop: Callable[[], bool]) -> None:
        """Walk in straight steps, one every 10 ms."""
        while not should_stop() and float(np.abs(rest_rad - self.position_rad).max()) > 1e-3:
            away = rest_rad - self.position_rad
            part = min(1.0, 0.02 / float(np.abs(away).max()))
            self.send(command_to(self.position_rad + part * away, 0))
            time.sleep(0.01)

    def torque_off(self) -> None:
        self.let_go_ns.append(self._clock.now_ns())

    def recover(self) -> None:
        if self.trouble:
            raise CommandRefused(self.trouble)
        self.recoveries += 1

    def close(self) -> None:
        pass


@contextlib.contextmanager
def serving(
    robot: RelaxingRobot,
    endpoint: str,
    clock: Clock,
    settings: ServerSettings | None = None,
    tell: Callable[[str], None] = lambda text: None,
) -> Generator[RobotServer]:
    """Serve in a thread for as long as the context lasts; its errors surface at the end."""
    stop = threading.Event()
    failures: list[Exception] = []
    server = RobotServer(robot, "table", PERIOD_S, endpoint, clock, settings, tell)

    def loop() -> None:
        try:
            server.serve(stop.is_set)
        except Exception as error:
            failures.append(error)
        finally:
            server.close()

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        stop.set()
        thread.join(timeout=5.0)
        if failures:
            raise failures[0]


def ipc(tmp_path: Path) -> str:
    return f"ipc://{tmp_path}/arm.sock"


def command_to(position_rad: Array, seq: int = 1, stamp_ns: int | None = None, ttl_s: float = 0.2) -> JointCommand:
    stamp = time.monotonic_ns() if stamp_ns is None else stamp_ns
    return JointCommand(seq, stamp, tuple(np.asarray(position_rad).tolist()), PERIOD_S, ttl_s)


def eventually(condition: Callable[[], bool], timeout_s: float = 2.0) -> bool:
    """Return whether the condition came true in time."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.002)
    return condition()
