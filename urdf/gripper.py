"""What a gripper's one angle does to its jaws. It is an angle [rad] for every gripper, and closing makes it grow."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, cast

from urdf.errors import ArmError, UnknownName
from urdf.tables import number, table_in


class OpeningLaw(Protocol):
    """How the jaws of one kind of gripper move with its angle g [rad]."""

    def opening_m(self, g_rad: float) -> float:
        """Return the clear distance between the jaws."""
        ...

    def tip_m(self, g_rad: float) -> float:
        """Return the height of the finger tips above the gripper frame."""
        ...

    def angle_rad(self, opening_m: float) -> float:
        """Return the angle that has an opening, on the branch that closes monotonically; raises ArmError."""
        ...

    def facts(self) -> tuple[float | str, ...]:
        """Return the numbers of the law, for the hash of the arm's meaning."""
        ...


@dataclass(frozen=True, slots=True)
class FourBarLaw:
    """Two cranks that turn g while the fingers keep their direction.

    `opening = 2 (offset + a cos g - b sin g)`, `tip = height + a sin g + b cos g`, both from the gripper frame.
    """

    crank_a_m: float
    crank_b_m: float
    offset_m: float
    tip_height_m: float

    def opening_m(self, g_rad: float) -> float:
        """Return the clear distance between the jaws."""
        return 2 * (self.offset_m + self.crank_a_m * math.cos(g_rad) - self.crank_b_m * math.sin(g_rad))

    def tip_m(self, g_rad: float) -> float:
        """Return the height of the finger tips above the gripper frame."""
        return self.tip_height_m + self.crank_a_m * math.sin(g_rad) + self.crank_b_m * math.cos(g_rad)

    def angle_rad(self, opening_m: float) -> float:
        """Return the angle that has an opening; raises ArmError beyond the cranks' length."""
        radius = math.hypot(self.crank_a_m, self.crank_b_m)
        cosine = (opening_m / 2 - self.offset_m) / radius
        if not -1.0 <= cosine <= 1.0:
            raise _beyond(opening_m)
        return math.acos(cosine) - math.atan2(self.crank_b_m, self.crank_a_m)

    def facts(self) -> tuple[float | str, ...]:
        """Return the numbers of the law."""
        return self.crank_a_m, self.crank_b_m, self.offset_m, self.tip_height_m


@dataclass(frozen=True, slots=True)
class RobotiqLaw:
    """The drive angle of a Robotiq 2F-85: `opening = offset + span sin(phase - g)`.

    The knuckles are cranks of half the span, and the tips advance with the cosine: `tip = height + span/2 cos(...)`.
    Ref: the angle of an opening L is .715 - asin((L - .010) / .1143) in the PyBullet models of this gripper.
    """

    phase_rad: float
    offset_m: float
    span_m: float
    tip_height_m: float

    def opening_m(self, g_rad: float) -> float:
        """Return the clear distance between the jaws."""
        return self.offset_m + self.span_m * math.sin(self.phase_rad - g_rad)

    def tip_m(self, g_rad: float) -> float:
        """Return the height of the finger tips above the gripper frame."""
        return self.tip_height_m + self.span_m / 2 * math.cos(self.phase_rad - g_rad)

    def angle_rad(self, opening_m: float) -> float:
        """Return the angle that has an opening; raises ArmError beyond the knuckles' length."""
        sine = (opening_m - self.offset_m) / self.span_m
        if not -1.0 <= sine <= 1.0:
            raise _beyond(opening_m)
        return self.phase_rad - math.asin(sine)

    def facts(self) -> tuple[float | str, ...]:
        """Return the numbers of the law."""
        return "robotiq", self.phase_rad, self.offset_m, self.span_m, self.tip_height_m


