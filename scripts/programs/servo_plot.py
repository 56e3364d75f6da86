"""The picture of `tandem calibrate servos --camera`: what was seen, what was found, and how well it fits."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from calibration.actuator import ServoErrors
from calibration.lens import project_camera
from calibration.marker_chain import MarkerChain, Placing, square_m
from calibration.servo_vision import ServoVisionFit
from calibration.servo_vision_file import ServoVisionReport
from scripts.programs.lettering import ACCENT, BAD, GOOD, INK, LINE, SOFT
from scripts.programs.picture_file import write_picture
from scripts.programs.servo_sight import Sights, SightSetup
from urdf.pose import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, slots=True)
class SightPicture:
    """What is drawn."""

    robot: str
    setup: SightSetup
    seen: Sights
    fit: ServoVisionFit
    report: ServoVisionReport


def draw_sight(picture: SightPicture, path: Path) -> None:
    """Draw and write it."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"font.family": "DejaVu Sans", "font.size": 9.5, "text.color": INK, "axes.edgecolor": LINE}):
        figure = Figure((12.4, 6.6), dpi=140, facecolor="white")
        report, fit = picture.report, picture.fit
        figure.text(0.03, 0.945, f"The servos of “{picture.robot}”, as the camera saw them", size=14, weight="bold")
        held = f"   Left as they were: {', '.join(fit.held)}." if fit.held else ""
        figure.text(
            0.03, 0.905, f"{report.samples} poses, {len(report.dropped)} of them left out; corners fit to "
            f"{report.residual:.2f} px, joints to {math.degrees(report.unexplained_rad):.2f}°.{held}",
            size=9.5, color="#52606d",
        )  # fmt: skip
        _draw_scene(figure.add_axes((0.03, 0.14, 0.44, 0.71)), picture)
        names = [j.joint for j in report.joints]
        zeros = [(math.degrees(j.zero_rad), math.degrees(j.zero_std_rad), j.zero_held) for j in report.joints]
        scales = [(100 * (j.scale - 1), 100 * j.scale_std, j.scale_held) for j in report.joints]
        _draw_numbers(figure.add_axes((0.555, 0.55, 0.19, 0.28)), names, zeros, "zero was off", "°")
        _draw_numbers(figure.add_axes((0.79, 0.55, 0.19, 0.28)), [""] * len(names), scales, "scale was off", " %")
        _draw_residuals(figure.add_axes((0.555, 0.14, 0.425, 0.27)), picture)
        write_picture(figure, path)


