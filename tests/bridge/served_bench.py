"""A real server process on a servo board that speaks the real bytes: what tests of a served arm stand on."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bridge.clock import MonotonicClock
from calibration.servo import ServoCalibration
from hardware.virtual.dofbot_board import DofbotBoard
from hardware.virtual.dofbot_wire import HeardFrame
from hardware.virtual.plant import FreePlant
from urdf.description import load_arm

ARM = load_arm("dofbot")
REST_RAD = ARM.rig("table").rest_rad
START_RAD = REST_RAD + np.array([-0.3, 0.2, 0.1, 0.1, 0.0, 0.3])
NAME = "unit7"
CLOCK = MonotonicClock()
MOVE_SIX, TORQUE = 0x1D, 0x1A


class SpeedPlant(FreePlant):
    """A plant that writes down when its joints moved."""

    def __init__(self, start_ticks: tuple[int, ...]) -> None:
        super().__init__(CLOCK, start_ticks)
        self.moved_ns: list[int] = []

    def drive(self, setpoint_ticks: np.ndarray, torque_on: np.ndarray) -> None:
        before = self.positions_ticks()
        super().drive(setpoint_ticks, torque_on)
        if np.abs(self.positions_ticks() - before).max() > 0.05:
            self.moved_ns.append(time.monotonic_ns())


class Bench:
    """A board on a pty with a calibrated unit, and the processes that use it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calibration = ServoCalibration.nominal(ARM, NAME)
        self.calibration.save(folder)
        self.plant = SpeedPlant(self.calibration.to_ticks(START_RAD))
        self.board = DofbotBoard(self.plant, np.random.default_rng(3), CLOCK.now_ns())
        self.endpoint = f"ipc://{folder}/arm.sock"
        self.environment = os.environ | {"TANDEM_DATA": str(folder), "PYTHONUNBUFFERED": "1"}
        self._processes: list[subprocess.Popen[str]] = []
        self._running = contextlib.ExitStack()
        self._running.enter_context(self.board.run_in_thread(CLOCK))

    def start(self, words: list[str], until: str, errors: bool = False) -> subprocess.Popen[str]:
        """Start a Python process and wait for the line that starts with `until`."""
        process = subprocess.Popen(
            [sys.executable, "-m", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if errors else None,
            text=True,
            env=self.environment,
        )
        self._processes.append(process)
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(until):
                return process
        raise AssertionError(f"{words} ended with {process.wait()} before saying {until!r}")

    def serve(self, on_exit: str = "relax", more: Sequence[str] = ()) -> subprocess.Popen[str]:
        words = ["scripts.main", "serve", "--port", self.board.port, "--robot", NAME, "--endpoint", self.endpoint]
        process = self.start([*words, "--on-exit", on_exit, *more], "ready")
        time.sleep(0.2)  # until the board has heard everything that taking hold of the arm sent
        return process

    def stream(self) -> subprocess.Popen[str]:
        return self.start(["tests.bridge.streaming_client", self.endpoint], "moving")

    def heard(self, since_ns: int) -> list[HeardFrame]:
        """The frames after `since_ns` that command something."""
        return [f for f in list(self.board.heard) if f.stamp_ns >= since_ns and f.command in (MOVE_SIX, TORQUE)]

    def target_rad(self, frame: HeardFrame) -> np.ndarray:
        words = [int.from_bytes(frame.data[i : i + 2], "big") for i in range(0, 12, 2)]
        return self.calibration.to_rad(words)

    def pull_the_plug(self) -> None:
        """The board is gone, and its port with it."""
        self._running.close()
        self.board.close()

    def end(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    stream.close()
        self.pull_the_plug()
