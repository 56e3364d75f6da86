"""What a teleoperation came to, in numbers and in words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from bridge.loop import LoopStatistics
from perception.clutch import ClutchPhase
from scripts.programs.teleop_session import TeleopNotes
from scripts.programs.teleop_task import ShownAttempt

_LIFTED_MM = 5.0


class TeleopSummary(msgspec.Struct, frozen=True):
    """The JSON line. `waited_for`: what the arm stood still for, the longest first.

    Latency: from the capture of a picture to the servo command that it led to first; null where the arm never followed.
    """

    pictures: int
    engagements: int
    followed_s: float
    stood_s: float
    commands_sent: int
    commands_hz: float
    missed_deadlines: int
    latency_p50_ms: float | None
    latency_p95_ms: float | None
    stopped: str
    waited_for: tuple[str, ...]
    episode: Path | None = None
    block_rise_mm: float | None = None
    """How high the block is over where it lay, where the simulation knows."""
    attempts: int | None = None
    """Attempts at a task, and how many of them succeeded; null where none is shown."""
    successes: int | None = None


def summary_of(
    notes: TeleopNotes,
    statistics: LoopStatistics,
    episode: Path | None,
    block_rise_m: float | None = None,
    shown: Sequence[ShownAttempt] | None = None,
) -> TeleopSummary:
    """Return the numbers; `shown` are the attempts at a task, where there is one."""
    p50, p95 = np.percentile(notes.latency_ms, [50, 95]) if notes.latency_ms else (None, None)
    gaps_s = np.diff(notes.times_s, append=notes.times_s[-1:] or [])
    followed = np.array([phase is ClutchPhase.ENGAGED for phase in notes.phases], dtype=np.bool_)
    return TeleopSummary(
        pictures=notes.pictures,
        engagements=notes.engagements,
        followed_s=round(float(gaps_s[followed].sum()), 2),
        stood_s=round(float(gaps_s[~followed].sum()), 2),
        commands_sent=statistics.commands_sent,
        commands_hz=round(statistics.loop_hz, 2),
        missed_deadlines=statistics.missed_deadlines,
        latency_p50_ms=None if p50 is None else round(float(p50), 1),
        latency_p95_ms=None if p95 is None else round(float(p95), 1),
        stopped=notes.stopped,
        waited_for=tuple(reason for reason, _ in notes.reasons.most_common(4)),
        episode=episode,
        block_rise_mm=None if block_rise_m is None else round(1e3 * block_rise_m, 1),
        attempts=None if shown is None else len(shown),
        successes=None if shown is None else sum(bool(attempt.success) for attempt in shown),
    )


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def closing_words(summary: TeleopSummary) -> str:
    """Return what came of it, in a sentence or two."""
    text = (
        f"{summary.pictures} pictures, engaged {_times(summary.engagements)}, followed {summary.followed_s:.1f} s; "
        f"{summary.commands_sent} commands at {summary.commands_hz:.1f} Hz, {summary.missed_deadlines} deadlines missed"
    )
    if summary.latency_p50_ms is not None:
        text += f"; picture to command {summary.latency_p50_ms:.0f} ms, 95 % within {summary.latency_p95_ms:.0f} ms"
    if summary.attempts is not None:
        text += f"; {summary.successes} of {summary.attempts} attempts succeeded"
    if summary.block_rise_mm is not None and summary.block_rise_mm > _LIFTED_MM:
        text += f"; the block is {summary.block_rise_mm:.0f} mm over the desk"
    if summary.stopped:
        text += f". Stopped: {summary.stopped}"
    elif not summary.engagements:
        text += f". The arm never followed: {'; '.join(summary.waited_for) or 'nobody was seen'}"
    return text
