"""MirroredRobot: one command stream for two arms, the one on the wire and its simulated twin, on one time axis.

The twin is sent what really went to the motors, and its physics is advanced to the moment at which it went. Compared is
what the servos were read to say, at the time of each reading: between readings an arm's state is a model of its
commands, and a model says nothing about the difference between an arm and a model.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from bridge.errors import BridgeError
from bridge.messages import JointCommand, RobotState
from bridge.ports import Clock
from bridge.remote import RemoteRobot
from sim.sim_robot import SimRobot
from sim.world import PHYSICS_HZ
from urdf.description import ArmDescription
from urdf.pose import Array

_STEP_NS = 1_000_000_000 // PHYSICS_HZ
#: Times of reading nearer to each other than this belong to one reading: the clocks' offset wavers.
_SAME_READING_NS = 5_000_000


@dataclass(slots=True)
class JointReadings:
    """What one joint's servo said, and when (ns of the run's clock)."""

    stamp_ns: list[int] = field(default_factory=list[int])
    position_rad: list[float] = field(default_factory=list[float])


@dataclass(slots=True)
class MirrorLog:
    """Everything that a comparison needs. Rows of `twin_rad`, `sent_rad`, `estimate_rad` are joint positions (n,)."""

    readings: tuple[JointReadings, ...]
    twin_ns: list[int] = field(default_factory=list[int])
    twin_rad: list[Array] = field(default_factory=list[Array])
    sent_ns: list[int] = field(default_factory=list[int])
    sent_rad: list[Array] = field(default_factory=list[Array])
    state_ns: list[int] = field(default_factory=list[int])
    estimate_rad: list[Array] = field(default_factory=list[Array])

    @staticmethod
    def empty(joint_count: int) -> MirrorLog:
        """Return a log of nothing yet."""
        return MirrorLog(tuple(JointReadings() for _ in range(joint_count)))


class MirroredRobot:
    """A `Robot` that a simulated twin follows. It is the arm to whoever drives it; the twin is only watched."""

    def __init__(self, arm: RemoteRobot, twin: SimRobot, clock: Clock) -> None:
        """Have the twin stand where the arm is. The twin's own clock starts now."""
        self._arm, self._twin, self._clock = arm, twin, clock
        state = arm.read_state()
        if not state.reading_rad:
            raise BridgeError("this arm's server does not tell what its servos were read to say: update it")
        self.log = MirrorLog.empty(len(state.position_rad))
        twin.reset(np.array(state.position_rad), None)
        self._zero_ns = clock.now_ns()
        self._newest_ns = [state.stamp_ns] * len(state.position_rad)

    @property
    def description(self) -> ArmDescription:
        """What arm this is."""
        return self._arm.description

    def read_state(self) -> RobotState:
        """Return the arm's state, and note what its servos have said since the last one."""
        state = self._arm.read_state()
        log = self.log
        log.state_ns.append(state.stamp_ns)
        log.estimate_rad.append(np.array(state.position_rad))
        for joint, (age_s, reading) in enumerate(zip(state.reading_age_s, state.reading_rad, strict=True)):
            read_ns = state.stamp_ns - round(age_s * 1e9)
            if read_ns > self._newest_ns[joint] + _SAME_READING_NS:
                self._newest_ns[joint] = read_ns
                log.readings[joint].stamp_ns.append(read_ns)
                log.readings[joint].position_rad.append(reading)
        return state

    def send(self, command: JointCommand) -> JointCommand:
        """Send to the arm, then to the twin what the arm was really sent, as of the same moment."""
        sent = self._arm.send(command)
        # When it went to the bus, not when it was asked for; a command that was refused went nowhere.
        sent_ns = max(self._arm.written_ns, command.stamp_ns)
        self.advance(sent_ns)
        self._twin.send(sent)
        self.log.sent_ns.append(sent_ns)
        self.log.sent_rad.append(np.array(sent.position_rad))
        return sent

    def advance(self, now_ns: int) -> None:
        """Let the twin's time pass up to `now_ns` of the run's clock."""
        goal_ns = now_ns - self._zero_ns
        while self._twin.now_ns() < goal_ns:
            self._twin.sleep_until(min(self._twin.now_ns() + _STEP_NS, goal_ns))
            # Its motors pull during a step to where the setpoint is at the step's end; a board's pull to where it is.
            self.log.twin_ns.append(self._zero_ns + self._twin.now_ns() + _STEP_NS)
            self.log.twin_rad.append(self._twin.world.joint_states()[0])

    def hold(self) -> None:
        """Have both stand still, the arm first."""
        self._arm.hold()
        self._twin.hold()

    def close(self) -> None:
        """Give the arm back and free the twin's world; calling it twice is harmless."""
        self._arm.close()
        self._twin.close()
