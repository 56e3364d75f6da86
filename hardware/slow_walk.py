"""SlowWalk: straight to a pose, slowly, one period at a time; gives up where the way is blocked. Does it lie there?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bridge.ports import Clock
from hardware.errors import RelaxBlocked
from hardware.servo_arm import ServoArm
from urdf.pose import Array

#: How fast the walk turns the fastest joint, and how long it waits where its way is blocked.
WALK_SPEED_RAD_S = 0.5
WALK_PATIENCE_S = 1.0
ARRIVED_RAD = 2e-3
#: After the walk, before the torque goes: dead time, skew and the servos' own settling (0.3 to 0.6 s when loaded).
SETTLE_S = 0.4
#: So long may it take until every joint has been read at the rest pose: six servos of a Dofbot take 0.4 s.
LIES_S = 3.0
SUPPORT_IT = "the arm holds with its torque on; support it by hand, then switch the torque off or the supply"


@dataclass(frozen=True, slots=True)
class SlowWalk:
    """One walk, over for good as soon as `go_on` raises; `step_to` sends a waypoint (n,), and raises as `go_on`."""

    arm: ServoArm
    clock: Clock
    go_on: Callable[[], None]
    step_to: Callable[[Array], None]
    should_stop: Callable[[], bool]

    def to(self, target_rad: Array) -> bool:
        """Walk to `target_rad` (n,); return False when told to stop on the way.

        Raises RelaxBlocked where a second brings the output no nearer, and what `step_to` raises.
        """
        period_s = self.arm.pace.period_s
        moved_ns = due_ns = self.clock.now_ns()
        while not self.should_stop():
            before = self.arm.output_rad
            away = target_rad - before
            distance = float(np.abs(away).max())
            if distance < ARRIVED_RAD:
                return True
            self.step_to(before + min(1.0, WALK_SPEED_RAD_S * period_s / distance) * away)
            now_ns = self.clock.now_ns()
            if float(np.abs(self.arm.output_rad - before).max()) > 1e-4:
                moved_ns = now_ns
            if (now_ns - moved_ns) * 1e-9 > WALK_PATIENCE_S:
                raise RelaxBlocked(f"the way to the rest pose is blocked: {SUPPORT_IT}")
            due_ns += round(period_s * 1e9)
            self.clock.sleep_until(due_ns)
        return False

    def off(self, rest_rad: Array, is_read: bool) -> str | None:
        """Let the arm settle where it was walked to (n,); return in words what does not lie there, None: told to stop.

        What was sent last is no proof: something may have caught a joint on its way. So every joint of the arm must
        have been read there since, where servos are read.
        """
        began_ns = self.clock.now_ns()
        while not self.should_stop():
            self.go_on()
            waited_s = (self.clock.now_ns() - began_ns) * 1e-9
            off = self.arm.off(rest_rad, began_ns) if is_read else ""
            if waited_s >= (LIES_S if off else SETTLE_S):
                return off
            self.clock.sleep_until(self.clock.now_ns() + round(self.arm.pace.period_s * 1e9))
        return None
