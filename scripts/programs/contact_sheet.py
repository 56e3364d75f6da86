"""The contact sheet of domain randomisation: many episodes as a camera sees them, each with what was drawn for it."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageColor, ImageDraw, ImageFont

from sim.draws import Draw
from sim.objects import LATERAL_FRICTION, ObjectFacts
from sim.sensors import HOLE_M
from sim.studio import Sample

Image = NDArray[np.uint8]

COLUMNS, ROWS = 4, 8
#: Depth as a policy sees it, shown twice as large; colour in the size it is shown.
DEPTH_PX, SHOWN_PX = 64, 128

_GAP, _PAD, _MARGIN, _HEAD, _FOOT, _LINE = 2, 20, 32, 222, 74, 15
_TILE, _CAPTION, _STOPS = 2 * SHOWN_PX + _GAP, 3 * _LINE + 6, (0, 127, 196)
_PAPER, _INK, _GREY, _PALE, _SOFT, _HOLE = "#ffffff", "#1f2933", "#616e7c", "#8a96a3", "#e4e7eb", "#e0245e"
_GLOSSARY = (
    "camera=off its mount|view=added to the field of view|lag=added to the servos' dead time"
    "|noise=standard deviation of depth by depth squared",
    "holes=chance at an edge|blind=what is nearer is a hole|cube=side and mass|\u00b5=its friction"
    "|late=periods by which actions + observations come late",
)


def draw_sheet(samples: Sequence[Sample], nominal: Sample, title: str, remarks: Sequence[str]) -> bytes:
    """Return the PNG of a sheet of COLUMNS x ROWS samples, with the nominal world and a legend above them."""
    width = 2 * _MARGIN + COLUMNS * _TILE + (COLUMNS - 1) * _PAD
    height = _HEAD + ROWS * (SHOWN_PX + _CAPTION + _PAD) - _PAD + _FOOT
    sheet = Pillow.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    scale_m = _scale_m(nominal)
    draw.text((_MARGIN, 30), title, fill=_INK, font=_font(26, bold=True))
    for number, remark in enumerate(remarks):
        draw.text((_MARGIN, 72 + 20 * number), remark, fill=_GREY, font=_font(13))
    _draw_scale(sheet, draw, scale_m)
    x = width - _MARGIN - _TILE
    _draw_pictures(sheet, draw, (x, 48), nominal, scale_m)
    draw.text((x, 28), "the nominal world", fill=_INK, font=_font(13, bold=True))
    draw.line((_MARGIN, _HEAD - 24, width - _MARGIN, _HEAD - 24), fill=_SOFT)
    for index, sample in enumerate(samples):
        x, y = tile_corner_px(index)
        _draw_pictures(sheet, draw, (x, y), sample, scale_m)
        for number, words in enumerate(_caption(sample.draw, sample.cube)):
            _draw_words(draw, (x, y + SHOWN_PX + 6 + number * _LINE), words, _STOPS)
    for number, words in enumerate(_GLOSSARY):
        _draw_words(draw, (_MARGIN, height - 52 + 18 * number), words, None)
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def tile_corner_px(index: int) -> tuple[int, int]:
    """Return where (x, y) a sample's two pictures begin on the sheet."""
    row, column = divmod(index, COLUMNS)
    return _MARGIN + column * (_TILE + _PAD), _HEAD + row * (SHOWN_PX + _CAPTION + _PAD)


