"""Env sheet: one frame of an environment's film: the scene, the camera views beside it, and how the attempt goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw

from bridge.encoding import Phase
from scripts.programs.footage import Image
from scripts.programs.lettering import ACCENT, BAD, GOOD, INK, LINE, PAPER, SOFT, font
from scripts.programs.view_tiles import TILE_PX, Tile

SCENE_PX = (560, 420)
_MARGIN, _TITLE, _FOOT, _LABEL = 10, 32, 36, 18
_TILES_A_COLUMN = 2
_PHASES = {Phase.DESCEND: "descend", Phase.CLOSE: "close", Phase.LIFT: "lift", Phase.HOLD: "hold"}
_DOT_PX = 9
_MOST_DOTS = 25


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the film is: which episode of how many, how long it has run, and how the ones before ended.

    `verdict` is what to say once it has ended (empty before), `success` how it ended.
    """

    number: int
    episodes: int
    time_s: float
    phase: Phase
    outcomes: tuple[bool, ...]
    verdict: str = ""
    success: bool = False


def sheet_size(tile_count: int) -> tuple[int, int]:
    """Return width and height [px] of a frame with so many camera views."""
    columns = -(-tile_count // _TILES_A_COLUMN)
    return SCENE_PX[0] + 2 * _MARGIN + columns * (TILE_PX + _MARGIN), _TITLE + SCENE_PX[1] + _FOOT


def compose(scene: Image, tiles: Sequence[Tile], title: str, remark: str, progress: Progress) -> Image:
    """Return the frame (H, W, 3) uint8."""
    sheet = Pillow.new("RGB", sheet_size(len(tiles)), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((_MARGIN, 8), title, fill=INK, font=font(14, bold=True))
    draw.text((_MARGIN + draw.textlength(title, font(14, bold=True)) + 8, 10), remark, fill=SOFT, font=font(12))
    sheet.paste(Pillow.fromarray(scene), (_MARGIN, _TITLE))
    draw.rectangle((_MARGIN - 1, _TITLE - 1, _MARGIN + SCENE_PX[0], _TITLE + SCENE_PX[1]), outline=LINE)
    for k, tile in enumerate(tiles):
        _draw_tile(sheet, draw, tile, k)
    _draw_foot(draw, sheet.width, progress)
    return np.asarray(sheet)


def _draw_tile(sheet: Pillow.Image, draw: ImageDraw.ImageDraw, tile: Tile, place: int) -> None:
    column, row = divmod(place, _TILES_A_COLUMN)
    x = 2 * _MARGIN + SCENE_PX[0] + column * (TILE_PX + _MARGIN)
    y = _TITLE - 1 + row * (SCENE_PX[1] // _TILES_A_COLUMN)
    draw.text((x, y), tile.title, fill=INK, font=font(11, bold=True))
    draw.text((x + TILE_PX, y), tile.remark, fill=SOFT, font=font(11), anchor="ra")
    height, width = tile.picture.shape[:2]
    sheet.paste(Pillow.fromarray(tile.picture), (x, y + _LABEL))
    draw.rectangle((x - 1, y + _LABEL - 1, x + width, y + _LABEL + height), outline=LINE)


def _draw_foot(draw: ImageDraw.ImageDraw, width: int, progress: Progress) -> None:
    y = _TITLE + SCENE_PX[1] + 10
    count = f"Episode {progress.number} of {progress.episodes}"
    draw.text((_MARGIN, y), count, fill=INK, font=font(13))
    x = _MARGIN + draw.textlength(count, font(13)) + 12
    draw.text((x + 40, y), f"{progress.time_s:.1f} s", fill=INK, font=font(13), anchor="ra")
    x += 56
    shown = progress.outcomes[-_MOST_DOTS:]
    for k, success in enumerate(shown):
        left = x + k * (_DOT_PX + 4)
        draw.ellipse((left, y + 4, left + _DOT_PX, y + 4 + _DOT_PX), fill=GOOD if success else BAD)
    if progress.verdict:
        color = GOOD if progress.success else BAD
        draw.text((width - _MARGIN, y), progress.verdict, fill=color, font=font(13, bold=True), anchor="ra")
    elif progress.phase in _PHASES:
        _draw_phases(draw, width - _MARGIN, y, progress.phase)


def _draw_phases(draw: ImageDraw.ImageDraw, right: float, y: float, phase: Phase) -> None:
    for each, name in reversed(_PHASES.items()):
        letters = font(13, bold=each == phase)
        draw.text((right, y), name, fill=ACCENT if each == phase else SOFT, font=letters, anchor="ra")
        right -= draw.textlength(name, letters) + 14
