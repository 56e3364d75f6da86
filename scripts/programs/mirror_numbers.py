"""How an arm and its simulated twin differ: offset, lag and play of each joint, and the tool's distance."""

from __future__ import annotations

import math
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from scripts.programs.mirror_links import LinkMirror
from scripts.programs.mirror_robot import MirrorLog
from urdf.description import ArmDescription
from urdf.pose import Array

#: An arm whose last command is this old stands: dead time, skew and the servos' own settling.
STANDS_AFTER_S = 0.8
#: How far apart in time the two may be before it is no lag any more.
MOST_LAG_S = 0.25
_GRID_S = 0.002
_PEAK_S = 0.012
#: A reading that came through late (a busy machine) stands out: more than so many median deviations, and than a count.
_OUTLYING, _COUNT_RAD, _ROUNDS = 4.0, math.radians(0.09), 3
#: A joint that moves by less, or is read less often while it moves, does not tell how late it is.
LEAST_SWING_RAD, LEAST_READINGS = math.radians(1.0), 10
#: Gears whose direction changes lie against neither flank until the play is crossed: so much of it. Half of what the
#: DS-SY15A sheet allows; more or less of it changes little.
_PLAY_RAD = math.radians(0.5)


class JointMirror(msgspec.Struct, frozen=True):
    """One joint: the arm's reading less the twin's position. Null where the motion does not tell.

    `offset_rad` while standing; `behind_ms` how much later than the twin it moves, uncertain by `behind_error_ms` (one
    standard deviation); `play_rad` how much more of its gears' play lies against the motion than in the twin. `link` is
    where its link stands, where a camera told.
    """

    joint: str
    offset_rad: float | None
    behind_ms: float | None
    behind_error_ms: float | None
    play_rad: float | None
    rms_rad: float
    max_rad: float
    readings: int
    link: LinkMirror | None = None


class ToolMirror(msgspec.Struct, frozen=True):
    """How far apart the two tools were [mm], by the arm's state estimate."""

    median_mm: float
    p95_mm: float
    max_mm: float


@dataclass(frozen=True, slots=True)
class Lag:
    """How much later a signal is, and how well that is known; `play` is its step against the direction of motion."""

    lag_s: float
    error_s: float
    play: float
    shifts_s: Array
    correlation: Array


@dataclass(frozen=True, slots=True)
class JointTrace:
    """One joint's readings beside the twin, at the times of the readings [s since the first command]."""

    time_s: Array
    read_rad: Array
    twin_rad: Array
    lag: Lag | None

    @property
    def difference_rad(self) -> Array:
        """The arm less the twin."""
        return self.read_rad - self.twin_rad


def find_lag(read_s: Array, read: Array, twin_s: Array, twin: Array) -> Lag | None:
    """Return by how much the sparse signal `read` comes after the dense `twin`: the peak of their cross-correlation.

    Readings come when they come, so the twin is shifted and looked up at their times. What is constant, and what only
    depends on the direction of motion (play in the gears), is taken out of both first: it would pass for lag. The peak
    lies between shifts: a parabola through its surroundings. Readings that fit nothing are left out. None where the
    motion is too small or too seldom read.
    """
    inside = (read_s >= twin_s[0] + MOST_LAG_S) & (read_s <= twin_s[-1] - MOST_LAG_S)
    read_s, read = read_s[inside], read[inside]
    if len(read_s) < LEAST_READINGS or float(np.ptp(read)) < 2 * LEAST_SWING_RAD:
        return None
    speed, lag = np.gradient(twin, twin_s), None
    direction = _flanks(twin)
    for _ in range(_ROUNDS):
        peak = _peak(read_s, read, twin_s, twin, direction)
        if peak is None:
            return None
        lag_s, shifts, correlation = peak
        there, ways = _looked_up(read_s - lag_s, twin_s, twin, direction)
        model = np.stack([np.ones_like(there), there, ways], axis=1)
        solution, *_ = np.linalg.lstsq(model, read, rcond=None)
        rest = read - model @ solution
        believed = np.abs(rest) <= max(_OUTLYING * float(np.median(np.abs(rest))), _COUNT_RAD)
        steepness = float(np.linalg.norm(_without(np.interp(read_s - lag_s, twin_s, speed), there, ways)))
        error_s = float(np.std(rest)) * math.sqrt(len(read) / max(len(read) - 4, 1)) / max(steepness, 1e-9)
        lag = Lag(lag_s, error_s, -float(solution[2]), shifts, correlation)
        if believed.all() or believed.sum() < LEAST_READINGS:
            return lag
        read_s, read = read_s[believed], read[believed]
    return lag


def _peak(
    read_s: Array, read: Array, twin_s: Array, twin: Array, direction: Array
) -> tuple[float, Array, Array] | None:
    """Return where the correlation peaks [s], and the curve; None where it has no peak."""
    shifts = np.arange(-MOST_LAG_S, MOST_LAG_S + _GRID_S / 2, _GRID_S)
    correlation = np.array([_correlation(read, *_looked_up(read_s - s, twin_s, twin, direction)) for s in shifts])
    top = int(np.argmax(correlation))
    near = np.abs(shifts - shifts[top]) <= _PEAK_S
    curve = np.polyfit(shifts[near] - shifts[top], correlation[near], 2)
    if top in (0, len(shifts) - 1) or curve[0] >= 0.0:
        return None
    return float(shifts[top] - curve[1] / (2 * curve[0])), shifts, correlation


def _flanks(motion: Array) -> Array:
    """Return on which flank the gears lie under such a pull (k,): 1 in a rising motion, -1 in a falling one."""
    half, stands = _PLAY_RAD / 2, float(motion[0])
    behind: list[float] = []
    for pulled in motion.tolist():
        stands = min(max(stands, pulled - half), pulled + half)
        behind.append((pulled - stands) / half)
    return np.array(behind)


