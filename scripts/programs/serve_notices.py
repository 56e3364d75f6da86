"""What a server of an arm says while it serves: to its terminal, which may be gone, and to its recording."""

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

FAULT_LOOK_S = 0.25


def teller(json: bool) -> Callable[[str], None]:
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
            due_s = now_s + FAULT_LOOK_S
            fault = robot.read_state().fault
            if fault and fault != told:
                tell(f"fault: {fault}. The arm holds and takes no command until it is cleared (`tandem stop --clear`)")
            told = fault
        return stop.requested()

    return should_stop


def in_words(s: ServerStatistics) -> str:
    """Return what a server has counted."""
    return (
        f"{s.sessions} sessions, {s.accepted} commands accepted, {s.superseded} superseded, {s.stale} stale, "
        f"{s.duplicate} duplicate, {s.refused} refused, {s.corrupt} corrupt messages, {s.holds} holds asked for, "
        f"{s.watchdog_holds} by the watchdog, {s.own_holds} for the server's own lateness, {s.stops} emergency stops, "
        f"{s.strangers} strangers refused"
    )
