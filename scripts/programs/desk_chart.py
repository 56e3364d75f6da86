"""Desk chart: where tool, object and goal are, in letters, for a terminal without a window."""

from __future__ import annotations

import cv2
import numpy as np
from rich.console import Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from bridge.pick_place import PickPlaceAttempt
from bridge.reach import ReachAttempt
from scripts.programs.footage import Image
from scripts.programs.keyboard_policy import Situation, help_line
from scripts.programs.view_tiles import ViewPainter
from sim.env import ArmEnv
from urdf.pose import Array

_COLUMNS, _ROWS = 44, 15
_PICTURE_COLUMNS = 30
_HALF_BLOCK = "▀"


class DeskChart:
    """Draws one environment from above as text, the arm below the lower edge, and its first camera view beside it."""

    def __init__(self, env: ArmEnv, colors: bool = True) -> None:
        self._env = env
        rig = env.rig
        home_m = rig.desk_from_base.apply(env.description.base_from_tool(rig.home_rad).position_m)[:2]
        lower_m, upper_m = rig.area_center_m - rig.area_size_m / 2, rig.area_center_m + rig.area_size_m / 2
        if isinstance(env.attempt, ReachAttempt):
            lower_m, upper_m = rig.reach_lower_m[:2], rig.reach_upper_m[:2]
        lower, upper = np.minimum(lower_m, home_m), np.maximum(upper_m, home_m)
        # Letters are twice as high as wide.
        self._metres = float(max((upper[0] - lower[0]) / (_COLUMNS - 4), (upper[1] - lower[1]) / (2 * (_ROWS - 4))))
        self._middle = (lower + upper) / 2
        self._frame = (lower_m, upper_m)
        # Without colours a picture of half blocks shows nothing.
        views = env.observer.spec.views if colors else ()
        self._painter = next((ViewPainter(view, env.description, env.rig) for view in views), None)

    def draw(self, situation: Situation, remark: str) -> Panel:
        """Return the chart of this moment."""
        row = Table.grid(padding=(0, 2))
        cells = [self._map()]
        if self._painter is not None:
            camera = self._env.observer.cameras[self._painter.view.key]
            cells.append(half_blocks(self._painter.paint(camera.read()).picture, _PICTURE_COLUMNS))
        row.add_row(*cells)
        keys = Text(help_line(self._env.action_layout), style="dim")
        env = self._env
        title = f"{env.description.name} {type(env.task).__name__.removesuffix('Task')}, {remark}"
        return Panel(Group(row, self._numbers(situation), keys), title=title, title_align="left", expand=False)

    def _map(self) -> Text:
        env, (lower_m, upper_m) = self._env, self._frame
        letters = [[(" ", "")] * _COLUMNS for _ in range(_ROWS)]

        def put(point_m: Array, letter: str, style: str) -> None:
            column = round(_COLUMNS / 2 + (point_m[0] - self._middle[0]) / self._metres)
            line = round(_ROWS / 2 - (point_m[1] - self._middle[1]) / (2 * self._metres))
            if 0 <= column < _COLUMNS and 0 <= line < _ROWS:
                letters[line][column] = (letter, style)

        for share in np.linspace(0.0, 1.0, 61):
            for side in (0.0, 1.0):
                put(lower_m + (upper_m - lower_m) * [share, side], "·", "dim")
                put(lower_m + (upper_m - lower_m) * [side, share], "·", "dim")
        put(np.zeros(2), "◎", "dim")
        goal_m = self.goal_m()
        if goal_m is not None:
            put(goal_m[:2], "x", "bold blue")
        if not isinstance(env.attempt, ReachAttempt):
            put(env.world.block_pose().position_m[:2], "■", "yellow")
        put(env.world.tool_pose().position_m[:2], "+", "bold red")
        return Text("\n").join(Text.assemble(*line) for line in letters)

    def goal_m(self) -> Array | None:
        """Return where tool or object is to go (3,), None where the task has no such place."""
        attempt = self._env.attempt
        return attempt.goal_m if isinstance(attempt, ReachAttempt | PickPlaceAttempt) else None

    def _numbers(self, situation: Situation) -> Text:
        env = self._env
        parts = [("+ tool ", "bold red"), (_millimetres(env.world.tool_pose().position_m), "")]
        if not isinstance(env.attempt, ReachAttempt):
            parts += [("   ■ object ", "yellow"), (_millimetres(env.world.block_pose().position_m), "")]
        goal_m = self.goal_m()
        if goal_m is not None:
            parts += [("   x goal ", "bold blue"), (_millimetres(goal_m), "")]
        opening_mm = 1000 * env.description.gripper.opening_m(env.robot.read_state().position_rad[-1])
        parts += [
            (
                f"\ndecision {situation.decisions}, {env.robot.now_ns() * 1e-9:.2f} s, jaws {opening_mm:.0f} mm apart",
                "",
            ),
            (", closing" if situation.closing else "", "bold"),
        ]
        return Text.assemble(*parts)


def _millimetres(position_m: Array) -> str:
    x, y, z = 1000 * position_m
    return f"({x:+.0f} {y:+.0f} {z:+.0f}) mm"


def half_blocks(picture: Image, columns: int) -> Text:
    """Return a picture as text, two pixels in every letter."""
    height, width = picture.shape[:2]
    rows = max(1, round(columns * height / width / 2))
    small = np.asarray(cv2.resize(picture, (columns, 2 * rows), interpolation=cv2.INTER_AREA))
    text = Text()
    for row in range(rows):
        for upper, lower in zip(small[2 * row].tolist(), small[2 * row + 1].tolist(), strict=True):
            text.append(_HALF_BLOCK, style=f"rgb({_rgb(upper)}) on rgb({_rgb(lower)})")
        text.append("\n" if row < rows - 1 else "")
    return text


def _rgb(color: list[int]) -> str:
    return ",".join(str(v) for v in color)