def _looked_up(at_s: Array, twin_s: Array, twin: Array, direction: Array) -> tuple[Array, Array]:
    return np.interp(at_s, twin_s, twin), np.interp(at_s, twin_s, direction)


def _without(values: Array, *causes: Array) -> Array:
    """Return what neither a constant nor the causes explain."""
    model = np.stack([np.ones_like(values), *causes], axis=1)
    solution, *_ = np.linalg.lstsq(model, values, rcond=None)
    return values - model @ solution


def _correlation(read: Array, twin: Array, direction: Array) -> float:
    a, b = _without(read, direction), _without(twin, direction)
    return float(a @ b / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-12))


def combine_lags(joints: tuple[JointMirror, ...]) -> tuple[float, float] | None:
    """Return (lag, its standard deviation) [ms] of all joints that tell, each counted by how well it knows."""
    known = [
        (j.behind_ms, j.behind_error_ms) for j in joints if j.behind_ms is not None and j.behind_error_ms is not None
    ]
    if not known:
        return None
    lags, errors = np.array(known).T
    weights = 1.0 / (errors**2 + 1.0)  # no joint knows better than the millisecond of its clock
    return float(weights @ lags / weights.sum()), float(1.0 / math.sqrt(weights.sum()))


def joint_traces(log: MirrorLog) -> tuple[JointTrace, ...]:
    """Return every joint's readings with the twin beside them; readings outside the twin's time are left out."""
    if not log.sent_ns or not log.twin_ns:
        return tuple(JointTrace(np.zeros(0), np.zeros(0), np.zeros(0), None) for _ in log.readings)
    zero_ns = log.sent_ns[0]
    twin_s = seconds_since(log.twin_ns, zero_ns)
    twin = np.array(log.twin_rad)
    traces: list[JointTrace] = []
    for joint, readings in enumerate(log.readings):
        time_s, read = seconds_since(readings.stamp_ns, zero_ns), np.array(readings.position_rad)
        inside = (time_s >= 0.0) & (time_s <= twin_s[-1])
        time_s, read = time_s[inside], read[inside]
        beside = np.interp(time_s, twin_s, twin[:, joint])
        traces.append(JointTrace(time_s, read, beside, find_lag(time_s, read, twin_s, twin[:, joint])))
    return tuple(traces)


def joint_mirrors(log: MirrorLog, traces: tuple[JointTrace, ...], names: tuple[str, ...]) -> tuple[JointMirror, ...]:
    """Return the figures of every joint."""
    return tuple(_joint(log, trace, name) for trace, name in zip(traces, names, strict=True))


def _joint(log: MirrorLog, trace: JointTrace, name: str) -> JointMirror:
    off, lag = trace.difference_rad, trace.lag
    still = off[_standing(log, trace.time_s)]
    return JointMirror(
        joint=name,
        offset_rad=float(np.median(still)) if len(still) else None,
        behind_ms=1e3 * lag.lag_s if lag else None,
        behind_error_ms=1e3 * lag.error_s if lag else None,
        play_rad=2 * lag.play if lag else None,
        rms_rad=float(np.sqrt(np.mean(off**2))) if len(off) else 0.0,
        max_rad=float(np.abs(off).max()) if len(off) else 0.0,
        readings=len(off),
    )


def _standing(log: MirrorLog, time_s: Array) -> NDArray[np.bool_]:
    """Return which times [s] belong to an arm whose command has not changed for a while."""
    sent_s, sent = seconds_since(log.sent_ns, log.sent_ns[0]) if log.sent_ns else np.zeros(0), np.array(log.sent_rad)
    changed = sent_s[1:][np.abs(np.diff(sent, axis=0)).max(axis=1) > 1e-6] if len(sent) > 1 else np.zeros(0)
    changed = np.append(0.0, changed)  # it was on its way to the first pose before
    last = changed[np.searchsorted(changed, time_s, side="right") - 1] if len(time_s) else np.zeros(0)
    return time_s - last >= STANDS_AFTER_S


def tool_distances_mm(log: MirrorLog, description: ArmDescription) -> tuple[Array, Array]:
    """Return times [s] (k,) and how far apart the two tools were then [mm] (k,)."""
    if not log.sent_ns or not log.twin_ns:
        return np.zeros(0), np.zeros(0)
    zero_ns = log.sent_ns[0]
    time_s, twin_s = seconds_since(log.state_ns, zero_ns), seconds_since(log.twin_ns, zero_ns)
    inside = (time_s >= 0.0) & (time_s <= twin_s[-1])
    time_s, arm, twin = time_s[inside], np.array(log.estimate_rad)[inside], np.array(log.twin_rad)
    beside = np.stack([np.interp(time_s, twin_s, twin[:, joint]) for joint in range(twin.shape[1])], axis=1)
    pairs = zip(arm, beside, strict=True)
    apart = [description.base_from_tool(a).position_m - description.base_from_tool(b).position_m for a, b in pairs]
    return time_s, 1e3 * np.linalg.norm(np.array(apart).reshape(-1, 3), axis=1)


def tool_mirror(distances_mm: Array) -> ToolMirror | None:
    """Return the figures of the tool; None where nothing was compared."""
    if not len(distances_mm):
        return None
    median, p95, most = (float(v) for v in np.percentile(distances_mm, [50, 95, 100]))
    return ToolMirror(round(median, 3), round(p95, 3), round(most, 3))


def seconds_since(stamp_ns: list[int], zero_ns: int) -> Array:
    """Return stamps [ns] as seconds after `zero_ns`."""
    return np.asarray((np.array(stamp_ns, dtype=np.int64) - zero_ns) * 1e-9, dtype=np.float64)
