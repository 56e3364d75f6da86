"""A Dofbot that costs next to nothing: a virtual servo board and `tandem serve` on it, in one process of their own.

`python -m scripts.programs.served_arm ENDPOINT` serves until SIGTERM; $TANDEM_DATA gets the nominal calibration.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from bridge.clock import MonotonicClock
from calibration.servo import ServoCalibration
from hardware.virtual.dofbot_board import DofbotBoard
from hardware.virtual.plant import FreePlant
from scripts import serve
from scripts.cli import data_root
from scripts.programs.lab import LabFailed
from scripts.programs.process_tree import before_exec
from urdf.description import load_arm

ARM, RIG = "dofbot", "table"
_NAME = "virtual"
_READY_S, _STOP_S, _POLL_S = 30.0, 10.0, 0.05


@contextmanager
def served_arm(folder: Path) -> Iterator[str]:
    """Serve an arm that stands at home for as long as the context lasts; give its endpoint. Raises LabFailed."""
    socket, log = folder / "arm", folder / "served_arm.log"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "scripts.programs.served_arm", f"ipc://{socket}"],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            env={**os.environ, "TANDEM_DATA": str(folder)},
            preexec_fn=before_exec(signal.SIGTERM),
        )
    try:
        end_s = time.monotonic() + _READY_S
        while not socket.exists():
            if process.poll() is not None or time.monotonic() > end_s:
                raise LabFailed(f"the arm is not served. It said: {log.read_text(errors='replace')[-1500:]}")
            time.sleep(_POLL_S)
        yield f"ipc://{socket}"
    finally:
        process.terminate()
        try:
            process.wait(timeout=_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def main(endpoint: str) -> int:
    """Serve; return the exit code of `tandem serve`."""
    description = load_arm(ARM)
    calibration = ServoCalibration.nominal(description, _NAME)
    calibration.save(data_root())
    clock = MonotonicClock()
    plant = FreePlant(clock, calibration.to_ticks(description.rig(RIG).home_rad))
    board = DofbotBoard(plant, np.random.default_rng(0), clock.now_ns(), torque_on=True)
    with board.run_in_thread(clock):
        exit_code = serve.run(
            serve.ServeArgs(board.port, _NAME, endpoint=endpoint, arm=ARM, rig=RIG, on_exit="torque_off")
        )
    board.close()
    return exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
