"""A Dofbot that costs next to nothing: `tandem serve` on a virtual servo board, each in a process of its own.

`python -m scripts.programs.served_arm PORT` is the board: it makes PORT a link to its pseudo-terminal.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from bridge.clock import MonotonicClock
from calibration.servo import ServoCalibration
from hardware.virtual.dofbot_board import DofbotBoard
from hardware.virtual.plant import FreePlant
from scripts.programs.lab import LabFailed
from scripts.programs.process_tree import before_exec
from urdf.description import load_arm

ARM, RIG = "dofbot", "table"
_NAME = "virtual"
_READY_S, _STOP_S, _POLL_S = 30.0, 10.0, 0.05


@contextmanager
def served_arm(folder: Path) -> Iterator[str]:
    """Serve an arm that stands at home for as long as the context lasts; give its endpoint. Raises LabFailed."""
    ServoCalibration.nominal(load_arm(ARM), _NAME).save(folder)
    port, socket = folder / "servos", folder / "arm"
    serve = ["serve", "--port", str(port), "--robot", _NAME, "--endpoint", f"ipc://{socket}", "--on-exit", "torque_off"]
    with ExitStack() as stack:  # the server ends first, while its board still answers
        for made, words in ((port, ["scripts.programs.served_arm", str(port)]), (socket, ["scripts.main", *serve])):
            log = made.with_suffix(".log")
            process = _start(words, folder, log)
            stack.callback(_end, process)
            end_s = time.monotonic() + _READY_S
            while not made.exists():
                if process.poll() is not None or time.monotonic() > end_s:
                    raise LabFailed(f"the arm is not served. It said: {log.read_text(errors='replace')[-1500:]}")
                time.sleep(_POLL_S)
        yield f"ipc://{socket}"


def _start(words: list[str], folder: Path, log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as sink:
        return subprocess.Popen(
            [sys.executable, "-m", *words],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            env={**os.environ, "TANDEM_DATA": str(folder)},
            preexec_fn=before_exec(signal.SIGTERM),
        )


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def main(port: str) -> None:
    """Be the board until SIGTERM."""
    clock = MonotonicClock()
    description = load_arm(ARM)
    home_ticks = ServoCalibration.nominal(description, _NAME).to_ticks(description.rig(RIG).home_rad)
    plant = FreePlant(clock, home_ticks)
    board = DofbotBoard(plant, np.random.default_rng(0), clock.now_ns(), link=Path(port), torque_on=True)
    with board.run_in_thread(clock):
        signal.sigwait({signal.SIGTERM})
    board.close()


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # for `sigwait`; threads inherit it
    main(sys.argv[1])
