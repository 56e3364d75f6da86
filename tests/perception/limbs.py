"""Limbs and bodies for the tests of the retargeting."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from perception.body import LANDMARKS, BodyPose, Side
from perception.hand import HandReading
from perception.limb import LIMB_LANDMARKS, Limb

UPPER_ARM_M, FOREARM_M = 0.30, 0.25


def limb_along(upper: ArrayLike, forearm: ArrayLike, side: Side = Side.RIGHT, hand: HandReading | None = None) -> Limb:
    """Return a limb whose segments point that way in the person's axes (right, ahead, up)."""
    elbow = UPPER_ARM_M * np.asarray(upper) / np.linalg.norm(upper)
    wrist = elbow + FOREARM_M * np.asarray(forearm) / np.linalg.norm(forearm)
    return limb_at(np.stack((np.zeros(3), elbow, wrist)), side, hand)


def limb_at(points_m: np.ndarray, side: Side = Side.RIGHT, hand: HandReading | None = None) -> Limb:
    """Return a limb with these points (3, 3), seen from straight ahead."""
    outward = -1.0 if side is Side.LEFT else 1.0
    return Limb(side, 0.4 * points_m[:, [0, 2]] * [outward, 1.0], points_m, hand)


def body_with(world_m: np.ndarray, side: Side, visibility: float = 0.9) -> BodyPose:
    """Return a body whose arm has these landmarks (3, 3) in the model's axes, in a picture where 1 m is its height."""
    body = BodyPose(np.zeros((LANDMARKS, 2)), np.zeros((LANDMARKS, 3)), np.full(LANDMARKS, visibility))
    rows = list(LIMB_LANDMARKS[side])
    body.world_m[rows] = world_m
    body.image[rows] = world_m[:, :2]
    return body
