"""A client process that streams a slow motion of the first joint until it is killed: python -m ... ENDPOINT."""

from __future__ import annotations

import math
import sys

import numpy as np

from bridge.clock import MonotonicClock
from bridge.messages import JointCommand
from bridge.remote import RemoteRobot
from urdf.description import load_arm

PERIOD_NS = 50_000_000


def main(endpoint: str) -> None:
    clock = MonotonicClock()
    robot = RemoteRobot(endpoint, load_arm("dofbot"), clock)
    start = np.array(robot.read_state().position_rad)
    begin_ns = clock.now_ns()
    for k in range(100_000):
        target = start.copy()
        target[0] = start[0] + 0.8 * math.sin(k * 0.05)
        robot.send(JointCommand(k, clock.now_ns(), tuple(target.tolist()), 0.05))
        if k == 2:
            sys.stdout.write("moving\n")
            sys.stdout.flush()
        clock.sleep_until(begin_ns + (k + 1) * PERIOD_NS)


if __name__ == "__main__":
    main(sys.argv[1])
