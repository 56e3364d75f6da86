"""The picture of a recording: what was commanded and what came of it, the tool's way, the loop, and what was seen."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image as Pillow

from bridge.encoding import ToolFrame
from bridge.episode_format import Level
from bridge.episode_messages import Picture
from bridge.episode_reader import Episode, read_pictures
from scripts.programs.bus_plot import draw_bus
from scripts.programs.episode_numbers import JointFigures, LoopFigures, period_times_ms, readings, seconds
from scripts.programs.lettering import ACCENT, BAD, GOOD, INK, LINE
from scripts.programs.picture_file import write_picture
from urdf.description import ArmDescription, Rig, load_arm
from urdf.pose import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.gridspec import SubplotSpec

_GREY = "#52606d"
_READ = "#d9480f"
#: Light enough for lines to be read on them.
_PHASE_COLORS = {
    "descend": "#e3edf7", "close": "#fdf0d2", "lift": "#e2f1e7", "hold": "#c9e4d3", "move": "#eceaf6",
}  # fmt: skip
_WIDTH_IN, _JOINT_IN, _HEAD_IN, _STRIP_IN, _FOOT_IN = 13.0, 1.12, 0.95, 2.25, 0.55
_PICTURES = 5


def draw_episode(episode: Episode, joints: Sequence[JointFigures], loop: LoopFigures, path: Path) -> None:
    """Write the picture as what its name ends in; that of the servos where the recording knows of no joint's motion."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    if not episode.header.joint_names or not episode.steps:
        draw_bus(episode, path)
        return
    with mpl.rc_context({
        "font.family": "DejaVu Sans", "font.size": 9, "text.color": INK, "axes.spines.top": False,
        "axes.spines.right": False, "axes.edgecolor": _GREY, "axes.labelcolor": INK, "xtick.color": _GREY,
        "ytick.color": _GREY,
    }):  # fmt: skip
        figure = Figure(dpi=140, facecolor="white")
        _fill(figure, episode, joints, loop)
        write_picture(figure, path)


def _fill(figure: Figure, episode: Episode, joints: Sequence[JointFigures], loop: LoopFigures) -> None:
    pictures = _chosen_pictures(episode)
    strip_in = _STRIP_IN if pictures else 0.0
    body_in = _JOINT_IN * max(len(episode.header.joint_names), 4)
    height_in = _HEAD_IN + body_in + strip_in + _FOOT_IN
    figure.set_size_inches(_WIDTH_IN, height_in)
    _title(figure, episode, height_in)
    bottom = (_FOOT_IN + strip_in) / height_in
    sides = figure.add_gridspec(
        1, 2, left=0.062, right=0.985, top=1 - _HEAD_IN / height_in, bottom=bottom, width_ratios=(1.75, 1), wspace=0.14
    )
    _joint_panels(figure, sides[0], episode, joints)
    right = sides[1].subgridspec(2, 1, height_ratios=(2.1, 1), hspace=0.3)
    _path_panel(figure.add_subplot(right[0]), episode)
    _period_panel(figure.add_subplot(right[1]), episode, loop)
    if pictures:
        row = figure.add_gridspec(
            1, len(pictures), left=0.062, right=0.985, top=(strip_in - 0.42 + 0.1) / height_in, bottom=0.1 / height_in,
            wspace=0.05,
        )  # fmt: skip
        for column, (picture, words) in enumerate(pictures):
            _picture_panel(figure.add_subplot(row[column]), picture, words)


def _title(figure: Figure, episode: Episode, height_in: float) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    header, ending = episode.header, episode.ending
    figure.text(0.012, 1 - 0.3 / height_in, episode.path.stem, size=13, weight="bold")
    told = ending.outcome or ending.ending if ending else "; ".join(episode.remarks) or "it has no end"
    about = f"{header.arm} “{header.robot}”, rig {header.rig}, policy {header.policy}   ·   {told}"
    figure.text(0.012, 1 - 0.53 / height_in, about, size=9.5, color=_GREY if ending else BAD)
    seen = [name for name in _PHASE_COLORS if name in episode.phases]
    handles = [
        Line2D([], [], color=ACCENT, lw=2.0, label="estimated"),
        *(
            [Line2D([], [], color=_READ, marker="o", ms=3, ls="", label="read")]
            if np.isfinite(episode.reading_rad).any()
            else []
        ),
        Line2D([], [], color=INK, lw=0.9, label="sent"),
        *(Patch(facecolor=_PHASE_COLORS[name], label=name) for name in seen),
    ]
    figure.legend(
        handles=handles, loc="upper right", bbox_to_anchor=(0.99, 1 - 0.08 / height_in), ncols=len(handles),
        frameon=False, handlelength=1.6, columnspacing=1.3,
    )  # fmt: skip


