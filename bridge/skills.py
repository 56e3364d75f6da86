"""Scripted motions that both worlds share. A skill gives one target per control period and never looks at a clock."""

from __future__ import annotations

import math

import numpy as np

from bridge.messages import RobotState
from urdf.description import ArmDescription
from urdf.pose import Array

CLOSING_SPEED_RAD_S = 1.0
#: How far the command may run ahead of the last measurement while closing.
CLOSING_LEAD_RAD = 0.30
#: Jaws whose measured angle changed less than this between two readings, with the command this far ahead, stand still.
STILL_RAD = 0.02
STILL_LEAD_RAD = 0.15
READING_SPACING_S = 0.12
#: Jaws that have not come this far from where they began have not begun: a late bus is no block.
BEGUN_RAD = 0.10
#: Closing takes 1.7 s. Jaws that are not read for this long are left where they are, as if they held nothing.
CLOSING_PATIENCE_S = 5.0
#: A reading younger than this is new in the period that sees it.
FRESH_READING_S = 0.11
#: Times of reading nearer to each other than this belong to one reading.
SAME_READING_S = 0.02
#: The jaws' target past the point of contact: 1.8 mm of opening, which holds a block and trips no stall protection.
SQUEEZE_M = 0.0018


class CloseGripper:
    """Close until the jaws stop moving, then squeeze a little. Works on readings, not on the model between them."""

    def __init__(self, description: ArmDescription, gripper_rad: float, period_s: float) -> None:
        self._law = description.gripper
        self._start_rad = self._command_rad = gripper_rad
        self._period_s = period_s
        self._readings: list[tuple[float, float]] = []
        self._time_s = 0.0
        self.finished = False
        self.contact_rad: float | None = None

    def step(self, state: RobotState) -> float:
        """Return the gripper target [rad] of this period."""
        self._time_s += self._period_s
        if self.finished:
            return self._command_rad
        measured = state.position_rad[-1]
        self._note(self._time_s - state.reading_age_s[-1], state.reading_age_s[-1], measured)
        if self._stopped():
            self.contact_rad = self._readings[-1][1]
            opening = max(self._law.opening_m(self.contact_rad) - SQUEEZE_M, self._law.opening_m(self._law.closed_rad))
            self._command_rad = self._law.angle_rad(opening)
            self.finished = True
        elif self._command_rad >= self._law.closed_rad and (
            measured >= self._law.closed_rad - STILL_RAD or self._still()
        ):
            # Nothing between the jaws, or so little (an edge of the block) that they stand still almost closed.
            self.finished = True
        elif self._time_s > CLOSING_PATIENCE_S:
            self.finished = True
            self._command_rad = measured
        else:
            last = self._readings[-1][1] if self._readings else measured
            wanted = self._command_rad + CLOSING_SPEED_RAD_S * self._period_s
            self._command_rad = min(self._law.closed_rad, max(self._command_rad, min(wanted, last + CLOSING_LEAD_RAD)))
        return self._command_rad

    def _stopped(self) -> bool:
        """Return whether the jaws have moved and now stand still while the command is well ahead of them."""
        if not self._readings:
            return False
        newest = self._readings[-1][1]
        begun = newest - self._start_rad >= BEGUN_RAD
        return begun and self._command_rad - newest >= STILL_LEAD_RAD and self._still()

    def _still(self) -> bool:
        """Return whether three readings in a row or more, the outer ones at least 0.12 s apart, agree.

        Two would be deceived by a bus, or a whole machine, that stalls: one reading just before, one just after.
        """
        if not self._readings:
            return False
        taken_s, newest = self._readings[-1]
        earlier = [k for k, (t, _) in enumerate(self._readings) if t <= taken_s - READING_SPACING_S + 1e-9]
        if not earlier:
            return False
        recent = [r for _, r in self._readings[min(earlier[-1], len(self._readings) - 3) :]]
        return len(recent) >= 3 and max(abs(newest - r) for r in recent) < STILL_RAD

    def _note(self, taken_s: float, age_s: float, measured_rad: float) -> None:
        """Keep a reading that is fresh and not the one before, seen again a period later."""
        if age_s < FRESH_READING_S and (not self._readings or taken_s - self._readings[-1][0] > SAME_READING_S):
            self._readings.append((taken_s, measured_rad))


class MoveJoints:
    """Go to a joint position in a straight line, every joint below `speed_rad_s`, starting from where the arm is."""

    def __init__(self, start_rad: Array, goal_rad: Array, speed_rad_s: float, period_s: float) -> None:
        self._start = np.asarray(start_rad, dtype=np.float64)
        self._goal = np.asarray(goal_rad, dtype=np.float64)
        largest = float(np.abs(self._goal - self._start).max())
        # Slow at both ends means faster in the middle: 3u^2 - 2u^3 is 1.5 times as steep there as on the whole.
        self._steps = max(1, math.ceil(1.5 * largest / (speed_rad_s * period_s)))
        self._done = 0

    @property
    def finished(self) -> bool:
        """Whether the goal has been commanded."""
        return self._done >= self._steps

    def step(self) -> Array:
        """Return the joint targets (n,) of this period; slow at both ends."""
        self._done = min(self._done + 1, self._steps)
        u = self._done / self._steps
        return self._start + (self._goal - self._start) * (u * u * (3.0 - 2.0 * u))
