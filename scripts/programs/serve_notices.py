"""What `tandem serve` tells while it serves and when it ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from bridge.ports import RelaxingRobot
from bridge.server import RobotServer
from bridge.server_settings import ServerStatistics
from scripts.cli import say
from scripts.programs.stop_requests import StopRequests
from scripts.programs.stop_sources import StopSources, pass_on

_FAULT_LOOK_S = 0.25


def serve_teller(json: bool) -> Callable[[str], None]:
    """Return a `tell` that never fails: whoever read our output may be dead, and the arm must still be set down."""

    def tell(text: str) -> None:
        with suppress(OSError):
            say(text, json)

    return tell


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


def served_in_words(s: ServerStatistics) -> str:
    """Return what a server has seen; what did not happen is left out."""
    rest = (
        (s.superseded, "superseded"),
        (s.stale, "stale"),
        (s.duplicate, "duplicate"),
        (s.refused, "refused"),
        (s.corrupt, "corrupt messages"),
        (s.holds, "holds asked for"),
        (s.watchdog_holds, "holds by the watchdog"),
        (s.own_holds, "holds for the server's own lateness"),
        (s.stops, "emergency stops"),
        (s.strangers, "strangers refused"),
    )
    told = ", ".join(f"{what}: {count}" for count, what in rest if count)
    return f"{s.sessions} sessions, {s.accepted} commands accepted" + (f"; {told}" if told else "")
