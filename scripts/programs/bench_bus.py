"""How smoothly the virtual Dofbot moves, by how often commands come and how long its servos are given for each.

The servos of `hardware.virtual.servo_rack` follow a straight motion of constant speed. Commands are written as a busy
host writes them: each late by up to a few milliseconds, and one in a hundred by a whole lot more. Time is simulated, so
the map is the same on every machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from calibration.actuator import ActuatorModel
from hardware.pace import DEFAULT_PACE
from hardware.virtual.dofbot_mcu import TICKS_PER_RAD
from hardware.virtual.plant import UPRIGHT_TICKS, FreePlant
from hardware.virtual.servo_rack import ServoRack
from scripts.cli import data_root
from scripts.programs.figures import Row, at_most
from scripts.programs.lettering import INK
from scripts.programs.picture_file import write_picture
from urdf.description import load_arm
from urdf.pose import Array

PERIODS_S = (0.010, 0.015, 0.020, 0.030, 0.040, 0.050, 0.070, 0.100)
#: Move time in periods.
SHARES = (0.5, 0.75, 1.0, 1.1, 1.25, 1.5, 2.0, 3.0)
SPEED_RAD_S = 0.5
#: How late a host writes: most of the time within 2 ms, once in a hundred as late as a page fault makes it.
_LATE_S, _RARE_S, _RARE_SHARE = 0.002, 0.010, 0.01
_SECONDS, _SAMPLE_S = 6.0, 0.001
#: What an eye and a gripper make of speed: not what changes within less than this.
_SMOOTH_S = 0.020
_SEED = 2026
#: The default is the quickest pace whose ripple is no more than this: 2 mm/s of the 50 that a tool moves at.
BAR = 0.05


@dataclass(frozen=True, slots=True)
class Jitter:
    """One cell of the map: ripple of the speed (its standard deviation over the mean), and the lag."""

    period_s: float
    move_time_s: float
    ripple: float
    lag_s: float


class _SteppedClock:
    """Simulated time, for the plant."""

    def __init__(self) -> None:
        self.time_ns = 0

    def now_ns(self) -> int:
        """Return it."""
        return self.time_ns

    def sleep_until(self, deadline_ns: int) -> None:
        """Be there."""
        self.time_ns = max(self.time_ns, deadline_ns)


def jitter(period_s: float, move_time_s: float, seconds: float = _SECONDS) -> Jitter:
    """Return what one pace makes of a straight motion of the base joint."""
    rng, clock = np.random.default_rng(_SEED), _SteppedClock()
    rack = ServoRack(
        FreePlant(clock, UPRIGHT_TICKS), 0, TICKS_PER_RAD, ActuatorModel.nominal(load_arm("dofbot")), torque_on=True
    )
    count = int(seconds / period_s)
    late = rng.uniform(0.0, _LATE_S, count) + (rng.random(count) < _RARE_SHARE) * rng.uniform(0.0, _RARE_S, count)
    written_s = np.maximum.accumulate(np.arange(count) * period_s + late)
    start = np.array(UPRIGHT_TICKS, dtype=np.float64)
    direction = np.array([1.0, 0.0, 0.0, 0.0, 0.0, 0.0]) * TICKS_PER_RAD * SPEED_RAD_S
    times_s = np.arange(0.0, seconds, _SAMPLE_S)
    angles_rad = np.zeros(len(times_s))
    following = 0
    for index, time_s in enumerate(times_s):
        while following < count and written_s[following] <= time_s:
            clock.time_ns = round(written_s[following] * 1e9)
            # A command is where to be at the end of its period.
            target = start + direction * (following + 1) * period_s
            rack.aim_all(np.round(target), move_time_s, clock.time_ns)
            following += 1
        clock.time_ns = round(time_s * 1e9)
        rack.advance(clock.time_ns)
        angles_rad[index] = (rack.positions_ticks()[0] - start[0]) / TICKS_PER_RAD[0]
    return _cell(period_s, move_time_s, times_s, angles_rad)


def _cell(period_s: float, move_time_s: float, times_s: Array, angles_rad: Array) -> Jitter:
    settled = times_s > 1.0  # the motion has begun, and no end is in sight
    width = round(_SMOOTH_S / _SAMPLE_S)
    speeds = (angles_rad[width:] - angles_rad[:-width])[settled[width:]] / _SMOOTH_S
    asked_rad = SPEED_RAD_S * times_s[settled]
    lag_s = float(np.mean(asked_rad - angles_rad[settled])) / SPEED_RAD_S
    return Jitter(period_s, move_time_s, float(np.std(speeds) / np.mean(speeds)), lag_s)


def jitter_map(on_share: Callable[[float], None] = lambda share: None) -> list[Jitter]:
    """Return all cells, period by period."""
    cells: list[Jitter] = []
    for period_s in PERIODS_S:
        for share in SHARES:
            cells.append(jitter(period_s, max(share * period_s, 0.001)))
            on_share(len(cells) / (len(PERIODS_S) * len(SHARES)))
    return cells


def measure(on_progress: Callable[[str, float], None], only: str) -> Iterable[Row]:
    """Yield the row of the default pace, and draw the map beside it: data/bench/bus.png."""
    figure = "jitter of the virtual Dofbot: ripple of the speed at the default pace"
    if only not in figure:
        return
    cells = jitter_map(lambda share: on_progress(figure, share))
    default = jitter(DEFAULT_PACE.period_s, DEFAULT_PACE.written_s(DEFAULT_PACE.period_s))
    best = min((c for c in cells if c.ripple <= BAR), key=lambda c: c.lag_s)
    path = data_root() / "bench" / "bus.png"
    draw(cells, default, path)
    yield at_most(
        figure, default.ripple, "", BAR,
        f"every {1e3 * default.period_s:.0f} ms with {1e3 * default.move_time_s:.0f} ms, {1e3 * default.lag_s:.0f} ms "
        f"behind; the quickest of the map that is as smooth, every {1e3 * best.period_s:.0f} ms with "
        f"{1e3 * best.move_time_s:.0f} ms: {1e3 * best.lag_s:.0f} ms; {path}",
    )  # fmt: skip


def draw(cells: list[Jitter], default: Jitter, path: Path) -> None:
    """Draw the map: ripple as colour and number, lag below it, the default framed."""
    import matplotlib as mpl
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    rows, columns = len(SHARES), len(PERIODS_S)
    ripple = 100 * np.array([c.ripple for c in cells]).reshape(columns, rows).T
    lag = 1e3 * np.array([c.lag_s for c in cells]).reshape(columns, rows).T
    with mpl.rc_context({"font.family": "DejaVu Sans", "font.size": 10, "text.color": INK}):
        figure = Figure((9.2, 5.6), dpi=140, facecolor="white")
        panel = figure.add_axes((0.1, 0.12, 0.87, 0.7))
        panel.imshow(ripple, origin="lower", cmap="YlOrRd", norm=LogNorm(1.0, 150.0), aspect="auto")
        for row in range(rows):
            for column in range(columns):
                dark = ripple[row, column] > 60
                color = "white" if dark else INK
                panel.text(column, row + 0.1, f"{ripple[row, column]:.0f} %", ha="center", weight="bold", color=color)
                panel.text(column, row - 0.28, f"{lag[row, column]:.0f} ms", ha="center", size=8, color=color)
        share = default.move_time_s / default.period_s
        if default.period_s in PERIODS_S:
            at = (PERIODS_S.index(default.period_s) - 0.5, float(np.interp(share, SHARES, np.arange(rows))) - 0.5)
            panel.add_patch(Rectangle(at, 1, 1, fill=False, lw=2.5, ec="#0072b2"))
        panel.set_xticks(range(columns), [f"{1e3 * p:.0f} ms" for p in PERIODS_S])
        panel.set_yticks(range(rows), [f"{s:g}" for s in SHARES])
        panel.set_xlabel("a command every")
        panel.set_ylabel("move time, in periods")
        for side in panel.spines.values():
            side.set_visible(False)
        panel.tick_params(length=0)
        figure.text(0.02, 0.945, "How the virtual Dofbot takes a stream of commands", size=13, weight="bold")
        figure.text(
            0.02, 0.885, "Ripple of the speed at 0.5 rad/s (standard deviation over mean, bold) and how far the joint "
            "is behind what was asked.\nFramed: the default.", size=8.8, va="center",
        )  # fmt: skip
        write_picture(figure, path)
