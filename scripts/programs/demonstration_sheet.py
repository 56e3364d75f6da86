"""The contact sheet of demonstrations: every attempt as a film strip, its actions below, and how it ended."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageDraw, ImageOps

from bridge.episode_attempts import RecordedAttempt, RecordedDemonstrations
from bridge.episode_decisions import FAILURE, SUCCESS
from calibration.artifacts import write_atomic
from scripts.programs.demonstration_numbers import DemonstrationFigures, duration_s
from scripts.programs.demonstration_pictures import is_posed, strip_of
from scripts.programs.lettering import ACCENT, BAD, GOOD, INK, LINE, PAPER, SOFT, font

#: Attempts that fit; of more, so many are shown, evenly spread.
MOST_SHOWN = 24
PICTURES = 5
_COLUMNS = 2
_PICTURE_PX = (128, 113)
_GAP, _GUTTER, _MARGIN, _HEAD, _FOOT = 3, 36, 36, 152, 44
_CAPTION, _TRACE, _ROW_GAP = 26, 34, 26
_STRIP = PICTURES * _PICTURE_PX[0] + (PICTURES - 1) * _GAP
_CARD = _CAPTION + _PICTURE_PX[1] + 6 + _TRACE
_WIDTH = 2 * _MARGIN + _COLUMNS * _STRIP + (_COLUMNS - 1) * _GUTTER
_FINE = 4
_MUTED = "#616e7c"
_PANEL = "#f4f6f8"
#: One colour per number of an action, told apart without red and green.
_TRACES = (ACCENT, "#d9822b", "#2a9d8f", "#7b5ea7", INK)
_VERDICTS = {SUCCESS: ("success", GOOD), FAILURE: ("failed", BAD)}


@dataclass(frozen=True, slots=True)
class _Card:
    recorded: RecordedDemonstrations
    attempt: RecordedAttempt
    label: str


def draw_sheet(sets: Sequence[RecordedDemonstrations], figures: DemonstrationFigures, path: Path) -> int:
    """Write the sheet as a PNG, whole or not at all; return how many attempts it shows."""
    cards = _cards(sets)
    rows = -(-len(cards) // _COLUMNS)
    height = _HEAD + rows * (_CARD + _ROW_GAP) - _ROW_GAP + _FOOT
    sheet = Pillow.new("RGB", (_WIDTH, height), PAPER)
    pen = ImageDraw.Draw(sheet)
    _draw_head(pen, sets, figures)
    for number, card in enumerate(cards):
        row, column = divmod(number, _COLUMNS)
        _draw_card(sheet, pen, card, _MARGIN + column * (_STRIP + _GUTTER), _HEAD + row * (_CARD + _ROW_GAP))
    _draw_foot(pen, len(cards), figures.attempts, any(map(is_posed, sets)), height)
    data = io.BytesIO()
    sheet.save(data, "PNG", optimize=True)
    write_atomic(path, data.getvalue())
    return len(cards)


def _cards(sets: Sequence[RecordedDemonstrations]) -> list[_Card]:
    several = len(sets) > 1
    cards = [
        _Card(recorded, attempt, f"{recorded.path.stem} / {attempt.number}" if several else str(attempt.number))
        for recorded in sets
        for attempt in recorded.attempts
    ]
    if len(cards) <= MOST_SHOWN:
        return cards
    return [cards[k] for k in np.linspace(0, len(cards) - 1, MOST_SHOWN).round().astype(int)]


def _draw_head(pen: ImageDraw.ImageDraw, sets: Sequence[RecordedDemonstrations], f: DemonstrationFigures) -> None:
    header, layout = sets[0].header, sets[0].layout
    title = f"{f.attempts} demonstrations of {layout.task}"
    pen.text((_MARGIN, 28), title, fill=INK, font=font(26, bold=True))
    policies = ", ".join(sorted({recorded.header.policy for recorded in sets}))
    parts = ", ".join(part.name.replace("_", " ") for part in layout.parts)
    line = f"{header.arm} on rig {header.rig}   \u00b7   by {policies}   \u00b7   seen: {parts}"
    pen.text((_MARGIN, 66), line, fill=_MUTED, font=font(14))
    pen.text((_MARGIN, 88), _numbers(f), fill=_MUTED, font=font(14))
    _draw_rate(pen, f)


def _numbers(f: DemonstrationFigures) -> str:
    same = f.decisions_least == f.decisions_most
    span = f"{f.decisions_least}" if same else f"{f.decisions_least} to {f.decisions_most}"
    return f"{f.decisions} decisions, {span} an attempt   \u00b7   {f.duration_s:.0f} s of motion"


def _draw_rate(pen: ImageDraw.ImageDraw, f: DemonstrationFigures) -> None:
    """Draw the share that succeeded as a bar at the right: how it ended, one piece an attempt."""
    width, right, top = 300, _WIDTH - _MARGIN, 74
    words = "nobody knows which succeeded"
    if f.success_rate is not None:
        words = f"{f.successes} of {f.successes + f.failures} succeeded"
    pen.text((right, 64), words, fill=INK, font=font(16, bold=True), anchor="rs")
    x = float(right - width)
    for count, color in ((f.successes, GOOD), (f.failures, BAD), (f.unknown, SOFT)):
        end = x + width * count / f.attempts
        if count:
            pen.rectangle((round(x), top, round(end) - 1, top + 9), fill=color)
        x = end
    if f.success_rate is not None:
        interval = f"{100 * f.wilson_low:.0f} to {100 * f.wilson_high:.0f} % with 95 % confidence"
        pen.text((right, 102), interval, fill=_MUTED, font=font(12), anchor="rs")


def _draw_card(sheet: Pillow.Image, pen: ImageDraw.ImageDraw, card: _Card, x: int, y: int) -> None:
    attempt = card.attempt
    word, color = _VERDICTS.get(attempt.verdict, ("unknown", SOFT))
    pen.ellipse((x, y + 5, x + 9, y + 14), fill=color)
    pen.text((x + 17, y + 15), card.label, fill=INK, font=font(13, bold=True), anchor="ls")
    start = x + 17 + pen.textlength(f"{card.label}  ", font(13, bold=True))
    pen.text((start, y + 15), word, fill=INK, font=font(13), anchor="ls")
    length = f"{attempt.decisions} decisions, {duration_s(attempt, card.recorded):.1f} s"
    pen.text((x + _STRIP, y + 15), length, fill=_MUTED, font=font(12), anchor="rs")
    top = y + _CAPTION
    for number, picture in enumerate(strip_of(card.recorded, attempt, PICTURES)):
        fitted = ImageOps.fit(Pillow.fromarray(picture), _PICTURE_PX, Pillow.Resampling.LANCZOS)
        sheet.paste(fitted, (x + number * (_PICTURE_PX[0] + _GAP), top))
    names = card.recorded.layout.action_layout.names
    sheet.paste(_traces(attempt.actions, len(names)), (x, top + _PICTURE_PX[1] + 6))
    if y == _HEAD:
        _draw_legend(pen, names, x, y - 22)


def _draw_legend(pen: ImageDraw.ImageDraw, names: Sequence[str], x: int, y: int) -> None:
    if x != _MARGIN:
        return
    at = float(x)
    for k, name in enumerate(names):
        pen.rectangle((at, y, at + 14, y + 2), fill=_TRACES[k % len(_TRACES)])
        pen.text((at + 20, y + 5), name, fill=_MUTED, font=font(11), anchor="ls")
        at += 34 + pen.textlength(name, font(11))


def _traces(actions: NDArray[np.float32], count: int) -> Pillow.Image:
    """Return the actions over the decisions, -1 below and 1 above, drawn finely and averaged."""
    width, height = _STRIP * _FINE, _TRACE * _FINE
    picture = Pillow.new("RGB", (width, height), _PANEL)
    pen = ImageDraw.Draw(picture)
    pen.line((0, height // 2, width, height // 2), fill=LINE, width=_FINE)
    edges = np.linspace(0, width, len(actions) + 1)
    for k in range(count):
        heights = height / 2 - actions[:, k].clip(-1, 1) * (height / 2 - 3 * _FINE)
        # Each action holds for its decision: steps, not slopes.
        points = [
            (float(x), float(y))
            for y, left, right in zip(heights, edges, edges[1:], strict=False)
            for x in (left, right)
        ]
        pen.line(points, fill=_TRACES[k % len(_TRACES)], width=2 * _FINE - 1, joint="curve")
    return picture.resize((_STRIP, _TRACE), Pillow.Resampling.BOX)


def _draw_foot(pen: ImageDraw.ImageDraw, shown: int, attempts: int, posed: bool, height: int) -> None:
    pictures = "No camera was recorded: the arm as simulation draws its joints" if posed else "Pictures"
    words = f"{pictures}, from the first decision to the end. Below the actions, -1 to 1, decision by decision."
    if shown < attempts:
        words = f"{shown} of {attempts} attempts, evenly spread. {words}"
    pen.text((_MARGIN, height - 18), words, fill=_MUTED, font=font(12), anchor="ls")
