"""Pictures of how markers are measured: scenes with the corners that were found, and the errors by slant."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageDraw

from calibration.artifacts import write_atomic
from calibration.boards import see_markers
from calibration.edge_corners import PrintFit
from calibration.lens import project
from scripts.programs.lettering import ACCENT, BAD, GOOD, INK, LINE, PAPER, SOFT, font
from scripts.programs.marker_scenes import Scene
from scripts.programs.picture_file import write_picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from scripts.programs.bench_markers import Outcome

_TILE, _ZOOM, _GAP, _MARGIN, _HEAD, _CAPTION = 232, 200, 18, 30, 98, 44
#: The corner that is shown closest: so many pixels of the picture to each side, on a square of so many of the sheet.
_CLOSE_PX, _CLOSE = 2.5, 84
_COLUMNS = 4
_FINE = 8  # sub-pixels, for lines thinner than a pixel


def draw_sheet(scenes: Sequence[Scene], path: Path) -> None:
    """Write a PNG: each scene whole, its marker enlarged, with the corners seen at first and those fitted."""
    rows = -(-len(scenes) // _COLUMNS)
    wide, tall = _TILE * 4 // 3 + _GAP, _TILE + _ZOOM + _CAPTION + _GAP
    sheet = Pillow.new("RGB", (2 * _MARGIN + _COLUMNS * wide - _GAP, _HEAD + rows * tall + 12), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((_MARGIN, 24), "One marker, four corners", fill=INK, font=font(24, bold=True))
    draw.text((_MARGIN, 60), "corners by OpenCV, sub-pixel", fill=BAD, font=font(13))
    draw.text((_MARGIN + 210, 60), "fitted to every edge of the print", fill=ACCENT, font=font(13))
    draw.text(
        (_MARGIN + 440, 60),
        "error per axis, root mean square; below right the top left corner of the print, 5 px wide",
        fill=SOFT,
        font=font(13),
    )
    for number, scene in enumerate(scenes):
        x, y = _MARGIN + number % _COLUMNS * wide, _HEAD + number // _COLUMNS * tall
        _draw_scene(sheet, draw, scene, (x, y))
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG", optimize=True)
    write_atomic(path, buffer.getvalue())


def _draw_scene(sheet: Pillow.Image, draw: ImageDraw.ImageDraw, scene: Scene, at: tuple[int, int]) -> None:
    x, y = at
    width = _TILE * 4 // 3
    seen_px, fits = see_markers(scene.rgb, scene.intrinsics)
    whole = Pillow.fromarray(scene.rgb).resize((width, _TILE), Pillow.Resampling.LANCZOS)
    sheet.paste(whole, (x, y))
    truth_px = project(scene.marker.corners_m(), scene.camera_from_block, scene.intrinsics)
    middle, reach = truth_px.mean(axis=0), 0.72 * float(np.ptp(truth_px, axis=0).max())
    corner = [v / scene.intrinsics.width_px * width for v in (*(middle - reach), *(middle + reach))]
    draw.rectangle([x + corner[0], y + corner[1], x + corner[2], y + corner[3]], outline=ACCENT, width=1)
    found, fit = seen_px.get(scene.marker.id), fits.get(scene.marker.id)
    sheet.paste(Pillow.fromarray(_enlarged(scene, middle, reach, _ZOOM, found, fit)), (x, y + _TILE + 4))
    close = _enlarged(scene, truth_px[0], _CLOSE_PX, _CLOSE, found, fit)
    sheet.paste(Pillow.fromarray(close), (x + width - _CLOSE, y + _TILE + 4 + _ZOOM - _CLOSE))
    words = [f"slant {np.degrees(scene.tilt_rad):.0f}\u00b0", f"{100 * scene.distance_m:.0f} cm"]
    words.append(f"blur {scene.blur_px:.1f} px")
    left = x + _ZOOM + 14
    for k, word in enumerate(words):
        draw.text((left, y + _TILE + 4 + 18 * k), word, fill=INK, font=font(12))
    if found is not None and fit is not None:
        for k, (corners, color) in enumerate(((found, BAD), (fit.corners_px, ACCENT))):
            error_px = float(np.sqrt(np.mean((corners - truth_px) ** 2)))
            draw.text((left, y + _TILE + 64 + 18 * k), f"{error_px:.3f} px", fill=color, font=font(12, bold=True))
    elif found is None:
        draw.text((left, y + _TILE + 64), "missed", fill=BAD, font=font(12, bold=True))
    draw.line((x, y + _TILE + _ZOOM + 22, x + width, y + _TILE + _ZOOM + 22), fill=LINE)


def _enlarged(
    scene: Scene,
    middle: NDArray[np.float64],
    reach: float,
    side: int,
    found: NDArray[np.float64] | None,
    fit: PrintFit | None,
) -> NDArray[np.uint8]:
    """Return what lies around a pixel (side, side, 3) with both outlines, pixels as squares."""
    scale = side / (2 * reach)
    to_tile = np.array([[scale, 0.0, side / 2 - scale * middle[0]], [0.0, scale, side / 2 - scale * middle[1]]])
    near = cv2.warpAffine(scene.rgb, to_tile, (side, side), flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
    for corners, color in ((found, (200, 85, 61)), (None if fit is None else fit.corners_px, (29, 95, 168))):
        if corners is None:
            continue
        points = corners @ to_tile[:, :2].T + to_tile[:, 2]
        fixed = np.rint(points * _FINE).astype(np.int32)
        cv2.polylines(near, [fixed], True, color, 1, cv2.LINE_AA, shift=3)
        for point in fixed:
            cv2.circle(near, point.tolist(), 3 * _FINE, color, 1, cv2.LINE_AA, shift=3)
    return np.asarray(near, dtype=np.uint8)


def draw_errors(outcomes: Sequence[Outcome], path: Path) -> None:
    """Write the picture of the block's errors: how they are spread, and by how slanted the marker was seen."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    found = [o for o in outcomes if o.free_m is not None and o.desk_m is not None and o.opencv_m is not None]
    ways = {
        "OpenCV's corners, free": (np.array([o.opencv_m for o in found], dtype=np.float64), BAD),
        "every edge, free in 3-D": (np.array([o.free_m for o in found], dtype=np.float64), ACCENT),
        "every edge, desk known": (np.array([o.desk_m for o in found], dtype=np.float64), GOOD),
    }
    slant_deg = np.degrees([o.tilt_rad for o in found])
    with mpl.rc_context({"font.family": "DejaVu Sans", "font.size": 9, "axes.linewidth": 0.6, "text.color": INK}):
        figure = Figure(figsize=(11.0, 4.5), dpi=130, facecolor="white", layout="constrained")
        figure.suptitle(
            f"Where one 20 mm marker says the block is: {len(outcomes)} pictures, {len(outcomes) - len(found)} missed",
            size=13, weight="bold", x=0.01, ha="left",
        )  # fmt: skip
        shares, slants = figure.subplots(1, 2, width_ratios=(1, 1.25))
        _fill_shares(shares, {name: (1000 * values, color) for name, (values, color) in ways.items()})
        for values, color in ways.values():
            slants.plot(slant_deg, 1000 * values, ".", ms=4, color=color, alpha=0.55, mew=0)
        slants.set(yscale="log", xlim=(0, 60), ylim=(1e-3, 100), xlabel="slant of the marker [\u00b0]")
        slants.set_ylabel("error of the block's centre [mm]")
        slants.grid(color=LINE, lw=0.6)
        write_picture(figure, path)


def _fill_shares(panel: Axes, ways: dict[str, tuple[NDArray[np.float64], str]]) -> None:
    for name, (values_mm, color) in ways.items():
        ordered = np.sort(values_mm)
        panel.plot(ordered, np.arange(1, len(ordered) + 1) / len(ordered), color=color, lw=1.8, label=name)
        panel.plot(np.median(values_mm), 0.5, "o", ms=5, color=color)
    panel.set(xscale="log", xlim=(1e-3, 100), ylim=(0, 1.0), xlabel="error of the block's centre [mm]")
    panel.set_ylabel("share of the pictures with less")
    panel.axhline(0.95, color=SOFT, lw=0.7, ls=":")
    panel.grid(color=LINE, lw=0.6)
    panel.legend(
        frameon=True, facecolor="white", edgecolor="none", loc="upper center", bbox_to_anchor=(0.76, 0.93), fontsize=8.5
    )
