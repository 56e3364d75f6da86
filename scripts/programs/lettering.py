"""Letters and colours of everything that is drawn on paper: the same on every machine."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from PIL import ImageFont

PAPER, INK, SOFT, LINE = "#ffffff", "#1f2933", "#9aa5b1", "#d9dee4"
ACCENT, GOOD, BAD = "#1d5fa8", "#2f855a", "#c8553d"


@cache
def font(size_px: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """Return the typeface that comes with matplotlib: the same letters on every machine."""
    import matplotlib as mpl

    folder = Path(mpl.get_data_path()) / "fonts" / "ttf"
    return ImageFont.truetype(str(folder / ("DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf")), size_px)
