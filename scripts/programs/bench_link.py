"""What a command takes until it is acknowledged, beside a plain echo, and what the flight recorder adds to it."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager

import zmq

from bridge.link import encode
from bridge.messages import Ack, Move
from scripts.programs.bench_served import ARM, CLOCK, command, end, free_port, served
from scripts.programs.figures import Row, at_most
from scripts.settled_memory import settled_memory

Progress = Callable[[str, float], None]

_LINK_HZ, _LINK_S = 200, 60.0

ACK_50 = "command -> acknowledged, loopback TCP with CURVE, 200 Hz: p50"
ACK_99 = "command -> acknowledged, loopback TCP with CURVE, 200 Hz: p99"
RECORDED = "command -> acknowledged, recorded / not recorded, in turns in the same run: p99"
ECHO = "the same / a plain REQ/REP echo of the same bytes in the same run: p50"


def acknowledgements(on_progress: Progress, seconds: float = _LINK_S) -> Iterator[Row]:
    """Yield how long a command takes until it is acknowledged, beside an echo in alternation."""
    home, period_s = ARM.rig("table").home_rad, 1 / _LINK_HZ
    ours_ms: list[float] = []
    echo_ms: list[float] = []
    with served(keyed=True) as arm, arm.connect() as robot, _echo() as echo, settled_memory():
        sent = robot.send(command(0, home, period_s))
        question = encode(Move(robot.session, sent))
        answer_bytes = len(encode(Ack(1, "accepted", "", sent, robot.read_state(), CLOCK.now_ns())))
        deadline_ns = CLOCK.now_ns()
        for seq in range(1, round(seconds * _LINK_HZ)):
            asked = command(seq, home, period_s)
            began_ns = time.perf_counter_ns()
            robot.send(asked)
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


def recording(on_progress: Progress, seconds: float = _LINK_S) -> Iterator[Row]:
    """Yield what the flight recorder costs: two servers, one that records, are sent a command each in turns."""
    home, period_s = ARM.rig("table").home_rad, 1 / _LINK_HZ
    took_ms: tuple[list[float], list[float]] = ([], [])
    with ExitStack() as stack:
        arms = [stack.enter_context(served(keyed=True, recorded=on)) for on in (True, False)]
        robots = [stack.enter_context(arm.connect()) for arm in arms]
        stack.enter_context(settled_memory())
        deadline_ns = CLOCK.now_ns()
        for seq in range(round(seconds * _LINK_HZ)):
            for robot, took in zip(robots, took_ms, strict=True):
                asked = command(seq, home, period_s)
                began_ns = time.perf_counter_ns()
                robot.send(asked)
                took.append(1e-6 * (time.perf_counter_ns() - began_ns))
            deadline_ns += round(period_s * 1e9)
            CLOCK.sleep_until(deadline_ns)
            on_progress(RECORDED, seq / (seconds * _LINK_HZ))
    (on50, on99), (off50, off99) = (
        (statistics.median(took), statistics.quantiles(took, n=100)[98]) for took in took_ms
    )
    yield at_most(
        RECORDED, on99 / off99, "", 1.2,
        f"p99 {on99:.3f} against {off99:.3f} ms, p50 {on50:.3f} against {off50:.3f} ms, {len(took_ms[0]):,} each",
    )  # fmt: skip


@contextmanager
def _echo() -> Generator[zmq.Socket[bytes]]:
    """Give a REQ socket to a plain REP in another process, which answers with as many bytes as the question says."""
    port = free_port()
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
        end(process)
