"""OverlayPen: smooth letters, panels and bones on a picture, quickly enough for every picture of a camera."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageDraw

from scripts.programs.lettering import font

Image = NDArray[np.uint8]
Colour = tuple[int, int, int]
Point = tuple[float, float]

NIGHT: Colour = (13, 17, 24)
#: OpenCV draws between pixels: places are given in sixteenths.
_SHIFT = 4
_MASK_OVERSIZE = 4


class OverlayPen:
    """Draws onto a picture (H, W, 3) of its own. Places and sizes are in pixels, `alpha` is 0 to 1."""

    def __init__(self, picture: Image) -> None:
        self.picture = picture

    def bone(self, begin: Point, end: Point, colour: Colour, width_px: float) -> None:
        """Draw a line with round ends."""
        cv2.line(self.picture, _fine(begin), _fine(end), colour, max(1, round(width_px)), cv2.LINE_AA, _SHIFT)

    def dot(self, middle: Point, radius_px: float, colour: Colour) -> None:
        """Draw a filled circle."""
        radius = round(radius_px * (1 << _SHIFT))
        cv2.circle(self.picture, _fine(middle), radius, colour, cv2.FILLED, cv2.LINE_AA, _SHIFT)

    def mix(self, layer: Image, alpha: float) -> None:
        """Let another picture of the same size shine through."""
        cv2.addWeighted(layer, alpha, self.picture, 1.0 - alpha, 0.0, dst=self.picture)

    def panel(self, box: tuple[float, float, float, float], colour: Colour, alpha: float, radius_px: float) -> None:
        """Fill a rectangle (left, top, right, bottom) with round corners."""
        left, top, right, bottom = (round(value) for value in box)
        if right > left and bottom > top:
            self._stamp(_rounded(right - left, bottom - top, round(radius_px)), left, top, colour, alpha)

    def text(
        self, place: Point, words: str, colour: Colour, size_px: float, bold: bool = False, side: str = "l"
    ) -> None:
        """Write a line, its vertical middle at `place`, and there its left end, middle or right end: side l, m, r."""
        mask, rise_px = _letters(words, round(size_px), bold)
        left = place[0] - {"l": 0.0, "m": mask.shape[1] / 2, "r": mask.shape[1]}[side]
        self._stamp(mask, round(left), round(place[1] - rise_px), colour, 1.0)

    def _stamp(self, mask: Image, left: int, top: int, colour: Colour, alpha: float) -> None:
        """Colour the picture through a mask, as far as the mask lies in it."""
        height, width = self.picture.shape[:2]
        x0, y0 = max(left, 0), max(top, 0)
        x1, y1 = min(left + mask.shape[1], width), min(top + mask.shape[0], height)
        if x1 <= x0 or y1 <= y0:
            return
        under = self.picture[y0:y1, x0:x1]
        share = mask[y0 - top : y1 - top, x0 - left : x1 - left, None].astype(np.uint16) * round(alpha * 256) // 255
        mixed = under * (256 - share) + np.array(colour, dtype=np.uint16) * share
        self.picture[y0:y1, x0:x1] = (mixed >> 8).astype(np.uint8)


def text_width_px(words: str, size_px: float, bold: bool = False) -> float:
    """Return how wide a line will be."""
    return font(round(size_px), bold).getlength(words)


def wrapped(words: str, size_px: float, width_px: float, bold: bool = False, lines: int = 2) -> list[str]:
    """Return the words in as many lines at most, the last one cut with an ellipsis."""
    rows: list[str] = [""]
    for word in words.split():
        longer = f"{rows[-1]} {word}".strip()
        if rows[-1] and text_width_px(longer, size_px, bold) > width_px:
            rows.append(word)
        else:
            rows[-1] = longer
    if len(rows) > lines:
        last = rows[lines - 1]
        while last and text_width_px(f"{last}…", size_px, bold) > width_px:
            last = last[:-1]
        rows = [*rows[: lines - 1], f"{last.rstrip()}…"]
    return rows


def _fine(point: Point) -> tuple[int, int]:
    return round(point[0] * (1 << _SHIFT)), round(point[1] * (1 << _SHIFT))


@lru_cache(maxsize=512)
def _letters(words: str, size_px: int, bold: bool) -> tuple[Image, float]:
    """Return a mask of a line and how far its middle lies below the mask's top."""
    face = font(size_px, bold)
    ascent, descent = face.getmetrics()
    width = max(1, round(face.getlength(words)) + 2)
    sheet = Pillow.new("L", (width, ascent + descent))
    ImageDraw.Draw(sheet).text((0, 0), words, fill=255, font=face)
    return np.asarray(sheet), ascent - 0.36 * size_px  # half the height of a capital above the base line


@lru_cache(maxsize=64)
def _rounded(width: int, height: int, radius: int) -> Image:
    """Return a mask of a rectangle with round corners."""
    large = (width * _MASK_OVERSIZE, height * _MASK_OVERSIZE)
    sheet = Pillow.new("L", large)
    box = (0, 0, large[0] - 1, large[1] - 1)
    ImageDraw.Draw(sheet).rounded_rectangle(box, radius * _MASK_OVERSIZE, fill=255)
    return np.asarray(sheet.resize((width, height), Pillow.Resampling.BOX))
