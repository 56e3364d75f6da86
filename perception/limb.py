"""A person's arm as the retargeting sees it: shoulder, elbow and wrist in the person's own axes.

The axes are those of the desk frame of an arm's rig: x to the person's right, y ahead, z up. The camera is taken to
stand level in front of the person.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from perception.body import BodyPose, HandPose, Landmark, Side
from perception.hand import HandReading, read_hand
from urdf.pose import Array

#: Shoulder, elbow, wrist of either arm.
LIMB_LANDMARKS = {
    Side.LEFT: (Landmark.LEFT_SHOULDER, Landmark.LEFT_ELBOW, Landmark.LEFT_WRIST),
    Side.RIGHT: (Landmark.RIGHT_SHOULDER, Landmark.RIGHT_ELBOW, Landmark.RIGHT_WRIST),
}
#: Landmarks that the model gives less are guesses. Ref: mediapipe#3555 (hidden elbows are reported below 0.24)
MIN_VISIBILITY = 0.5
#: From picture axes (x right, y down, z away) to the person's, who faces the camera.
_PERSON_FROM_CAMERA = np.array([[-1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, -1.0, 0.0]])


@dataclass(frozen=True, slots=True)
class Limb:
    """One arm of a person. Rows are shoulder, elbow, wrist.

    `outline` (3, 2): in the picture, in shares of its height on both axes; x outward, to where this arm points when it
    is held out to its side, y up. `points_m` (3, 3): in the person's axes, about the shoulder.
    """

    side: Side
    outline: Array
    points_m: Array
    hand: HandReading | None = None

    @property
    def wrist_m(self) -> Array:
        """The wrist relative to the shoulder (3,), in the person's axes."""
        return self.points_m[2]

    def mirrored(self) -> Limb:
        """Return the limb that a mirror shows: the other side's, left and right exchanged."""
        side = Side.LEFT if self.side is Side.RIGHT else Side.RIGHT
        hand = None if self.hand is None else replace(self.hand, roll_rad=-self.hand.roll_rad)
        return Limb(side, self.outline, self.points_m * [-1.0, 1.0, 1.0], hand)


def limb_of(
    body: BodyPose,
    side: Side,
    aspect: float,
    hand: HandPose | None = None,
    min_visibility: float = MIN_VISIBILITY,
) -> Limb | None:
    """Return an arm of the person, or None where one of its landmarks is hidden or no number.

    `aspect`: the picture's width by its height.
    """
    rows = list(LIMB_LANDMARKS[side])
    image, world_m, visibility = body.image[rows], body.world_m[rows], body.visibility[rows]
    if not (np.isfinite(image).all() and np.isfinite(world_m).all() and (visibility >= min_visibility).all()):
        return None
    outward = 1.0 if side is Side.LEFT else -1.0
    points_m = (world_m - world_m[0]) @ _PERSON_FROM_CAMERA.T
    return Limb(side, image * [outward * aspect, -1.0], points_m, None if hand is None else read_hand(hand, aspect))
