"""The motion that tells how an arm's servos move, as targets period by period: what a served arm is commanded anyway.

Three parts: slow moves that turn back (dead time, play, scale), swings at the speed limit, joint after joint so that
the supply stands it (speed), and single small steps after an approach from the same side (dead band). Slow at first.
The gripper moves when the arm has done: servers read jaws that move more often than joints (hardware/estimate.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bridge.guards import GuardModel
from calibration.errors import CalibrationError
from calibration.servo_poses import FEARED_SCALE, FEARED_ZERO_RAD
from urdf.description import ArmDescription, Rig
from urdf.pose import Array

#: Joints swing by so much about the middle; the largest that stays clear is taken.
REACHES_RAD = (0.35, 0.28, 0.22)
#: The time that each part needs so that a bus which reads one servo every 60 ms sees every joint often enough.
LEAST_SECONDS = 50.0
_GENTLE_S, _SLOW_CYCLE_S, _SWING_S, _STEP_CYCLE_S = 5.0, 1.2, 0.9, 1.5
#: Between one joint's start and the next one's: servos that start together break the supply down.
_STAGGER_S = 0.15
#: From the middle outwards, so that a few of them already tell a dead band of any size apart.
_STEPS_RAD = np.radians([0.32, 0.16, 0.48, 0.08, 0.24, 0.40, 0.64, 0.12, 0.56, 0.96, 0.20, 0.80])
_CLEARANCE_M = 0.008
#: How fast the safety filter has joints slow down. Ref: bridge/safety.py.
_BRAKING_RAD_S2 = 20.0
#: The part of the time in which the arm's joints move.
_ARM_SHARE = 0.72
_CENTERS, _CORNERS = 400, 48


@dataclass(frozen=True, slots=True)
class Room:
    """Where the arm may move freely: no joint further from `center_rad` (n,) than `reach_rad`."""

    center_rad: Array
    reach_rad: float


def find_room(description: ArmDescription, rig: Rig, rng: np.random.Generator) -> Room:
    """Return the room that is clearest of floor and arm; raises CalibrationError where there is none."""
    guards = GuardModel(description, rig)
    corners = rng.choice([-1.0, 1.0], (_CORNERS, len(description.joint_names)))
    corners = np.concatenate([corners, rng.uniform(-1.0, 1.0, corners.shape), np.zeros((1, corners.shape[1]))])
    for reach_rad in REACHES_RAD:
        # From full speed a joint is braked before its limit, which would cut its swing.
        room = description.margin_rad + reach_rad + description.max_speed_rad_s**2 / (2 * _BRAKING_RAD_S2)
        lower, upper = description.lower_rad + room, description.upper_rad - room
        middle = 0.5 * (description.lower_rad + description.upper_rad)
        lower, upper = np.minimum(lower, middle), np.maximum(upper, middle)
        centers = rng.uniform(lower, upper, (_CENTERS, len(lower)))
        centers[:, -1] = middle[-1]
        # Where the joints may really be: nobody has measured the servos' zeros yet, perhaps.
        feared_rad = reach_rad + FEARED_ZERO_RAD + FEARED_SCALE * (np.abs(centers) + reach_rad)
        poses = (centers[:, None] + feared_rad[:, None] * corners).reshape(-1, len(lower))
        poses = np.clip(poses, description.lower_rad, description.upper_rad)
        clear_m = guards.clearances_m(poses).min(axis=1).reshape(_CENTERS, -1).min(axis=1)
        best = int(np.argmax(clear_m))
        if clear_m[best] > _CLEARANCE_M:
            return Room(centers[best], reach_rad)
    raise CalibrationError(f"{description.name} in rig {rig.name!r} has no room to swing its joints by 13 degrees")


def excitation(room: Room, max_speed_rad_s: Array, period_s: float, seconds: float, rng: np.random.Generator) -> Array:
    """Return targets (m, n), the first at the room's middle; raises CalibrationError on less than LEAST_SECONDS."""
    if not LEAST_SECONDS <= seconds <= 600.0:
        raise CalibrationError(f"the motion takes {LEAST_SECONDS:g} to 600 s to tell every number, got {seconds:g}")
    motion = _Motion(room, period_s, rng)
    last = np.arange(len(room.center_rad)) == len(room.center_rad) - 1
    for moving, begin_s, end_s in ((~last, 0.0, _ARM_SHARE * seconds), (last, _ARM_SHARE * seconds, seconds)):
        motion.moving = moving
        lasts_s = end_s - begin_s
        motion.slow_moves(begin_s + 0.30 * lasts_s)
        motion.swings(begin_s + 0.55 * lasts_s, max_speed_rad_s)
        motion.small_steps(end_s)
    return np.array(motion.targets)