# Joints ------------------------------------------------------------------------------------------
def _joint_panels(figure: Figure, place: SubplotSpec, episode: Episode, joints: Sequence[JointFigures]) -> None:
    names = episode.header.joint_names
    rows = place.subgridspec(len(names), 1, hspace=0.28)
    sent_s, state_s = seconds(episode, episode.sent_stamp_ns), seconds(episode, episode.state_stamp_ns)
    panels: list[Axes] = []
    for k, name in enumerate(names):
        panel = figure.add_subplot(rows[k], sharex=panels[0] if panels else None)
        panels.append(panel)
        _shade(panel, sent_s, episode.phases)
        _mark_events(panel, episode, named=k == 0, warned=k == len(names) - 1)
        sent, estimated = np.degrees(episode.sent_rad[:, k]), np.degrees(episode.position_rad[:, k])
        panel.plot(state_s, estimated, color=ACCENT, lw=2.0, solid_capstyle="round", zorder=3)
        read_s, read_rad = readings(episode, k)
        panel.plot(read_s, np.degrees(read_rad), "o", color=_READ, ms=1.8, mew=0, zorder=5)
        panel.plot(sent_s, sent, color=INK, lw=0.8, zorder=4)
        if k < len(joints):
            panel.set_title(_joint_words(joints[k]), loc="right", size=8, color=_GREY, pad=2)
        panel.set_ylabel(f"{name} [°]")
        panel.margins(x=0.01, y=0.14)
        panel.grid(axis="y", color=LINE, lw=0.5)
        panel.set_axisbelow(True)
        panel.tick_params(length=3, labelbottom=k == len(names) - 1)
        if len(sent) and float(np.ptp(sent)) < 2.0:  # a still joint must not look like a wild one
            middle = float(np.mean(sent))
            panel.set_ylim(middle - 2.0, middle + 2.0)
    panels[-1].set_xlabel("time since the recording began [s]")
    figure.align_ylabels(panels)


def _joint_words(joint: JointFigures) -> str:
    words = f"off by {joint.rms_deg:.2f}° rms, {joint.max_deg:.1f}° at most"
    if joint.lag_ms is not None:
        words += f"; {joint.rest_rms_deg:.2f}° once moved forward by {joint.lag_ms:.0f} ms"
    return words


def _shade(panel: Axes, sent_s: Array, phases: Sequence[str]) -> None:
    begin = 0
    for k in range(1, len(phases) + 1):
        if k == len(phases) or phases[k] != phases[begin]:
            color = _PHASE_COLORS.get(phases[begin])
            if color is not None:
                panel.axvspan(float(sent_s[begin]), float(sent_s[min(k, len(phases) - 1)]), color=color, lw=0, zorder=0)
            begin = k


def _mark_events(panel: Axes, episode: Episode, named: bool, warned: bool) -> None:
    """Draw a line where an attempt began, and a mark where something went wrong."""
    attempts = 0
    for event in episode.events:
        at_s = (event.stamp_ns - episode.header.start_clock_ns) * 1e-9
        if event.name == "attempt" and event.text.endswith("begins"):
            attempts += 1
            panel.axvline(at_s, color=_GREY, lw=0.8, ls=(0, (3, 3)), zorder=1)
            if named:
                panel.annotate(
                    str(attempts), (at_s, 1.0), (3, -9), xycoords=("data", "axes fraction"),
                    textcoords="offset points", size=8, weight="bold", color=_GREY,
                )  # fmt: skip
        elif warned and event.level >= Level.WARNING:
            color = BAD if event.level == Level.ERROR else "#c98a00"
            panel.plot(
                [at_s], [0.02], marker="^", ms=5, color=color, mew=0, ls="", transform=panel.get_xaxis_transform(),
                clip_on=False, zorder=6,
            )  # fmt: skip


# The tool's way ------------------------------------------------------------------------------------
def _path_panel(panel: Axes, episode: Episode) -> None:
    from matplotlib.patches import Rectangle

    description = load_arm(episode.header.arm)
    rig = description.rig(episode.header.rig)
    size, center = 1000 * rig.area_size_m, 1000 * rig.area_center_m
    panel.add_patch(Rectangle(tuple(center - size / 2), *size, facecolor="#f5f7fa", edgecolor=LINE, lw=1.0, zorder=0))
    left, far = center + size / 2
    panel.annotate("block area", (left, far), (4, 4), textcoords="offset points", size=7.5, color=_GREY)
    if episode.steps:
        estimated, sent = (_tool_mm(rows, description, rig) for rows in (episode.position_rad, episode.sent_rad))
        panel.plot(*estimated.T, color=ACCENT, lw=2.0, alpha=0.75, solid_capstyle="round", zorder=3)
        panel.plot(*sent.T, color=INK, lw=0.7, zorder=4)
        panel.plot(*estimated[0], "o", ms=6, color="white", mec=ACCENT, mew=1.6, zorder=5)
        panel.plot(*estimated[-1], "o", ms=6, color=ACCENT, mec="white", mew=1.0, zorder=5)
    _draw_blocks(panel, episode, rig)
    panel.set_aspect("equal", adjustable="datalim")
    panel.invert_yaxis()  # the arm stands above, as the camera sees it
    panel.invert_xaxis()
    panel.margins(0.06)
    panel.grid(color=LINE, lw=0.4)
    panel.set_axisbelow(True)
    panel.tick_params(length=3)
    panel.set_xlabel("desk x [mm]", labelpad=2)
    panel.set_ylabel("desk y [mm], the arm is above")
    note = "" if description.sha256 == episode.header.arm_sha256 else ", by an arm described otherwise today"
    panel.set_title(f"tool from above{note}: ○ first, ● last, □ block when an attempt began", loc="left", size=8.5)


