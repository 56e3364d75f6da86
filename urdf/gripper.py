"""The law of a parallel gripper: what its joint angle does to the jaws."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from urdf.errors import ArmError


@dataclass(frozen=True, slots=True)
class GripperLaw:
    """The four-bar law of a parallel gripper: joint angle g [rad] <-> opening [m] and tip height [m].

    `opening = 2 (offset + a cos g - b sin g)`, `tip = height + a sin g + b cos g`, both from the gripper frame.
    `followers` maps each URDF joint to its sign: angle = sign * g. `linkage` names the joints that no motor drives
    and the joint that each is tied to.
    """

    followers: Mapping[str, float]
    linkage: Mapping[str, str]
    crank_a_m: float
    crank_b_m: float
    offset_m: float
    tip_height_m: float
    open_rad: float
    closed_rad: float

    @property
    def _phase_rad(self) -> float:
        return math.atan2(self.crank_b_m, self.crank_a_m)

    def opening_m(self, g_rad: float) -> float:
        """Return the clear distance between the jaws at joint angle `g_rad`."""
        return 2 * (self.offset_m + self.crank_a_m * math.cos(g_rad) - self.crank_b_m * math.sin(g_rad))

    def tip_m(self, g_rad: float) -> float:
        """Return the height of the finger tips above the gripper frame at joint angle `g_rad`."""
        return self.tip_height_m + self.crank_a_m * math.sin(g_rad) + self.crank_b_m * math.cos(g_rad)

    def angle_rad(self, opening_m: float) -> float:
        """Return the joint angle of an opening, on the branch that closes monotonically."""
        radius = math.hypot(self.crank_a_m, self.crank_b_m)
        cosine = (opening_m / 2 - self.offset_m) / radius
        if not -1.0 <= cosine <= 1.0:
            raise ArmError(f"an opening of {1000 * opening_m:.1f} mm is beyond this gripper")
        return math.acos(cosine) - self._phase_rad
