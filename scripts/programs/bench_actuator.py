"""How well a served arm's own motion tells how its servos move: hidden servos under the motion of the command.

Nothing runs in real time: commands are written up to 2 ms late, one servo is read every 65 ms, in whole counts, and the
host knows the instant of a reading to 3 ms.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable

import numpy as np

from calibration.actuator import ActuatorModel, ActuatorState
from calibration.actuator_fit import FittedActuator, fit_actuator
from calibration.actuator_log import ActuatorLog, Move
from calibration.excitation import excitation, find_room
from scripts.programs.figures import Row, at_most
from urdf.description import load_arm
from urdf.pose import Array

UNITS = 3
SECONDS = 90.0
_PERIOD_S, _READ_S, _LATE_S, _CLOCK_S = 0.05, 0.065, 0.002, 0.003
_FIGURE = "actuator of a hidden Dofbot by its own motion: "
#: What, unit, bar: of the worst joint, the median over the units.
_ROWS = (("dead time", "ms", 2.0), ("speed", "%", 4.0), ("play", "deg", 0.1), ("dead band", "deg", 0.2))


def measure(on_progress: Callable[[str, float], None], only: str) -> Iterable[Row]:
    """Yield one row for each number."""
    names = [f"{_FIGURE}{what}" for what, _, _ in _ROWS]
    if not any(only in name for name in names):
        return
    errors: list[Array] = []
    for unit in range(UNITS):
        truth, fitted = identified(unit)
        errors.append(_errors(truth, fitted))
        on_progress(_FIGURE, (unit + 1) / UNITS)
    told = f"{SECONDS:g} s of motion, a reading every {1e3 * _READ_S:g} ms, {UNITS} units"
    for name, (_, unit_name, bar), values in zip(names, _ROWS, np.array(errors).T, strict=True):
        yield at_most(name, float(np.median(values)), unit_name, bar, f"{told}; worst {values.max():.2f} {unit_name}")


def identified(seed: int) -> tuple[ActuatorModel, FittedActuator]:
    """Return a hidden unit, and what the motion tells of it."""
    arm, rng = load_arm("dofbot"), np.random.default_rng([seed, 11])
    nominal, count = ActuatorModel.nominal(arm), len(arm.joint_names)
    truth = dataclasses.replace(
        nominal,
        dead_time_s=float(rng.uniform(0.06, 0.15)),
        skew_s=float(rng.uniform(0.005, 0.02)),
        max_speed_rad_s=tuple(np.array(nominal.max_speed_rad_s) * rng.uniform(0.75, 0.95, count)),
        backlash_rad=tuple(np.radians(rng.uniform(0.3, 1.0, count))),
        dead_band_rad=tuple(np.radians(rng.uniform(0.08, 0.4, count))),
    )
    targets = excitation(find_room(arm, arm.rig("table"), rng), arm.max_speed_rad_s, _PERIOD_S, SECONDS, rng)
    sent_s = np.arange(len(targets)) * _PERIOD_S + rng.uniform(0.0, _LATE_S, len(targets))
    moves = [Move(float(t), target, _PERIOD_S) for t, target in zip(sent_s, targets, strict=True)]
    state = ActuatorState(truth, targets[0])
    for move in moves:
        state.submit(move.target_rad, move.duration_s, move.time_s)
    read_s = np.arange(0.1, sent_s[-1], _READ_S)
    read_s = read_s + rng.uniform(-0.01, 0.01, len(read_s))
    joints = np.arange(len(read_s)) % count
    scale, readings = rng.uniform(0.98, 1.02, count), np.zeros(len(read_s))
    for index, (time_s, joint) in enumerate(zip(read_s.tolist(), joints.tolist(), strict=True)):
        state.advance_to(time_s)
        readings[index] = truth.reading_rad(joint, float(scale[joint] * state.joint_rad[joint]))
    known_s = read_s + rng.uniform(-_CLOCK_S, _CLOCK_S, len(read_s))
    return truth, fit_actuator(ActuatorLog.of(moves, known_s, joints, readings), nominal, arm.joint_names)


def _errors(truth: ActuatorModel, fitted: FittedActuator) -> Array:
    """Return the worst joint's error of dead time [ms], speed [%], play [deg] and dead band [deg]."""
    found = fitted.model
    speed = np.divide(found.max_speed_rad_s, truth.max_speed_rad_s) - 1.0
    play, band = (np.subtract(getattr(found, key), getattr(truth, key)) for key in ("backlash_rad", "dead_band_rad"))
    return np.array(
        [
            1e3 * abs(found.dead_time_s - truth.dead_time_s),
            100.0 * float(np.abs(speed).max()),
            math.degrees(float(np.abs(play).max())),
            math.degrees(float(np.abs(band).max())),
        ]
    )
