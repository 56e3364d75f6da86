"""PacedRobot: a simulated arm in real time, its stamps on the monotonic clock, as whoever leads it has them."""

from __future__ import annotations

import msgspec

from bridge.clock import MonotonicClock
from bridge.messages import JointCommand, RobotState
from bridge.ports import Clock
from sim.sim_robot import SimRobot
from urdf.description import ArmDescription


class PacedRobot:
    """`Robot` and `Clock` around a SimRobot: a period of simulated time takes as long as it says."""

    def __init__(self, robot: SimRobot, clock: Clock | None = None) -> None:
        """Simulated time goes on from now."""
        self.sim = robot
        self._clock = clock or MonotonicClock()
        self._shift_ns = self._clock.now_ns() - robot.now_ns()

    @property
    def description(self) -> ArmDescription:
        """What arm this is."""
        return self.sim.description

    def read_state(self) -> RobotState:
        """Return the joint state from physics."""
        state = self.sim.read_state()
        return msgspec.structs.replace(state, stamp_ns=state.stamp_ns + self._shift_ns)

    def send(self, command: JointCommand) -> JointCommand:
        """Pass the command through the safety filter to the simulated servos; return what was really sent."""
        return self.sim.send(command)

    def hold(self) -> None:
        """Stand still."""
        self.sim.hold()

    def close(self) -> None:
        """Free the world."""
        self.sim.close()

    def now_ns(self) -> int:
        """Return the time of the real clock."""
        return self._clock.now_ns()

    def sleep_until(self, deadline_ns: int) -> None:
        """Step physics up to `deadline_ns`, then wait for it."""
        self.sim.sleep_until(deadline_ns - self._shift_ns)
        self._clock.sleep_until(deadline_ns)
