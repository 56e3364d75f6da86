"""`planar` and `arm`: a limb's posture as joint targets, by the `[limb]` table of the arm's arm.toml."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from enum import StrEnum

import numpy as np

from perception.body import Side
from perception.errors import NoLimbRules
from perception.limb import Limb
from perception.limb_angles import Reading, free_angles, planar_angles, plane_angles
from perception.retarget import slewed
from urdf.description import ArmDescription
from urdf.limb import PLANE_ANGLES, JointRule, LimbAngle
from urdf.pose import Array

#: A radian beyond a limit weighs as much as this many radians of motion: an arm turns over to copy a limb at ease, and
#: not for a hair's breadth at a limit.
_BEYOND = 2.0
#: An arm is turned by half a turn rather than leaned back, unless that is so many radians more.
_TURNED = 1.0


class Copying(StrEnum):
    """What of a limb is copied: its outline in the picture, or its posture in space."""

    PLANAR = "planar"
    ARM = "arm"


class JointRetarget:
    """Copies a limb joint by joint. Implements `perception.retarget.JointRetarget`."""

    def __init__(self, description: ArmDescription, copying: Copying, max_speed_share: float = 1.0) -> None:
        """Raises NoLimbRules where the arm's arm.toml has no such table."""
        rules = description.limb.planar if copying is Copying.PLANAR else description.limb.arm
        if not rules:
            raise NoLimbRules(description.name, copying)
        self._description = description
        self._rules = rules
        in_plane = any(rule is not None and rule.angle in PLANE_ANGLES for rule in rules)
        self._readings = planar_angles if copying is Copying.PLANAR else plane_angles if in_plane else free_angles
        self._share = max_speed_share
        self._limits = tuple(zip(description.lower_rad.tolist(), description.upper_rad.tolist(), strict=True))

    @property
    def description(self) -> ArmDescription:
        """The arm."""
        return self._description

    def posture_rad(self, limb: Limb, before_rad: Array) -> Array:
        """Return the joints (n,) that copy the limb, inside the limits, the nearest of several to `before_rad`.

        Joints that the limb says nothing about stay at `before_rad`; the gripper always does.
        """
        before = [float(value) for value in before_rad]
        ways = [self._joints(reading, limb.side, before) for reading in self._readings(limb)]
        return np.array(min(ways, key=lambda way: way[1])[0] + before[-1:])

    def follow(self, limb: Limb, before_rad: Array, duration_s: float) -> Array:
        """Return the joint targets (n,) `duration_s` after `before_rad`: as far towards the posture as speed allows."""
        wanted_rad = self.posture_rad(limb, before_rad)
        return slewed(self._description, before_rad, wanted_rad, duration_s, self._share)

    def _joints(self, reading: Reading, side: Side, before: Sequence[float]) -> tuple[list[float], float]:
        """Return the arm's joints for one reading of the limb, and what it costs to go there."""
        joints: list[float] = []
        costs = [0.0]
        for rule, at, limits in zip(self._rules, before, self._limits, strict=False):
            wanted = _wanted(rule, reading.angles, side)
            joint, spent = (at, 0.0) if wanted is None else _nearest(wanted, at, *limits)
            joints.append(min(max(joint, limits[0]), limits[1]))
            costs.append(spent)
        return joints, max(costs) + (_TURNED if reading.turned else 0.0)


def _wanted(rule: JointRule | None, angles: Mapping[LimbAngle, float], side: Side) -> float | None:
    """Return the joint's angle by its rule, or None where rule or limb say nothing."""
    if rule is None or (rule.angle is not None and rule.angle not in angles):
        return None
    angle = 0.0 if rule.angle is None else rule.gain * angles[rule.angle]
    return (-1.0 if rule.sided and side is Side.RIGHT else 1.0) * (angle + rule.offset_rad)


def _nearest(wanted: float, at: float, lower: float, upper: float) -> tuple[float, float]:
    """Return which of the angles a whole turn apart costs least to reach inside the limits, and that cost."""
    turn = 2.0 * math.pi
    nearest = at + math.remainder(wanted - at, turn)
    best = (at, math.inf)
    for equal in (nearest, nearest - turn, nearest + turn):
        joint = min(max(equal, lower), upper)
        cost = abs(joint - at) + _BEYOND * abs(equal - joint)
        if cost < best[1]:
            best = (joint, cost)
    return best
