"""The picture of `tandem calibrate actuator`: what the servos were told, what they read, and what the model says."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from calibration.actuator import ActuatorModel, ActuatorState
from calibration.actuator_fit import FittedActuator
from calibration.actuator_log import ActuatorLog
from scripts.programs.lettering import ACCENT, GOOD, INK, LINE, SOFT
from scripts.programs.picture_file import write_picture
from urdf.pose import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_STEP_S = 0.01
_SHOWN_S = 7.0


@dataclass(frozen=True, slots=True)
class ActuatorPicture:
    """What is drawn; `start` is the data sheet's model."""

    robot: str
    joint_names: tuple[str, ...]
    log: ActuatorLog
    fitted: FittedActuator
    start: ActuatorModel


def draw_actuator(picture: ActuatorPicture, path: Path) -> None:
    """Draw and write it."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    fitted = picture.fitted
    with mpl.rc_context({"font.family": "DejaVu Sans", "font.size": 9, "text.color": INK, "axes.edgecolor": LINE}):
        figure = Figure((12.4, 7.4), dpi=140, facecolor="white")
        figure.text(0.03, 0.955, f"How the servos of “{picture.robot}” move", size=14, weight="bold")
        figure.text(
            0.03, 0.918, f"dead time {1e3 * fitted.model.dead_time_s:.0f} ± {1e3 * fitted.errors.dead_time_s:.1f} ms, "
            f"{1e3 * fitted.model.skew_s:.0f} ms from the first joint to the last; {fitted.readings} readings, fit to "
            f"{math.degrees(fitted.residual_rad):.2f}°", size=9.5, color="#52606d",
        )  # fmt: skip
        moves = picture.log.moves
        end_s = moves[-1].time_s
        times_s = np.arange(0.0, end_s, _STEP_S)
        told = _told(picture.log, times_s)
        modelled = _modelled(picture, times_s)
        count = len(picture.joint_names)
        # Swings, where speed and dead time show; and steps, where play and dead band do. The gripper's are later.
        for joint, name in enumerate(picture.joint_names):
            is_last = joint == count - 1
            bottom = 0.065 if is_last else 0.1 + 0.785 * (count - 1 - joint) / count
            height = 0.785 / count - 0.024
            for left, middle_s in _windows(is_last, end_s):
                panel = figure.add_axes((left, bottom, 0.29, height))
                _draw_trace(panel, picture, joint, (times_s, told[:, joint], modelled[:, joint]), middle_s)
                if is_last:
                    panel.set_xlabel("s", labelpad=1)
                elif joint != count - 2:
                    panel.set_xticklabels([])
                if left < 0.1:
                    panel.set_ylabel(f"{name} [°]", fontsize=8.5)
        _legend(figure.add_axes((0.41, 0.947, 0.3, 0.02)))
        _draw_numbers(figure.add_axes((0.735, 0.62, 0.245, 0.24)), picture, "speed")
        _draw_numbers(figure.add_axes((0.735, 0.345, 0.245, 0.2)), picture, "play")
        _draw_numbers(figure.add_axes((0.735, 0.075, 0.245, 0.2)), picture, "dead band")
        write_picture(figure, path)


def _windows(is_gripper: bool, end_s: float) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the left edges of the two panels and the middles of the times that they show: swings, then small steps.

    The gripper moves when the arm has done.
    """
    swings, steps = (0.87, 0.96) if is_gripper else (0.38, 0.66)
    return (0.075, swings * end_s), (0.385, steps * end_s)


def _told(log: ActuatorLog, times_s: Array) -> Array:
    """Return what the joints had been told (m, n) at the times (m,)."""
    sent_s = np.array([move.time_s for move in log.moves])
    targets = np.array([move.target_rad for move in log.moves])
    return targets[np.maximum(np.searchsorted(sent_s, times_s, side="right") - 1, 0)]


def _modelled(picture: ActuatorPicture, times_s: Array) -> Array:
    """Return what the fitted servos would read (m, n)."""
    moves, servo = picture.log.moves, picture.fitted.servo
    state = ActuatorState(picture.fitted.model, moves[0].target_rad, moves[0].time_s)
    for move in moves:
        state.submit(move.target_rad, move.duration_s, move.time_s)
    rows = np.empty((len(times_s), len(picture.joint_names)))
    for index, time_s in enumerate(times_s.tolist()):
        state.advance_to(time_s)
        rows[index] = servo.scale * state.joint_rad + servo.zero_rad
    return rows


def _draw_trace(
    panel: Axes, picture: ActuatorPicture, joint: int, traces: tuple[Array, Array, Array], middle_s: float
) -> None:
    times_s, told, modelled = traces
    low_s, high_s = middle_s - _SHOWN_S / 2, middle_s + _SHOWN_S / 2
    shown = (times_s >= low_s) & (times_s <= high_s)
    panel.plot(times_s[shown], np.degrees(told[shown]), color=SOFT, lw=1.0)
    panel.plot(times_s[shown], np.degrees(modelled[shown]), color=ACCENT, lw=1.4)
    log = picture.log
    mine = (log.reading_joint == joint) & (log.reading_s >= low_s) & (log.reading_s <= high_s)
    panel.plot(log.reading_s[mine], np.degrees(log.reading_rad[mine]), "o", color=INK, ms=2.8, zorder=4)
    panel.set_xlim(low_s, high_s)
    panel.tick_params(length=0, labelsize=7.5)
    panel.grid(color=LINE, lw=0.5)
    for side in panel.spines.values():
        side.set_visible(False)


def _legend(panel: Axes) -> None:
    for label, color, mark in (("told", SOFT, "-"), ("the fitted model", ACCENT, "-"), ("read", INK, "o")):
        panel.plot([], [], mark, color=color, label=label, ms=4)
    panel.legend(loc="lower left", ncols=3, frameon=False, fontsize=9, borderaxespad=0.0)
    panel.axis("off")


def _draw_numbers(panel: Axes, picture: ActuatorPicture, what: str) -> None:
    """Draw one number of every joint with two standard errors, and the data sheet's beside it."""
    model, errors, start = picture.fitted.model, picture.fitted.errors, picture.start
    values, deviations, nominal, unit = {
        "speed": (model.max_speed_rad_s, errors.speed_rad_s, start.max_speed_rad_s, "°/s"),
        "play": (model.backlash_rad, errors.backlash_rad, start.backlash_rad, "°"),
        "dead band": (model.dead_band_rad, errors.dead_band_rad, start.dead_band_rad, "°"),
    }[what]
    rows = np.arange(len(values))
    above = 2 * np.degrees(deviations)
    panel.barh(rows, np.degrees(values), 0.5, xerr=(np.minimum(above, np.degrees(values)), above), color=ACCENT,
               alpha=0.85, error_kw={"lw": 1.2, "ecolor": INK})  # fmt: skip
    panel.plot(np.degrees(nominal), rows, "|", color=GOOD, ms=11, mew=2.2)
    panel.set_yticks(rows, picture.joint_names)
    panel.invert_yaxis()
    panel.set_title(f"{what} [{unit}]; green: the data sheet's", size=9.5, loc="left")
    panel.tick_params(length=0, labelsize=8)
    panel.grid(axis="x", color=LINE, lw=0.5)
    panel.set_axisbelow(True)
    for side in panel.spines.values():
        side.set_visible(False)
