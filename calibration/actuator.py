"""How a position servo moves: dead time, one move time for all joints, finite speed, skew from the first to the last.

A command sets, joint by joint, a constant-velocity move from wherever the setpoint is to the target. The move begins
after the dead time (plus the joint's share of the skew, since the board writes its servos one after the other), lasts
the commanded duration or longer where the speed limit says so, and ends any earlier move. A target nearer than the dead
band starts no move. Behind the setpoint lies the gear: the joint follows it with backlash, and is read in steps.

    command -> dead time, skew -> dead band -> setpoint (speed limit) -> backlash -> joint -> reading in steps

The result does not depend on how time is cut into steps: the motion is integrated exactly, piece by piece.
Plain floats instead of arrays inside: for six joints they are several times faster than NumPy, and this runs in the
simulator's inner loop as well as in the virtual servo board and in the state estimate of the real arm.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from urdf.description import ArmDescription
from urdf.pose import Array

#: Speed of a bus servo without load. Ref: YB-SD15M sheet, 0.30 s per 60 deg (DS-SY15A sheet: 0.24 s, 250 deg/s).
SERVO_SPEED_RAD_S = math.radians(200.0)
#: From the first to the last of six servos, written one by one. Ref: Practitioner108/dofbot_sci_ws dofbot_control.
BOARD_SKEW_S = 0.012
#: The shortest move time the board keeps. Ref: the same.
MIN_MOVE_S = 0.020
#: From the host's write to the first motion, before any measurement of the unit at hand.
NOMINAL_DEAD_TIME_S = 0.080

_TIMES = ("dead_time_s", "skew_s", "min_move_s")
_ANGLES = ("backlash_rad", "dead_band_rad", "readback_rad")


@dataclass(frozen=True, slots=True)
class ActuatorModel:
    """The constants of one arm's servos. Tuples have one entry per joint, the gripper last; empty means none at all.

    `backlash_rad` is the whole gap of the gears: turning back, the joint stands still until the setpoint has crossed
    it. `dead_band_rad` is the smallest correction that a servo starts. `readback_rad` is one step of the reading.
    An arm's own numbers and their sources stand in the `[actuator]` table of its arm.toml.
    Ref: DS-SY15A and YB-SD15M sheets (backlash up to 1 deg); KNDG01001/Dofbot-Serial_i2c Arm_Lib.py (2200 counts per
    180 deg, so 0.0818 deg a count); nahyud546/dofbot-se (3 to 8 mm of play at the tip).
    """

    max_speed_rad_s: tuple[float, ...]
    dead_time_s: float = NOMINAL_DEAD_TIME_S
    skew_s: float = BOARD_SKEW_S
    min_move_s: float = MIN_MOVE_S
    backlash_rad: tuple[float, ...] = ()
    dead_band_rad: tuple[float, ...] = ()
    readback_rad: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.max_speed_rad_s or not all(math.isfinite(v) and v > 0 for v in self.max_speed_rad_s):
            raise ValueError(f"max_speed_rad_s must be positive and finite, got {self.max_speed_rad_s}")
        for name in _TIMES:
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} must be finite and not negative, got {value}")
        for name in _ANGLES:
            values: tuple[float, ...] = getattr(self, name) or (0.0,) * self.joint_count
            if len(values) != self.joint_count or not all(math.isfinite(v) and v >= 0 for v in values):
                raise ValueError(f"{name} must be {self.joint_count} finite numbers, none negative, got {values}")
            object.__setattr__(self, name, values)

    @staticmethod
    def nominal(description: ArmDescription, dead_time_s: float | None = None) -> ActuatorModel:
        """Return the data sheet's servos behind an arm's joints, with another dead time where one is given."""
        facts = description.actuator
        return ActuatorModel(
            max_speed_rad_s=tuple(float(v) for v in description.max_speed_rad_s),
            dead_time_s=facts.dead_time_s if dead_time_s is None else dead_time_s,
            skew_s=facts.skew_s,
            min_move_s=facts.min_move_s,
            backlash_rad=facts.backlash_rad,
            dead_band_rad=facts.dead_band_rad,
            readback_rad=facts.readback_rad,
        )

    @property
    def joint_count(self) -> int:
        """The number of joints."""
        return len(self.max_speed_rad_s)

    def start_delay_s(self, joint: int) -> float:
        """Return the time from a command to the first motion of one joint."""
        last = self.joint_count - 1
        return self.dead_time_s + (self.skew_s * joint / last if last else 0.0)

    def reading_rad(self, joint: int, position_rad: float) -> float:
        """Return what one joint reads at `position_rad`: the nearest whole step, the position itself without steps."""
        step = self.readback_rad[joint]
        return round(position_rad / step) * step if step else position_rad

    def readings_rad(self, position_rad: Array) -> Array:
        """Return what the joints read at `position_rad` (n,)."""
        if not any(self.readback_rad):
            return position_rad
        pairs = zip(position_rad.tolist(), self.readback_rad, strict=True)
        return np.array([round(value / step) * step if step else value for value, step in pairs])


@dataclass(frozen=True, slots=True)
class ServoErrors:
    """How servos misjudge their joints: `joint = scale * servo + zero_rad`, arrays (n,).

    Neither command nor reading tells: both are in the servo's angles.
    Ref: Practitioner108/dofbot_sci_ws measured 0.0768 to 0.0844 deg a count, so scales of 0.94 to 1.03.
    """

    zero_rad: Array
    scale: Array

    def __post_init__(self) -> None:
        zero, scale = (np.array(v, dtype=np.float64) for v in (self.zero_rad, self.scale))
        if zero.ndim != 1 or zero.shape != scale.shape or not np.isfinite([zero, scale]).all() or (scale <= 0).any():
            raise ValueError(
                f"expected finite zero_rad (n,) and positive scale (n,), got {self.zero_rad} and {self.scale}"
            )
        for name, array in (("zero_rad", zero), ("scale", scale)):
            array.setflags(write=False)
            object.__setattr__(self, name, array)

    @staticmethod
    def of(zero_rad: ArrayLike, scale: ArrayLike) -> ServoErrors:
        """Return servos with these zeros and scales (n,)."""
        return ServoErrors(np.asarray(zero_rad, dtype=np.float64), np.asarray(scale, dtype=np.float64))

    @staticmethod
    def offset(zero_rad: ArrayLike) -> ServoErrors:
        """Return servos of the right scale whose zeros are off by `zero_rad` (n,)."""
        return ServoErrors.of(zero_rad, np.ones(np.shape(zero_rad)))

    @staticmethod
    def none(joint_count: int) -> ServoErrors:
        """Return servos that judge their joints rightly."""
        return ServoErrors.offset(np.zeros(joint_count))

    def joint_rad(self, servo_rad: Array) -> Array:
        """Return where the joints (n,) stand when their servos stand at `servo_rad` (n,)."""
        return self.scale * servo_rad + self.zero_rad

    def servo_rad(self, joint_rad: Array) -> Array:
        """Return where the servos (n,) take joints at `joint_rad` (n,) to stand."""
        return (joint_rad - self.zero_rad) / self.scale


class ActuatorState:
    """The moving setpoint of every joint, and the joint behind it. `submit` a command, `step` the time, read."""

    __slots__ = (
        *("_delay_s", "_half_gap", "_has_gap", "_joint", "_move_end_s", "_now_s", "_pending", "_position"),
        *("_target", "_velocity", "model"),
    )

    def __init__(self, model: ActuatorModel, position_rad: ArrayLike, now_s: float = 0.0) -> None:
        self.model = model
        self._delay_s = [model.start_delay_s(j) for j in range(model.joint_count)]
        self._half_gap = [gap / 2 for gap in model.backlash_rad]
        self._has_gap = any(model.backlash_rad)
        self._now_s = now_s
        self._position: list[float] = []
        self._joint: list[float] = []
        self.reset(position_rad, now_s)

    def reset(self, position_rad: ArrayLike, now_s: float = 0.0) -> None:
        """Stand still at `position_rad` (n,), in the middle of the backlash, and forget every command."""
        values = [float(v) for v in np.asarray(position_rad, dtype=np.float64)]
        n = self.model.joint_count
        if len(values) != n or not all(map(math.isfinite, values)):
            raise ValueError(f"expected {n} finite joint positions, got {values}")
        self._now_s = float(now_s)
        self._position = values
        self._joint = list(values)
        self._target = list(values)
        self._velocity = [0.0] * n
        self._move_end_s = [float(now_s)] * n
        self._pending: list[deque[tuple[float, float, float]]] = [deque() for _ in range(n)]

    def reset_joint(self, joint: int, position_rad: float) -> None:
        """Stand still with one joint at `position_rad` and forget its commands: its motor has lost torque."""
        self._position[joint] = self._target[joint] = self._joint[joint] = float(position_rad)
        self._velocity[joint] = 0.0
        self._pending[joint].clear()

    def copy(self) -> ActuatorState:
        """Return an independent copy, to look ahead with."""
        twin = ActuatorState(self.model, self._position, self._now_s)
        twin._velocity, twin._target = list(self._velocity), list(self._target)
        twin._move_end_s, twin._joint = list(self._move_end_s), list(self._joint)
        twin._pending = [deque(p) for p in self._pending]
        return twin

    def is_busy(self, joint: int) -> bool:
        """Return whether a joint's setpoint moves or has a command in its dead time."""
        return self._velocity[joint] != 0.0 or bool(self._pending[joint])

    @property
    def now_s(self) -> float:
        """The time up to which the motion has been computed."""
        return self._now_s

    @property
    def position_rad(self) -> Array:
        """The setpoint (n,) now, as a new array."""
        return np.array(self._position)

    @property
    def joint_rad(self) -> Array:
        """Where the joints stand (n,) now, behind the backlash of their gears, as a new array."""
        return np.array(self._joint if self._has_gap else self._position)

    @property
    def velocity_rad_s(self) -> Array:
        """The setpoint's velocity (n,) now, as a new array."""
        return np.array(self._velocity)

    @property
    def target_rad(self) -> Array:
        """Where each setpoint is heading (n,), commands still in their dead time not counted."""
        return np.array(self._target)

    def submit(self, target_rad: Sequence[float] | Array, duration_s: float, now_s: float | None = None) -> None:
        """Accept a command given at `now_s` (default: the time of the state); it moves the joints after its delay."""
        if not all(math.isfinite(v) for v in target_rad):
            raise ValueError(f"a target must be finite, got {target_rad}")
        start_s = self._now_s if now_s is None else now_s
        duration_s = max(duration_s, self.model.min_move_s)
        for target, delay_s, pending in zip(target_rad, self._delay_s, self._pending, strict=True):
            pending.append((start_s + delay_s, float(target), duration_s))

    def submit_joint(self, joint: int, target_rad: float, duration_s: float, now_s: float | None = None) -> None:
        """Accept a command for one joint alone."""
        start_s = (self._now_s if now_s is None else now_s) + self.model.dead_time_s
        self._pending[joint].append((start_s, float(target_rad), max(duration_s, self.model.min_move_s)))

    def step(self, dt_s: float) -> Array:
        """Advance by `dt_s` and return where the joints stand (n,)."""
        self.advance_to(self._now_s + dt_s)
        return self.joint_rad

    def advance_to(self, end_s: float) -> None:
        """Advance to the absolute time `end_s`; a time already passed changes nothing."""
        if end_s <= self._now_s:
            return
        for joint, pending in enumerate(self._pending):
            time_s = self._now_s
            while pending and pending[0][0] <= end_s:
                start_s, target, duration_s = pending.popleft()
                if start_s > time_s:
                    self._move(joint, start_s)
                    time_s = start_s
                self._begin(joint, time_s, target, duration_s)
            if self._velocity[joint] != 0.0:
                self._move(joint, end_s)
        self._now_s = end_s

    def _begin(self, joint: int, start_s: float, target: float, duration_s: float) -> None:
        distance = target - self._position[joint]
        band = self.model.dead_band_rad[joint]
        if band and abs(distance) <= band:
            # A correction too small to start: the servo stands, or stops, where it is.
            self._target[joint], self._velocity[joint] = self._position[joint], 0.0
            return
        limit = self.model.max_speed_rad_s[joint]
        velocity = distance / duration_s
        if abs(velocity) > limit:
            velocity = math.copysign(limit, distance)
            duration_s = abs(distance) / limit
        self._target[joint] = target
        self._velocity[joint] = velocity
        self._move_end_s[joint] = start_s + duration_s

    def _move(self, joint: int, end_s: float) -> None:
        velocity = self._velocity[joint]
        if velocity == 0.0:
            return
        move_end_s = self._move_end_s[joint]
        if end_s >= move_end_s:
            self._position[joint] = self._target[joint]
            self._velocity[joint] = 0.0
        else:
            # From the target backwards, so that the position is a function of time alone, not of the steps taken.
            self._position[joint] = self._target[joint] - velocity * (move_end_s - end_s)
        if self._has_gap:
            # A play operator: exact, because every piece of the motion is monotone.
            setpoint, half, stands = self._position[joint], self._half_gap[joint], self._joint[joint]
            if stands < setpoint - half:
                self._joint[joint] = setpoint - half
            elif stands > setpoint + half:
                self._joint[joint] = setpoint + half