class _Motion:
    """Targets so far; every part goes on where the one before ended."""

    def __init__(self, room: Room, period_s: float, rng: np.random.Generator) -> None:
        self._room, self._period_s, self._rng = room, period_s, rng
        self.moving = np.ones(len(room.center_rad), dtype=np.bool_)
        self.targets: list[Array] = [room.center_rad.copy()]
        self._wait(0.5)

    def _spread(self, low: float, high: float) -> Array:
        """Return how far each joint goes (n,), in reaches; one that has its time later goes nowhere."""
        return self._rng.uniform(low, high, len(self.moving)) * self.moving

    @property
    def _time_s(self) -> float:
        return len(self.targets) * self._period_s

    def _varied(self, seconds: float) -> float:
        """Return about that time, lest readings keep step with the motion."""
        return seconds * float(self._rng.uniform(5 / 6, 7 / 6))

    def _wait(self, seconds: float) -> None:
        self.targets += [self.targets[-1]] * max(round(seconds / self._period_s), 1)

    def _go(self, target_rad: Array, seconds: float) -> None:
        count, start = max(round(seconds / self._period_s), 1), self.targets[-1]
        self.targets += [start + (k + 1) / count * (target_rad - start) for k in range(count)]

    def slow_moves(self, until_s: float) -> None:
        """Go to one random pose after the other, with a rest in each; gently at first."""
        while self._time_s < until_s:
            share = 0.4 if self._time_s < _GENTLE_S else 1.0
            spread = self._spread(-1.0, 1.0)
            way_s = 0.8 if self._time_s < _GENTLE_S else float(self._rng.uniform(0.4, 0.7))
            self._go(self._room.center_rad + share * self._room.reach_rad * spread, way_s)
            self._wait(self._varied(_SLOW_CYCLE_S) - way_s)

    def swings(self, until_s: float, max_speed_rad_s: Array) -> None:
        """Have every joint swing from side to side as fast as it may, one starting after the other."""
        count = len(self._room.center_rad)
        self._go(self._room.center_rad, 0.6)
        self._wait(0.3)
        side = -np.ones(count)
        while self._time_s < until_s:
            side = -side
            goals = self._room.center_rad + side * self._room.reach_rad * self._spread(0.7, 1.0)
            order = np.zeros(count, dtype=np.int64)
            order[self.moving] = self._rng.permutation(int(self.moving.sum()))
            starts = order * round(_STAGGER_S / self._period_s)
            cycle = round(self._varied(_SWING_S + int(self.moving.sum()) * _STAGGER_S) / self._period_s)
            step = max_speed_rad_s * self._period_s
            for period in range(cycle):
                at = self.targets[-1]
                moved = at + np.clip(goals - at, -step, step)
                self.targets.append(np.where(period >= starts, moved, at))

    def small_steps(self, until_s: float) -> None:
        """Step by a fraction of a degree from a standstill, after having come from the same side."""
        index, side = 0, 1.0
        while self._time_s < until_s - _STEP_CYCLE_S:
            side = -side
            low = self._room.center_rad - side * self._room.reach_rad * self._spread(0.1, 0.6)
            self._go(low, 0.25)
            self._wait(self._varied(_STEP_CYCLE_S / 2) - 0.25)
            self.targets.append(low - side * _STEPS_RAD[index % len(_STEPS_RAD)] * self.moving)
            self._wait(self._varied(_STEP_CYCLE_S / 2))
            index += 1
