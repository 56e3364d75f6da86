"""ArmTrack: where an arm was when a picture was taken."""

from __future__ import annotations

import threading
from collections import deque

import numpy as np

from bridge.messages import RobotState
from perception.errors import ArmUnknown
from urdf.pose import Array

_KEPT = 128
#: So far beyond the newest state the arm is taken to go on as it was going: two control periods.
_AHEAD_S = 0.1
#: States that lie farther apart have a gap between them, in which the arm may have been anywhere.
_GAP_S = 0.5


class ArmTrack:
    """The newest states of an arm, by their stamps. One thread adds, another asks."""

    def __init__(self) -> None:
        self._states: deque[RobotState] = deque(maxlen=_KEPT)
        self._lock = threading.Lock()

    def add(self, state: RobotState) -> None:
        """Take in a state; one that is no newer than the last is passed over."""
        with self._lock:
            if not self._states or state.stamp_ns > self._states[-1].stamp_ns:
                self._states.append(state)

    def at(self, stamp_ns: int) -> Array:
        """Return the joints (n,) [rad] at a stamp, between states on a straight line.

        Raises ArmUnknown where the stamp lies before all states, beyond the newest by more than 0.1 s, or in a gap.
        """
        with self._lock:
            states = list(self._states)
        if not states:
            raise ArmUnknown("where the arm was is not known: no state has been read yet")
        after = next((k for k, state in enumerate(states) if state.stamp_ns >= stamp_ns), len(states))
        if after == len(states):
            newest = states[-1]
            ahead_s = (stamp_ns - newest.stamp_ns) * 1e-9
            if ahead_s > _AHEAD_S:
                raise ArmUnknown(f"the picture is {ahead_s:.2f} s newer than the newest state of the arm")
            return np.array(newest.position_rad) + ahead_s * np.array(newest.velocity_rad_s)
        late = states[after]
        if after == 0:
            if late.stamp_ns == stamp_ns:
                return np.array(late.position_rad)
            raise ArmUnknown("the picture is older than every state of the arm that is kept")
        early = states[after - 1]
        gap_s = (late.stamp_ns - early.stamp_ns) * 1e-9
        if gap_s > _GAP_S:
            raise ArmUnknown(f"between two states of the arm lie {gap_s:.2f} s, and the picture is from in between")
        share = (stamp_ns - early.stamp_ns) / (late.stamp_ns - early.stamp_ns)
        return (1 - share) * np.array(early.position_rad) + share * np.array(late.position_rad)
