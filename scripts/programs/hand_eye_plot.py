"""The picture of `tandem calibrate hand-eye`: camera and board, how well each sample agrees, how sure that is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from calibration.hand_eye import HandEyeResult
from calibration.hand_eye_model import HandEyeGuess, HandEyeModel
from calibration.hand_eye_routine import HandEyeSetup
from calibration.hand_eye_sample import HandEyeSample, Mount
from scripts.programs.lettering import ACCENT, BAD, GOOD, INK, LINE, SOFT
from scripts.programs.picture_file import write_picture
from urdf.pose import Array, Pose

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_GREY = "#52606d"
_LOOK_M = 0.03


@dataclass(frozen=True, slots=True, eq=False)
class HandEyePicture:
    """What is drawn."""

    setup: HandEyeSetup
    found: HandEyeResult
    samples: Sequence[HandEyeSample]


def draw_hand_eye(picture: HandEyePicture, path: Path) -> None:
    """Draw and write it."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"font.family": "DejaVu Sans", "font.size": 9.5, "text.color": INK, "axes.edgecolor": LINE}):
        figure = Figure((12.4, 7.0), dpi=140, facecolor="white")
        setup, found = picture.setup, picture.found
        where = "in the hand" if found.mount is Mount.EYE_IN_HAND else "before the arm"
        figure.text(
            0.03, 0.945, f"Where the camera “{setup.camera}” of “{setup.serial}” is: {where}", size=14, weight="bold"
        )
        figure.text(0.03, 0.905, _sentence(found), size=9.5, color=_GREY)
        poses = _poses(picture)
        _draw_view(figure.add_axes((0.06, 0.525, 0.395, 0.315)), picture, poses, (0, 1), "from above")
        _draw_view(figure.add_axes((0.06, 0.09, 0.395, 0.315)), picture, poses, (1, 2), "from the side")
        _draw_left_out(figure.add_axes((0.52, 0.50, 0.455, 0.34)), found)
        _draw_corners(figure.add_axes((0.52, 0.09, 0.20, 0.33)), picture)
        _draw_sigmas(figure.add_axes((0.80, 0.09, 0.175, 0.33)), found)
        write_picture(figure, path)


def _sentence(found: HandEyeResult) -> str:
    bad = [s.name for s in found.samples if s.is_bad]
    text = (
        f"Known to {1000 * found.position_sigma_m:.2f} mm and {math.degrees(found.rotation_sigma_rad):.3f}° (one "
        f"deviation). {len(found.good)} samples, turned by up to {math.degrees(found.span.largest_rad):.0f}°; corners "
        f"to {found.pixel_px:.2f} px, joints {found.joint_factor:.1f} times their reading's noise."
    )
    return text + (f" Left out: {', '.join(bad)}." if bad else "")


def _poses(picture: HandEyePicture) -> list[tuple[Pose, Pose, bool]]:
    """Return base_from_camera, base_from_board and whether it counted, of every sample."""
    found, arm = picture.found, picture.setup.description
    good = {s.name for s in found.good}
    poses: list[tuple[Pose, Pose, bool]] = []
    for sample in picture.samples:
        tool = arm.base_from_tool(sample.joints_rad + found.offset_rad)
        if found.mount is Mount.EYE_IN_HAND:
            poses.append((tool @ found.pose, found.board, sample.name in good))
        else:
            poses.append((found.pose, tool @ found.board, sample.name in good))
    return poses


def _draw_view(
    panel: Axes, picture: HandEyePicture, poses: list[tuple[Pose, Pose, bool]], axes: tuple[int, int], title: str
) -> None:
    """Draw camera, arm and board of every sample, along two of the base's axes [mm]."""
    a, b = axes
    arm = picture.setup.description
    links = [j.child for j in arm.chain.joints if j.name in arm.joint_names[:-1]]
    edge_m = _outline(np.concatenate([s.object_m for s in picture.samples]))
    for sample, (camera, board, counted) in zip(picture.samples, poses, strict=True):
        angles = dict(zip(arm.joint_names, sample.joints_rad.tolist(), strict=False))
        frames = arm.chain.link_matrices(angles)
        tip = arm.base_from_tool(sample.joints_rad).position_m
        line = 1000 * np.array([np.zeros(3), *(frames[name][:3, 3] for name in links), tip])
        panel.plot(line[:, a], line[:, b], "-", color=SOFT, lw=1.6, alpha=0.28, solid_joinstyle="round", zorder=1)
        color = GOOD if counted else BAD
        sight = 1000 * camera.apply([[0.0, 0.0, 0.0], [0.0, 0.0, _LOOK_M]])
        panel.plot(sight[:, a], sight[:, b], "-", color=color, lw=1.5, zorder=4)
        panel.plot(sight[0, a], sight[0, b], "o", color=color, ms=4.5, mec="white", mew=0.6, zorder=5)
        outline = 1000 * board.apply(edge_m)
        panel.plot(outline[:, a], outline[:, b], "-", color=ACCENT, lw=1.1, alpha=0.65, zorder=3)
    panel.plot(0, 0, "s", color=INK, ms=6, zorder=6)
    panel.set_aspect("equal", adjustable="datalim")
    panel.set_title(f"{title}: camera (green, the way it looks), board (blue), arm (grey)", size=9.5, loc="left")
    panel.set_xlabel(f"{'xyz'[a]} of the base [mm]", size=8.5, color=_GREY, labelpad=1)
    panel.set_ylabel(f"{'xyz'[b]} [mm]", size=8.5, color=_GREY, labelpad=1)
    _quiet(panel)
    panel.grid(color=LINE, lw=0.5)


