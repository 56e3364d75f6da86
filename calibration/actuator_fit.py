"""fit_actuator: the numbers of one arm's servos from a log of what was commanded and what was read.

Each joint is fitted alone; dead time and skew are the line through the joints' delays. Both refuse what the log does
not determine.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from calibration.actuator import ActuatorModel, ServoErrors
from calibration.actuator_log import ActuatorLog
from calibration.errors import CalibrationError, NotIdentifiable
from calibration.joint_fit import MOTION, JointFit, JointNumbers, rms
from urdf.pose import Array

#: The largest standard error of the skew that is accepted.
ACCEPTED_SKEW_S = 5e-3


@dataclass(frozen=True, slots=True)
class ActuatorErrors:
    """How well the numbers of a fit are known, as standard errors; tuples have one entry per joint.

    `speed_held`: the joint kept up with the start's speed limit and may be faster; that limit was kept.
    """

    dead_time_s: float
    speed_rad_s: tuple[float, ...]
    backlash_rad: tuple[float, ...]
    dead_band_rad: tuple[float, ...]
    speed_held: tuple[bool, ...] = ()


@dataclass(frozen=True, slots=True)
class FittedActuator:
    """A unit's servos. `servo` relates command and reading: reading = scale * commanded + zero.

    `residual_rad` is the root mean square of what the readings differ from the model, `joint_residual_rad` (n,) by
    joint; `readings` counts those that were used. `errors` are the standard errors.
    """

    model: ActuatorModel
    servo: ServoErrors
    residual_rad: float
    joint_residual_rad: tuple[float, ...]
    readings: int
    errors: ActuatorErrors


def fit_actuator(
    log: ActuatorLog,
    start: ActuatorModel,
    joint_names: tuple[str, ...] | None = None,
    on_progress: Callable[[str], None] = lambda name: None,
) -> FittedActuator:
    """Return the model that explains the log best; `min_move_s` and `readback_rad` are kept from `start`.

    Raises NotIdentifiable, naming the number and the motion that is missing, and CalibrationError on a log of another
    arm. `on_progress` hears of every joint that is done.
    """
    if log.joint_count != start.joint_count:
        raise CalibrationError(f"the log is of {log.joint_count} joints, the model of {start.joint_count}")
    names = joint_names or tuple(f"joint {j + 1}" for j in range(log.joint_count))
    joints = [JointFit(log, j, start, names[j]) for j in range(log.joint_count)]
    fits: list[JointNumbers] = []
    for name, joint in zip(names, joints, strict=True):
        fits.append(joint.fit())
        on_progress(name)
    delay_error_s = np.array([j.errors[0] for j in joints])
    dead_time_s, skew_s, dead_time_error_s = _line(np.array([f.delay_s for f in fits]), delay_error_s)
    model = ActuatorModel(
        max_speed_rad_s=tuple(f.speed_rad_s for f in fits),
        dead_time_s=dead_time_s,
        skew_s=skew_s,
        min_move_s=start.min_move_s,
        backlash_rad=tuple(f.backlash_rad for f in fits),
        dead_band_rad=tuple(f.dead_band_rad for f in fits),
        readback_rad=start.readback_rad,
    )
    errors = [
        joint.difference_rad(replace(fit, delay_s=model.start_delay_s(j)))
        for j, (joint, fit) in enumerate(zip(joints, fits, strict=True))
    ]
    return FittedActuator(
        model=model,
        servo=ServoErrors(np.array([f.zero_rad for f in fits]), np.array([f.scale for f in fits])),
        residual_rad=rms(np.concatenate(errors)),
        joint_residual_rad=tuple(rms(e) for e in errors),
        readings=sum(len(e) for e in errors),
        errors=ActuatorErrors(
            dead_time_s=dead_time_error_s,
            speed_rad_s=tuple(float(j.errors[1]) for j in joints),
            backlash_rad=tuple(float(j.errors[2]) for j in joints),
            dead_band_rad=tuple(j.band_error_rad for j in joints),
            speed_held=tuple(j.speed_held for j in joints),
        ),
    )


def _line(delay_s: Array, error_s: Array) -> tuple[float, float, float]:
    """Return dead time, skew and the dead time's error: the weighted line through the joints' delays, 0 to 1."""
    if len(delay_s) == 1:
        return float(delay_s[0]), 0.0, float(error_s[0])
    share = np.linspace(0.0, 1.0, len(delay_s))
    design = np.stack([np.ones_like(share), share], axis=1) / error_s[:, None]
    covariance = np.linalg.inv(design.T @ design)
    dead_time, skew = covariance @ design.T @ (delay_s / error_s)
    if math.sqrt(covariance[1, 1]) > ACCEPTED_SKEW_S:
        raise NotIdentifiable("skew_s", "the arm", f"it is known to {covariance[1, 1] ** 0.5:.3g} s", MOTION["skew_s"])
    return max(float(dead_time), 0.0), max(float(skew), 0.0), math.sqrt(float(covariance[0, 0]))
