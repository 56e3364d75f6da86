"""fit_actuator: the numbers of one arm's servos from a log of what was commanded and what was read.

Each joint is fitted alone; dead time and skew are the line through the joints' delays. Both refuse what the log does
not determine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from calibration.actuator import ActuatorModel, ServoErrors
from calibration.actuator_log import ActuatorLog
from calibration.errors import CalibrationError, NotIdentifiable
from calibration.joint_fit import MOTION, JointFit, rms
from urdf.pose import Array

#: The largest standard error of the skew that is accepted.
ACCEPTED_SKEW_S = 5e-3


@dataclass(frozen=True, slots=True)
class FittedActuator:
    """A unit's servos. `servo` relates command and reading: reading = scale * commanded + zero.

    `residual_rad` is the root mean square of what the readings differ from the model, `joint_residual_rad` (n,) by
    joint; `readings` counts those that were used.
    """

    model: ActuatorModel
    servo: ServoErrors
    residual_rad: float
    joint_residual_rad: tuple[float, ...]
    readings: int


def fit_actuator(log: ActuatorLog, start: ActuatorModel, joint_names: tuple[str, ...] | None = None) -> FittedActuator:
    """Return the model that explains the log best; `min_move_s` and `readback_rad` are kept from `start`.

    Raises NotIdentifiable, naming the number and the motion that is missing, and CalibrationError on a log of another
    arm.
    """
    if log.joint_count != start.joint_count:
        raise CalibrationError(f"the log is of {log.joint_count} joints, the model of {start.joint_count}")
    names = joint_names or tuple(f"joint {j + 1}" for j in range(log.joint_count))
    joints = [JointFit(log, j, start, names[j]) for j in range(log.joint_count)]
    fits = [joint.fit() for joint in joints]
    dead_time_s, skew_s = _line(np.array([f.delay_s for f in fits]), np.array([j.delay_error_s for j in joints]))
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
    )


def _line(delay_s: Array, error_s: Array) -> tuple[float, float]:
    """Return (dead time, skew): the weighted line through the delays from the first joint (0) to the last (1)."""
    if len(delay_s) == 1:
        return float(delay_s[0]), 0.0
    share = np.linspace(0.0, 1.0, len(delay_s))
    design = np.stack([np.ones_like(share), share], axis=1) / error_s[:, None]
    covariance = np.linalg.inv(design.T @ design)
    dead_time, skew = covariance @ design.T @ (delay_s / error_s)
    if math.sqrt(covariance[1, 1]) > ACCEPTED_SKEW_S:
        raise NotIdentifiable("skew_s", "the arm", f"it is known to {covariance[1, 1] ** 0.5:.3g} s", MOTION["skew_s"])
    return max(float(dead_time), 0.0), max(float(skew), 0.0)
