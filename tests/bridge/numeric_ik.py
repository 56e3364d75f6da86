"""Inverse kinematics by finite differences: slow, plain, and at home on the base install. Implements `Kinematics`."""

from __future__ import annotations

import math

import numpy as np

from urdf.description import ArmDescription, Rig
from urdf.errors import Unreachable
from urdf.pose import Array

_METRES_PER_RAD = 0.1
_STEP_RAD = 1e-6


class NumericKinematics:
    """Levenberg-Marquardt on position and jaw heading, from the pose nearby or from home; limits by clipping."""

    def __init__(self, description: ArmDescription, rig: Rig) -> None:
        self._description = description
        self._rig = rig
        self._lower, self._upper = description.lower_rad[:-1], description.upper_rad[:-1]

    def tool_in_desk(self, position_rad: Array) -> tuple[Array, float, float]:
        """Return (position (3,) [m], jaw heading [rad], tilt from straight down [rad]) of the tool."""
        tool = self._rig.desk_from_base @ self._description.base_from_tool(position_rad)
        return tool.position_m, tool.yaw_rad, math.acos(float(np.clip(-tool.rotation[2, 2], -1.0, 1.0)))

    def solve(
        self, desk_position_m: Array, yaw_rad: float, near_rad: Array | None = None, patient: bool = True
    ) -> Array:
        """Return arm joints (n - 1,) for a tool position and a jaw heading; raises Unreachable."""
        q = np.array(self._rig.home_rad[:-1] if near_rad is None else near_rad, dtype=np.float64)
        damping = 1e-6
        error = self._error(q, desk_position_m, yaw_rad)
        for _ in range(60):
            if float(np.abs(error).max()) < 1e-6:
                return q
            jacobian = np.stack(
                [
                    (self._error(q + step, desk_position_m, yaw_rad) - error) / _STEP_RAD
                    for step in _STEP_RAD * np.eye(5)
                ],
                axis=1,
            )
            step = np.linalg.solve(jacobian.T @ jacobian + damping * np.eye(5), -jacobian.T @ error)
            following = np.clip(q + step, self._lower, self._upper)
            error_then = self._error(following, desk_position_m, yaw_rad)
            if error_then @ error_then < error @ error:
                q, error, damping = following, error_then, damping / 4
            else:
                damping *= 10
        residual_m = float(np.linalg.norm(error[:3]))
        if residual_m < 1e-4:
            return q
        raise Unreachable(desk_position_m, residual_m, None)

    def _error(self, q: Array, position_m: Array, yaw_rad: float) -> Array:
        tool = self._rig.desk_from_base @ self._description.base_from_tool(q)
        turn = tool.yaw_rad - yaw_rad
        turn -= math.pi * round(turn / math.pi)
        return np.append(tool.position_m - position_m, _METRES_PER_RAD * turn)
