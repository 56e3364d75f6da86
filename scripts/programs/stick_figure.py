"""A person as a stick figure on a dark ground: drawn from landmarks alone, as in a mirror."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from itertools import pairwise

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw

from perception.body import BodyPose, Landmark, Side
from perception.limb import LIMB_LANDMARKS
from scripts.programs.footage import Image
from urdf.pose import Array

Colour = tuple[int, int, int]
GROUND: Colour = (18, 22, 31)
LIMB_COLOURS: Mapping[Side, Colour] = {Side.LEFT: (242, 120, 56), Side.RIGHT: (72, 146, 245)}
_BONE: Colour = (150, 160, 176)
#: Drawn so many times too large, then made smaller: smooth edges.
_OVERSIZE = 3
_TRAIL_PICTURES = 14
_TRUNK = ((11, 12), (11, 23), (12, 24), (23, 24))
_LEGS = ((23, 25), (25, 27), (24, 26), (26, 28))
_HEAD_PER_SHOULDERS = 0.32


class StickFigure:
    """Draws one person picture by picture, with a trail behind either wrist."""

    def __init__(self, size_px: int, window: tuple[float, float, float]) -> None:
        """`window`: left, top and size of the square that is shown, in shares of the picture's height, x mirrored."""
        self._size_px = size_px
        self._window = window
        self._trails: dict[Side, deque[tuple[float, float]]] = {side: deque(maxlen=_TRAIL_PICTURES) for side in Side}

    def draw(self, body: BodyPose | None, aspect: float) -> Image:
        """Return the picture (size, size, 3); limbs that are not believed are left out."""
        large = self._size_px * _OVERSIZE
        sheet = Pillow.new("RGB", (large, large), GROUND)
        draw = ImageDraw.Draw(sheet)
        if body is None:
            for trail in self._trails.values():
                trail.clear()
        else:
            points = self._points(body, aspect)
            self._trace(draw, points, body)
            self._skeleton(draw, points, body)
        return np.asarray(sheet.resize((self._size_px, self._size_px), Pillow.Resampling.LANCZOS))

    def _points(self, body: BodyPose, aspect: float) -> list[tuple[float, float]]:
        left, top, size = self._window
        scale = self._size_px * _OVERSIZE / size
        mirrored = (1.0 - body.image[:, 0]) * aspect
        return [((x - left) * scale, (y - top) * scale) for x, y in zip(mirrored, body.image[:, 1], strict=True)]

    def _trace(self, draw: ImageDraw.ImageDraw, points: list[tuple[float, float]], body: BodyPose) -> None:
        for side, trail in self._trails.items():
            wrist = LIMB_LANDMARKS[side][2]
            if body.visibility[wrist] > 0.0:
                trail.append(points[wrist])
            spots = list(trail)
            for k, (begin, end) in enumerate(pairwise(spots)):
                share = (k + 1) / _TRAIL_PICTURES
                colour = _mixed(LIMB_COLOURS[side], 0.5 * share**1.5)
                _bone(draw, begin, end, colour, 0.016 * share * self._size_px)

    def _skeleton(self, draw: ImageDraw.ImageDraw, points: list[tuple[float, float]], body: BodyPose) -> None:
        width_px = 0.011 * self._size_px
        for begin, end in (*_TRUNK, *_LEGS):
            if min(body.visibility[begin], body.visibility[end]) > 0.0:
                _bone(draw, points[begin], points[end], _mixed(_BONE, 0.55), width_px)
        self._head(draw, points, width_px)
        for side, rows in LIMB_LANDMARKS.items():
            if min(body.visibility[list(rows)]) <= 0.0:
                continue
            for begin, end in pairwise(rows):
                _bone(draw, points[begin], points[end], LIMB_COLOURS[side], 1.7 * width_px)
            for row in rows:
                _dot(draw, points[row], 1.55 * width_px, LIMB_COLOURS[side])
                _dot(draw, points[row], 0.85 * width_px, (250, 250, 252))

    def _head(self, draw: ImageDraw.ImageDraw, points: list[tuple[float, float]], width_px: float) -> None:
        nose = points[Landmark.NOSE]
        left, right = points[Landmark.LEFT_SHOULDER], points[Landmark.RIGHT_SHOULDER]
        radius = _HEAD_PER_SHOULDERS * float(np.hypot(left[0] - right[0], left[1] - right[1]))
        box = (nose[0] - radius, nose[1] - 1.15 * radius, nose[0] + radius, nose[1] + 1.15 * radius)
        draw.ellipse(box, outline=_mixed(_BONE, 0.8), width=round(width_px * _OVERSIZE))


def window_of(bodies: list[BodyPose], aspect: float, margin: float = 0.08) -> tuple[float, float, float]:
    """Return the square (left, top, size) that holds all that these people do from the hips up, x mirrored."""
    shown = [Landmark.NOSE, *range(Landmark.LEFT_SHOULDER, Landmark.RIGHT_HIP + 1)]
    points: Array = np.concatenate([body.image[shown] for body in bodies])
    points = np.stack(((1.0 - points[:, 0]) * aspect, points[:, 1]), axis=1)
    lower, upper = points.min(axis=0), points.max(axis=0)
    size = float((upper - lower).max()) * (1.0 + 2.0 * margin)
    left, top = (lower + upper - size) / 2
    return float(left), float(top), size


def _mixed(colour: Colour, share: float) -> Colour:
    """Return a colour that lets the ground shine through."""
    red, green, blue = (round(share * c + (1.0 - share) * g) for c, g in zip(colour, GROUND, strict=True))
    return red, green, blue


def _bone(
    draw: ImageDraw.ImageDraw, begin: tuple[float, float], end: tuple[float, float], colour: Colour, width_px: float
) -> None:
    draw.line((begin, end), fill=colour, width=max(1, round(width_px * _OVERSIZE)))
    for spot in (begin, end):
        _dot(draw, spot, width_px / 2, colour)


def _dot(draw: ImageDraw.ImageDraw, middle: tuple[float, float], radius_px: float, colour: Colour) -> None:
    radius = radius_px * _OVERSIZE
    draw.ellipse((middle[0] - radius, middle[1] - radius, middle[0] + radius, middle[1] + radius), fill=colour)
