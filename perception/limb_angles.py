"""The angles of a person's arm, from its outline in the picture or from its points in space."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from perception.limb import Limb
from urdf.limb import LimbAngle
from urdf.pose import Array

#: A segment shorter than this says nothing about its direction, in the picture (shares of its height) or in space.
_SHORT_SHARE, _SHORT_M = 0.02, 0.05
#: Nearer to the vertical than this, a heading is noise.
_STEEP = math.sin(math.radians(8.0))
#: Straighter than this, the elbow's bend goes nowhere.
_STRAIGHT = math.sin(math.radians(8.0))

#: Angles that are known; those that the limb does not determine are left out.
Angles = Mapping[LimbAngle, float]


def planar_angles(limb: Limb) -> tuple[Angles, ...]:
    """Return the angles of the outline: one reading, empty where the upper arm has no length."""
    upper, forearm = limb.outline[1] - limb.outline[0], limb.outline[2] - limb.outline[1]
    angles: dict[LimbAngle, float] = {}
    if math.hypot(*upper) >= _SHORT_SHARE:
        angles[LimbAngle.DROP] = math.atan2(-upper[1], upper[0])
        if math.hypot(*forearm) >= _SHORT_SHARE:
            angles[LimbAngle.FOLD] = _wrapped(angles[LimbAngle.DROP] - math.atan2(-forearm[1], forearm[0]))
    return (angles,)


def space_angles(limb: Limb) -> tuple[Angles, ...]:
    """Return the angles in space, in each of the ways to read one posture.

    An arm that reaches over its shoulder is turned by half a turn, or leans back: both are the same, and an arm that
    crosses the vertical must not be made to turn round.
    """
    upper, forearm = limb.points_m[1] - limb.points_m[0], limb.points_m[2] - limb.points_m[1]
    if np.linalg.norm(upper) < _SHORT_M:
        return ({},)
    bent = bool(np.linalg.norm(forearm) >= _SHORT_M)
    readings = [_in_plane(limb, upper, forearm if bent else None), _free(upper, forearm if bent else None)]
    ways = [(plane, free) for plane in _turned_plane(readings[0]) for free in _turned_free(readings[1])]
    return tuple({**plane, **free} for plane, free in ways)


def _in_plane(limb: Limb, upper: Array, forearm: Array | None) -> dict[LimbAngle, float]:
    """Return the angles in the vertical plane through the shoulder that is nearest to elbow and wrist."""
    points = limb.points_m[1:, :2] - limb.points_m[0, :2]
    xx, yy, xy = (
        float(points[:, 0] @ points[:, 0]),
        float(points[:, 1] @ points[:, 1]),
        float(points.prod(axis=1).sum()),
    )
    axis = 0.5 * math.atan2(2.0 * xy, xx - yy)
    ahead = np.array([math.cos(axis), math.sin(axis)])
    if float((points @ ahead).sum()) < 0.0:
        ahead = -ahead
    angles: dict[LimbAngle, float] = {}
    if math.sqrt(xx + yy) >= _STEEP * float(np.abs(limb.points_m - limb.points_m[0]).max()):
        angles[LimbAngle.PLANE_YAW] = math.atan2(-ahead[0], ahead[1])
    pitch = math.atan2(float(upper[2]), float(upper[:2] @ ahead))
    angles[LimbAngle.UPPER_PITCH] = pitch
    if forearm is not None:
        angles[LimbAngle.ELBOW_PITCH] = _wrapped(math.atan2(float(forearm[2]), float(forearm[:2] @ ahead)) - pitch)
    return angles


def _free(upper: Array, forearm: Array | None) -> dict[LimbAngle, float]:
    """Return yaw and pitch of the upper arm, and bend and twist of the elbow."""
    along = upper / np.linalg.norm(upper)
    level = math.hypot(along[0], along[1])
    angles = {LimbAngle.PITCH: math.atan2(float(along[2]), level)}
    if level >= _STEEP:
        angles[LimbAngle.YAW] = math.atan2(-float(along[0]), float(along[1]))
    if forearm is None:
        return angles
    across = forearm - (forearm @ along) * along
    angles[LimbAngle.BEND] = math.atan2(float(np.linalg.norm(across)), float(forearm @ along))
    if level >= _STEEP and np.linalg.norm(across) >= _STRAIGHT * np.linalg.norm(forearm):
        rising = np.array([-along[0] * along[2], -along[1] * along[2], level**2]) / level
        angles[LimbAngle.TWIST] = math.atan2(float(across @ np.cross(along, rising)), float(across @ rising))
    return angles


def _turned_plane(angles: Angles) -> tuple[Angles, ...]:
    turned = {
        LimbAngle.PLANE_YAW: lambda value: value + math.pi,
        LimbAngle.UPPER_PITCH: lambda value: math.pi - value,
        LimbAngle.ELBOW_PITCH: lambda value: -value,
    }
    return angles, {angle: turned[angle](value) for angle, value in angles.items()}


def _turned_free(angles: Angles) -> tuple[Angles, ...]:
    """Return the same arm turned by half and leaning back, bent the other way about a turned elbow, and both."""
    back = {**angles, LimbAngle.PITCH: math.pi - angles[LimbAngle.PITCH]}
    if LimbAngle.YAW in angles:
        back[LimbAngle.YAW] = angles[LimbAngle.YAW] + math.pi
    ways: list[Angles] = []
    for way, twist in ((angles, 0.0), (back, math.pi)):
        for bend, more in ((1.0, 0.0), (-1.0, math.pi)):
            changed = dict(way)
            if LimbAngle.BEND in way:
                changed[LimbAngle.BEND] = bend * way[LimbAngle.BEND]
            if LimbAngle.TWIST in way:
                changed[LimbAngle.TWIST] = way[LimbAngle.TWIST] + twist + more
            ways.append(changed)
    return tuple(ways)


def _wrapped(angle_rad: float) -> float:
    """Return the angle within half a turn of zero."""
    return math.remainder(angle_rad, 2.0 * math.pi)