def _tool_mm(rows_rad: Array, description: ArmDescription, rig: Rig) -> Array:
    frame = ToolFrame(description, rig)
    return 1000 * np.array([frame.locate(row)[0][:2] for row in rows_rad])


def _draw_blocks(panel: Axes, episode: Episode, rig: Rig) -> None:
    """Draw where the block was seen last before each attempt."""
    begins = [e.stamp_ns for e in episode.events if e.name == "attempt" and e.text.endswith("begins")]
    for number, begin_ns in enumerate(begins, 1):
        seen = np.flatnonzero(episode.block_stamp_ns <= begin_ns)
        if not len(seen):
            continue
        x, y, _ = 1000 * rig.desk_from_base.apply(episode.block_m[seen[-1]])
        panel.plot([x], [y], "s", ms=11, mfc="none", mec=GOOD, mew=1.4, zorder=6)
        panel.annotate(
            str(number), (x, y), (7, 4), textcoords="offset points", size=8, weight="bold", color=GOOD, zorder=7
        )


# The loop ------------------------------------------------------------------------------------------
def _period_panel(panel: Axes, episode: Episode, loop: LoopFigures) -> None:
    periods_ms = period_times_ms(episode)
    wanted_ms = 1e3 * episode.header.period_s
    panel.set_title("time between commands", loc="left", size=8.5)
    if len(periods_ms):
        right = max(2.0 * wanted_ms, float(periods_ms.max()) * 1.05)
        panel.hist(periods_ms, bins=np.linspace(0.0, right, 80).tolist(), color=ACCENT, alpha=0.85)
        panel.set_xlim(0.0, right)
        panel.set_yscale("log")
        panel.set_ylim(bottom=0.7)
        panel.yaxis.set_major_formatter("{x:.0f}")
        panel.axvline(wanted_ms, color=_GREY, lw=1.0, ls=(0, (4, 3)))
        words = (
            f"{loop.rate_hz:.2f} Hz",
            f"p50 {loop.period_p50_ms:.1f} ms",
            f"p99 {loop.period_p99_ms:.1f} ms",
            f"{loop.late_periods} late",
        )
        panel.text(0.99, 0.97, "\n".join(words), transform=panel.transAxes, ha="right", va="top", size=8.5)
    panel.tick_params(length=3)
    panel.set_xlabel("ms; pauses left out", labelpad=2)
    panel.set_ylabel("periods")


# Pictures ------------------------------------------------------------------------------------------
def _chosen_pictures(episode: Episode) -> list[tuple[Picture, str]]:
    """Return some pictures of the first camera with what they show: phases of the first attempt, or just moments."""
    if not episode.picture_stamps_ns or episode.steps == 0:
        return []
    camera, stamps = next(iter(episode.picture_stamps_ns.items()))
    moments = _moments(episode)
    wanted = {int(np.argmin(np.abs(stamps - at_ns))): words for at_ns, words in moments}
    return [(picture, wanted[k]) for k, picture in enumerate(read_pictures(episode, camera)) if k in wanted]


def _moments(episode: Episode) -> list[tuple[int, str]]:
    """Return up to five moments (ns) and what happens then."""
    begins = [
        k for k in range(1, episode.steps) if episode.phases[k] != episode.phases[k - 1] and episode.phases[k] != "done"
    ]
    stamps = episode.sent_stamp_ns
    if len(begins) >= _PICTURES - 1:
        chosen = [(int(stamps[k]), f"{episode.phases[k]} begins") for k in begins[: _PICTURES - 1]]
        after = int(np.searchsorted(stamps, chosen[-1][0] + 700_000_000))
        chosen.append((int(stamps[min(after, len(stamps) - 1)]), f"{episode.phases[begins[3]]}, 0.7 s on"))
    else:
        chosen = [(int(at), "") for at in np.linspace(int(stamps[0]), int(stamps[-1]), _PICTURES)]
    start_ns = episode.header.start_clock_ns
    return [(at, f"{(at - start_ns) * 1e-9:.1f} s" + (f": {words}" if words else "")) for at, words in chosen]


def _picture_panel(panel: Axes, picture: Picture, words: str) -> None:
    panel.imshow(np.asarray(Pillow.open(io.BytesIO(picture.jpeg)).convert("RGB")))
    panel.set_xticks([])
    panel.set_yticks([])
    for spine in panel.spines.values():
        spine.set_visible(True)
        spine.set_edgecolor(LINE)
    panel.set_title(words, loc="left", size=8, color=_GREY, pad=3)
