"""The motions of `tandem mirror`: slow, small, and rehearsed in the safety filter before anything moves."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from bridge.errors import BridgeError
from bridge.safety import SafetyFilter
from urdf.description import ArmDescription, Rig
from urdf.pose import Array

#: Largest first: the first with which the safety filter lets the whole motion pass is taken.
AMPLITUDES_RAD = tuple(math.radians(v) for v in (10.0, 8.0, 6.0, 4.0, 2.5))
#: The arm stands so long at the beginning and at the end.
STAND_S = 2.5
#: Every joint has its own rate, so that no two move alike: with 10 degrees at most 0.55 rad/s.
_LOWEST_HZ, _HIGHEST_HZ = 0.32, 0.50
_FADE_S = 1.0
_STEP_SPEED_RAD_S = 0.4
_PAUSE_S = 1.5
LEAST_SECONDS = 12.0

Motion = Callable[[ArmDescription, Rig, float, float, float], Array]


def sine(description: ArmDescription, rig: Rig, period_s: float, seconds: float, amplitude_rad: float) -> Array:
    """Return targets (m, n): all arm joints swing, each at its own rate, between two times of standing.

    A servo bus that takes 0.4 s to read six servos still sees every joint at every phase of its swing.
    """
    count = description.arm_joint_count
    swing_s = seconds - 2 * STAND_S
    time_s = np.arange(round(swing_s / period_s)) * period_s
    fade = np.clip(np.minimum(time_s, swing_s - time_s) / _FADE_S, 0.0, 1.0)
    fade = fade * fade * (3.0 - 2.0 * fade)
    rates_hz = np.linspace(_LOWEST_HZ, _HIGHEST_HZ, count)
    signs = np.where(np.arange(count) % 2, -1.0, 1.0)
    swing = fade[:, None] * np.sin(2 * math.pi * rates_hz * time_s[:, None]) * signs * amplitude_rad
    centre = _centre(description, rig, amplitude_rad)
    stand = np.tile(centre, (round(STAND_S / period_s), 1))
    moving = np.tile(centre, (len(time_s), 1))
    moving[:, :count] += swing
    return np.concatenate([stand, moving, stand])


def steps(description: ArmDescription, rig: Rig, period_s: float, seconds: float, amplitude_rad: float) -> Array:
    """Return targets (m, n): one joint after the other goes out, waits and comes back; then all together, till the end.

    Pauses show offsets in several poses; the lag of an arm that is read seldom is better seen in `sine`.
    """
    count = description.arm_joint_count
    centre = _centre(description, rig, amplitude_rad)
    alone = [amplitude_rad * np.eye(len(centre))[joint] * (-1.0) ** joint for joint in range(count)]
    together = np.sum(alone, axis=0)
    rows = [np.tile(centre, (round(STAND_S / period_s), 1))]
    at = centre
    way_s = amplitude_rad / _STEP_SPEED_RAD_S
    poses = [pose for out in alone for pose in (centre + out, centre)] + [centre + together, centre, centre - together]
    pause_s = max((seconds - STAND_S) / len(poses) - way_s, _PAUSE_S)
    for pose in poses:
        way = max(round(float(np.abs(pose - at).max()) / _STEP_SPEED_RAD_S / period_s), 1)
        rows.append(at + np.arange(1, way + 1)[:, None] / way * (pose - at))
        rows.append(np.tile(pose, (round(pause_s / period_s), 1)))
        at = pose
    return np.concatenate(rows)


def rehearsed(motion: Motion, description: ArmDescription, rig: Rig, period_s: float, seconds: float) -> Array:
    """Return the widest of a motion's variants that the safety filter lets pass unchanged; raises BridgeError."""
    for amplitude_rad in AMPLITUDES_RAD:
        targets_rad = motion(description, rig, period_s, seconds, amplitude_rad)
        if _passes(targets_rad, description, rig, period_s):
            return targets_rad
    raise BridgeError(f"no motion of {description.name} around home in rig {rig.name!r} keeps clear of floor and arm")


def _passes(targets_rad: Array, description: ArmDescription, rig: Rig, period_s: float) -> bool:
    safety = SafetyFilter(description, rig, period_s)
    state = safety.initial(targets_rad[0])
    for target in targets_rad:
        state, output = safety.step(state, target, state.position_rad, period_s)
        if output.limited:
            return False
    return True


def _centre(description: ArmDescription, rig: Rig, amplitude_rad: float) -> Array:
    """Return home, away from the limits by so much that every joint has room to swing."""
    room = description.margin_rad + amplitude_rad
    centre = np.array(rig.home_rad)
    count = description.arm_joint_count
    lower, upper = description.lower_rad[:count] + room, description.upper_rad[:count] - room
    centre[:count] = np.clip(centre[:count], lower, upper)
    return centre