def _caption(draw: Draw, cube: ObjectFacts) -> tuple[str, str, str]:
    """Return the most telling numbers: the camera, its depth, and what cannot be seen. `label=value` for each."""
    shift_mm = 1000 * math.hypot(*draw.camera.translation_m)
    turn_deg = math.degrees(math.hypot(*draw.camera.rotation_rad))
    return (
        f"camera={shift_mm:.1f} mm {turn_deg:.1f}\u00b0|view={math.degrees(draw.camera.fov_rad):+.1f}\u00b0"
        f"|lag={round(1000 * draw.servo.dead_time_s):+d} ms",
        f"noise={1000 * draw.depth.noise_per_m:.0f} mm/m\u00b2|holes={100 * draw.depth.edge_hole:.0f} %"
        f"|blind={100 * draw.depth.min_m:.0f} cm",
        f"cube={1000 * cube.size_m:.1f} mm {1000 * cube.mass_kg:.0f} g"
        f"|\u00b5={LATERAL_FRICTION * draw.scene.object_friction_factor:.2f}"
        f"|late={draw.action_delay_periods}+{draw.observation_delay_periods}",
    )


def _draw_words(draw: ImageDraw.ImageDraw, at: tuple[int, int], words: str, stops: tuple[int, ...] | None) -> None:
    """Write `label=value` pairs: labels dark and values grey as running text, or the other way round at `stops`."""
    x, y = at
    font = _font(11)
    colors = (_INK, _GREY) if stops is None else (_PALE, _INK)
    for number, pair in enumerate(words.split("|")):
        start = float(x) if stops is None else at[0] + stops[number]
        for text, color in zip(pair.split("="), colors, strict=True):
            draw.text((start, y), text, fill=color, font=font)
            start += draw.textlength(f"{text} ", font)
        x = round(start) + 16


def _draw_pictures(
    sheet: Pillow.Image, draw: ImageDraw.ImageDraw, at: tuple[int, int], sample: Sample, scale_m: tuple[float, float]
) -> None:
    x, y = at
    depth = cv2.resize(colored(sample.depth_m, scale_m), (SHOWN_PX, SHOWN_PX), interpolation=cv2.INTER_NEAREST)
    sheet.paste(Pillow.fromarray(sample.rgb), (x, y))
    sheet.paste(Pillow.fromarray(np.asarray(depth, dtype=np.uint8)), (x + SHOWN_PX + _GAP, y))


def _draw_scale(sheet: Pillow.Image, draw: ImageDraw.ImageDraw, scale_m: tuple[float, float]) -> None:
    """Draw the legend of the depth pictures: metres by colour, and the colour of a hole."""
    x, y, length = _MARGIN, _HEAD - 62, 240
    ramp = np.linspace(*scale_m, length, dtype=np.float32)[None, :].repeat(10, axis=0)
    sheet.paste(Pillow.fromarray(colored(ramp, scale_m)), (x, y))
    for share in (0.0, 0.5, 1.0):
        metres = scale_m[0] + share * (scale_m[1] - scale_m[0])
        anchor = ("la", "ma", "ra")[round(2 * share)]
        draw.text((x + share * length, y + 13), f"{100 * metres:.0f} cm", fill=_GREY, font=_font(11), anchor=anchor)
    draw.rectangle((x + length + 22, y, x + length + 31, y + 9), fill=_HOLE)
    draw.text((x + length + 38, y - 2), "hole: no depth", fill=_GREY, font=_font(11))


def _scale_m(nominal: Sample) -> tuple[float, float]:
    near, far = np.percentile(nominal.depth_m, (1, 99))
    return math.floor(100 * near) / 100, math.ceil(100 * far) / 100


def colored(depth_m: NDArray[np.float32], scale_m: tuple[float, float]) -> Image:
    """Return depth as colour (H, W, 3), near bright and far dark; holes are pink."""
    share = (depth_m - scale_m[0]) / (scale_m[1] - scale_m[0])
    levels = np.rint(255 * (1 - share.clip(0, 1))).astype(np.uint8)
    image = cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_VIRIDIS), cv2.COLOR_BGR2RGB)
    image[depth_m == HOLE_M] = ImageColor.getrgb(_HOLE)
    return np.asarray(image, dtype=np.uint8)


def _font(size_px: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """Return the typeface that comes with matplotlib: the same letters on every machine."""
    import matplotlib as mpl

    folder = Path(mpl.get_data_path()) / "fonts" / "ttf"
    return ImageFont.truetype(str(folder / ("DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf")), size_px)
