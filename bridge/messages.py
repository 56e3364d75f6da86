"""Every message that policy and robot exchange: strict, frozen, finite. Arrays follow `ArmDescription.joint_names`."""

from __future__ import annotations

import math
from collections.abc import Iterable

from msgspec import Struct

from bridge.errors import BadMessage


def _finite(name: str, values: Iterable[float]) -> None:
    for value in values:
        if not math.isfinite(value):
            raise BadMessage(f"{name} holds {value!r}; every number must be finite")


class RobotState(Struct, frozen=True, tag="state", forbid_unknown_fields=True):
    """Where the arm is. Units: rad, rad/s, s, monotonic ns of the reader's clock.

    `position_rad` is the best estimate now; `reading_age_s` says, joint by joint, how old the last measurement behind
    it is. `holding` is true while the arm stands still because a command was refused, late or missing; `fault` is
    empty or names what latched.
    """

    seq: int
    stamp_ns: int
    position_rad: tuple[float, ...]
    velocity_rad_s: tuple[float, ...]
    reading_age_s: tuple[float, ...]
    torque_on: bool = True
    holding: bool = False
    fault: str = ""

    def __post_init__(self) -> None:
        _finite("position_rad", self.position_rad)
        _finite("velocity_rad_s", self.velocity_rad_s)
        if not len(self.position_rad) == len(self.velocity_rad_s) == len(self.reading_age_s):
            raise BadMessage("position_rad, velocity_rad_s and reading_age_s differ in length")


class JointCommand(Struct, frozen=True, tag="command", forbid_unknown_fields=True):
    """Be at `position_rad` after `duration_s`. Void `ttl_s` after `stamp_ns`, by the receiver's clock."""

    seq: int
    stamp_ns: int
    position_rad: tuple[float, ...]
    duration_s: float
    ttl_s: float = 0.2

    def __post_init__(self) -> None:
        _finite("position_rad", self.position_rad)
        _finite("duration_s, ttl_s", (self.duration_s, self.ttl_s))
        if self.duration_s <= 0 or self.ttl_s <= 0:
            raise BadMessage(f"duration_s {self.duration_s} and ttl_s {self.ttl_s} must be positive")
