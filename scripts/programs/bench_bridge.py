"""The bridge against a clock: `tandem serve` in a process of its own, on a virtual board whose wire is listened to.

The board lives in this process, so that what is sent and what comes out on the wire are stamped by one clock.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import zmq

from bridge.clock import MonotonicClock
from bridge.keys import ClientKey, KeyRing
from bridge.link import encode
from bridge.messages import Ack, JointCommand, Move
from bridge.remote import RemoteRobot
from calibration.servo import ServoCalibration
from hardware.virtual.dofbot_board import DofbotBoard
from hardware.virtual.plant import FreePlant
from scripts.programs.figures import Row, at_most
from scripts.programs.lab import LabFailed
from scripts.programs.process_tree import before_exec
from scripts.settled_memory import settled_memory
from urdf.description import load_arm
from urdf.pose import Array

Progress = Callable[[str, float], None]

ARM = load_arm("dofbot")
CLOCK = MonotonicClock()
_NAME = "bench"
_MOVE_SIX = 0x1D
_READY_S = 30.0
_LINK_HZ, _LINK_S = 200, 60.0
_LOOP_HZ, _LOOP_S = 100, 30.0
_KILLS, _STOPS = 200, 1_000
_STILL_TICKS = 0.05

ACK_50 = "command -> acknowledged, loopback TCP with CURVE, 200 Hz: p50"
ACK_99 = "command -> acknowledged, loopback TCP with CURVE, 200 Hz: p99"
ECHO = "the same / a plain REQ/REP echo of the same bytes in the same run: p50"
PERIOD = "loop period at 100 Hz: p99 deviation"
MISSED = "loop period at 100 Hz: missed deadlines"
KILLED = "last command -> hold frame, client killed: worst"
STILL = "client killed -> all joints still: worst"
STOPPED = "e-stop message -> bus frame: worst"
MEMORY = "tandem serve: resident memory"
IMPORT = "tandem serve: import time"


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
        return [f.stamp_ns for f in list(self.board.heard) if f.command == _MOVE_SIX and f.stamp_ns >= since_ns]

    def resident_mib(self) -> float:
        """Return how much memory the server's process holds."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


@contextmanager
def served(keyed: bool) -> Generator[Served]:
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
            endpoint = f"tcp://127.0.0.1:{_free_port()}"
        line = ["serve", "--port", board.port, "--robot", _NAME, "--endpoint", endpoint, "--on-exit", "torque_off"]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "scripts.main", *line, *words], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, "TANDEM_DATA": str(folder), "PYTHONUNBUFFERED": "1"},
                preexec_fn=before_exec(signal.SIGTERM),
            )  # fmt: skip
        stack.callback(_end, process)
        end_s = time.monotonic() + _READY_S
        while b"ready" not in (folder / "log").read_bytes():
            if process.poll() is not None or time.monotonic() > end_s:
                raise LabFailed(f"the arm is not served: {(folder / 'log').read_text()[-1000:]}")
            time.sleep(0.05)
        yield Served(board, plant, endpoint, key, process)


def _free_port() -> int:
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


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=10.0)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _command(seq: int, home: Array, duration_s: float) -> JointCommand:
    """Return a command of a slow sway of all joints."""
    target = home + 0.03 * np.sin(2 * np.pi * 0.5 * seq * duration_s)
    return JointCommand(seq, CLOCK.now_ns(), tuple(target.tolist()), duration_s)


# Figures -------------------------------------------------------------------------------------------------------------


def measure(on_progress: Progress, only: str) -> Iterable[Row]:
    """Yield the rows of the figures that contain `only`."""
    groups: tuple[tuple[tuple[str, ...], Callable[[Progress], Iterator[Row]]], ...] = (
        ((ACK_50, ACK_99, ECHO), acknowledgements),
        ((PERIOD, MISSED), loop),
        ((KILLED, STILL), kills),
        ((STOPPED,), stops),
        ((MEMORY, IMPORT), cost),
    )
    for figures, take in groups:
        if any(only in figure for figure in figures):
            yield from take(on_progress)


