"""The live picture of a camera that is being measured: what is missing in it, what was seen, what to do next."""

from __future__ import annotations

import os

import numpy as np
from PIL import Image as Paper
from PIL import ImageDraw

from calibration.boards import Image
from calibration.intrinsics import Seen
from calibration.view_guide import CELLS, Advice, ViewGuide
from scripts.programs.lettering import font

_FOUND, _TAKEN, _MISSING = (46, 204, 113), (255, 255, 255), (200, 85, 61)


def has_display() -> bool:
    """Whether a window can be shown here."""
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def guide_picture(rgb: Image, seen: Seen, advice: Advice, guide: ViewGuide) -> Image:
    """Return the picture (H + bar, W, 3) with the cells that lack points tinted, the points found, and the advice."""
    height, width = rgb.shape[:2]
    columns, rows = CELLS
    cell_w, cell_h = width / columns, height / rows
    bar = max(44, height // 10)
    picture = Paper.new("RGB", (width, height + bar), (24, 30, 38))
    picture.paste(Paper.fromarray(np.ascontiguousarray(rgb)), (0, 0))
    pen = ImageDraw.Draw(picture, "RGBA")
    for row in range(rows):
        for column in range(columns):
            box = (column * cell_w, row * cell_h, (column + 1) * cell_w - 1, (row + 1) * cell_h - 1)
            if guide.coverage[row, column] == 0:
                pen.rectangle(box, fill=(*_MISSING, 64), outline=(*_MISSING, 130))
    radius = max(2.0, width / 260)
    color = _TAKEN if advice.taken else _FOUND
    for x, y in seen.corners.image_px:
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), outline=(*color, 255), width=2)
    if advice.taken:
        pen.rectangle((0, 0, width - 1, height - 1), outline=(*_FOUND, 255), width=max(3, width // 110))
    pen.text((bar * 0.35, height + bar * 0.38), advice.text, (245, 247, 250), font(int(bar * 0.32)), anchor="lm")
    count = f"{len(guide.views)}/{guide.wanted}"
    pen.text((width - bar * 0.35, height + bar * 0.38), count, (154, 165, 177), font(int(bar * 0.32)), anchor="rm")
    pen.rectangle((0, height + bar - 6, width, height + bar), fill=(60, 70, 82))
    pen.rectangle((0, height + bar - 6, width * advice.progress, height + bar), fill=_FOUND)
    return np.asarray(picture, dtype=np.uint8)


class GuideWindow:
    """A window with that picture; Escape or q ends like Ctrl-C."""

    def __init__(self, title: str) -> None:
        self._title = title

    def __call__(self, rgb: Image, seen: Seen, advice: Advice, guide: ViewGuide) -> None:
        """Show one picture."""
        import cv2

        cv2.imshow(self._title, guide_picture(rgb, seen, advice, guide)[:, :, ::-1])
        if cv2.waitKey(1) & 0xFF in (27, ord("q")):
            raise KeyboardInterrupt

    def close(self) -> None:
        """Take the window away."""
        import cv2

        cv2.destroyWindow(self._title)
