"""What is seen of people in one picture: their landmarks, numbered as MediaPipe numbers them.

Ref: https://ai.google.dev/edge/mediapipe/solutions/vision/pose_landmarker (33 landmarks) and hand_landmarker (21).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum

import numpy as np
from numpy.typing import NDArray

LANDMARKS, HAND_LANDMARKS = 33, 21


class Side(StrEnum):
    """Whose arm: the person's own left or right, however the picture is mirrored."""

    LEFT = "left"
    RIGHT = "right"


class Landmark(IntEnum):
    """The landmarks of a body that are used here, by their number."""

    NOSE = 0
    LEFT_SHOULDER = 11
    RIGHT_SHOULDER = 12
    LEFT_ELBOW = 13
    RIGHT_ELBOW = 14
    LEFT_WRIST = 15
    RIGHT_WRIST = 16
    LEFT_PINKY = 17
    RIGHT_PINKY = 18
    LEFT_INDEX = 19
    RIGHT_INDEX = 20
    LEFT_THUMB = 21
    RIGHT_THUMB = 22
    LEFT_HIP = 23
    RIGHT_HIP = 24


@dataclass(frozen=True, slots=True)
class HandPose:
    """A hand: `image` (21, 2) in shares of the picture's width and height, `world_m` (21, 3) about its centre."""

    side: Side
    image: NDArray[np.float64]
    world_m: NDArray[np.float64]
    score: float


@dataclass(frozen=True, slots=True)
class BodyPose:
    """A person.

    `image` (33, 2): shares of the picture's width and height, y down; may lie outside 0..1. `world_m` (33, 3): metres
    about the middle of the hips, x to the right in the picture, y down, z away from the camera. `visibility` (33,):
    how sure the model is that the landmark is in the picture and not hidden, 0 to 1.
    """

    image: NDArray[np.float64]
    world_m: NDArray[np.float64]
    visibility: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PeopleSighting:
    """Who is in one picture; `stamp_ns` is the capture time on the reader's monotonic clock."""

    seq: int
    stamp_ns: int
    width_px: int
    height_px: int
    bodies: tuple[BodyPose, ...]
    hands: tuple[HandPose, ...] = ()

    @property
    def aspect(self) -> float:
        """Width by height: what shares of x must be multiplied by before they compare with shares of y."""
        return self.width_px / self.height_px
