"""A look through a camera: its newest frame, when pictures came, and the picture that tells of both."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bridge.clock import MonotonicClock
from bridge.errors import StaleFrame
from bridge.ports import Frame
from hardware.cameras.newest import CameraStatistics, NewestCamera
from urdf.pose import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_GREY = "#52606d"
_WIDTH_IN = 11.0
_FIRST_PICTURE_S = 5.0


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen: the last frame, and of every picture when it came and how old it was then (ms)."""

    frame: Frame
    came_ms: Array
    late_ms: Array
    statistics: CameraStatistics

    def in_words(self) -> str:
        """Return the figures in a line."""
        return figures_in_words(self.statistics)


def look(
    camera: NewestCamera, seconds: float, on_frame: Callable[[Frame, float], bool], clock: MonotonicClock | None = None
) -> Look:
    """Look for as long, handing each picture on with the seconds since the first, until `on_frame` has had enough.

    Raises StaleFrame where no picture comes at all.
    """
    clock = clock or MonotonicClock()
    frame = camera.wait(_FIRST_PICTURE_S)
    began_ns = clock.now_ns()
    times: list[tuple[float, float]] = []
    while True:
        now_ns = clock.now_ns()
        at_s = (now_ns - began_ns) * 1e-9
        times.append((at_s * 1e3, (now_ns - frame.stamp_ns) * 1e-6))
        if not on_frame(frame, at_s) or at_s >= seconds:
            break
        try:
            frame = camera.wait(max(seconds - at_s, 0.01), after=frame)
        except StaleFrame:
            break
    came_ms, late_ms = np.array(times).T
    return Look(frame, came_ms, late_ms, camera.statistics())


def figures_in_words(s: CameraStatistics) -> str:
    """Return a camera's figures in a line."""
    text = f"{s.width_px}x{s.height_px} px" + (" with depth" if s.has_depth else "")
    if s.rate_hz is None:
        return f"{text}, {s.pictures} picture{'s' if s.pictures != 1 else ''}"
    text += f", {s.rate_hz:.1f} pictures/s, from capture to here {s.latency_p50_ms:.1f} ms"
    text += f" (95 % within {s.latency_p95_ms:.1f} ms)"
    return text + (f", lost {s.lost} times" if s.lost > 1 else ", lost once" if s.lost else "")


def default_picture(name: str, data: Path) -> Path:
    """Return where the picture of a look goes unless said otherwise."""
    return data / "plots" / f"camera_{name}.png"


