"""LabProcess: a lab as a child process, for `tandem run --robot lab`, the demo and the tests."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

from scripts.cli import data_root
from scripts.programs.lab import LabFailed, running_lab
from scripts.programs.process_tree import before_exec, is_running
from scripts.programs.robot_file import RobotFile

_READY_S, _STOP_S, _POLL_S = 60.0, 30.0, 0.05
#: The folder of a lab that a program started for itself: the program's process id first.
_OWN_FOLDER = re.compile(r"([0-9]+)_[0-9]+_seed[0-9]+")


class LabProcess:
    """A running lab: `with LabProcess(seed=3, out=folder) as lab: lab.robot.endpoint`.

    `data` is the data folder that the lab writes its robot.toml and calibration to (default: the usual one). The lab
    ends with the context, and with this process if that is killed.
    """

    def __init__(
        self,
        rig: str = "table",
        seed: int = 0,
        out: Path | None = None,
        arm: str = "dofbot",
        data: Path | None = None,
        level: str = "mild",
        wrist: bool = False,
    ) -> None:
        self._words = ["lab", "--rig", rig, "--seed", str(seed), "--arm", arm, "--level", level]
        self._words += ["--wrist"] if wrist else []
        self._data = (data or data_root()).resolve()
        self._out = (out or self._data / "labs" / f"{os.getpid()}_{time.time_ns()}_seed{seed}").resolve()
        self._process: subprocess.Popen[bytes] | None = None
        self._robot: RobotFile | None = None

    @property
    def robot(self) -> RobotFile:
        """Where the lab is reached: endpoints of arm, camera and stage hand, and the truth file for the report."""
        if self._robot is None:
            raise LabFailed("the lab has not been started")
        return self._robot

    @property
    def pid(self) -> int:
        """The lab's process id; 0 when it does not run."""
        return self._process.pid if self._process is not None else 0

    def start(self) -> LabProcess:
        """Start the lab and wait until arm and camera are there; raises LabFailed with what the lab said."""
        if self._process is not None:
            raise LabFailed("this lab has been started before: make a new LabProcess")
        clear_left_labs(self._data / "labs")
        self._out.mkdir(parents=True, exist_ok=True)
        with self._log.open("wb") as sink:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "scripts.main", *self._words, "--out", str(self._out)],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                env={**os.environ, "TANDEM_DATA": str(self._data)},
                start_new_session=True,  # Ctrl-C reaches this process alone; the lab is ended when its user has left
                preexec_fn=before_exec(signal.SIGTERM),
            )
        try:
            self._robot = self._wait_until_ready(self._process)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> int:
        """End the lab, the arm relaxed first; return its exit code. Calling it twice is harmless."""
        process = self._process
        if process is None:
            return 0
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
        return process.wait()

    def check(self) -> None:
        """Raise LabFailed, with what the lab said last, when it has ended."""
        if self._process is not None and self._process.poll() is not None:
            raise LabFailed(f"the lab ended with exit code {self._process.returncode}. It said: {self._said()}")

    def __enter__(self) -> LabProcess:
        """Start the lab."""
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the lab."""
        self.stop()

    @property
    def _log(self) -> Path:
        return self._out / "lab.log"

    def _said(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace").strip()[-1500:]

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> RobotFile:
        end_s = time.monotonic() + _READY_S
        while time.monotonic() < end_s:
            self.check()
            robot = running_lab(self._data)
            if robot is not None and robot.pid == process.pid:
                return robot
            time.sleep(_POLL_S)
        raise LabFailed(f"the lab is not ready after {_READY_S:.0f} s. It said: {self._said()}")


def clear_left_labs(folder: Path) -> None:
    """Remove what the labs of programs that have ended left: until the next lab their truth can be looked at."""
    for left in folder.glob("*"):
        own = _OWN_FOLDER.fullmatch(left.name)
        if own is not None and not is_running(int(own[1])):
            shutil.rmtree(left, ignore_errors=True)
