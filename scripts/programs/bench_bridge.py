"""The bridge against a clock: acknowledgements, the loop, killed clients, emergency stops, and what serving costs."""

from __future__ import annotations

import itertools
import multiprocessing
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from bridge.messages import JointCommand
from bridge.remote import RemoteRobot
from scripts.programs.bench_link import ACK_50, ACK_99, ECHO, RECORDED, acknowledgements, recording
from scripts.programs.bench_served import ARM, CLOCK, MOVE_SIX, Served, command, served
from scripts.programs.figures import Row, at_most
from scripts.programs.lab import LabFailed
from scripts.settled_memory import settled_memory

Progress = Callable[[str, float], None]

_LOOP_HZ, _LOOP_S = 100, 30.0
_KILLS, _STOPS = 200, 1_000

PERIOD = "loop period at 100 Hz: p99 deviation"
MISSED = "loop period at 100 Hz: missed deadlines"
KILLED = "last command -> hold frame, client killed: worst"
STILL = "client killed -> all joints still: worst"
STOPPED = "e-stop message -> bus frame: worst"
MEMORY = "tandem serve: resident memory"
IMPORT = "tandem serve: import time"


# Figures -------------------------------------------------------------------------------------------------------------


def measure(on_progress: Progress, only: str) -> Iterable[Row]:
    """Yield the rows of the figures that contain `only`."""
    groups: tuple[tuple[tuple[str, ...], Callable[[Progress], Iterator[Row]]], ...] = (
        ((ACK_50, ACK_99, ECHO), acknowledgements),
        ((RECORDED,), recording),
        ((PERIOD, MISSED), loop),
        ((KILLED, STILL), kills),
        ((STOPPED,), stops),
        ((MEMORY, IMPORT), cost),
    )
    for figures, take in groups:
        if any(only in figure for figure in figures):
            yield from take(on_progress)


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
            robot.send(command(seq, home, period_ns * 1e-9))
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
                    robot.send(command(trial + seq, home, 0.05))
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
            if frame.command == MOVE_SIX:
                return min(arm.moves(since_ns))
        time.sleep(0.0005)
    raise LabFailed("an emergency stop left nothing on the wire")


def cost(on_progress: Progress) -> Iterator[Row]:
    """Yield what serving costs a small computer: memory after a hundred commands, and the time to import it all."""
    home = ARM.rig("table").home_rad
    with served(keyed=True) as arm, arm.connect() as robot:
        for seq in range(100):
            robot.send(command(seq, home, 0.05))
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