def _draw_scene(panel: Axes, picture: SightPicture) -> None:
    """Draw the camera's last picture with every marker seen, and where the servos of before and now would have it."""
    seen, fit = picture.seen, picture.fit
    lens = seen.intrinsics
    assert lens is not None
    if seen.picture is not None:
        panel.imshow(255 - (255 - seen.picture) // 2)
    count = len(fit.errors.zero_rad)
    before = _pixels(picture, ServoErrors.none(count), fit.placing)
    after = _pixels(picture, fit.errors, fit.placing)
    for number, (was, now, there) in enumerate(zip(before, after, seen.corners_px, strict=True)):
        color = BAD if number in fit.dropped else GOOD
        _quad(panel, was, SOFT, 0.9, "-")
        _quad(panel, now, color, 1.6, "-")
        panel.plot(*there.T, ".", color=INK, ms=3.2, zorder=4)
    panel.set_xlim(0, lens.width_px)
    panel.set_ylim(lens.height_px, 0)
    panel.set_xticks([])
    panel.set_yticks([])
    for label, color, mark in (
        ("corners seen", INK, "."), ("expected with the new numbers", GOOD, "-"), ("with those of before", SOFT, "-"),
    ):  # fmt: skip
        panel.plot([], [], mark, color=color, label=label, ms=6)
    panel.legend(loc="upper center", bbox_to_anchor=(0.5, -0.01), ncols=3, frameon=False, fontsize=9)


def _quad(panel: Axes, corners: Array, color: str, width: float, style: str) -> None:
    closed = np.concatenate([corners, corners[:1]])
    panel.plot(*closed.T, style, color=color, lw=width, solid_joinstyle="round")


def _pixels(picture: SightPicture, errors: ServoErrors, placing: Placing) -> Array:
    """Return where the corners (n, 4, 2) would be if the servos erred so, through the lens."""
    setup, lens = picture.setup, picture.seen.intrinsics
    assert lens is not None
    chain = MarkerChain(setup.description, square_m(setup.marker.size_m))
    servo_rad = np.array([s.servo_rad for s in picture.seen.samples])
    image = chain.see(errors.scale * servo_rad + errors.zero_rad, placing).image
    return project_camera(np.concatenate([image, np.ones((*image.shape[:2], 1))], axis=-1), lens)


def _draw_numbers(
    panel: Axes, names: list[str], numbers: list[tuple[float, float, bool]], title: str, unit: str
) -> None:
    """Draw what each servo was off by, with two standard deviations; hollow where it was left as it was."""
    reach = max(max(abs(v) + 2 * s for v, s, held in numbers if not held), 1e-3) if numbers else 1.0
    for row, (value, std, held) in enumerate(numbers):
        panel.axhline(row, color=LINE, lw=0.8, zorder=0)
        if held:
            panel.plot(0.0, row, "o", mfc="white", mec=SOFT, ms=7)
            panel.text(0.06 * reach, row - 0.28, "held", size=8.5, color="#7b8794", va="center")
            continue
        panel.errorbar(value, row, xerr=2 * std, fmt="o", color=ACCENT, ms=6, lw=1.8, capsize=3)
        panel.text(value, row - 0.34, f"{value:+.2f} ± {std:.2f}{unit}", size=8, ha="center", va="center", color=INK)
    panel.axvline(0.0, color=SOFT, lw=1.0, zorder=0)
    panel.set_ylim(len(numbers) - 0.5, -0.75)
    panel.set_xlim(-1.35 * reach, 1.35 * reach)
    panel.set_yticks(range(len(names)), names)
    panel.tick_params(length=0, labelsize=9)
    panel.set_title(f"{title}, ± is one deviation", size=9.5, loc="left", color=INK)
    for side in panel.spines.values():
        side.set_visible(False)


def _draw_residuals(panel: Axes, picture: SightPicture) -> None:
    """Draw every sample's corner error, before (with camera and marker where they are now known to be) and after."""
    from matplotlib.ticker import MaxNLocator

    seen, fit = picture.seen, picture.fit
    assert seen.intrinsics is not None
    before = _pixels(picture, ServoErrors.none(len(fit.errors.zero_rad)), fit.placing)
    old_px = np.sqrt(np.mean((before - np.array(seen.corners_px)) ** 2, axis=(1, 2)))
    new_px = np.maximum(fit.residual * seen.intrinsics.fx_px, 1e-2)
    numbers = np.arange(1, len(new_px) + 1)
    panel.vlines(numbers, new_px, old_px, color=LINE, lw=1.2)
    panel.plot(numbers, old_px, "o", color=SOFT, ms=4)
    kept = np.array([k not in fit.dropped for k in range(len(new_px))])
    panel.plot(numbers[kept], new_px[kept], "o", color=GOOD, ms=5)
    panel.plot(numbers[~kept], new_px[~kept], "X", color=BAD, ms=7)
    panel.set_yscale("log")
    panel.yaxis.set_major_formatter("{x:g}")
    panel.set_xlim(0.2, len(new_px) + 0.8)
    panel.set_xlabel("sample")
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.set_title(
        "corner error of every sample [px], before (grey) and after; crosses: left out",
        size=9.5,
        loc="left",
        color=INK,
    )
    panel.grid(axis="y", color=LINE, lw=0.6)
    panel.set_axisbelow(True)
    panel.tick_params(length=0, labelsize=9)
    for side in panel.spines.values():
        side.set_visible(False)
