"""Plays a motion on an arm and notes what was really sent and what its servos read: the log that a fit is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from bridge.clock import MonotonicClock
from bridge.errors import BridgeError
from bridge.messages import JointCommand, RobotState
from bridge.ports import Clock, Robot
from calibration.actuator_log import ActuatorLog, Move
from calibration.errors import CalibrationError
from urdf.pose import Array

#: Times of reading nearer to each other than this belong to one reading: the clocks' offset wavers.
_SAME_READING_NS = 5_000_000
#: A command that repeats a target which has been reached for so long moves nothing, and is left out of the log.
_AT_REST_S = 0.6
#: Periods that came so much too late in a row say that this machine is too busy to measure milliseconds.
_MOST_LATE_SHARE = 0.2


@dataclass(slots=True)
class MotionLog:
    """What was sent and read, with times by our clock [ns]."""

    sent_ns: list[int] = field(default_factory=list[int])
    sent_rad: list[Array] = field(default_factory=list[Array])
    lasts_s: list[float] = field(default_factory=list[float])
    read_ns: list[int] = field(default_factory=list[int])
    read_joint: list[int] = field(default_factory=list[int])
    read_rad: list[float] = field(default_factory=list[float])
    late: int = 0

    def as_log(self, zero_rad: Array) -> ActuatorLog:
        """Return it for a fit, beginning with the arm standing at `zero_rad` (n,), in seconds since the first command.

        Raises CalibrationError where the machine was too busy.
        """
        if not self.sent_ns:
            raise CalibrationError("nothing was sent: there is no log")
        if self.late > _MOST_LATE_SHARE * len(self.sent_ns):
            raise CalibrationError(
                f"{self.late} of {len(self.sent_ns)} periods came late: this machine is too busy to measure "
                f"milliseconds. End what else runs, and start again"
            )
        began_ns = self.sent_ns[0]
        moves = [Move(-0.001, zero_rad, 0.001)]
        changed_s = -np.inf
        for sent_ns, sent_rad, lasts_s in zip(self.sent_ns, self.sent_rad, self.lasts_s, strict=True):
            time_s = max((sent_ns - began_ns) * 1e-9, moves[-1].time_s)
            if float(np.abs(sent_rad - moves[-1].target_rad).max()) > 1e-9:
                changed_s = time_s
            if time_s - changed_s < _AT_REST_S:
                moves.append(Move(time_s, sent_rad, lasts_s))
        times_s = (np.array(self.read_ns) - began_ns) * 1e-9
        return ActuatorLog.of(moves, times_s, self.read_joint, self.read_rad)


class MotionPlayer:
    """Commands a robot period by period. `written_ns` tells when the last command was written to the servos."""

    def __init__(
        self, robot: Robot, written_ns: Callable[[JointCommand], int], period_s: float, clock: Clock | None = None
    ) -> None:
        self.log = MotionLog()
        self._robot, self._written_ns, self._period_s = robot, written_ns, period_s
        self._clock = clock or MonotonicClock()
        state = robot.read_state()
        if not state.reading_rad:
            raise CalibrationError("this arm does not tell what its servos read: their motion cannot be measured")
        self._newest_ns = [state.stamp_ns] * len(state.position_rad)

    def play(self, targets_rad: Array, on_period: Callable[[int], None], should_stop: Callable[[], bool]) -> bool:
        """Send one target (n,) after the other; return False, holding, when told to stop. A late period stays late.

        Raises BridgeError where the arm stops itself.
        """
        due_ns = self._clock.now_ns()
        period_ns = round(self._period_s * 1e9)
        for number, target in enumerate(targets_rad):
            if should_stop():
                self._robot.hold()
                return False
            command = JointCommand(number + 1, self._clock.now_ns(), tuple(target.tolist()), self._period_s)
            sent = self._robot.send(command)
            self.log.sent_ns.append(self._written_ns(sent))
            self.log.sent_rad.append(np.array(sent.position_rad))
            self.log.lasts_s.append(sent.duration_s)
            self._note(self._robot.read_state())
            due_ns += period_ns
            if self._clock.now_ns() > due_ns:
                self.log.late += 1
                due_ns = self._clock.now_ns()
            self._clock.sleep_until(due_ns)
            on_period(number)
        return True

    def _note(self, state: RobotState) -> None:
        if state.fault:
            raise BridgeError(f"the arm stopped itself: {state.fault}")
        for joint, (age_s, value) in enumerate(zip(state.reading_age_s, state.reading_rad, strict=True)):
            read_ns = state.stamp_ns - round(age_s * 1e9)
            if read_ns > self._newest_ns[joint] + _SAME_READING_NS:
                self._newest_ns[joint] = read_ns
                self.log.read_ns.append(read_ns)
                self.log.read_joint.append(joint)
                self.log.read_rad.append(value)