def acknowledgements(on_progress: Progress, seconds: float = _LINK_S) -> Iterator[Row]:
    """Yield how long a command takes until it is acknowledged, beside an echo in alternation."""
    home, period_s = ARM.rig("table").home_rad, 1 / _LINK_HZ
    ours_ms: list[float] = []
    echo_ms: list[float] = []
    with served(keyed=True) as arm, arm.connect() as robot, _echo() as echo, settled_memory():
        sent = robot.send(_command(0, home, period_s))
        question = encode(Move(robot.session, sent))
        answer_bytes = len(encode(Ack(1, "accepted", "", sent, robot.read_state(), CLOCK.now_ns())))
        deadline_ns = CLOCK.now_ns()
        for seq in range(1, round(seconds * _LINK_HZ)):
            command = _command(seq, home, period_s)
            began_ns = time.perf_counter_ns()
            robot.send(command)
            ours_ms.append(1e-6 * (time.perf_counter_ns() - began_ns))
            began_ns = time.perf_counter_ns()
            echo.send(answer_bytes.to_bytes(4, "big") + question)
            echo.recv()
            echo_ms.append(1e-6 * (time.perf_counter_ns() - began_ns))
            deadline_ns += round(period_s * 1e9)
            CLOCK.sleep_until(deadline_ns)
            on_progress(ACK_50, seq / (seconds * _LINK_HZ))
        refused = robot.commands_refused
    told = f"{len(ours_ms):,} commands to `tandem serve` on a virtual board, safety filter and bus write included"
    told += f"; {refused} refused" if refused else ""
    p50, p99 = statistics.median(ours_ms), statistics.quantiles(ours_ms, n=100)[98]
    plain50, plain99 = statistics.median(echo_ms), statistics.quantiles(echo_ms, n=100)[98]
    yield at_most(ACK_50, p50, "ms", 0.2, told)
    yield at_most(ACK_99, p99, "ms", 0.8, told)
    yield at_most(
        ECHO, p50 / plain50, "", 2.5,
        f"{p50:.3f} against {plain50:.3f} ms (p99 {p99:.3f} against {plain99:.3f}); no keys, filter or bus",
    )  # fmt: skip


@contextmanager
def _echo() -> Generator[zmq.Socket[bytes]]:
    """Give a REQ socket to a plain REP in another process, which answers with as many bytes as the question says."""
    port = _free_port()
    process = subprocess.Popen([sys.executable, "-m", "scripts.programs.bench_echo", str(port)])
    context = zmq.Context()
    socket: zmq.Socket[bytes] = context.socket(zmq.REQ)
    try:
        socket.connect(f"tcp://127.0.0.1:{port}")
        socket.send((1).to_bytes(4, "big"))
        socket.recv()
        yield socket
    finally:
        context.destroy(0)
        _end(process)


def loop(on_progress: Progress, seconds: float = _LOOP_S) -> Iterator[Row]:
    """Yield how far the periods of a 100 Hz loop are from 10 ms, and how many deadlines it missed."""
    home, period_ns = ARM.rig("table").home_rad, 1_000_000_000 // _LOOP_HZ
    began_ns: list[int] = []
    missed = 0
    with served(keyed=False) as arm, arm.connect() as robot, settled_memory():
        deadline_ns = CLOCK.now_ns()
        for seq in range(round(seconds * _LOOP_HZ)):
            began_ns.append(CLOCK.now_ns())
            robot.read_state()
            robot.send(_command(seq, home, period_ns * 1e-9))
            deadline_ns += period_ns
            if CLOCK.now_ns() > deadline_ns:
                missed += 1
                deadline_ns = CLOCK.now_ns()
            CLOCK.sleep_until(deadline_ns)
            on_progress(PERIOD, seq / (seconds * _LOOP_HZ))
    off_ms = np.abs(np.diff(began_ns[10:]) - period_ns) * 1e-6
    told = (
        f"{len(off_ms):,} periods of read_state and send, median {np.median(off_ms):.3f}, worst {off_ms.max():.2f} ms"
    )
    yield at_most(PERIOD, float(np.percentile(off_ms, 99)), "ms", 1.0, told)
    yield at_most(MISSED, float(missed), "", 0.0, told)


