"""How an arm is left when its program ends: the same for a signal, an exception and an ordinary end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from bridge.ports import RelaxingRobot
from urdf.pose import Array

OnExit = Literal["relax", "hold", "torque_off"]


def leave(robot: RelaxingRobot, on_exit: OnExit, rest_rad: Array, should_stop: Callable[[], bool]) -> None:
    """Leave the arm as asked, then give it back; it is given back even when leaving fails.

    `relax` ramps slowly to `rest_rad` and only then lets go: a raised arm whose torque is cut falls. `hold` stands
    still with the torque on. `torque_off` lets go where the arm is.
    """
    try:
        if on_exit == "relax":
            robot.relax(rest_rad, should_stop)
        elif on_exit == "torque_off":
            robot.torque_off()
        else:
            robot.hold()
    finally:
        robot.close()
