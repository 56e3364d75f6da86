"""A look through a camera: its newest frame, when pictures came, and the picture that tells of both."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
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
        read = np.quantile(self.late_ms, (0.5, 0.95)).tolist()  # what the picture shows, not what came and went unread
        return figures_in_words(replace(self.statistics, latency_p50_ms=read[0], latency_p95_ms=read[1]))


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
    """Colours alone leave room for the figures at their right; with depth beside them the figures go below."""
    depth_m = seen.frame.depth_m
    height_px, width_px = seen.frame.rgb.shape[:2]
    share = 0.64 if depth_m is None else 0.465
    picture_in = min(share * _WIDTH_IN * height_px / width_px, 7.0)
    below_in = 0.35 if depth_m is None else 2.65
    height_in = 0.9 + max(picture_in, 2.6) + below_in
    figure.set_size_inches(_WIDTH_IN, height_in)
    figure.text(0.025, 1 - 0.4 / height_in, f"Camera {title}", size=15, weight="bold")
    figure.text(0.025, 1 - 0.67 / height_in, f"{seen.in_words()}.  {_lens(seen.frame)}", size=9.5, color=_GREY)
    top, bottom = 1 - 0.88 / height_in, below_in / height_in
    panel = figure.add_axes((0.025, bottom, share, top - bottom))
    panel.imshow(seen.frame.rgb)
    panel.set_anchor("NW")
    panel.set_axis_off()
    if depth_m is None:
        room = figure.add_gridspec(
            2, 1, left=0.7, right=0.975, top=top, bottom=bottom + 0.45 / height_in, hspace=0.75 / (height_in * 0.35)
        )
    else:
        _depth(figure, (0.505, bottom, share, top - bottom), depth_m)
        room = figure.add_gridspec(
            1, 2, left=0.05, right=0.975, top=1.65 / height_in, bottom=0.5 / height_in, wspace=0.12
        )
    _bars(figure.add_subplot(room[0]), np.diff(seen.came_ms), "between two pictures (ms)")
    _bars(figure.add_subplot(room[1]), seen.late_ms, "from capture to whoever reads (ms)")


def _lens(frame: Frame) -> str:
    i = frame.intrinsics
    if not i.is_known:
        return "Not calibrated: tandem calibrate camera"
    return f"Focal length {i.fx_px:.0f} px, {i.model} lens"


def _depth(figure: Figure, place: tuple[float, float, float, float], depth_m: np.ndarray) -> None:
    """Draw depth, the nearest bright, a hole gray, and its scale under it."""
    height_in = figure.get_figheight()
    seen_m = depth_m[depth_m > 0]
    near_m, far_m = np.quantile(seen_m, (0.01, 0.99)) if seen_m.size else (0.0, 1.0)
    panel = figure.add_axes(place)
    panel.set_anchor("NW")
    panel.set_facecolor("#58616e")
    shown = np.ma.masked_less_equal(depth_m, 0.0)
    image = panel.imshow(shown, cmap="magma_r", vmin=near_m, vmax=max(far_m, near_m + 1e-3))
    panel.set_xticks([])
    panel.set_yticks([])
    for spine in panel.spines.values():
        spine.set_visible(False)
    scale = (place[0], place[1] - 0.2 / height_in, place[2], 0.1 / height_in)
    bar = figure.colorbar(image, cax=figure.add_axes(scale), orientation="horizontal")
    bar.outline.set_visible(False)  # type: ignore[operator]
    bar.set_label(f"depth (m); holes: {100 * float(np.mean(depth_m <= 0)):.1f} % of the pixels")


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
    paper = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}  # bars may be beside it
    panel.text(limit + room, panel.get_ylim()[1] * 0.92, f"95 % {limit:.1f}", color=BAD, va="top", size=8.5, bbox=paper)
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
