"""What the control loop runs: an attempt turns states, sightings and actions into joint targets, period by period."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bridge.actions import ActionLayout
from bridge.encoding import ObservationLayout, Phase
from bridge.messages import RobotState
from bridge.ports import BlockSighting, Kinematics
from urdf.description import ArmDescription, Rig
from urdf.errors import Unreachable
from urdf.pose import Array


class Attempt(Protocol):
    """One attempt at a task. Every period: `see`, then `observe` once it is `ready`, then `command`."""

    phase: Phase
    motion: ToolMotion

    @property
    def description(self) -> ArmDescription:
        """The arm."""
        ...

    @property
    def rig(self) -> Rig:
        """How it is mounted."""
        ...

    @property
    def period_s(self) -> float:
        """The control period."""
        ...

    @property
    def observation_layout(self) -> ObservationLayout:
        """What `observe` returns."""
        ...

    @property
    def action_layout(self) -> ActionLayout:
        """What `command` takes."""
        ...

    @property
    def ready(self) -> bool:
        """Whether everything that an observation needs has been seen."""
        ...

    @property
    def deciding(self) -> bool:
        """Whether the policy moves the arm now; a skill does otherwise, or nobody any more."""
        ...

    def begin(self, state: RobotState) -> None:
        """Start from where the arm is measured to be, so that nothing jumps."""
        ...

    def see(self, state: RobotState, sighting: BlockSighting | None, missing: str, now_ns: int) -> str:
        """Take in the newest readings; return what is missing before the arm may move (empty: nothing)."""
        ...

    def observe(self) -> NDArray[np.float32]:
        """Return the task's features; raises ValueError before the attempt is ready."""
        ...

    def command(self, action: NDArray[np.float32], waiting_for: str) -> Array:
        """Return the joint targets (n,) of this period."""
        ...


#: Joints that bend by more in a period are on their way to another posture.
_BEND_RAD = 0.2
#: So far the tool may leave the straight line to where it is sent: half turns of the jaws do not, arms turned over do.
MAX_STRAY_M = 0.015
#: A Dofbot at full speed is 30 mm behind: 200 mm/s times dead time and lag.
MAX_LEAD_M = 0.045


class ToolMotion:
    """The commanded tool: where it is asked to be, and the joint targets that put it there."""

    def __init__(self, kinematics: Kinematics, patient: bool = False) -> None:
        """`patient`: try other postures where the present one does not lead to the target; slow when none does."""
        self._patient = patient
        self._kinematics = kinematics

    def locate(self, position_rad: Array) -> tuple[Array, float]:
        """Return where the joints (n,) put the tool: position (3,) [m] in the desk frame, heading of its jaws [rad]."""
        position_m, heading_rad, _ = self._kinematics.tool_in_desk(position_rad)
        return position_m, heading_rad

    def begin(self, position_rad: Array) -> None:
        """Stand where the joints (n,) are."""
        self.target_rad: Array = position_rad
        self._began_rad = position_rad
        self.command_m, self.heading_rad = self.locate(position_rad)
        self.unreachable_count = 0

    def turned_towards(self, heading_rad: float, step_rad: float) -> float:
        """Return the heading after at most `step_rad` the short way; jaws are symmetric, so half a turn is none."""
        turn = heading_rad - self.heading_rad
        turn -= np.pi * round(turn / np.pi)
        return self.heading_rad + max(-step_rad, min(step_rad, turn))

    def set_gripper(self, gripper_rad: float) -> None:
        """Set the gripper's target."""
        self.target_rad = np.append(self.target_rad[:-1], gripper_rad)

    def move(self, command_m: Array) -> bool:
        """Aim the tool at `command_m` (3,); where it cannot go sideways it goes up or down alone, else it stays: False.

        Unless it may be patient, a motion on whose way the tool would leave its path is refused as well: it leads to
        another posture.
        """
        for position in (command_m, np.array([*self.command_m[:2], command_m[2]])):
            joints = self._joints_at(position)
            if joints is not None:
                self.command_m = position
                self.target_rad = np.append(joints, self.target_rad[-1])
                return True
            self.unreachable_count += 1
        return False

    def _joints_at(self, position_m: Array) -> Array | None:
        """Return the joints that put the tool there by a way it may take, or None.

        Where joints at their limits leave no way on from here, one towards where the attempt began is looked for: there
        the arm was free.
        """
        before_rad = self.target_rad[:-1]
        starts = (before_rad,) if self._patient else (before_rad, (before_rad + self._began_rad[:-1]) / 2)
        for start_rad in starts:
            try:
                joints = self._kinematics.solve(position_m, self.heading_rad, start_rad, self._patient)
            except Unreachable:
                continue
            if self._patient or self._stray_m(before_rad, joints) <= MAX_STRAY_M:
                return joints
        return None

    def _stray_m(self, start_rad: Array, end_rad: Array) -> float:
        """Return how far the tool leaves the straight line while the joints go straight from start to end."""
        if float(np.abs(end_rad - start_rad).max()) < _BEND_RAD:
            return 0.0
        shares = (0.25, 0.5, 0.75)
        places = [self.locate(start_rad + share * (end_rad - start_rad))[0] for share in shares]
        start_m, end_m = self.locate(start_rad)[0], self.locate(end_rad)[0]
        line = [start_m + share * (end_m - start_m) for share in shares]
        return max(float(np.linalg.norm(place - point)) for place, point in zip(places, line, strict=True))

    def follow(self, command_m: Array, heading_rad: float, tool_m: Array) -> None:
        """Turn and move; where the turn is in the way, move alone. The tool, now at `tool_m`, is waited for.

        The command runs ahead of it by `MAX_LEAD_M` at most, so that an arm that cannot follow is not left behind.
        """
        lead_m = float(np.linalg.norm(command_m - tool_m))
        if lead_m > MAX_LEAD_M and lead_m > float(np.linalg.norm(self.command_m - tool_m)):
            return
        before_rad, self.heading_rad = self.heading_rad, heading_rad
        if not self.move(command_m):
            self.heading_rad = before_rad
            self.move(command_m)
