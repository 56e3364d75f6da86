"""A Dofbot that costs next to nothing: `tandem serve` on a virtual servo board, each in a process of its own.

`python -m scripts.programs.served_arm PORT` is the board: it makes PORT a link to its pseudo-terminal.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from bridge.clock import MonotonicClock
from bridge.keys import ClientKey, KeyRing
from calibration.servo import ServoCalibration
from hardware.virtual.dofbot_board import DofbotBoard
from hardware.virtual.plant import FreePlant
from scripts.programs.lab import LabFailed
from scripts.programs.process_tree import before_exec
from urdf.description import load_arm

ARM, RIG = "dofbot", "table"
_NAME, _SERVER_LOG = "virtual", "arm.log"
_READY_S, _STOP_S, _POLL_S = 30.0, 10.0, 0.05


@contextmanager
def served_arm(folder: Path) -> Iterator[str]:
    """Serve an arm that stands at home for as long as the context lasts; give its endpoint. Raises LabFailed."""
    path = folder / "arm"
    with _served(folder, f"ipc://{path}", (), path.exists):
        yield f"ipc://{path}"


@contextmanager
def served_arm_with_keys(folder: Path) -> Iterator[tuple[str, ClientKey]]:
    """Serve such an arm over loopback TCP to whoever has the key; give its endpoint and the key. Raises LabFailed."""
    key = KeyRing(folder / "keys").new("client")
    endpoint, log = f"tcp://127.0.0.1:{_free_port()}", folder / _SERVER_LOG
    with _served(folder, endpoint, ("--keys",), lambda: b"ready" in log.read_bytes()):
        yield endpoint, key


@contextmanager
def _served(folder: Path, endpoint: str, more: Sequence[str], is_ready: Callable[[], bool]) -> Iterator[None]:
    ServoCalibration.nominal(load_arm(ARM), _NAME).save(folder)
    port = folder / "servos"
    serve = ["serve", "--port", str(port), "--robot", _NAME, "--endpoint", endpoint, "--on-exit", "torque_off", *more]
    with ExitStack() as stack:  # the server ends first, while its board still answers
        for log, words, ready in (
            (folder / "servos.log", ["scripts.programs.served_arm", str(port)], port.exists),
            (folder / _SERVER_LOG, ["scripts.main", *serve], is_ready),
        ):
            process = _start(words, folder, log)
            stack.callback(_end, process)
            end_s = time.monotonic() + _READY_S
            while not ready():
                if process.poll() is not None or time.monotonic() > end_s:
                    raise LabFailed(f"the arm is not served. It said: {log.read_text(errors='replace')[-1500:]}")
                time.sleep(_POLL_S)
        yield


def _free_port() -> int:
    """Return a port that is free, and whose neighbour above is: the states go out there."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
            try:
                second.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port


def _start(words: list[str], folder: Path, log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as sink:
        return subprocess.Popen(
            [sys.executable, "-m", *words],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            env={**os.environ, "TANDEM_DATA": str(folder), "PYTHONUNBUFFERED": "1"},
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