def draw_look(seen: Look, title: str, path: Path) -> None:
    """Write the picture: what was seen, depth beside it where there is some, and when pictures came."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    from scripts.programs.lettering import INK
    from scripts.programs.picture_file import write_picture

    with mpl.rc_context({
        "font.family": "DejaVu Sans", "font.size": 9, "text.color": INK, "axes.spines.top": False,
        "axes.spines.right": False, "axes.edgecolor": _GREY, "axes.labelcolor": INK, "xtick.color": _GREY,
        "ytick.color": _GREY,
    }):  # fmt: skip
        figure = Figure(dpi=140, facecolor="white")
        _fill(figure, seen, title)
        write_picture(figure, path)


def _fill(figure: Figure, seen: Look, title: str) -> None:
    depth_m = seen.frame.depth_m
    height_px, width_px = seen.frame.rgb.shape[:2]
    columns = 1 if depth_m is None else 2
    picture_in = (_WIDTH_IN - 0.7) / columns * height_px / width_px if columns == 2 else 5.6
    height_in = 0.95 + picture_in + 2.1
    figure.set_size_inches(_WIDTH_IN, height_in)
    figure.text(0.03, 1 - 0.42 / height_in, f"Camera {title}", size=15, weight="bold")
    figure.text(0.03, 1 - 0.68 / height_in, f"{seen.in_words()}.  {_lens(seen.frame)}", size=9.5, color=_GREY)
    upper = figure.add_gridspec(
        1, columns, left=0.03, right=0.97, top=1 - 0.85 / height_in, bottom=2.2 / height_in, wspace=0.04
    )
    panel = figure.add_subplot(upper[0])
    panel.imshow(seen.frame.rgb)
    panel.set_axis_off()
    if depth_m is not None:
        _depth(figure, figure.add_subplot(upper[1]), depth_m)
    lower = figure.add_gridspec(1, 2, left=0.07, right=0.97, top=1.6 / height_in, bottom=0.5 / height_in, wspace=0.2)
    _bars(figure.add_subplot(lower[0]), np.diff(seen.came_ms), "between two pictures (ms)")
    _bars(figure.add_subplot(lower[1]), seen.late_ms, "from capture to here (ms)")


def _lens(frame: Frame) -> str:
    i = frame.intrinsics
    if not i.is_known:
        return "Not calibrated: tandem calibrate camera"
    return f"Focal length {i.fx_px:.0f} px, {i.model} lens"


def _depth(figure: Figure, panel: Axes, depth_m: np.ndarray) -> None:
    seen_m = depth_m[depth_m > 0]
    near_m, far_m = np.quantile(seen_m, (0.01, 0.99)) if seen_m.size else (0.0, 1.0)
    shown = np.ma.masked_less_equal(depth_m, 0.0)
    panel.set_facecolor("#58616e")
    image = panel.imshow(shown, cmap="magma_r", vmin=near_m, vmax=max(far_m, near_m + 1e-3))
    panel.set_xticks([])
    panel.set_yticks([])
    bar = figure.colorbar(image, ax=panel, fraction=0.035, pad=0.02)
    bar.outline.set_visible(False)  # type: ignore[operator]
    bar.set_label("depth (m)")
    holes = 100 * float(np.mean(depth_m <= 0))
    panel.set_xlabel(f"{holes:.1f} % of the pixels are holes", color=_GREY)


def _bars(panel: Axes, values_ms: Array, label: str) -> None:
    from scripts.programs.lettering import ACCENT, BAD

    panel.set_xlabel(label)
    panel.set_yticks([])
    panel.spines["left"].set_visible(False)
    if values_ms.size == 0:
        return
    most = max(float(np.quantile(values_ms, 0.99)) * 1.3, 1.0)
    panel.hist(np.minimum(values_ms, most), bins=60, range=(0.0, most), color=ACCENT)
    limit = float(np.quantile(values_ms, 0.95))
    panel.axvline(limit, color=BAD, linewidth=1.2)
    room = 0.01 * most
    panel.text(limit + room, panel.get_ylim()[1] * 0.92, f"95 % {limit:.1f}", color=BAD, va="top", size=8.5)
    panel.set_xlim(0.0, most)


class HalfBlocks:
    """Draws pictures into a terminal, again and again in one place: a character is two pixels, in 24-bit colours."""

    def __init__(self, columns: int, write: Callable[[str], object], every_s: float = 0.2) -> None:
        self._columns, self._write, self._every_s = columns, write, every_s
        self._rows = 0
        self._drawn_s = -every_s

    def show(self, frame: Frame) -> None:
        """Draw it, unless the last one was drawn a moment ago."""
        now_s = time.monotonic()
        if now_s - self._drawn_s < self._every_s:
            return
        self._drawn_s = now_s
        lines = half_blocks(frame.rgb, self._columns)
        back = f"\x1b[{self._rows}F" if self._rows else ""
        self._rows = len(lines)
        self._write(back + "\n".join(lines) + "\n")


def half_blocks(rgb: np.ndarray, columns: int) -> list[str]:
    """Return the lines of a terminal that show a picture (H, W, 3) as many characters wide."""
    import cv2

    rows = max(1, round(columns * rgb.shape[0] / rgb.shape[1] / 2))
    small = np.asarray(cv2.resize(rgb, (columns, 2 * rows), interpolation=cv2.INTER_AREA))
    lines: list[str] = []
    for upper, lower in zip(small[::2], small[1::2], strict=True):
        cells = [
            f"\x1b[38;2;{u[0]};{u[1]};{u[2]}m\x1b[48;2;{v[0]};{v[1]};{v[2]}m▀"
            for u, v in zip(upper, lower, strict=True)
        ]
        lines.append("".join(cells) + "\x1b[0m")
    return lines
