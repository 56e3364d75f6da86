"""What a hand says: how far it is closed, by pinch or by fist, and how it is rolled."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum, StrEnum

import numpy as np

from perception.body import BodyPose, HandPose, Landmark, PeopleSighting, Side
from urdf.pose import Array

_WRISTS = {Side.LEFT: Landmark.LEFT_WRIST, Side.RIGHT: Landmark.RIGHT_WRIST}
#: A hand belongs to a wrist that is nearer than this share of the picture's height.
_NEAR_WRIST = 0.12


class HandLandmark(IntEnum):
    """The landmarks of a hand that are used here. Ref: MediaPipe's hand_landmarker (21 landmarks)."""

    WRIST = 0
    THUMB_TIP = 4
    INDEX_KNUCKLE = 5
    INDEX_TIP = 8
    MIDDLE_KNUCKLE = 9
    MIDDLE_TIP = 12
    RING_TIP = 16
    PINKY_KNUCKLE = 17
    PINKY_TIP = 20


_TIPS = (HandLandmark.INDEX_TIP, HandLandmark.MIDDLE_TIP, HandLandmark.RING_TIP, HandLandmark.PINKY_TIP)


@dataclass(frozen=True, slots=True)
class HandReading:
    """Lengths in units of the palm, from the wrist to the middle knuckle.

    `pinch`: between the tips of thumb and index; `reach`: from the wrist to the fingertips, on average. `roll_rad`: how
    the line from the little finger's knuckle to the index's stands as the person sees it, anticlockwise from right.
    """

    pinch: float
    reach: float
    roll_rad: float


class Grip(StrEnum):
    """What closes the gripper: thumb and index together, or a fist."""

    PINCH = "pinch"
    PALM = "palm"


#: Closed below the first, open above the second, as before between them: a hand near one bound does not chatter.
_BOUNDS = {Grip.PINCH: (0.35, 0.60), Grip.PALM: (1.20, 1.50)}


def closing(hand: HandReading | None, before: bool, grip: Grip) -> bool:
    """Return whether the gripper is to close; as `before` where the hand is not seen or half closed."""
    if hand is None:
        return before
    value = hand.pinch if grip is Grip.PINCH else hand.reach
    closed, opened = _BOUNDS[grip]
    return True if value < closed else False if value > opened else before


def read_hand(hand: HandPose, aspect: float) -> HandReading | None:
    """Return what the hand says, or None where it has no length or a landmark is no number."""
    points_m = hand.world_m
    wrist_m = points_m[HandLandmark.WRIST]
    palm_m = _length(points_m[HandLandmark.MIDDLE_KNUCKLE] - wrist_m)
    across = (hand.image[HandLandmark.INDEX_KNUCKLE] - hand.image[HandLandmark.PINKY_KNUCKLE]) * [-aspect, -1.0]
    if not (np.isfinite(points_m).all() and np.isfinite(across).all()) or palm_m < 1e-3:
        return None
    pinch = _length(points_m[HandLandmark.THUMB_TIP] - points_m[HandLandmark.INDEX_TIP]) / palm_m
    reach = float(np.mean([_length(points_m[tip] - wrist_m) for tip in _TIPS])) / palm_m
    return HandReading(pinch, reach, math.atan2(float(across[1]), float(across[0])))


def hand_of(sighting: PeopleSighting, body: BodyPose, side: Side) -> HandPose | None:
    """Return the hand at the wrist of this person's arm, whichever side the hand model takes it for."""
    scale = np.array([sighting.aspect, 1.0])
    wrist = body.image[_WRISTS[side]]
    distances = [_length((hand.image[HandLandmark.WRIST] - wrist) * scale) for hand in sighting.hands]
    near = [index for index, distance in enumerate(distances) if distance < _NEAR_WRIST]
    return sighting.hands[min(near, key=distances.__getitem__)] if near else None


def _length(vector: Array) -> float:
    return float(np.linalg.norm(vector))
