"""Plant: whatever a virtual servo board moves. FreePlant follows its servos; a simulator gives a heavier one."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bridge.ports import Clock
from urdf.pose import Array

SERVO_COUNT = 6
#: Upright and open: servo degrees 90 90 90 90 90 0 in the vendor's counts.
UPRIGHT_TICKS = (2000, 2000, 2000, 2000, 1487, 900)
#: Where shoulder, elbow and wrist come to rest without torque.
SAGGED_TICKS = (2000, 2900, 2700, 2300, 1487, 900)
_FALL_TICKS_S = 900.0


class Plant(Protocol):
    """Joints (n,) in servo counts, in the order of the servos; the Dofbot has six."""

    def drive(self, setpoint_ticks: Array, torque_on: NDArray[np.bool_]) -> None:
        """Pull the joints whose torque is on towards their setpoints (n,); called once per board step."""
        ...

    def positions_ticks(self) -> Array:
        """Return where the joints are (n,)."""
        ...


class FreePlant:
    """Joints that follow their setpoints at once, and fall towards a sagged pose where torque is off.

    The base, the wrist's roll and the gripper - the first and the last two - stay; the joints between give way.
    """

    def __init__(
        self,
        clock: Clock,
        start_ticks: ArrayLike = UPRIGHT_TICKS,
        gripper_stop_ticks: float | None = None,
        sagged_ticks: ArrayLike = SAGGED_TICKS,
    ) -> None:
        self._clock = clock
        self._position = np.array(start_ticks, dtype=np.float64)
        self._sagged = np.array(sagged_ticks, dtype=np.float64)
        self._last_ns = clock.now_ns()
        self.gripper_stop_ticks = gripper_stop_ticks
        self._falling = np.zeros(len(self._position), dtype=np.bool_)
        self._falling[1:-2] = True
        self.blocked = np.zeros(len(self._position), dtype=np.bool_)
        """Joints that something holds in place."""

    def drive(self, setpoint_ticks: Array, torque_on: NDArray[np.bool_]) -> None:
        """Follow the setpoints; a joint without torque falls."""
        now_ns = self._clock.now_ns()
        fall = _FALL_TICKS_S * (now_ns - self._last_ns) * 1e-9
        self._last_ns = now_ns
        fallen = self._position + np.clip(self._sagged - self._position, -fall, fall)
        loose = np.where(self._falling, fallen, self._position)
        moved = np.where(torque_on, setpoint_ticks, loose)
        self._position = np.where(self.blocked, self._position, moved)
        if self.gripper_stop_ticks is not None:
            self._position[-1] = min(self._position[-1], self.gripper_stop_ticks)

    def positions_ticks(self) -> Array:
        """Return where the joints are (n,)."""
        return self._position.copy()