@dataclass(frozen=True, slots=True)
class PinionLaw:
    """A parallel gripper: a pinion that turns g moves both racks, so each jaw travels `radius * g` inwards.

    `opening = offset - 2 radius g`, where `offset_m` is the opening at g = 0 and `widest_m` what the racks allow.
    """

    radius_m: float
    offset_m: float
    widest_m: float
    tip_height_m: float

    def opening_m(self, g_rad: float) -> float:
        """Return the clear distance between the jaws."""
        return self.offset_m - 2 * self.radius_m * g_rad

    def tip_m(self, g_rad: float) -> float:
        """Return the height of the finger tips above the gripper frame: they move sideways only."""
        return self.tip_height_m

    def angle_rad(self, opening_m: float) -> float:
        """Return the angle that has an opening; raises ArmError where the racks do not go."""
        if not 0.0 <= opening_m <= self.widest_m:
            raise _beyond(opening_m)
        return (self.offset_m - opening_m) / (2 * self.radius_m)

    def facts(self) -> tuple[float | str, ...]:
        """Return the numbers of the law."""
        return "pinion", self.radius_m, self.offset_m, self.widest_m, self.tip_height_m


@dataclass(frozen=True, slots=True)
class Gripper:
    """A gripper: its law, how far it goes, and the URDF joints that it moves.

    `followers` maps each URDF joint to its factor: joint = factor * g (rad, or m for a prismatic joint). `linkage`
    names the joints that no motor drives and the joint that each is tied to; the others are driven.
    """

    law: OpeningLaw
    followers: Mapping[str, float]
    linkage: Mapping[str, str]
    open_rad: float
    closed_rad: float

    @property
    def driven(self) -> tuple[str, ...]:
        """The joints that the gripper's motor drives: one for each jaw."""
        return tuple(name for name in self.followers if name not in self.linkage)

    def jaw_of(self, joint: str) -> str:
        """Return the driven joint that a follower belongs to."""
        while joint in self.linkage:
            joint = self.linkage[joint]
        return joint

    def opening_m(self, g_rad: float) -> float:
        """Return the clear distance between the jaws at angle `g_rad`."""
        return self.law.opening_m(g_rad)

    def tip_m(self, g_rad: float) -> float:
        """Return the height of the finger tips above the gripper frame at angle `g_rad`."""
        return self.law.tip_m(g_rad)

    def angle_rad(self, opening_m: float) -> float:
        """Return the angle that has an opening; raises ArmError beyond what the law allows."""
        return self.law.angle_rad(opening_m)

    def reaches_rad(self, opening_m: float) -> float:
        """Return the angle from which the jaws are nearer than `opening_m`: -inf when they always are."""
        return self.angle_rad(opening_m) if opening_m < self.opening_m(self.open_rad) else -math.inf


def _beyond(opening_m: float) -> ArmError:
    return ArmError(f"an opening of {1000 * opening_m:.1f} mm is beyond this gripper")


def read_gripper(table: Mapping[str, object]) -> Gripper:
    """Return the gripper of an arm.toml's `[gripper]`; raises UnknownName, KeyError or ValueError."""
    followers = {joint: number(table_in(table, "followers"), joint) for joint in table_in(table, "followers")}
    linkage = {joint: str(leader) for joint, leader in table_in(table, "linkage", optional=True).items()}
    if 0.0 in followers.values() or not followers:
        raise ValueError(f"followers must name joints with factors that are not zero, got {followers}")
    for joint, leader in linkage.items():
        if joint not in followers or leader not in followers or leader in linkage:
            raise ValueError(f"linkage ties followers to driven followers: {joint} = {leader!r} does not")
    gripper = Gripper(
        _read_law(table), followers, linkage, open_rad=number(table, "open_rad"), closed_rad=number(table, "closed_rad")
    )
    if gripper.open_rad >= gripper.closed_rad:
        raise ValueError(f"closing must make the angle grow: open_rad {gripper.open_rad} >= {gripper.closed_rad}")
    return gripper


def _read_law(table: Mapping[str, object]) -> OpeningLaw:
    law = cast(str, table["law"])
    match law:
        case "four_bar":
            names = ("crank_a_m", "crank_b_m", "offset_m", "tip_height_m")
            return FourBarLaw(*(number(table, name) for name in names))
        case "robotiq":
            names = ("phase_rad", "offset_m", "span_m", "tip_height_m")
            return RobotiqLaw(*(number(table, name) for name in names))
        case "pinion":
            names = ("radius_m", "offset_m", "widest_m", "tip_height_m")
            return PinionLaw(*(number(table, name) for name in names))
        case _:
            raise UnknownName("gripper law", str(law), ("four_bar", "robotiq", "pinion"))
