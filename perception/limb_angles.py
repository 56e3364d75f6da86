"""The angles of a person's arm, from its outline in the picture or from its points in space.

Plain floats: a handful of numbers is quicker without array expressions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from perception.limb import Limb
from urdf.limb import LimbAngle

#: A segment shorter than this says nothing about its direction, in the picture (shares of its height) or in space.
_SHORT_SHARE, _SHORT_M = 0.02, 0.05
#: Nearer to the vertical than this, a heading is noise; straighter than this, the elbow's bend goes nowhere.
_STEEP, _STRAIGHT = math.sin(math.radians(8.0)), math.sin(math.radians(8.0))

_Vector = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Reading:
    """One way to describe a limb. Angles that it does not determine are left out.

    `turned`: the arm faces backwards and leans back, which comes to the same.
    """

    angles: Mapping[LimbAngle, float]
    turned: bool = False


def planar_angles(limb: Limb) -> tuple[Reading, ...]:
    """Return the angles of the outline: one reading, empty where the upper arm has no length."""
    (shoulder_x, shoulder_y), (elbow_x, elbow_y), (wrist_x, wrist_y) = limb.outline.tolist()
    across, down = elbow_x - shoulder_x, shoulder_y - elbow_y
    if math.hypot(across, down) < _SHORT_SHARE:
        return (Reading({}),)
    angles = {LimbAngle.DROP: math.atan2(down, across)}
    across, down = wrist_x - elbow_x, elbow_y - wrist_y
    if math.hypot(across, down) >= _SHORT_SHARE:
        angles[LimbAngle.FOLD] = _wrapped(angles[LimbAngle.DROP] - math.atan2(down, across))
    return (Reading(angles),)


def plane_angles(limb: Limb) -> tuple[Reading, ...]:
    """Return the angles in the vertical plane through the shoulder that lies nearest to elbow and wrist.

    Two readings of one posture: an arm that reaches over its shoulder is turned by half a turn, or leans back. The
    second is for arms that cross the vertical and must not turn round for it. Empty where the upper arm has no length.
    """
    upper, forearm, wrist = _segments(limb)
    if math.hypot(*upper) < _SHORT_M:
        return (Reading({}),)
    xx, yy = upper[0] ** 2 + wrist[0] ** 2, upper[1] ** 2 + wrist[1] ** 2
    axis = 0.5 * math.atan2(2.0 * (upper[0] * upper[1] + wrist[0] * wrist[1]), xx - yy)
    ahead = (math.cos(axis), math.sin(axis))
    if (upper[0] + wrist[0]) * ahead[0] + (upper[1] + wrist[1]) * ahead[1] < 0.0:
        ahead = (-ahead[0], -ahead[1])
    pitch = _pitch(upper, ahead)
    angles = {LimbAngle.UPPER_PITCH: pitch}
    back = {LimbAngle.UPPER_PITCH: math.pi - pitch}
    if math.sqrt(xx + yy) >= _STEEP * max(math.hypot(*upper), math.hypot(*wrist)):
        angles[LimbAngle.PLANE_YAW] = math.atan2(-ahead[0], ahead[1])
        back[LimbAngle.PLANE_YAW] = angles[LimbAngle.PLANE_YAW] + math.pi
    if math.hypot(*forearm) >= _SHORT_M:
        angles[LimbAngle.ELBOW_PITCH] = _wrapped(_pitch(forearm, ahead) - pitch)
        back[LimbAngle.ELBOW_PITCH] = -angles[LimbAngle.ELBOW_PITCH]
    return Reading(angles), Reading(back, turned=True)


def free_angles(limb: Limb) -> tuple[Reading, ...]:
    """Return yaw and pitch of the upper arm, bend and twist of the elbow; empty where the upper arm has no length.

    Four readings of one posture: as it is, bent the other way about a twisted elbow, and both turned and leaning back.
    """
    upper, forearm, _ = _segments(limb)
    length = math.hypot(*upper)
    if length < _SHORT_M:
        return (Reading({}),)
    x, y, z = (part / length for part in upper)
    level = math.hypot(x, y)
    yaw = {LimbAngle.YAW: math.atan2(-x, y)} if level >= _STEEP else {}
    pitch = math.atan2(z, level)
    elbows = [({}, {})] if math.hypot(*forearm) < _SHORT_M else _elbow((x, y, z), level, forearm)
    ahead: Mapping[LimbAngle, float] = {LimbAngle.PITCH: pitch, **yaw}
    back = {LimbAngle.PITCH: math.pi - pitch, **{angle: value + math.pi for angle, value in yaw.items()}}
    # From behind, upwards is the other way about the upper arm.
    return tuple(
        Reading({**shoulder, **bend, **{angle: value + turn for angle, value in twist.items()}}, turned=turn > 0.0)
        for shoulder, turn in ((ahead, 0.0), (back, math.pi))
        for bend, twist in elbows
    )


def _elbow(
    along: _Vector, level: float, forearm: _Vector
) -> list[tuple[Mapping[LimbAngle, float], Mapping[LimbAngle, float]]]:
    """Return bend and twist of the forearm about the upper arm `along` (a unit vector), in both senses."""
    straight = sum(a * b for a, b in zip(along, forearm, strict=True))
    across = tuple(b - straight * a for a, b in zip(along, forearm, strict=True))
    aside = math.hypot(*across)
    bend = math.atan2(aside, straight)
    if level < _STEEP or aside < _STRAIGHT * math.hypot(*forearm):
        return [({LimbAngle.BEND: bend}, {}), ({LimbAngle.BEND: -bend}, {})]
    x, y, z = along
    rising = (-x * z / level, -y * z / level, level)
    sideways = (y / level, -x / level, 0.0)  # along times rising
    twist = math.atan2(
        sum(a * b for a, b in zip(across, sideways, strict=True)),
        sum(a * b for a, b in zip(across, rising, strict=True)),
    )
    return [
        ({LimbAngle.BEND: bend}, {LimbAngle.TWIST: twist}),
        ({LimbAngle.BEND: -bend}, {LimbAngle.TWIST: twist + math.pi}),
    ]


def _segments(limb: Limb) -> tuple[_Vector, _Vector, _Vector]:
    """Return upper arm, forearm, and the wrist from the shoulder."""
    (sx, sy, sz), (ex, ey, ez), (wx, wy, wz) = limb.points_m.tolist()
    return (ex - sx, ey - sy, ez - sz), (wx - ex, wy - ey, wz - ez), (wx - sx, wy - sy, wz - sz)


def _pitch(segment: _Vector, ahead: tuple[float, float]) -> float:
    return math.atan2(segment[2], segment[0] * ahead[0] + segment[1] * ahead[1])


def _wrapped(angle_rad: float) -> float:
    """Return the angle within half a turn of zero."""
    return math.remainder(angle_rad, 2.0 * math.pi)
