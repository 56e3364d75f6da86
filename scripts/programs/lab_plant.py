"""LabPlant: the lab's world as the servo board feels it, in counts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibration.servo import ServoCalibration
from sim.lab import LabWorld
from urdf.pose import Array


class LabPlant:
    """A Plant over a LabWorld, through the nominal scale of the servos; fractions of a count are kept."""

    def __init__(self, world: LabWorld, calibration: ServoCalibration) -> None:
        self._world = world
        self._zero: Array = np.array([joint.zero_ticks for joint in calibration.joints])
        self._per_rad: Array = np.array([joint.ticks_per_rad for joint in calibration.joints])

    def drive(self, setpoint_ticks: Array, torque_on: NDArray[np.bool_]) -> None:
        """Pull the joints whose torque is on towards their setpoints (6,)."""
        self._world.drive((setpoint_ticks - self._zero) / self._per_rad, torque_on)

    def positions_ticks(self) -> Array:
        """Return what the servos measure (6,)."""
        return self._zero + self._per_rad * self._world.positions_rad()
