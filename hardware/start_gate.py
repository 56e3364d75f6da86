"""StartGate: an arm that is first sent far from where it stands goes there slowly, and then follows at once.

A first command this far off comes from a policy, or a person, that believes the arm to be elsewhere. Refusing it for
ever helps nobody, and jumping there hits somebody; so the robot itself limits the speed until it has caught up.
Ref: GELLO refuses to start beyond 0.8 rad; nahyud546/dofbot-se gates its start pose too.
"""

from __future__ import annotations

from enum import Enum, auto

import numpy as np

from urdf.pose import Array

#: A first command is near when no joint is further from it than this.
NEAR_RAD = 0.3
#: How fast the fastest joint approaches a first command that is not near.
APPROACH_RAD_S = 0.5


class Gate(Enum):
    """How the commands of one start are met."""

    CLOSED = auto()  # nothing has been commanded since the arm last stood still
    APPROACHING = auto()  # the first command was far: slow until it has been caught up with
    OPEN = auto()


def through_gate(
    gate: Gate, target_rad: Array, at_rad: Array, measured_rad: Array, duration_s: float
) -> tuple[Gate, Array]:
    """Return the gate after a command, and the target (n,) that it lets through.

    `at_rad` is the last output, `measured_rad` where the arm is. The last joint, the gripper, is compared with its last
    output: jaws that squeeze stand short of it by nature. It bends no path, so it has its own pace.
    """
    if gate is Gate.CLOSED:
        stands = np.append(measured_rad[:-1], at_rad[-1])
        gate = Gate.OPEN if float(np.abs(target_rad - stands).max()) <= NEAR_RAD else Gate.APPROACHING
    if gate is Gate.OPEN:
        return gate, target_rad
    away = target_rad - at_rad
    arm, jaws = float(np.abs(away[:-1]).max()), abs(float(away[-1]))
    reach = APPROACH_RAD_S * duration_s
    if max(arm, jaws) <= reach:
        return Gate.OPEN, target_rad
    away[:-1] *= min(1.0, reach / max(arm, 1e-300))
    away[-1] *= min(1.0, reach / max(jaws, 1e-300))
    return gate, at_rad + away
