"""Pace: how fast a Feetech servo must go to arrive in time, since it takes a speed with each target and no time."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hardware.buses.sts_frames import MAX_SPEED_TICKS_S

#: The slowest that a servo is sent: what its own lag has left over after a stream of targets is caught up in a blink.
CREEP_TICKS_S = 50
#: For a servo that nobody has read yet: 0.3 rad/s, so that wherever it stands it does not jump.
UNKNOWN_TICKS_S = 200


@dataclass(frozen=True, slots=True)
class _Course:
    start_ticks: float
    target_ticks: int
    start_ns: int
    end_ns: int
    speed_ticks_s: int

    def at(self, now_ns: int) -> float:
        if now_ns >= self.end_ns or self.end_ns == self.start_ns:
            return self.target_ticks
        part = (now_ns - self.start_ns) / (self.end_ns - self.start_ns)
        return self.start_ticks + part * (self.target_ticks - self.start_ticks)


class Pace:
    """Where the servos have been told to be by now. Where one stands counts only while nothing holds it there.

    A servo that something holds back is not driven faster for it: it follows at the speed of the commands, and does not
    snap when it comes free. Not locked: its owner sees to that.
    """

    def __init__(self) -> None:
        self._courses: dict[int, _Course] = {}
        self._told: set[int] = set()
        self._loose = False

    def read(self, servo_id: int, ticks: int) -> None:
        """Take in where a servo stands: it is believed where torque is off, or where nothing has been commanded."""
        if self._loose or servo_id not in self._told:
            self._courses[servo_id] = _Course(ticks, ticks, 0, 0, CREEP_TICKS_S)

    def torque(self, on: bool) -> None:
        """Take in that the servos hold, or that hands and gravity may move them."""
        self._loose = not on
        if not on:
            self.forget()

    def forget(self) -> None:
        """Forget what the servos have been told: nobody knows whether they heard it."""
        self._told.clear()

    def plan(self, servo_id: int, ticks: int, duration_s: float, now_ns: int) -> int:
        """Return the speed (ticks/s) that brings a servo from where it has been told to be to `ticks` in time.

        The same target again keeps its speed: slower, it would take for ever to make up its own lag.
        """
        course = self._courses.get(servo_id)
        here = float(ticks) if course is None else course.at(now_ns)
        speed = UNKNOWN_TICKS_S if course is None else max(CREEP_TICKS_S, math.ceil(abs(ticks - here) / duration_s))
        if course is not None and course.target_ticks == ticks:
            speed = max(speed, course.speed_ticks_s)
        speed = min(speed, MAX_SPEED_TICKS_S)
        end_ns = now_ns + math.ceil(abs(ticks - here) / speed * 1e9)
        self._courses[servo_id] = _Course(here, ticks, now_ns, end_ns, speed)
        self._told.add(servo_id)
        return speed
