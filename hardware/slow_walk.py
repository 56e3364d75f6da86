"""SlowWalk: straight to a pose, slowly, one period at a time; gives up where the way is blocked."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bridge.ports import Clock
from hardware.errors import RelaxBlocked
from urdf.pose import Array

#: How fast the walk turns the fastest joint, and how long it waits where its way is blocked.
WALK_SPEED_RAD_S = 0.5
WALK_PATIENCE_S = 1.0
ARRIVED_RAD = 2e-3


def walk_to(
    target_rad: Array,
    at_rad: Callable[[], Array],
    step_to: Callable[[Array], None],
    clock: Clock,
    period_s: float,
    should_stop: Callable[[], bool],
) -> bool:
    """Walk to `target_rad` (n,) by calling `step_to` with waypoints; return False when told to stop on the way.

    `at_rad` tells the last output. Raises RelaxBlocked where a second brings the output no nearer, and what `step_to`
    raises.
    """
    moved_ns = due_ns = clock.now_ns()
    while not should_stop():
        before = at_rad()
        away = target_rad - before
        distance = float(np.abs(away).max())
        if distance < ARRIVED_RAD:
            return True
        step_to(before + min(1.0, WALK_SPEED_RAD_S * period_s / distance) * away)
        now_ns = clock.now_ns()
        if float(np.abs(at_rad() - before).max()) > 1e-4:
            moved_ns = now_ns
        if (now_ns - moved_ns) * 1e-9 > WALK_PATIENCE_S:
            raise RelaxBlocked(
                "the way to the rest pose is blocked: the arm holds with its torque on; "
                "support it by hand, then switch the torque off or the supply"
            )
        due_ns += round(period_s * 1e9)
        clock.sleep_until(due_ns)
    return False