def kills(on_progress: Progress, count: int = _KILLS) -> Iterator[Row]:
    """Yield how long after the last command of a killed client the hold frame comes, and when the joints stand."""
    holds_ms: list[float] = []
    still_ms: list[float] = []
    forks = multiprocessing.get_context("forkserver")
    forks.set_forkserver_preload(["scripts.programs.bench_bridge"])
    with served(keyed=False) as arm:
        for trial in range(count):
            since_ns = CLOCK.now_ns()
            client = forks.Process(target=lead, args=(arm.endpoint,), daemon=True)
            client.start()
            while len(arm.moves(since_ns)) < 15 or CLOCK.now_ns() - arm.plant.moved_ns > 50_000_000:
                time.sleep(0.002)
            killed_ns = CLOCK.now_ns()
            client.kill()
            client.join()
            time.sleep(0.45)
            frames = arm.moves(since_ns)
            holds_ms.append(1e-6 * (frames[-1] - frames[-2]))
            still_ms.append(1e-6 * (arm.plant.moved_ns - killed_ns))
            on_progress(KILLED, (trial + 1) / count)
    told = f"{count} clients at 20 Hz killed in motion, stamped on the wire of the virtual board, median"
    yield at_most(KILLED, max(holds_ms), "ms", 150.0, f"{told} {statistics.median(holds_ms):.0f} ms")
    yield at_most(STILL, max(still_ms), "ms", 500.0, f"{told} {statistics.median(still_ms):.0f} ms")


def lead(endpoint: str) -> None:
    """Be a client that sways the arm until it is killed."""
    home, period_ns = ARM.rig("table").home_rad, 50_000_000
    robot = RemoteRobot(endpoint, ARM, CLOCK, take_over=True)  # the one killed before it has its lease still
    deadline_ns = CLOCK.now_ns()
    for seq in itertools.count():
        target = home + 0.3 * np.sin(2 * np.pi * 0.25 * seq * 0.05)
        robot.send(JointCommand(seq, CLOCK.now_ns(), tuple(target.tolist()), 0.05))
        deadline_ns += period_ns
        CLOCK.sleep_until(deadline_ns)


def stops(on_progress: Progress, count: int = _STOPS) -> Iterator[Row]:
    """Yield how long an emergency stop takes from the message to the wire, the arm led in between."""
    home = ARM.rig("table").home_rad
    took_ms: list[float] = []
    with served(keyed=True) as arm, arm.connect() as robot, settled_memory():
        for trial in range(count):
            if trial % 25 == 0:
                robot.clear()
                for seq in range(5):
                    robot.send(_command(trial + seq, home, 0.05))
                    time.sleep(0.05)
            time.sleep(0.011)
            before_ns = CLOCK.now_ns()
            robot.stop()
            frame_ns = _first_after(arm, before_ns)
            took_ms.append(1e-6 * (frame_ns - before_ns))
            on_progress(STOPPED, (trial + 1) / count)
    median_ms = statistics.median(took_ms)
    told = f"{count:,} stops over TCP with keys, every 25th of an arm that is led, median {median_ms:.2f} ms"
    yield at_most(STOPPED, max(took_ms), "ms", 20.0, told)


def _first_after(arm: Served, since_ns: int) -> int:
    end_s = time.monotonic() + 1.0
    while time.monotonic() < end_s:
        for frame in reversed(arm.board.heard):
            if frame.stamp_ns < since_ns:
                break
            if frame.command == _MOVE_SIX:
                return min(arm.moves(since_ns))
        time.sleep(0.0005)
    raise LabFailed("an emergency stop left nothing on the wire")


def cost(on_progress: Progress) -> Iterator[Row]:
    """Yield what serving costs a small computer: memory after a hundred commands, and the time to import it all."""
    home = ARM.rig("table").home_rad
    with served(keyed=True) as arm, arm.connect() as robot:
        for seq in range(100):
            robot.send(_command(seq, home, 0.05))
            time.sleep(0.01)
        resident = arm.resident_mib()
    yield at_most(MEMORY, resident, "MiB", 60.0, "with keys, after 100 commands")
    bare, whole = (
        min(_python_s(code) for _ in range(7)) for code in ("pass", "import scripts.serve")
    )  # quickest of 7: what else runs here is not its cost
    on_progress(IMPORT, 1.0)
    yield at_most(IMPORT, whole - bare, "s", 0.4, f"quickest of 7, without Python's own {bare:.3f} s")


def _python_s(code: str) -> float:
    began_s = time.monotonic()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.monotonic() - began_s
