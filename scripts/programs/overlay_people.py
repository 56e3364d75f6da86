"""People drawn over a picture: the one in control bright, with the arm that is followed; everybody else dim."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from perception.body import BodyPose, HandPose, Landmark, PeopleSighting, Side
from perception.limb import LIMB_LANDMARKS, MIN_VISIBILITY
from scripts.programs.overlay_pen import NIGHT, Colour, OverlayPen, Point
from urdf.pose import Array

_WHITE: Colour = (246, 249, 252)
_DIM: Colour = (150, 160, 174)
_TRUNK = ((11, 12), (11, 23), (12, 24), (23, 24))
_LEGS = ((23, 25), (25, 27), (24, 26), (26, 28))
_FINGERS = ((0, 1, 2, 3, 4), (0, 5, 6, 7, 8), (9, 10, 11, 12), (13, 14, 15, 16), (0, 17, 18, 19, 20), (5, 9, 13, 17))
#: How much of the picture stays under a person who is not in control.
_DIM_ALPHA = 0.45
#: Landmarks farther outside of the picture than this many of its sizes are drawn there.
_FAR = 4.0
_SAME_PLACE = 0.08


class PeoplePen:
    """Draws people with a pen. `unit_px`: the width of a bone; `mirrored`: the picture is shown as in a mirror."""

    def __init__(self, pen: OverlayPen, unit_px: float, mirrored: bool) -> None:
        self._pen, self._unit_px, self._mirrored = pen, unit_px, mirrored

    def draw(self, sighting: PeopleSighting, controlling: BodyPose | None, side: Side, colour: Colour) -> None:
        """Draw everybody; `controlling` is the one whose arm of this side is followed, in this colour."""
        same = None if controlling is None else nearest_body(sighting, controlling)
        others = [body for body in sighting.bodies if body is not same]
        if others:
            layer = OverlayPen(self._pen.picture.copy())
            dim = PeoplePen(layer, self._unit_px * 0.8, self._mirrored)
            for body in others:
                dim._skeleton(body, _DIM)
            self._pen.mix(layer.picture, 1.0 - _DIM_ALPHA)
        if controlling is not None:
            self._skeleton(controlling, _WHITE)
            self._arm(controlling, side, colour)
        for hand in sighting.hands:
            self._hand(hand, colour)

    def _skeleton(self, body: BodyPose, colour: Colour) -> None:
        points = self._places(body.image)
        limbs = [pair for rows in LIMB_LANDMARKS.values() for pair in pairwise(rows)]
        bones = [*_TRUNK, *_LEGS, *limbs]
        visible = body.visibility >= MIN_VISIBILITY
        seen = [(points[a], points[b]) for a, b in bones if visible[a] and visible[b]]
        for begin, end in seen:
            self._pen.bone(begin, end, NIGHT, 2.1 * self._unit_px)
        if visible[Landmark.NOSE]:
            self._pen.dot(points[Landmark.NOSE], 1.6 * self._unit_px, NIGHT)
            self._pen.dot(points[Landmark.NOSE], 1.1 * self._unit_px, colour)
        for begin, end in seen:
            self._pen.bone(begin, end, colour, self._unit_px)
        for place in (end for pair in seen for end in pair):
            self._pen.dot(place, 1.1 * self._unit_px, colour)

    def _arm(self, body: BodyPose, side: Side, colour: Colour) -> None:
        """Draw the arm that is followed: broad, in colour, its joints as rings."""
        points = self._places(body.image)
        rows = LIMB_LANDMARKS[side]
        seen = [row for row in rows if body.visibility[row] >= MIN_VISIBILITY]
        pairs = [(points[a], points[b]) for a, b in pairwise(rows) if a in seen and b in seen]
        for begin, end in pairs:
            self._pen.bone(begin, end, NIGHT, 3.0 * self._unit_px)
        for begin, end in pairs:
            self._pen.bone(begin, end, colour, 1.9 * self._unit_px)
        for row in seen:
            grow = 1.35 if row in (Landmark.LEFT_WRIST, Landmark.RIGHT_WRIST) else 1.0
            self._pen.dot(points[row], 2.4 * grow * self._unit_px, NIGHT)
            self._pen.dot(points[row], 2.0 * grow * self._unit_px, colour)
            self._pen.dot(points[row], 1.1 * grow * self._unit_px, _WHITE)

    def _hand(self, hand: HandPose, colour: Colour) -> None:
        points = self._places(hand.image)
        pairs = [(points[a], points[b]) for finger in _FINGERS for a, b in pairwise(finger)]
        for begin, end in pairs:
            self._pen.bone(begin, end, NIGHT, 1.3 * self._unit_px)
        for begin, end in pairs:
            self._pen.bone(begin, end, colour, 0.6 * self._unit_px)

    def _places(self, image: Array) -> list[Point]:
        """Return landmarks in pixels; one that is no number is far outside."""
        height, width = self._pen.picture.shape[:2]
        shown = np.clip(np.nan_to_num(image, nan=-_FAR), -_FAR, _FAR)
        x = 1.0 - shown[:, 0] if self._mirrored else shown[:, 0]
        return list(zip((x * width).tolist(), (shown[:, 1] * height).tolist(), strict=True))


def nearest_body(sighting: PeopleSighting, body: BodyPose) -> BodyPose | None:
    """Return who in the sighting stands where this body is: a smoothed one is not the one that was seen."""
    apart = [float(np.abs(other.image - body.image).mean()) for other in sighting.bodies]
    return sighting.bodies[int(np.argmin(apart))] if apart and min(apart) < _SAME_PLACE else None
