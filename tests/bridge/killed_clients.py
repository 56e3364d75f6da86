"""Clients that stream and are killed, one after the other: python -m ... ENDPOINT COUNT.

Says `killed` after each and waits for a line; each is a process of its own, forked before any socket is open.
"""

from __future__ import annotations

import os
import signal
import sys
import time

import numpy as np

from bridge.clock import MonotonicClock
from bridge.remote import RemoteRobot
from tests.bridge.benches import ARM, START, command_to

CLOCK = MonotonicClock()


def stream(endpoint: str) -> None:
    robot = RemoteRobot(endpoint, ARM, CLOCK, timeout_s=2.0, take_over=True)
    for seq in range(1, 10_000):
        robot.send(command_to(START + 0.0005 * (seq % 20), seq))
        time.sleep(0.02)


def main(endpoint: str, count: int) -> None:
    rng = np.random.default_rng(0)
    for _ in range(count):
        child = os.fork()
        if child == 0:
            stream(endpoint)
        time.sleep(0.12 + 0.05 * float(rng.random()))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        sys.stdout.write("killed\n")
        sys.stdout.flush()
        sys.stdin.readline()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
