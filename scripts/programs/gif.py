"""GIF: pictures with one palette for all of them, so that what stands still costs nothing."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from scripts.programs.footage import Image

_COLOURS = 255  # one more is transparent: "as in the frame before"
_PALETTE_SAMPLES = 12
_NEARLY_WHITE = 246


def write_gif(path: Path, frames: Sequence[Image], frames_per_s: float) -> None:
    """Write an endless GIF, whole or not at all."""
    temporary = path.with_suffix(".tmp")
    temporary.write_bytes(gif_bytes(frames, frames_per_s))
    temporary.replace(path)


def gif_bytes(frames: Sequence[Image], frames_per_s: float) -> bytes:
    """Return an endless GIF."""
    picked = np.linspace(0, len(frames) - 1, min(_PALETTE_SAMPLES, len(frames))).round().astype(int)
    mosaic = Pillow.fromarray(np.concatenate([frames[k] for k in picked], axis=0))
    palette = _with_white(mosaic.quantize(_COLOURS, Pillow.Quantize.MEDIANCUT))
    first, *others = (Pillow.fromarray(f).quantize(palette=palette, dither=Pillow.Dither.NONE) for f in frames)
    data = BytesIO()
    first.save(
        data,
        format="GIF",
        save_all=True,
        append_images=others,
        duration=round(1000 / frames_per_s),
        loop=0,
        optimize=True,
        transparency=_COLOURS,
        disposal=1,
    )
    return data.getvalue()


def _with_white(palette: Pillow.Image) -> Pillow.Image:
    """Return the palette with all that is nearly white made white: paper looks dirty on a page otherwise.

    All of it, because Pillow tells colours apart in steps of four levels when it looks for the nearest.
    """
    colours = np.array(palette.getpalette(), dtype=np.int64).reshape(-1, 3)
    colours[colours.min(axis=1) >= _NEARLY_WHITE] = 255
    palette.putpalette(colours.ravel().tolist())
    return palette


def gif_frames(path: Path) -> list[Image]:
    """Return the frames of a GIF as RGB."""
    frames: list[Image] = []
    with Pillow.open(path) as gif:
        for k in range(getattr(gif, "n_frames", 1)):
            gif.seek(k)
            frames.append(np.asarray(gif.convert("RGB"), dtype=np.uint8))
    return frames
