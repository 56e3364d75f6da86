"""Side by side: the training world and the lab's camera in one picture, at the same moment of the same attempt."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw

from bridge.encoding import Phase
from scripts.programs.film import TAIL_S
from scripts.programs.footage import Footage, Image
from scripts.programs.lettering import ACCENT, GOOD, INK, LINE, PAPER, SOFT, font

#: Size of one half.
HALF_PX = (384, 288)
FRAMES_PER_S = 10
_MARGIN, _TITLE, _FOOT = 10, 30, 34
_PHASES = {Phase.DESCEND: "descend", Phase.CLOSE: "close", Phase.LIFT: "lift", Phase.HOLD: "hold"}
#: A change of the neighbourhood's mean below this is sensor noise; drawing it would triple the file.
_NOISE_LEVELS = 2.5
_NEIGHBOURHOOD_PX = 5


def compose(lab: Footage, twin: Footage, caption: str, verdict: str) -> Iterator[Image]:
    """Give the frames of one attempt: `twin` is the training world's film, put in step with the lab's."""
    moments = lab.marks.moments_s()
    # Pictures of a camera that was late are shown late: the clock of the GIF is the lab's.
    count = round((moments[-1] + TAIL_S - moments[0]) * FRAMES_PER_S)
    shown: Image | None = None
    for k in range(count + 1):
        time_s = float(moments[0]) + k / FRAMES_PER_S
        right = lab.at(time_s)
        shown = right if shown is None else _steadied(shown, right)
        left = twin.at(lab.same_moment(twin, time_s))
        yield _sheet(left, shown, caption, lab.phase_at(time_s), verdict)


def _steadied(shown: Image, new: Image) -> Image:
    """Return the new picture with every pixel that changed by no more than noise left as it was."""
    difference = cv2.blur(new.astype(np.float32) - shown, (_NEIGHBOURHOOD_PX, _NEIGHBOURHOOD_PX))
    changed = np.abs(difference).max(axis=2, keepdims=True) > _NOISE_LEVELS
    return np.where(changed, new, shown)


def _sheet(left: Image, right: Image, caption: str, phase: Phase, verdict: str) -> Image:
    height, width = left.shape[:2]
    sheet = Pillow.new("RGB", (2 * width + 3 * _MARGIN, _TITLE + height + _FOOT), PAPER)
    draw = ImageDraw.Draw(sheet)
    for x, picture, title, remark in (
        (_MARGIN, left, "Training world", "simulated, knows the truth"),
        (2 * _MARGIN + width, right, "Lab", "servo bytes and this camera are all it gives"),
    ):
        sheet.paste(Pillow.fromarray(picture), (x, _TITLE))
        draw.rectangle((x - 1, _TITLE - 1, x + width, _TITLE + height), outline=LINE)
        draw.text((x, 7), title, fill=INK, font=font(14, bold=True))
        draw.text((x + draw.textlength(title, font(14, bold=True)) + 8, 9), remark, fill=SOFT, font=font(12))
    _foot(draw, _TITLE + height + 9, sheet.width, caption, phase, verdict)
    return np.asarray(sheet)


def _foot(draw: ImageDraw.ImageDraw, y: int, width: int, caption: str, phase: Phase, verdict: str) -> None:
    draw.text((_MARGIN, y), caption, fill=INK, font=font(13))
    if phase == Phase.DONE:
        draw.text((width - _MARGIN, y), verdict, fill=GOOD, font=font(13, bold=True), anchor="ra")
        return
    x = float(width - _MARGIN)
    for each, name in reversed(_PHASES.items()):
        letters = font(13, bold=each == phase)
        draw.text((x, y), name, fill=ACCENT if each == phase else SOFT, font=letters, anchor="ra")
        x -= draw.textlength(name, letters) + 14
