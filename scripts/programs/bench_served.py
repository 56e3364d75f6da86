"""The served arm of `tandem bench bridge`: `tandem serve` as a process, on a board whose wire is listened to.

The board lives in this process, so that what is sent and what comes out on the wire are stamped by one clock.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import zmq

from bridge.clock import MonotonicClock
from bridge.keys import ClientKey, KeyRing
from bridge.messages import JointCommand
from bridge.remote import RemoteRobot
from calibration.servo import ServoCalibration
from hardware.virtual.dofbot_board import DofbotBoard
from hardware.virtual.plant import FreePlant
from scripts.programs.lab import LabFailed
from scripts.programs.process_tree import before_exec
from urdf.description import load_arm
from urdf.pose import Array

ARM = load_arm("dofbot")
CLOCK = MonotonicClock()
_NAME = "bench"
MOVE_SIX = 0x1D
_READY_S = 30.0
_STILL_TICKS = 0.05


class ListenedPlant(FreePlant):
    """A plant that notes when it last moved."""

    def __init__(self, start_ticks: Sequence[int]) -> None:
        super().__init__(CLOCK, start_ticks)
        self.moved_ns = 0

    def drive(self, setpoint_ticks: Array, torque_on: np.ndarray) -> None:
        """Follow, and take note."""
        before = self.positions_ticks()
        super().drive(setpoint_ticks, torque_on)
        if np.abs(self.positions_ticks() - before).max() > _STILL_TICKS:
            self.moved_ns = CLOCK.now_ns()


@dataclass(slots=True)
class Served:
    """A served arm: its board, its process, and how to reach it."""

    board: DofbotBoard
    plant: ListenedPlant
    endpoint: str
    key: ClientKey | None
    process: subprocess.Popen[bytes]

    def connect(self, take_over: bool = False) -> RemoteRobot:
        """Return the arm."""
        return RemoteRobot(self.endpoint, ARM, CLOCK, key=self.key, take_over=take_over)

    def moves(self, since_ns: int) -> list[int]:
        """Return when moves came over the wire (ns)."""
        return [f.stamp_ns for f in list(self.board.heard) if f.command == MOVE_SIX and f.stamp_ns >= since_ns]

    def resident_mib(self) -> float:
        """Return how much memory the server's process holds."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


@contextmanager
def served(keyed: bool, recorded: bool = True) -> Generator[Served]:
    """Serve an arm that stands at home, over loopback TCP with keys or a socket without; raises LabFailed."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tandem-")))
        calibration = ServoCalibration.nominal(ARM, _NAME)
        calibration.save(folder)
        plant = ListenedPlant(calibration.to_ticks(ARM.rig("table").home_rad))
        board = DofbotBoard(plant, np.random.default_rng(0), CLOCK.now_ns(), torque_on=True)
        stack.callback(board.close)
        stack.enter_context(board.run_in_thread(CLOCK))
        endpoint, key, words = f"ipc://{folder}/arm", None, list[str]()
        if keyed:
            key, words = KeyRing(folder / "keys").new("bench"), ["--keys"]
            endpoint = f"tcp://127.0.0.1:{free_port()}"
        words += [] if recorded else ["--no-record"]
        line = ["serve", "--port", board.port, "--robot", _NAME, "--endpoint", endpoint, "--on-exit", "torque_off"]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "scripts.main", *line, *words], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, "TANDEM_DATA": str(folder), "PYTHONUNBUFFERED": "1"},
                preexec_fn=before_exec(signal.SIGTERM),
            )  # fmt: skip
        stack.callback(end, process)
        end_s = time.monotonic() + _READY_S
        while b"ready" not in (folder / "log").read_bytes():
            if process.poll() is not None or time.monotonic() > end_s:
                raise LabFailed(f"the arm is not served: {(folder / 'log').read_text()[-1000:]}")
            time.sleep(0.05)
        yield Served(board, plant, endpoint, key, process)


def free_port() -> int:
    """Return a port that is free, and whose neighbour above is."""
    context = zmq.Context()
    try:
        while True:
            with context.socket(zmq.REP) as first, context.socket(zmq.REP) as second:
                port = first.bind_to_random_port("tcp://127.0.0.1")
                try:
                    second.bind(f"tcp://127.0.0.1:{port + 1}")
                except zmq.ZMQError:
                    continue
                return port
    finally:
        context.term()


def end(process: subprocess.Popen[bytes]) -> None:
    """Have a process end, by force where it takes long."""
    process.terminate()
    try:
        process.wait(timeout=10.0)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def command(seq: int, home: Array, duration_s: float) -> JointCommand:
    """Return a command of a slow sway of all joints."""
    target = home + 0.03 * np.sin(2 * np.pi * 0.5 * seq * duration_s)
    return JointCommand(seq, CLOCK.now_ns(), tuple(target.tolist()), duration_s)
