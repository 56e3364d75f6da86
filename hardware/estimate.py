"""PoseEstimate: where the arm is now, although reading all six servos takes a third of a second.

    estimate = actuator model of the commands sent + a correction per joint, renewed by each reading

A reading of a standing joint is trusted almost entirely. While the joint moves, not knowing exactly when the servo
looked at its potentiometer makes the reading uncertain in proportion to the speed, and it counts for less. The gripper
is the exception: whether its jaws still move decides a grasp, so each of its readings is believed at once.
"""

from __future__ import annotations

import math

from calibration.actuator import ActuatorModel, ActuatorState
from urdf.pose import Array

#: How far model and arm may drift apart between readings, how finely a servo reads, and how uncertain the instant is.
_DRIFT_RAD = math.radians(0.5)
_NOISE_RAD = math.radians(0.05)
_TIMING_S = 0.03


class PoseEstimate:
    """Times are monotonic nanoseconds of one clock, passed in. Not locked: its owner sees to that."""

    def __init__(self, model: ActuatorModel, measured_rad: Array, now_ns: int) -> None:
        """Start from a measured pose (n,) at rest."""
        self._zero_ns = now_ns
        self._state = ActuatorState(model, measured_rad)
        self._correction = [0.0] * model.joint_count
        self._read_ns = [now_ns] * model.joint_count
        self._reading_rad: list[float] = [float(angle) for angle in measured_rad]

    @property
    def joint_count(self) -> int:
        """The number of joints."""
        return len(self._correction)

    def command(self, position_rad: Array, duration_s: float, now_ns: int) -> None:
        """Take note of a command written at `now_ns`."""
        self._advance(now_ns)
        self._state.submit(position_rad, duration_s)

    def stopping_point_rad(self, now_ns: int) -> Array:
        """Return the setpoint (n,) at which a hold written now will find the servos: after their dead time."""
        self._advance(now_ns)
        ahead = self._state.copy()
        ahead.advance_to(self._state.now_s + self._state.model.dead_time_s)
        return ahead.position_rad

    def setpoint_rad(self, now_ns: int) -> Array:
        """Return where the servos' controllers pull (n,): the commands alone, without what the readings say."""
        self._advance(now_ns)
        return self._state.position_rad

    def at(self, now_ns: int) -> tuple[Array, Array]:
        """Return the estimated position (n,) and velocity (n,) now."""
        self._advance(now_ns)
        return self._state.joint_rad + self._correction, self._state.velocity_rad_s

    def reading_age_s(self, now_ns: int) -> tuple[float, ...]:
        """Return the age of each joint's last reading."""
        return tuple((now_ns - read_ns) * 1e-9 for read_ns in self._read_ns)

    def reading_rad(self) -> tuple[float, ...]:
        """Return what each joint's last reading said, at its own time."""
        return tuple(self._reading_rad)

    def correct(self, joint: int, measured_rad: float, stamp_ns: int) -> float:
        """Take in a reading; return by how much the joint lags where its commands should have it (less measured)."""
        self._advance(stamp_ns)
        velocity = float(self._state.velocity_rad_s[joint])
        late_s = self._state.now_s - (stamp_ns - self._zero_ns) * 1e-9
        lag = float(self._state.joint_rad[joint]) - velocity * late_s - measured_rad
        gain = 1.0
        if joint != self.joint_count - 1:
            variance = _NOISE_RAD**2 + (velocity * _TIMING_S) ** 2
            gain = _DRIFT_RAD**2 / (_DRIFT_RAD**2 + variance)
        self._correction[joint] += gain * (-lag - self._correction[joint])
        self._note(joint, measured_rad, stamp_ns)
        return lag

    def let_go(self, joint: int, measured_rad: float, stamp_ns: int | None) -> None:
        """Take a joint to be where it is measured, whatever was commanded: it has no torque, or was moved by others.

        Without `stamp_ns` that is an assumption, and the age of its last reading stays.
        """
        if stamp_ns is not None:
            self._advance(stamp_ns)
            self._note(joint, measured_rad, stamp_ns)
        self._state.reset_joint(joint, measured_rad)
        self._correction[joint] = 0.0

    def is_moving(self, joint: int, now_ns: int) -> bool:
        """Return whether a joint is on its way or about to be."""
        self._advance(now_ns)
        return self._state.is_busy(joint)

    def _note(self, joint: int, measured_rad: float, stamp_ns: int) -> None:
        if stamp_ns >= self._read_ns[joint]:
            self._read_ns[joint], self._reading_rad[joint] = stamp_ns, measured_rad

    def _advance(self, now_ns: int) -> None:
        self._state.advance_to((now_ns - self._zero_ns) * 1e-9)


class ReadSchedule:
    """Which servo to read next: round robin, and every second turn the gripper while it moves."""

    def __init__(self, joint_count: int) -> None:
        self._count = joint_count
        self._next = 0
        self._last = -1

    def next(self, gripper_moves: bool) -> int:
        """Return the joint to read now."""
        gripper = self._count - 1
        if gripper_moves and self._last != gripper:
            self._last = gripper
            return gripper
        joint = self._next
        if gripper_moves and joint == gripper:
            joint = 0
        self._next = (joint + 1) % self._count
        self._last = joint
        return joint
