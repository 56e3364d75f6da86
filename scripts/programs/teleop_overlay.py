"""What a person who teleoperates sees: their own picture, who is followed, what the arm does and why, and how late."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from perception.body import BodyPose, PeopleSighting, Side
from perception.clutch import ClutchPhase
from scripts.programs.overlay_arm import ArmFacts, ArmSketch, draw_arm
from scripts.programs.overlay_pen import NIGHT, Colour, Image, OverlayPen, text_width_px, wrapped
from scripts.programs.overlay_people import PeoplePen

PHASE_COLOURS: Mapping[ClutchPhase, Colour] = {
    ClutchPhase.WAITING: (164, 174, 188),
    ClutchPhase.READY: (92, 168, 255),
    ClutchPhase.ENGAGED: (61, 220, 132),
    ClutchPhase.HOLDING: (255, 193, 71),
    ClutchPhase.RETURNING: (255, 150, 84),
    ClutchPhase.STOPPED: (255, 86, 86),
}
_TEXT: Colour = (244, 247, 250)
_SOFT: Colour = (170, 180, 193)
#: Everything is drawn for a picture of this height, and grows with it.
_HEIGHT_PX = 480
_MARGIN, _RADIUS = 12.0, 10.0
_BAR_HEIGHT, _FOOT_HEIGHT = 44.0, 86.0
_GOAL_WIDTH = 190.0
#: Above this a person feels that the arm lags behind.
_LATE_MS = 90.0


@dataclass(frozen=True, slots=True)
class OverlayFacts:
    """What there is to tell of one moment. What is None, or empty, is left out.

    `controlling`: the body whose arm of `side` is followed. `tool_m` (desk frame): where the arm is sent. `arm`: how
    it stands. `latency_ms`: from the picture to the command. `mirrored`: show the picture as a mirror does.
    """

    phase: ClutchPhase
    reason: str
    sighting: PeopleSighting | None = None
    controlling: BodyPose | None = None
    side: Side = Side.RIGHT
    arm: ArmFacts | None = None
    tool_m: tuple[float, float, float] | None = None
    closing: bool | None = None
    scale: float | None = None
    latency_ms: float | None = None
    recording: bool = False
    mirrored: bool = True


def draw_overlay(rgb: Image, facts: OverlayFacts, sketch: ArmSketch | None = None) -> Image:
    """Return the picture (H, W, 3), of the same size, with all that; the one passed in stays as it is.

    `sketch`: of the arm.
    """
    picture = np.ascontiguousarray(rgb[:, ::-1] if facts.mirrored else rgb)
    if picture is rgb or np.shares_memory(picture, rgb):
        picture = picture.copy()
    pen = OverlayPen(picture)
    unit = picture.shape[0] / _HEIGHT_PX
    colour = PHASE_COLOURS[facts.phase]
    if facts.sighting is not None:
        PeoplePen(pen, 3.2 * unit, facts.mirrored).draw(facts.sighting, facts.controlling, facts.side, colour)
    _state(pen, facts, colour, unit)
    _figures(pen, facts, unit)
    _foot(pen, facts, colour, unit)
    if sketch is not None and facts.arm is not None:
        below = (2 * _MARGIN + _BAR_HEIGHT) * unit
        draw_arm(pen, sketch, facts.arm, (picture.shape[1] - _MARGIN * unit, below), unit)
    _frame(pen, colour, unit, facts.phase)
    return picture


def _state(pen: OverlayPen, facts: OverlayFacts, colour: Colour, unit: float) -> None:
    """Draw the clutch's state at the top left."""
    words, size = facts.phase.value.upper(), 21 * unit
    left, top, height = _MARGIN * unit, _MARGIN * unit, _BAR_HEIGHT * unit
    width = text_width_px(words, size, bold=True) + 58 * unit
    pen.panel((left, top, left + width, top + height), NIGHT, 0.78, height / 2)
    middle = top + height / 2
    pen.dot((left + 23 * unit, middle), 9.5 * unit, colour)
    if facts.phase is ClutchPhase.ENGAGED:
        pen.dot((left + 23 * unit, middle), 4.2 * unit, NIGHT)
    pen.text((left + 40 * unit, middle), words, colour, size, bold=True)
    if facts.recording:
        begin = left + width + 10 * unit
        pen.panel((begin, top, begin + 74 * unit, top + height), NIGHT, 0.78, height / 2)
        pen.dot((begin + 20 * unit, middle), 6 * unit, PHASE_COLOURS[ClutchPhase.STOPPED])
        pen.text((begin + 32 * unit, middle), "REC", _TEXT, 15 * unit, bold=True)


