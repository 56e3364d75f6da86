"""Postures of a person whose joint angles follow by hand: what the retargeting must answer to them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from perception.body import LANDMARKS, BodyPose, Side
from perception.limb import LIMB_LANDMARKS, Limb, limb_of
from perception.retarget_joints import Copying, JointRetarget
from urdf.description import load_arm

#: The joint that the posture says nothing about.
ANY = math.nan
_UPPER_ARM_M, _FOREARM_M = 0.30, 0.25
#: A picture of 16:9 in which a metre is 0.4 of the height.
_ASPECT, _SCALE = 16 / 9, 0.4

Direction = tuple[float, float, float]
_AHEAD: Direction = (0.0, 1.0, 0.0)
_UP: Direction = (0.0, 0.0, 1.0)
_DOWN: Direction = (0.0, 0.0, -1.0)
_LEFT: Direction = (-1.0, 0.0, 0.0)
_RIGHT: Direction = (1.0, 0.0, 0.0)
_AHEAD_DOWN: Direction = (0.0, 1.0, -1.0)
_AHEAD_UP: Direction = (0.0, 1.0, 1.0)
_LEFT_DOWN: Direction = (-1.0, 0.0, -1.0)
_RIGHT_DOWN: Direction = (1.0, 0.0, -1.0)


@dataclass(frozen=True, slots=True)
class KnownPose:
    """Where upper arm and forearm point (to the person's right, ahead, up), and the first joints in degrees."""

    name: str
    arm: str
    copying: Copying
    side: Side
    upper: Direction
    forearm: Direction
    expected_deg: tuple[float, ...]
    mirrored: bool = False


def _arm(name: str, arm: str, upper: Direction, forearm: Direction, *expected_deg: float) -> KnownPose:
    return KnownPose(name, arm, Copying.ARM, Side.RIGHT, upper, forearm, expected_deg)


def _planar(name: str, arm: str, side: Side, upper: Direction, forearm: Direction, *expected_deg: float) -> KnownPose:
    return KnownPose(name, arm, Copying.PLANAR, side, upper, forearm, expected_deg)


#: 0.67 rad: what the reference adds to a Kuka's fourth joint.
_LEAN_DEG = 38.388

#: A Dofbot stands upright at 0 and has 90 degrees either way: an arm that hangs 45 degrees down meets its limit.
POSES = (
    _arm("horizontal", "dofbot", _AHEAD, _AHEAD, 0, -90, 0, 0),
    _arm("horizontal aside", "dofbot", _RIGHT, _RIGHT, -90, -90, 0, 0),
    _arm("45 up", "dofbot", _AHEAD_UP, _AHEAD_UP, 0, -45, 0, 0),
    _arm("upwards, forearm 45 down", "dofbot", _UP, _AHEAD_DOWN, 0, 0, -90, 0),
    _arm("45 down", "dofbot", _AHEAD_DOWN, _AHEAD_DOWN, 0, -90, 0, 0),
    _arm("bent 90", "dofbot", _AHEAD, _UP, 0, -90, 90, 0),
    _arm("vertical", "dofbot", _UP, _UP, ANY, 0, 0, 0),
    KnownPose("mirrored", "dofbot", Copying.ARM, Side.RIGHT, _RIGHT, _RIGHT, (90, -90, 0, 0), mirrored=True),
    _arm("horizontal", "ur5", _AHEAD, _AHEAD, 0, 0, 0, -90, -90),
    _arm("horizontal aside", "ur5", _RIGHT, _RIGHT, -90, 0, 0, -90, -90),
    _arm("45 down", "ur5", _AHEAD_DOWN, _AHEAD_DOWN, 0, 45, 0, -90, -90),
    _arm("bent 90", "ur5", _AHEAD, _UP, 0, 0, -90, -90, -90),
    _arm("vertical", "ur5", _UP, _UP, ANY, -90, 0, -90, -90),
    KnownPose("mirrored", "ur5", Copying.ARM, Side.RIGHT, _RIGHT, _RIGHT, (90, 0, 0, -90, -90), mirrored=True),
    _arm("horizontal", "kuka_iiwa", _AHEAD, _AHEAD, 0, 90, ANY, 0, ANY, 0),
    _arm("horizontal aside", "kuka_iiwa", _RIGHT, _RIGHT, -90, 90, ANY, 0, ANY, 0),
    _arm("bent 90 upwards", "kuka_iiwa", _AHEAD, _UP, 0, 90, 0, 90, ANY, 0),
    _arm("bent 90 inwards and up", "kuka_iiwa", _AHEAD, (-1.0, 0.0, 1.0), 0, 90, -45, 90, ANY, 0),
    _arm("45 down, bent 90", "kuka_iiwa", _RIGHT_DOWN, (1.0, 0.0, 1.0), -90, 120, 0, 90, ANY, 0),
    _arm("vertical", "kuka_iiwa", _UP, _UP, ANY, 0, ANY, 0, ANY, 0),
    _planar("horizontal", "kuka_iiwa", Side.LEFT, _LEFT, _LEFT, 90, 0, 0, _LEAN_DEG, 0, 0, 0),
    _planar("45 down", "kuka_iiwa", Side.LEFT, _LEFT_DOWN, _LEFT_DOWN, 90, 0, 0, 45 + _LEAN_DEG, 0, 0, 0),
    _planar("bent 90", "kuka_iiwa", Side.LEFT, _LEFT, _UP, 90, 0, 0, _LEAN_DEG, 0, 90, 0),
    _planar("vertical", "kuka_iiwa", Side.LEFT, _UP, _UP, 90, 0, 0, _LEAN_DEG - 90, 0, 0, 0),
    _planar("right horizontal", "kuka_iiwa", Side.RIGHT, _RIGHT, _RIGHT, 90, 0, 0, -_LEAN_DEG, 0, 0, 0),
    _planar("right 45 down", "kuka_iiwa", Side.RIGHT, _RIGHT_DOWN, _RIGHT_DOWN, 90, 0, 0, -45 - _LEAN_DEG, 0, 0, 0),
    _planar("right bent 90", "kuka_iiwa", Side.RIGHT, _RIGHT, _DOWN, 90, 0, 0, -_LEAN_DEG, 0, 90, 0),
    KnownPose(
        "mirrored",
        "kuka_iiwa",
        Copying.PLANAR,
        Side.LEFT,
        _LEFT_DOWN,
        _LEFT_DOWN,
        (90, 0, 0, -45 - _LEAN_DEG, 0, 0, 0),
        mirrored=True,
    ),
    _planar("45 up", "dofbot", Side.LEFT, (-1.0, 0.0, 1.0), (-1.0, 0.0, 1.0), 0, -45, 0, 0),
    _planar("bent 90", "dofbot", Side.RIGHT, _RIGHT, _UP, 0, -90, 90, 0),
    _planar("45 down", "ur5", Side.LEFT, _LEFT_DOWN, _LEFT_DOWN, 0, 45, 0, -90, -90),
)


def limb_in(pose: KnownPose) -> Limb:
    """Return the limb by way of the landmarks that a pose model would give, seen from afar."""
    upper, forearm = (np.array(direction) / np.linalg.norm(direction) for direction in (pose.upper, pose.forearm))
    shoulder = np.array([0.18, 0.0, 0.5])
    points_m = np.array(
        [shoulder, shoulder + _UPPER_ARM_M * upper, shoulder + _UPPER_ARM_M * upper + _FOREARM_M * forearm]
    )
    body = BodyPose(np.zeros((LANDMARKS, 2)), np.zeros((LANDMARKS, 3)), np.ones(LANDMARKS))
    rows = list(LIMB_LANDMARKS[pose.side])
    # The person faces the camera: their right is the picture's left, ahead is towards the camera.
    body.world_m[rows] = np.stack((-points_m[:, 0], -points_m[:, 2], -points_m[:, 1]), axis=1)
    body.image[rows] = 0.5 + _SCALE * body.world_m[rows, :2] / [_ASPECT, 1.0]
    limb = limb_of(body, pose.side, _ASPECT)
    assert limb is not None
    return limb.mirrored() if pose.mirrored else limb


def error_deg(pose: KnownPose) -> float:
    """Return by how much the worst joint misses what it should be, asked of an arm that stands at its zeros."""
    description = load_arm(pose.arm)
    zeros_rad = np.clip(0.0, description.lower_rad, description.upper_rad)
    joints_deg = np.degrees(JointRetarget(description, pose.copying).posture_rad(limb_in(pose), zeros_rad))
    return float(np.nanmax(np.abs(joints_deg[: len(pose.expected_deg)] - np.array(pose.expected_deg))))