def _outline(object_m: Array) -> Array:
    """Return the closed rectangle (5, 3) around a board's points, in their own plane."""
    middle = object_m.mean(axis=0)
    axes = np.linalg.svd(object_m - middle, full_matrices=False)[2][:2]
    along = (object_m - middle) @ axes.T
    (u0, v0), (u1, v1) = along.min(axis=0), along.max(axis=0)
    return middle + np.array([[u0, v0], [u1, v0], [u1, v1], [u0, v1], [u0, v0]]) @ axes


def _draw_left_out(panel: Axes, found: HandEyeResult) -> None:
    """Draw how far each sample is from where the others expect it."""
    for k, sample in enumerate(found.samples):
        color = BAD if sample.is_bad else ACCENT
        panel.bar(k, 1000 * sample.left_out_m, width=0.66, color=color, alpha=0.9)
        panel.text(
            k, 1000 * sample.left_out_m, f"{math.degrees(sample.left_out_rad):.2f}°", ha="center", va="bottom",
            size=7.5, color=color, zorder=4, bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6},
        )  # fmt: skip
    median = 1000 * found.left_out_m()
    panel.axhline(median, color=INK, lw=0.9, ls=(0, (4, 3)), zorder=3)
    label = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
    panel.text(len(found.samples) + 2.2, median, f"median {median:.2f}", ha="right", va="center", size=8.5, bbox=label)
    panel.set_xticks(range(len(found.samples)), [s.name for s in found.samples])
    panel.set_xlim(-0.7, len(found.samples) + 2.3)
    worst = 1000 * max(s.left_out_m for s in found.samples)
    if worst > 12 * median:
        panel.set_yscale("symlog", linthresh=4 * median)
        panel.yaxis.set_major_formatter("{x:g}")
    panel.margins(y=0.16)
    panel.set_title(
        "each sample left out: how far the board is from where the others expect it [mm]", size=9.5, loc="left"
    )
    _quiet(panel)
    panel.grid(axis="y", color=LINE, lw=0.6)


def _draw_corners(panel: Axes, picture: HandEyePicture) -> None:
    """Draw every corner's error [px] at the solution; what the joints' noise moves, it moves together."""
    found, setup = picture.found, picture.setup
    model = HandEyeModel(setup.description, found.mount, picture.samples, setup.intrinsics)
    seen = model.look(HandEyeGuess(found.pose, found.board, found.offset_rad))
    good = {s.name for s in found.good}
    spread = 1.0
    if seen is not None:
        errors = [view.residual_px.reshape(-1, 2) for view in seen]
        counted = np.concatenate([e for e, s in zip(errors, picture.samples, strict=True) if s.name in good])
        spread = max(1.3 * float(np.percentile(np.abs(counted), 99)), 0.3)
        for error, sample in zip(errors, picture.samples, strict=True):
            color = ACCENT if sample.name in good else BAD
            panel.plot(*np.clip(error, -spread, spread).T, ".", color=color, ms=2.6, alpha=0.45)
    panel.axhline(0, color=SOFT, lw=0.8, zorder=0)
    panel.axvline(0, color=SOFT, lw=0.8, zorder=0)
    panel.set_xlim(-spread, spread)
    panel.set_ylim(spread, -spread)
    panel.locator_params(nbins=5)
    panel.set_aspect("equal")
    panel.set_title("corners: seen less expected [px]", size=9.5, loc="left")
    _quiet(panel)
    panel.grid(color=LINE, lw=0.5)


def _draw_sigmas(panel: Axes, found: HandEyeResult) -> None:
    """Draw to what each of the six numbers is known, and where the closed form was."""
    sigmas = np.sqrt(np.diag(found.covariance)) * np.array([1000.0] * 3 + [180 / math.pi * 10] * 3)
    names = ["x", "y", "z", "about x", "about y", "about z"]
    for row, (name, sigma) in enumerate(zip(names, sigmas, strict=True)):
        panel.barh(row, sigma, height=0.6, color=ACCENT if row < 3 else GOOD, alpha=0.9)
        told = f"{sigma:.2f} mm" if row < 3 else f"{sigma / 10:.3f}°"
        panel.text(sigma, row, f"  {told}", va="center", size=8.5)
        panel.text(0, row, f"{name}  ", va="center", ha="right", size=9)
    panel.set_ylim(5.6, -0.6)
    panel.set_xlim(0, 1.55 * float(sigmas.max()))
    panel.set_xticks([])
    panel.set_yticks([])
    panel.set_title("one standard deviation", size=9.5, loc="left")
    _quiet(panel)


def _quiet(panel: Axes) -> None:
    panel.tick_params(length=0, labelsize=8.5, colors=_GREY)
    panel.set_axisbelow(True)
    for side in panel.spines.values():
        side.set_visible(False)
