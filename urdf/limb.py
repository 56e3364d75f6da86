"""How an arm copies a person's: the `[limb]` table of arm.toml.

    [limb.arm]              # from a limb in space; [limb.planar]: from its outline in a picture
    joint2 = { follows = "upper_pitch", offset_deg = -90.0 }             # angle of the limb, less a quarter turn
    joint4 = { offset_deg = 0.0 }                                        # stands still there
    joint6 = { follows = "fold", gain = -1.0, sided = true }             # changes its sign for a left or a right arm

A joint that is not named stays where it is when the copying begins. The table is no part of an arm's meaning, its
`sha256`: a policy does not care what its demonstrations were copied from.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from urdf.errors import UnknownName
from urdf.tables import number, only, table_in


class LimbAngle(StrEnum):
    """An angle of a person's arm, in radians.

    In a picture: `drop`, how far the upper arm hangs below the horizontal that points out to its side; `fold`, that
    less the forearm's. In space, in the vertical plane through shoulder, elbow and wrist: `plane_yaw`, the plane's
    heading, anticlockwise from straight ahead; `upper_pitch`, of the upper arm above the horizontal; `elbow_pitch`, of
    the forearm above the upper arm. In space, without such a plane: `yaw` and `pitch` of the upper arm, `bend` of the
    elbow, `twist` of the bend about the upper arm, from upwards, anticlockwise as seen from the hand.
    """

    DROP = "drop"
    FOLD = "fold"
    PLANE_YAW = "plane_yaw"
    UPPER_PITCH = "upper_pitch"
    ELBOW_PITCH = "elbow_pitch"
    YAW = "yaw"
    PITCH = "pitch"
    TWIST = "twist"
    BEND = "bend"


PLANAR_ANGLES = (LimbAngle.DROP, LimbAngle.FOLD)
PLANE_ANGLES = (LimbAngle.PLANE_YAW, LimbAngle.UPPER_PITCH, LimbAngle.ELBOW_PITCH)
FREE_ANGLES = (LimbAngle.YAW, LimbAngle.PITCH, LimbAngle.TWIST, LimbAngle.BEND)


@dataclass(frozen=True, slots=True)
class JointRule:
    """A joint's angle: `gain` times an angle of the limb, and `offset_rad`; for a right arm negated if `sided`."""

    angle: LimbAngle | None
    gain: float
    offset_rad: float
    sided: bool


@dataclass(frozen=True, slots=True)
class LimbRules:
    """One rule, or None, for each arm joint in order; empty where the arm has no such table."""

    planar: tuple[JointRule | None, ...] = ()
    arm: tuple[JointRule | None, ...] = ()


def read_limb(table: Mapping[str, object], joints: Sequence[str]) -> LimbRules:
    """Return what `[limb]` says; raises UnknownName or ValueError for what means nothing."""
    only(table, "table of [limb]", ("planar", "arm"))
    planar, arm = (table_in(table, key, optional=True) for key in ("planar", "arm"))
    rules = LimbRules(_rules(planar, joints, PLANAR_ANGLES), _rules(arm, joints, (*PLANE_ANGLES, *FREE_ANGLES)))
    followed = {rule.angle for rule in rules.arm if rule is not None}
    if followed & set(PLANE_ANGLES) and followed & set(FREE_ANGLES):
        raise ValueError(f"[limb.arm] mixes {', '.join(PLANE_ANGLES)} with {', '.join(FREE_ANGLES)}: take either")
    return rules


def _rules(
    table: Mapping[str, object], joints: Sequence[str], valid: Sequence[LimbAngle]
) -> tuple[JointRule | None, ...]:
    only(table, "joint that copies a limb", joints)
    if not table:
        return ()
    return tuple(_rule(table_in(table, name), valid) if name in table else None for name in joints)


def _rule(table: Mapping[str, object], valid: Sequence[LimbAngle]) -> JointRule:
    only(table, "key of a joint that copies a limb", ("follows", "gain", "offset_deg", "sided"))
    name, sided = table.get("follows"), table.get("sided", False)
    if name is not None and name not in valid:
        raise UnknownName("angle of a limb", str(name), valid)
    if not isinstance(sided, bool):
        raise ValueError(f"sided must be true or false, got {sided!r}")
    gain = number(table, "gain") if "gain" in table else 1.0
    offset_rad = math.radians(number(table, "offset_deg")) if "offset_deg" in table else 0.0
    return JointRule(None if name is None else LimbAngle(str(name)), gain, offset_rad, sided)
