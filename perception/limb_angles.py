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
_STEEP, _STRAIGHT = math.sin(math.radians(6.0)), math.sin(math.radians(5.0))

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
    if math.hypot(*upper) < _SHORT_M:
        return (Reading({}),)
    shoulder, elbow = _shoulder_and_elbow(upper, forearm)
    back = {LimbAngle.PITCH: math.pi - shoulder[LimbAngle.PITCH]}
    if LimbAngle.YAW in shoulder:
        back[LimbAngle.YAW] = shoulder[LimbAngle.YAW] + math.pi
    opposed = {angle: -value if angle is LimbAngle.BEND else value for angle, value in elbow.items()}
    return (
        Reading(shoulder | elbow),
        Reading(shoulder | _twisted(opposed)),
        Reading(back | _twisted(elbow), turned=True),
        Reading(back | opposed, turned=True),
    )


def _shoulder_and_elbow(upper: _Vector, forearm: _Vector) -> tuple[dict[LimbAngle, float], dict[LimbAngle, float]]:
    """Return the angles of either; where the upper arm is upright, the forearm's way gives the heading."""
    length, reach = math.hypot(*upper), math.hypot(*forearm)
    along = (upper[0] / length, upper[1] / length, upper[2] / length)
    level = math.hypot(along[0], along[1])
    pitch = math.atan2(along[2], level)
    shoulder = {LimbAngle.PITCH: pitch}
    if level >= _STEEP:
        shoulder[LimbAngle.YAW] = math.atan2(-along[0], along[1])
    if reach < _SHORT_M:
        return shoulder, {}
    straight = _dot(along, forearm)
    across = tuple(f - straight * a for f, a in zip(forearm, along, strict=True))
    aside = math.hypot(*across)
    elbow = {LimbAngle.BEND: math.atan2(aside, straight)}
    if aside < _STRAIGHT * reach:
        return shoulder, elbow
    if level < _STEEP:
        # Upwards from a hanging upper arm is ahead, from a raised one it is back.
        pitch = math.copysign(math.pi / 2, pitch)
        yaw = math.atan2(-across[0], across[1]) + (math.pi if pitch > 0.0 else 0.0)
        shoulder = {LimbAngle.PITCH: pitch, LimbAngle.YAW: yaw}
    yaw = shoulder[LimbAngle.YAW]
    rising = (math.sin(yaw) * math.sin(pitch), -math.cos(yaw) * math.sin(pitch), math.cos(pitch))
    sideways = (math.cos(yaw), math.sin(yaw), 0.0)  # along times rising
    elbow[LimbAngle.TWIST] = math.atan2(_dot(across, sideways), _dot(across, rising))
    return shoulder, elbow


def _twisted(elbow: Mapping[LimbAngle, float]) -> dict[LimbAngle, float]:
    """Return the elbow with half a turn more of twist, where it has one."""
    return {angle: value + math.pi if angle is LimbAngle.TWIST else value for angle, value in elbow.items()}


def _dot(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def _segments(limb: Limb) -> tuple[_Vector, _Vector, _Vector]:
    """Return upper arm, forearm, and the wrist from the shoulder."""
    (sx, sy, sz), (ex, ey, ez), (wx, wy, wz) = limb.points_m.tolist()
    return (ex - sx, ey - sy, ez - sz), (wx - ex, wy - ey, wz - ez), (wx - sx, wy - sy, wz - sz)


def _pitch(segment: _Vector, ahead: tuple[float, float]) -> float:
    return math.atan2(segment[2], segment[0] * ahead[0] + segment[1] * ahead[1])


def _wrapped(angle_rad: float) -> float:
    """Return the angle within half a turn of zero."""
    return math.remainder(angle_rad, 2.0 * math.pi)
