"""PosedArm: takes a robot from pose to pose, slowly, waits until it stands, and tells what its servos then read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bridge.clock import MonotonicClock
from bridge.errors import BridgeError
from bridge.messages import JointCommand, RobotState
from bridge.ports import Clock, Robot
from bridge.skills import MoveJoints
from calibration.errors import CalibrationError
from urdf.pose import Array

SPEED_RAD_S = 0.8
#: From the last command to the first reading that counts: dead time, skew, and the arm's own swinging.
SETTLE_S = 0.8
#: A standing joint's readings differ by no more than this, in steps of its reading.
STEADY_STEPS = 2.01
#: An arm that has not come to within this of what it was sent has been stopped on its way.
_ARRIVED_RAD = 0.10
_READINGS, _PATIENCE_S = 3, 8.0
_SAME_READING_S = 0.005


@dataclass(frozen=True, slots=True)
class Standing:
    """A standing arm: what each joint read (n,), the middle of three readings or more, and between which times."""

    reading_rad: Array
    from_ns: int
    to_ns: int


class PosedArm:
    """One robot under our control, a command every `period_s`. `step_rad` (n,) is the step of each joint's reading."""

    def __init__(self, robot: Robot, step_rad: Array, period_s: float = 0.05, clock: Clock | None = None) -> None:
        self.robot = robot
        self._clock, self._period_s, self._step_rad = clock or MonotonicClock(), period_s, step_rad
        self._seq = 0
        state = robot.read_state()
        if not state.reading_rad:
            raise CalibrationError("this arm does not tell what its servos read: nothing can be calibrated from it")
        self.target_rad = np.array(state.position_rad)

    def move_to(self, goal_rad: Array, speed_rad_s: float = SPEED_RAD_S) -> None:
        """Go there in a straight line in joint space; raises CalibrationError where the arm does not arrive."""
        skill = MoveJoints(self.target_rad, goal_rad, speed_rad_s, self._period_s)
        due_ns = self._clock.now_ns()
        while not skill.finished:
            due_ns = self._send(skill.step(), due_ns)
        self.target_rad = np.array(goal_rad)

    def keep(self) -> None:
        """Stay where the arm was sent for one period."""
        self._send(self.target_rad, self._clock.now_ns())

    def stand(self, while_standing: Callable[[int], bool] = lambda since_ns: True) -> Standing:
        """Wait until the arm stands and has been read; `while_standing` is asked every period whether it has enough.

        Raises CalibrationError where the arm is elsewhere than it was sent, still moves, or is not read in time.
        """
        began_ns = due_ns = self._clock.now_ns()
        since_ns = began_ns + round(SETTLE_S * 1e9)
        readings: list[list[float]] = [[] for _ in self.target_rad]
        newest_ns = [since_ns] * len(self.target_rad)
        while True:
            due_ns = self._send(self.target_rad, due_ns)
            state = self.robot.read_state()
            _take(state, readings, newest_ns)
            if min(map(len, readings)) >= _READINGS and while_standing(since_ns):
                break
            if self._clock.now_ns() - since_ns > _PATIENCE_S * 1e9:
                raise CalibrationError(self._what_is_missing(readings))
        self._check(readings)
        middles = np.array([float(np.median(r)) for r in readings])
        return Standing(middles, since_ns, self._clock.now_ns())

    def _what_is_missing(self, readings: list[list[float]]) -> str:
        silent = [k + 1 for k, r in enumerate(readings) if len(r) < _READINGS]
        if silent:
            return f"joints {silent} were read fewer than {_READINGS} times in {_PATIENCE_S:g} s of standing"
        return f"no fresh picture came in {_PATIENCE_S:g} s of standing"

    def _check(self, readings: list[list[float]]) -> None:
        for joint, values in enumerate(readings):
            spread = max(values) - min(values)
            if spread > STEADY_STEPS * float(self._step_rad[joint]) + 1e-9:
                raise CalibrationError(
                    f"joint {joint + 1} moved by {np.degrees(spread):.2f} degrees while it should have stood: "
                    f"wait for the arm to come to rest, or look for a load that it cannot hold"
                )
            off = abs(float(np.median(values)) - float(self.target_rad[joint]))
            if off > _ARRIVED_RAD and joint < len(readings) - 1:  # jaws may hold something
                raise CalibrationError(
                    f"joint {joint + 1} stands {np.degrees(off):.1f} degrees from where it was sent: something is in "
                    f"its way, or its safety filter held it"
                )

    def _send(self, target_rad: Array, due_ns: int) -> int:
        """Send one period's target and sleep until it is over; return when the next one is due."""
        self._seq += 1
        now_ns = self._clock.now_ns()
        self.robot.send(JointCommand(self._seq, now_ns, tuple(target_rad.tolist()), self._period_s))
        state = self.robot.read_state()
        if state.fault:
            raise BridgeError(f"the arm stopped itself: {state.fault}")
        due_ns = max(due_ns + round(self._period_s * 1e9), now_ns)
        self._clock.sleep_until(due_ns)
        return due_ns


def _take(state: RobotState, readings: list[list[float]], newest_ns: list[int]) -> None:
    """Add the readings that are new."""
    for joint, (age_s, value) in enumerate(zip(state.reading_age_s, state.reading_rad, strict=True)):
        read_ns = state.stamp_ns - round(age_s * 1e9)
        if read_ns > newest_ns[joint] + round(_SAME_READING_S * 1e9):
            newest_ns[joint] = read_ns
            readings[joint].append(value)
