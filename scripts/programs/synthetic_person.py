"""A synthetic person before a level camera: landmarks of body and hand from where the wrists are.

Points are in the person's axes (x to their right, y ahead, z up) about the middle of the hips.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from perception.body import HAND_LANDMARKS, LANDMARKS, BodyPose, HandPose, Landmark, Side
from perception.hand import HandLandmark
from urdf.pose import Array

#: A person of 1.75 m. Ref: Winter, Biomechanics (upper arm .186, forearm .146, shoulder .129 of the height).
UPPER_ARM_M, FOREARM_M = 0.325, 0.255
_SHOULDER_M, _HIP_M, _TRUNK_M = 0.195, 0.11, 0.50
#: From the person's axes to the camera's (x right in the picture, y down, z away).
_CAMERA_FROM_PERSON = np.array([[-1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, -1.0, 0.0]])
#: A raised hand: beside the head. A resting one: on the lap.
_RAISED_M, _RESTING_M = np.array([0.10, 0.05, 0.45]), np.array([0.05, 0.22, -0.42])
_OUTWARD = {Side.LEFT: -1.0, Side.RIGHT: 1.0}
_PALM_M, _FINGER_M = 0.085, 0.085
_ROWS = {
    Side.LEFT: (Landmark.LEFT_SHOULDER, Landmark.LEFT_ELBOW, Landmark.LEFT_WRIST, Landmark.LEFT_HIP),
    Side.RIGHT: (Landmark.RIGHT_SHOULDER, Landmark.RIGHT_ELBOW, Landmark.RIGHT_WRIST, Landmark.RIGHT_HIP),
}
_HAND_ROWS = {
    Side.LEFT: (Landmark.LEFT_INDEX, Landmark.LEFT_PINKY, Landmark.LEFT_THUMB),
    Side.RIGHT: (Landmark.RIGHT_INDEX, Landmark.RIGHT_PINKY, Landmark.RIGHT_THUMB),
}


@dataclass(frozen=True, slots=True)
class LevelCamera:
    """The camera: `distance_m` in front of the hips and `height_m` above them, and its picture."""

    width_px: int = 640
    height_px: int = 480
    distance_m: float = 1.8
    height_m: float = 0.35
    fov_y_rad: float = math.radians(50.0)

    def project(self, points_m: Array) -> Array:
        """Return points (n, 3) of the person's axes as shares (n, 2) of the picture's width and height."""
        camera = (points_m - [0.0, self.distance_m, self.height_m]) @ _CAMERA_FROM_PERSON.T
        focal = 0.5 / math.tan(self.fov_y_rad / 2)
        shares = focal * camera[:, :2] / camera[:, 2:]
        return 0.5 + shares * [self.height_px / self.width_px, 1.0]


@dataclass(frozen=True, slots=True)
class Gesture:
    """What the person does: the moving wrist (3,) relative to its shoulder, the hand's roll, pinch, and other hand."""

    wrist_m: Array
    roll_rad: float = 0.0
    pinching: bool = False
    other_raised: bool = False


def body_points_m(side: Side, gesture: Gesture) -> Array:
    """Return the landmarks (33, 3) of a person whose arm on `side` does `gesture`; unused ones lie in the head."""
    points = np.tile([0.0, 0.05, _TRUNK_M + 0.25], (LANDMARKS, 1))
    for which, outward in _OUTWARD.items():
        other = _RAISED_M if gesture.other_raised else _RESTING_M
        wrist_m = gesture.wrist_m if which is side else other * [outward, 1.0, 1.0]
        shoulder, elbow, wrist, hip = _ROWS[which]
        points[shoulder] = [outward * _SHOULDER_M, 0.0, _TRUNK_M]
        points[hip] = [outward * _HIP_M, 0.0, 0.0]
        points[elbow] = points[shoulder] + elbow_m(wrist_m, outward)
        points[wrist] = points[shoulder] + wrist_m
        hand_m = hand_points_m(which, gesture.roll_rad if which is side else 0.0, pinching=False)
        for row, part in zip(_HAND_ROWS[which], (8, 20, 4), strict=True):
            points[row] = points[wrist] + hand_m[part]
    return points


def elbow_m(wrist_m: Array, outward: float) -> Array:
    """Return the elbow (3,) of an arm whose wrist is there: hanging down, a little outward.

    Raises ValueError where the wrist is out of reach.
    """
    distance = float(np.linalg.norm(wrist_m))
    shortest, longest = abs(UPPER_ARM_M - FOREARM_M), UPPER_ARM_M + FOREARM_M
    if not shortest < distance <= longest:
        raise ValueError(f"the wrist is {distance:.3f} m from the shoulder: expected {shortest:.2f} to {longest:.2f} m")
    along = wrist_m / distance
    foot = (UPPER_ARM_M**2 - FOREARM_M**2 + distance**2) / (2 * distance)
    hanging = np.array([0.35 * outward, -0.1, -1.0])
    aside = hanging - (hanging @ along) * along
    aside = aside / np.linalg.norm(aside)
    return foot * along + math.sqrt(max(UPPER_ARM_M**2 - foot**2, 0.0)) * aside


def hand_points_m(side: Side, roll_rad: float, pinching: bool) -> Array:
    """Return the landmarks (21, 3) of a hand about its wrist: fingers up, palm to the camera, rolled about the view.

    Thumb and index point to the middle of the body; rolling is anticlockwise as the person sees it.
    """
    flat = np.zeros((HAND_LANDMARKS, 2))  # x to the index's side, y to the fingers
    for finger, across in enumerate((0.03, 0.01, -0.01, -0.03)):
        for joint, share in enumerate((0.0, 0.45, 0.75, 1.0)):
            flat[5 + 4 * finger + joint] = [across, _PALM_M + share * _FINGER_M]
    thumb = np.array([[0.02, 0.02], [0.04, 0.04], [0.055, 0.06], [0.07, 0.08]])
    flat[1:5] = thumb
    if pinching:
        flat[HandLandmark.THUMB_TIP], flat[HandLandmark.INDEX_TIP] = [0.045, 0.10], [0.045, 0.112]
    cosine, sine = math.cos(roll_rad), math.sin(roll_rad)
    turned = (flat * [-_OUTWARD[side], 1.0]) @ np.array([[cosine, sine], [-sine, cosine]])
    points = np.zeros((HAND_LANDMARKS, 3))
    points[:, 0], points[:, 2] = turned[:, 0], turned[:, 1]
    return points


def body_pose(points_m: Array, camera: LevelCamera, visibility: Array) -> BodyPose:
    """Return the landmarks as the pose model gives them."""
    return BodyPose(camera.project(points_m), points_m @ _CAMERA_FROM_PERSON.T, visibility)


def hand_pose(side: Side, wrist_m: Array, hand_m: Array, camera: LevelCamera) -> HandPose:
    """Return a hand as the hand model gives it: `hand_m` (21, 3) about the wrist, which is at `wrist_m`."""
    about = hand_m - hand_m.mean(axis=0)
    return HandPose(side, camera.project(hand_m + wrist_m), about @ _CAMERA_FROM_PERSON.T, 0.95)


def wrist_row(side: Side) -> Landmark:
    """Return the wrist's landmark of a side."""
    return _ROWS[side][2]
