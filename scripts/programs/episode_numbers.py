"""What a recording says in numbers: how regular the loop was, and how the joints followed their commands."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from bridge.episode_reader import Episode
from urdf.pose import Array

#: A gap that is longer than so many periods is a pause: nothing was asked of the arm.
PAUSE_PERIODS = 4
#: Of a joint that moved less no lag can be told.
_MOVED_RAD = 0.05
_LAG_STEP_S, _MAX_LAG_S = 0.005, 0.6
_SAME_READING_S = 1e-4


class JointFigures(msgspec.Struct, frozen=True):
    """One joint: how far its angle was from the one commanded last [deg], and how late it followed [ms].

    `measured`: the angles are the servo's readings, each at the moment that it was taken; else they are the running
    estimate, which knows the commands and so flatters the servo. `lag_ms` is what the motion must be moved forward by
    to fit the commands best; `rest_rms_deg` is what is left then. Both are null for a joint that hardly moved.
    """

    joint: str
    measured: bool
    travel_deg: float
    rms_deg: float
    max_deg: float
    lag_ms: float | None
    rest_rms_deg: float | None


class ServoFigures(msgspec.Struct, frozen=True):
    """One servo of a bus, in its own counts: where it was sent, and where it said that it was. Null: never."""

    servo_id: int
    sent: int
    lowest_sent_ticks: int | None
    highest_sent_ticks: int | None
    read: int
    lowest_read_ticks: int | None
    highest_read_ticks: int | None


class LoopFigures(msgspec.Struct, frozen=True):
    """The control loop, pauses left out: rate [Hz] and times between commands [ms].

    `late_periods` took half as long again or longer; in `held_periods` the arm stood still though it was commanded.
    """

    rate_hz: float | None
    period_p50_ms: float | None
    period_p99_ms: float | None
    period_max_ms: float | None
    late_periods: int
    pauses: int
    held_periods: int
    reading_age_p99_ms: float | None


def loop_figures(episode: Episode) -> LoopFigures:
    """Return how regular the loop was."""
    periods_ms = period_times_ms(episode)
    pauses = len(episode.sent_stamp_ns) - 1 - len(periods_ms) if episode.steps else 0
    ages_ms = 1e3 * episode.reading_age_s[np.isfinite(episode.reading_age_s)]
    some = len(periods_ms) > 0
    return LoopFigures(
        rate_hz=_rounded(1e3 / float(np.mean(periods_ms))) if some else None,
        period_p50_ms=_rounded(float(np.percentile(periods_ms, 50))) if some else None,
        period_p99_ms=_rounded(float(np.percentile(periods_ms, 99))) if some else None,
        period_max_ms=_rounded(float(periods_ms.max())) if some else None,
        late_periods=int(np.sum(periods_ms > 1.5e3 * episode.header.period_s)),
        pauses=pauses,
        held_periods=int(episode.holding.sum()),
        reading_age_p99_ms=_rounded(float(np.percentile(ages_ms, 99))) if len(ages_ms) else None,
    )


def period_times_ms(episode: Episode) -> Array:
    """Return the times between one command and the next [ms], pauses left out."""
    gaps_s = np.diff(episode.sent_stamp_ns) * 1e-9
    return 1e3 * gaps_s[gaps_s <= PAUSE_PERIODS * episode.header.period_s]


def seconds(episode: Episode, stamp_ns: NDArray[np.int64]) -> Array:
    """Return the time [s] since the recording began."""
    return (stamp_ns - episode.header.start_clock_ns).astype(np.float64) * 1e-9


def joint_figures(episode: Episode) -> tuple[JointFigures, ...]:
    """Return how each joint followed; nothing where nothing was recorded."""
    if episode.steps < 2:
        return ()
    sent_s = seconds(episode, episode.sent_stamp_ns)
    figures: list[JointFigures] = []
    for k, name in enumerate(episode.header.joint_names):
        sent = episode.sent_rad[:, k]
        at_s, angle_rad = readings(episode, k)
        measured = len(at_s) > 0
        if not measured:
            at_s, angle_rad = seconds(episode, episode.state_stamp_ns), episode.position_rad[:, k]
        # A state is read before the command of its period goes out: it answers to the commands before.
        before = np.searchsorted(sent_s, at_s, side="right") - 1
        off_rad = (angle_rad - sent[before])[before >= 0]
        lag_s, rest_rad = _lag(sent_s, sent, at_s, angle_rad)
        figures.append(
            JointFigures(
                joint=name,
                measured=measured,
                travel_deg=_degrees(float(np.ptp(sent))),
                rms_deg=_degrees(_rms(off_rad)),
                max_deg=_degrees(float(np.abs(off_rad).max(initial=0.0))),
                lag_ms=None if lag_s is None else round(1e3 * lag_s, 1),
                rest_rms_deg=None if rest_rad is None else _degrees(rest_rad),
            )
        )
    return tuple(figures)


def servo_figures(episode: Episode) -> tuple[ServoFigures, ...]:
    """Return what passed on the servo bus, servo by servo; nothing where its owner did not record."""
    sent: dict[int, list[int]] = {}
    read: dict[int, list[int]] = {}
    for write in episode.bus_sent:
        for servo_id, ticks in zip(write.servo_ids, write.ticks, strict=True):
            sent.setdefault(servo_id, []).append(ticks)
    for reading in episode.bus_read:
        read.setdefault(reading.servo_id, []).append(reading.ticks)
    return tuple(
        ServoFigures(
            servo_id=servo_id,
            sent=len(sent.get(servo_id, ())),
            lowest_sent_ticks=min(sent.get(servo_id, ()), default=None),
            highest_sent_ticks=max(sent.get(servo_id, ()), default=None),
            read=len(read.get(servo_id, ())),
            lowest_read_ticks=min(read.get(servo_id, ()), default=None),
            highest_read_ticks=max(read.get(servo_id, ()), default=None),
        )
        for servo_id in sorted(sent.keys() | read.keys())
    )


def readings(episode: Episode, joint: int) -> tuple[Array, Array]:
    """Return when [s] a joint was measured, and the angles [rad]; each reading once. Nothing where none was kept."""
    known = np.isfinite(episode.reading_rad[:, joint]) & np.isfinite(episode.reading_age_s[:, joint])
    at_s = (seconds(episode, episode.state_stamp_ns) - episode.reading_age_s[:, joint])[known]
    # The same reading comes back in every state until the next one; its moment is the same to within rounding.
    new = np.diff(at_s, prepend=-math.inf) > _SAME_READING_S
    return at_s[new], episode.reading_rad[known, joint][new]


def _lag(sent_s: Array, sent: Array, state_s: Array, measured: Array) -> tuple[float | None, float | None]:
    """Return the lag that makes the measured motion fit best, and the rms that is left; None for a still joint."""
    if float(np.ptp(sent)) < _MOVED_RAD:
        return None, None
    lags_s = np.arange(0.0, _MAX_LAG_S + _LAG_STEP_S / 2, _LAG_STEP_S)
    rests = [_rms(measured - np.interp(state_s - lag_s, sent_s, sent)) for lag_s in lags_s]
    best = int(np.argmin(rests))
    return float(lags_s[best]), rests[best]


def _rms(values: Array | Sequence[float]) -> float:
    return float(np.sqrt(np.mean(np.square(values)))) if len(values) else 0.0


def _degrees(radians: float) -> float:
    return round(float(np.degrees(radians)), 3)


def _rounded(value: float) -> float:
    return round(value, 3)
