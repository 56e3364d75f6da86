"""ServoRack: what the servos of any board do physically, whatever protocol moves them.

Each servo runs a trapezoid from wherever it is to the last target it was given; a new target interrupts it. The plant
is pulled along where torque is on, and a servo that presses in vain for too long cuts its own torque.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calibration.actuator import SERVO_SPEED_RAD_S, ActuatorModel, ActuatorState
from hardware.virtual.plant import Plant
from urdf.pose import Array


@dataclass(frozen=True, slots=True)
class ServoManners:
    """When a servo's protection cuts its torque. Ref: DS-SY15A sheet, 3 s."""

    stall_ticks: float = 60.0
    stall_s: float = 3.0
    still_ticks: float = 8.0


class ServoRack:
    """The servos behind one board, in counts and in the order of the plant's joints; commands are for their board.

    What counts a servo takes is the board's business: targets here are taken as they come.
    """

    def __init__(
        self,
        plant: Plant,
        now_ns: int,
        ticks_per_rad: Array,
        actuator: ActuatorModel | None = None,
        torque_on: bool = False,
        manners: ServoManners | None = None,
    ) -> None:
        """Stand where the plant stands; `ticks_per_rad` (n,) are the counts per radian of each servo's own shaft."""
        self.plant = plant
        self.manners = manners or ServoManners()
        self._ticks_per_rad: Array = np.array(ticks_per_rad, dtype=np.float64)
        self.servo_count = len(self._ticks_per_rad)
        start = plant.positions_ticks()
        self._state = ActuatorState(
            actuator or ActuatorModel((SERVO_SPEED_RAD_S,) * self.servo_count),
            start / self._ticks_per_rad,
            now_ns * 1e-9,
        )
        self._targets: Array = start.copy()
        self._torque: NDArray[np.bool_] = np.full(self.servo_count, torque_on)
        self._stalled: NDArray[np.bool_] = np.zeros(self.servo_count, dtype=np.bool_)
        self._still_since_ns = [now_ns] * self.servo_count
        self._still_at: Array = start.copy()

    @property
    def torque_on(self) -> tuple[bool, ...]:
        """Each servo's torque."""
        return tuple(bool(v) for v in self._torque)

    @property
    def stalled_servos(self) -> tuple[int, ...]:
        """The servos whose stall protection has cut their torque, counted from 1."""
        return tuple(i + 1 for i in range(self.servo_count) if self._stalled[i])

    @property
    def setpoint_ticks(self) -> Array:
        """Where the servos' own controllers are heading right now (n,)."""
        return self._state.position_rad * self._ticks_per_rad

    @property
    def target_ticks(self) -> Array:
        """The last targets that the servos were given (n,)."""
        return self._targets.copy()

    def positions_ticks(self) -> Array:
        """Return where the joints are (n,)."""
        return self.plant.positions_ticks()

    def reading_ticks(self, index: int) -> int:
        """Return what one servo reads: in steps of its actuator model, and always in whole counts."""
        per_rad = float(self._ticks_per_rad[index])
        stands_rad = float(self.plant.positions_ticks()[index]) / per_rad
        return round(self._state.model.reading_rad(index, stands_rad) * per_rad)

    def aim(self, index: int, ticks: float, move_s: float, now_ns: int) -> None:
        """Send one servo to its count. Without torque it only remembers the target."""
        self._state.advance_to(now_ns * 1e-9)
        self._targets[index] = ticks
        if self._torque[index]:
            self._submit(index, move_s)

    def aim_all(self, ticks: ArrayLike, move_s: float, now_ns: int) -> None:
        """Send every servo to its count (n,) in one move; the actuator's skew lies between the first and the last."""
        self._state.advance_to(now_ns * 1e-9)
        self._targets[:] = np.asarray(ticks, dtype=np.float64)
        if self._torque.all():
            self._state.submit(self._targets / self._ticks_per_rad, move_s)
            return
        for index in range(self.servo_count):
            if self._torque[index]:
                self._submit(index, move_s)

    def set_torque(self, on: bool, now_ns: int, index: int | None = None) -> None:
        """Switch one servo's torque, or everyone's. Torque on pulls to the last target at full speed."""
        self._state.advance_to(now_ns * 1e-9)
        positions = self.plant.positions_ticks()
        for i in range(self.servo_count) if index is None else (index,):
            if on and not self._torque[i]:
                self._state.reset_joint(i, float(positions[i] / self._ticks_per_rad[i]))
                self._submit(i, 0.0)
                self._still_since_ns[i] = now_ns
            self._torque[i] = on
            self._stalled[i] = False

    def advance(self, now_ns: int) -> None:
        """Move up to `now_ns`: the setpoints, the plant behind them, and the protection."""
        self._state.advance_to(now_ns * 1e-9)
        self.plant.drive(self._state.joint_rad * self._ticks_per_rad, self._torque.copy())
        self._protect(now_ns)

    def _submit(self, index: int, move_s: float) -> None:
        self._state.submit_joint(index, float(self._targets[index] / self._ticks_per_rad[index]), move_s)

    def _protect(self, now_ns: int) -> None:
        """Cut the torque of a servo that has pressed away from its setpoint without moving for too long."""
        positions = self.plant.positions_ticks()
        lag = np.abs(self.setpoint_ticks - positions)
        for index in range(self.servo_count):
            moved = abs(float(positions[index] - self._still_at[index])) > self.manners.still_ticks
            if moved or lag[index] <= self.manners.stall_ticks or not self._torque[index]:
                self._still_since_ns[index] = now_ns
                self._still_at[index] = positions[index]
            elif now_ns - self._still_since_ns[index] >= self.manners.stall_s * 1e9:
                self._torque[index] = False
                self._stalled[index] = True
