"""The picture of a recording that knows no joints: where each servo was sent, and where it said that it was."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bridge.episode_reader import Episode
from scripts.programs.episode_numbers import seconds
from scripts.programs.lettering import ACCENT, INK, LINE
from scripts.programs.picture_file import write_picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDTH_IN, _PANEL_IN, _EDGES_IN = 10.0, 1.2, 1.3
#: A still servo must not look like a wild one.
_LEAST_TICKS = 20.0


def draw_bus(episode: Episode, path: Path) -> None:
    """Write the picture as what its name ends in."""
    from matplotlib.figure import Figure

    ids = sorted({i for write in episode.bus_sent for i in write.servo_ids} | {r.servo_id for r in episode.bus_read})
    figure = Figure(figsize=(_WIDTH_IN, _EDGES_IN + _PANEL_IN * max(len(ids), 1)), dpi=140, facecolor="white")
    panels = figure.subplots(max(len(ids), 1), 1, sharex=True, squeeze=False)[:, 0]
    for panel, servo_id in zip(panels, ids, strict=False):
        _servo_panel(panel, episode, servo_id)
    panels[0].set_title(f"{episode.path.stem}: servos on {episode.header.robot}, in counts", loc="left", size=10)
    panels[-1].set_xlabel("time since the recording began [s]")
    if ids:
        panels[0].legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, frameon=False, fontsize=8)
    figure.tight_layout()
    write_picture(figure, path)


def _servo_panel(panel: Axes, episode: Episode, servo_id: int) -> None:
    sent = [(w.stamp_ns, w.ticks[w.servo_ids.index(servo_id)]) for w in episode.bus_sent if servo_id in w.servo_ids]
    read = [(r.stamp_ns, r.ticks) for r in episode.bus_read if r.servo_id == servo_id]
    for rows, name in ((read, "read"), (sent, "sent")):
        at_s = seconds(episode, np.array([stamp_ns for stamp_ns, _ in rows], dtype=np.int64))
        ticks = np.array([value for _, value in rows], dtype=np.float64)
        if name == "read":
            panel.plot(at_s, ticks, "o", color=ACCENT, ms=2.5, mew=0, label=name)
        else:
            panel.step(at_s, ticks, where="post", color=INK, lw=0.9, label=name)
    values = [ticks for _, ticks in (*sent, *read)]
    middle, half = (max(values) + min(values)) / 2, max((max(values) - min(values)) * 0.6, _LEAST_TICKS / 2)
    panel.set_ylim(middle - half, middle + half)
    panel.set_ylabel(f"servo {servo_id}")
    panel.grid(axis="y", color=LINE, lw=0.5)
    panel.set_axisbelow(True)
