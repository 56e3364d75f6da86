"""The world as somebody in front of the desk sees it."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sim.lab_scene import look_at
from sim.world import ArmWorld, render
from urdf.description import Rig
from urdf.pose import Array, Pose

FOV_Y_RAD = np.radians(38.0)
#: Where to stand for a Dofbot, whose block area is 15 cm from the base axis; farther back for a longer arm.
_EYE_M = np.array([0.34, 0.56, 0.34])
_TARGET_M = np.array([0.0, 0.09, 0.07])
_DOFBOT_AREA_M = 0.155
#: Longer arms fill the picture from a little nearer.
_NEARER = 0.85


def scene_view(rig: Rig) -> Pose:
    """Return the pose of a camera (z forward, y down) that has arm and block area in view."""
    return look_at(*_eye_and_target(rig))


def orbit(rig: Rig) -> tuple[float, float, float, Array]:
    """Return the same view as PyBullet's window takes it: distance [m], yaw and pitch [deg], target (3,) [m]."""
    eye, target = _eye_and_target(rig)
    x, y, z = eye - target
    distance_m = float(np.linalg.norm(eye - target))
    return distance_m, math.degrees(math.atan2(x, -y)), -math.degrees(math.asin(z / distance_m)), target


def _eye_and_target(rig: Rig) -> tuple[Array, Array]:
    scale = max(1.0, _NEARER * float(np.linalg.norm(rig.area_center_m)) / _DOFBOT_AREA_M)
    return scale * _EYE_M, scale * _TARGET_M


def scene_picture(world: ArmWorld, width_px: int, height_px: int) -> NDArray[np.uint8]:
    """Return the scene (H, W, 3) uint8 from in front of the arm."""
    return render(world.client, scene_view(world.rig), FOV_Y_RAD, 0.05, 8.0, width_px, height_px)[0]
