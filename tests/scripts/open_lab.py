"""A lab whose physics and servo board turn inside the test, so that the test sees the wire and the true joints."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from calibration.actuator import SERVO_SPEED_RAD_S, ActuatorModel
from calibration.servo import ServoCalibration
from hardware.virtual.dofbot_board import DofbotBoard
from hardware.virtual.dofbot_wire import HeardFrame
from scripts.programs.lab_eye import EyeSetup, SceneMirror, start_eye
from scripts.programs.lab_loop import Lab
from scripts.programs.lab_plant import LabPlant
from scripts.programs.lab_stage import StageServer
from scripts.programs.robot_file import RobotFile
from sim.lab import LabWorld
from sim.lab_scene import nominal_camera
from sim.lab_truth import LabTruth
from urdf.description import load_arm
from urdf.pose import Array

ROOT = Path(__file__).parents[2]
ARM = load_arm("dofbot")
RIG = ARM.rig("table")
MOVE_SIX, TORQUE = 0x1D, 0x1A


class OpenLab:
    """Looks to `tandem run --robot lab` like any other lab of the data folder. Moves only inside `turn_until`."""

    def __init__(self, data: Path, seed: int = 0) -> None:
        truth = LabTruth.draw(seed, len(ARM.joint_names))
        calibration = ServoCalibration.nominal(ARM, "lab")
        calibration.save(data)
        self._data = data
        self.environment = os.environ | {"TANDEM_DATA": str(data), "PYTHONUNBUFFERED": "1"}
        self.robot = RobotFile(
            arm="dofbot",
            rig="table",
            port=str(data / "servos"),
            endpoint=f"ipc://{data}/arm",
            camera_endpoint=f"ipc://{data}/camera",
            stage_endpoint=f"ipc://{data}/stage",
            truth_path=str(data / "truth.json"),
            pid=os.getpid(),
        )
        self.world = LabWorld(ARM, RIG, truth, Path(self.robot.truth_path))
        actuator = ActuatorModel((SERVO_SPEED_RAD_S,) * 6, dead_time_s=truth.dead_time_s)
        self.board = DofbotBoard(
            LabPlant(self.world, calibration), np.random.default_rng(seed), time.monotonic_ns(), actuator,
            link=Path(self.robot.port),
        )  # fmt: skip
        self._stage = StageServer(self.robot.stage_endpoint)
        mirror = SceneMirror(tuple(self.world.scene()[0]))
        camera = truth.desk_from_camera(nominal_camera(RIG))
        self._eye = start_eye(EyeSetup("dofbot", "table", camera, self.robot.camera_endpoint, data / "c", seed), mirror)
        self.lab = Lab(self.world, self.board, mirror, self._stage, seed)
        #: (ns, servo-measured joint angles) of every physics step.
        self.motion: list[tuple[int, Array]] = []
        self._processes: list[subprocess.Popen[str]] = []
        self._server = self._serve()
        assert self.turn_until(lambda: (data / "arm").exists() and self.lab.status().frames > 0, 40.0)
        self.robot.save("lab", data)

    def _serve(self) -> subprocess.Popen[str]:
        words = ["serve", "--port", self.robot.port, "--robot", "lab", "--endpoint", self.robot.endpoint]
        return self.tandem(*words, "--on-exit", "hold")

    def tandem(self, *words: str) -> subprocess.Popen[str]:
        """Start a command; turn the lab until it ends."""
        process = subprocess.Popen(
            [sys.executable, "-m", "scripts.main", *words],
            cwd=ROOT, env=self.environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self._processes.append(process)
        return process

    def turn_until(self, done: Callable[[], bool], limit_s: float) -> bool:
        """Advance the lab in real time until `done`; return whether that came within `limit_s`."""
        end_s = time.monotonic() + limit_s
        while not done():
            if time.monotonic() > end_s:
                return False
            self.lab.turn()
            self.motion.append((time.monotonic_ns(), self.world.positions_rad()))
        return True

    def turn_for(self, seconds: float) -> None:
        """Advance the lab in real time."""
        self.turn_until(lambda: False, seconds)

    def speed_rad_s(self, since_ns: int, until_ns: int) -> float:
        """Return the largest mean speed of any joint over 50 ms, inside a stretch of time."""
        stretch = [(t, q) for t, q in self.motion if since_ns <= t <= until_ns]
        times_s = np.array([t for t, _ in stretch]) * 1e-9
        angles = np.array([q for _, q in stretch])
        later = np.searchsorted(times_s, times_s + 0.05)
        pairs = [(i, j) for i, j in enumerate(later) if j < len(times_s)]
        return max(float(np.abs(angles[j] - angles[i]).max() / (times_s[j] - times_s[i])) for i, j in pairs)

    def heard(self, since_ns: int, command: int = MOVE_SIX) -> list[HeardFrame]:
        """Return the frames of one command that the board heard after `since_ns`."""
        return [f for f in list(self.board.heard) if f.stamp_ns >= since_ns and f.command == command]

    def close(self) -> None:
        """End everything."""
        self._server.send_signal(signal.SIGTERM)
        self.turn_until(lambda: self._server.poll() is not None, 10.0)
        for process in self._processes:
            process.kill()
            process.communicate()
        self._eye.kill()
        self._eye.join()
        self._stage.close()
        self.board.close()
        self.world.close()
