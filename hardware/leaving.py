"""Leaving: how an arm is walked to its rest pose, and let go there, or not. A raised arm that is let go falls."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from bridge.messages import JointCommand
from bridge.ports import Clock
from hardware.errors import Astray, HardwareError, RelaxBlocked, WrongServo
from hardware.fault_latch import FaultLatch
from hardware.servo_arm import ServoArm
from hardware.slow_walk import SUPPORT_IT, SlowWalk
from urdf.pose import Array


@dataclass(frozen=True, slots=True)
class Walked:
    """What the owner of the arm does for whoever walks it."""

    send: Callable[[JointCommand], JointCommand]
    """Write a command although a fault may have latched; raises RobotFaulted where the bus is lost."""
    hold: Callable[[], None]
    """Stand still."""
    torque_off: Callable[[], None]
    """Let go."""
    regain: Callable[[], None]
    """Hold the arm where it is found; raises what is in the way."""


class Leaving:
    """One walk at a time; the first hold, from anybody, ends it."""

    def __init__(self, robot: Walked, arm: ServoArm, latch: FaultLatch, clock: Clock, is_read: bool) -> None:
        """Walk an arm on a bus that reads its servos or (`is_read`) does not."""
        self._robot, self._arm, self._latch, self._clock, self._is_read = robot, arm, latch, clock, is_read

    def walk(self, rest_rad: Array, should_stop: Callable[[], bool], let_go: bool) -> None:
        """Walk the arm to `rest_rad` (n,); to `let_go`, walk the gripper there too, and then let go.

        Holds where it is told to stop. Raises RelaxBlocked where something stops the walk.
        """
        if self._latch.adrift:
            try:
                self._robot.regain()
            except (WrongServo, Astray) as error:
                raise RelaxBlocked(f"{error}: the arm is left as it is; support it by hand") from error
        walk = self._begin(should_stop)
        jaws_as_they_are = np.append(rest_rad[:-1], self._arm.output_rad[-1])
        try:
            if not (walk.to(jaws_as_they_are) and (not let_go or walk.to(rest_rad))):
                self._robot.hold()
            elif let_go:
                self._let_go(walk, rest_rad)
        except RelaxBlocked:
            self._robot.hold()
            if self._latch.adrift:  # whoever ends now must not leave servos that press on something
                self._hold_where_it_is()
            raise

    def _hold_where_it_is(self) -> None:
        with suppress(HardwareError):  # what blocked the walk says enough
            self._robot.regain()

    def _begin(self, should_stop: Callable[[], bool]) -> SlowWalk:
        stops = self._latch.stops

        def go_on() -> None:
            if self._latch.stops != stops:
                why = self._latch.reason or "somebody said hold"
                raise RelaxBlocked(f"stopped on the way to the rest pose: {why}")

        def step_to(waypoint_rad: Array) -> None:
            now_ns, period_s = self._clock.now_ns(), self._arm.pace.period_s
            with self._latch.lock:
                go_on()
                self._robot.send(JointCommand(0, now_ns, tuple(waypoint_rad.tolist()), period_s))

        return SlowWalk(self._arm, self._clock, go_on, step_to, should_stop)

    def _let_go(self, walk: SlowWalk, rest_rad: Array) -> None:
        """Switch the torque off once the arm lies at the rest pose; hold where it does not, or where told to stop."""
        off = walk.off(rest_rad, self._is_read)
        if off:
            self._hold_where_it_is()  # the servos must not press on towards the rest pose
            raise RelaxBlocked(f"the arm does not lie in its rest pose, {off}: {SUPPORT_IT}")
        with self._latch.lock:
            walk.go_on()
            if off is None:
                self._robot.hold()
            else:
                self._robot.torque_off()
