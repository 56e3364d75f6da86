"""What `tandem serve` looks for while it serves, and tells."""

from __future__ import annotations

import time
from collections.abc import Callable

from bridge.ports import RelaxingRobot
from bridge.server import RobotServer
from scripts.programs.stop_requests import StopRequests
from scripts.programs.stop_sources import StopSources, pass_on

_FAULT_LOOK_S = 0.25


def with_notices(
    server: RobotServer,
    robot: RelaxingRobot,
    stop: StopRequests,
    stops: StopSources | None,
    tell: Callable[[str], None],
) -> Callable[[], bool]:
    """Return the server's `should_stop`, which passes emergency stops on as well, and tells once of a fault."""
    told = ""
    due_s = 0.0

    def should_stop() -> bool:
        nonlocal told, due_s
        if stops is not None:
            pass_on(stops, server, tell)
        now_s = time.monotonic()
        if now_s >= due_s:
            due_s = now_s + _FAULT_LOOK_S
            fault = robot.read_state().fault
            if fault and fault != told:
                tell(f"fault: {fault}. The arm holds and takes no command until it is cleared (`tandem stop --clear`)")
            told = fault
        return stop.requested()

    return should_stop