def _figures(pen: OverlayPen, facts: OverlayFacts, unit: float) -> None:
    """Draw the latency at the top right."""
    if facts.latency_ms is None:
        return
    number, size, small = f"{facts.latency_ms:.0f}", 21 * unit, 14 * unit
    width = text_width_px(number, size, bold=True) + text_width_px("ms", small) + 41 * unit
    right, top, height = pen.picture.shape[1] - _MARGIN * unit, _MARGIN * unit, _BAR_HEIGHT * unit
    pen.panel((right - width, top, right, top + height), NIGHT, 0.78, height / 2)
    middle, at = top + height / 2, right - width + 18 * unit
    late = facts.latency_ms > _LATE_MS
    pen.text((at, middle), number, PHASE_COLOURS[ClutchPhase.HOLDING] if late else _TEXT, size, bold=True)
    at += text_width_px(number, size, bold=True) + 5 * unit
    pen.text((at, middle + 2.5 * unit), "ms", _SOFT, small)


def _foot(pen: OverlayPen, facts: OverlayFacts, colour: Colour, unit: float) -> None:
    """Draw why the arm does what it does, and where it is sent, at the bottom."""
    height_px, width_px = pen.picture.shape[:2]
    left, right = _MARGIN * unit, width_px - _MARGIN * unit
    bottom = height_px - _MARGIN * unit
    top = bottom - _FOOT_HEIGHT * unit
    pen.panel((left, top, right, bottom), NIGHT, 0.78, _RADIUS * unit)
    pen.panel((left, top + 14 * unit, left + 4 * unit, bottom - 14 * unit), colour, 1.0, 2 * unit)
    room = right - left - (36 + (0.0 if facts.tool_m is None else _GOAL_WIDTH)) * unit
    _reason(pen, facts, (left + 18 * unit, (top + bottom) / 2), room, unit)
    if facts.tool_m is not None:
        _tool(pen, facts.tool_m, facts.closing, (right - _GOAL_WIDTH * unit, top, right, bottom), colour, unit)


def _reason(pen: OverlayPen, facts: OverlayFacts, middle: tuple[float, float], room: float, unit: float) -> None:
    """Write why, in two lines and a small one, or in three where it takes more words."""
    words = facts.reason or "the arm follows you"
    rows, small = wrapped(words, 18 * unit, room, bold=True), _small_print(facts)
    size, line, below = 18 * unit, 24 * unit, 21 * unit
    if rows[-1].endswith("…"):
        rows, small = wrapped(words, 15 * unit, room, bold=True, lines=3), ""
        size, line, below = 15 * unit, 22 * unit, 0.0
    left, first = middle[0], middle[1] - ((len(rows) - 1) * line + below) / 2
    for number, row in enumerate(rows):
        pen.text((left, first + number * line), row, _TEXT, size, bold=True)
    if small:
        pen.text((left, first + (len(rows) - 1) * line + below + 2 * unit), small, _SOFT, 13 * unit)


def _small_print(facts: OverlayFacts) -> str:
    words = [f"your {facts.side} arm"]
    if facts.scale is not None:
        words.append(f"motion x{facts.scale:.2f}")
    if facts.closing is not None and facts.tool_m is None:
        words.append("gripper closes" if facts.closing else "gripper open")
    return "  ·  ".join(words)


def _tool(
    pen: OverlayPen,
    tool_m: tuple[float, float, float],
    closing: bool | None,
    box: tuple[float, float, float, float],
    colour: Colour,
    unit: float,
) -> None:
    """Write where the tool is sent, and draw the jaws."""
    left, top, right, bottom = box
    middle = (top + bottom) / 2
    for number, (name, value) in enumerate(zip("xyz", tool_m, strict=True)):
        y = middle + (number - 1) * 22 * unit
        pen.text((left + 14 * unit, y), name, _SOFT, 14 * unit)
        pen.text((left + 92 * unit, y), f"{100 * value:+.1f}", _TEXT, 16 * unit, bold=True, side="r")
        pen.text((left + 97 * unit, y + 1 * unit), "cm", _SOFT, 12 * unit)
    if closing is None:
        return
    centre, apart = right - 38 * unit, (5 if closing else 14) * unit
    pen.bone((centre - 16 * unit, middle - 18 * unit), (centre + 16 * unit, middle - 18 * unit), _TEXT, 5 * unit)
    pen.bone((centre, middle - 18 * unit), (centre, middle - 28 * unit), _TEXT, 5 * unit)
    for way in (-1, 1):
        x = centre + way * apart
        pen.bone((x, middle - 18 * unit), (x, middle + 10 * unit), colour if closing else _TEXT, 5 * unit)
    pen.text((centre, middle + 27 * unit), "closes" if closing else "open", _SOFT, 12 * unit, side="m")


def _frame(pen: OverlayPen, colour: Colour, unit: float, phase: ClutchPhase) -> None:
    """Draw an edge that is seen from the corner of the eye: while the arm follows, stands unasked, or is stopped."""
    if phase in (ClutchPhase.WAITING, ClutchPhase.READY):
        return
    height, width = pen.picture.shape[:2]
    thick = max(2, round(5 * unit))
    for part in (np.s_[:thick], np.s_[height - thick :], np.s_[:, :thick], np.s_[:, width - thick :]):
        pen.picture[part] = colour
