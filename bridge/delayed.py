"""Any robot and any source of block poses, further away: what passes takes a whole number of control periods.

A period lasts from one `send` to the next, so whoever drives it sends once per period, as the control loop does.
"""

from __future__ import annotations

from collections import deque

from bridge.errors import BridgeError
from bridge.messages import JointCommand, RobotState
from bridge.ports import BlockSighting, BlockSource, Robot
from urdf.description import ArmDescription


class DelayedRobot:
    """A `Robot` whose commands arrive `action_periods` late and whose states are `observation_periods` old.

    Holding is never late, and it voids the commands under way; what is read after it is what the arm does now.
    With zero periods of both it is the robot itself. Make a new one for every episode.
    """

    def __init__(self, robot: Robot, action_periods: int, observation_periods: int) -> None:
        """Wrap `robot`; raises BridgeError on a negative number of periods."""
        _refuse_negative("action_periods", action_periods)
        _refuse_negative("observation_periods", observation_periods)
        self._robot = robot
        self._action_periods = action_periods
        self._observation_periods = observation_periods
        self._under_way: deque[JointCommand] = deque()
        #: One state per period, the period under way last.
        self._states: deque[RobotState] = deque(maxlen=observation_periods + 1)
        self._seen_this_period = False

    @property
    def description(self) -> ArmDescription:
        """What arm this is."""
        return self._robot.description

    def read_state(self) -> RobotState:
        """Return the state of `observation_periods` ago, or the oldest since the beginning or the last hold."""
        self._look()
        return self._states[0]

    def send(self, command: JointCommand) -> JointCommand:
        """Send the command of `action_periods` ago; return what was really sent, under that command's number.

        While the first one is still under way nothing is sent: the answer is the pose in which the arm stands, under
        the number of `command`.
        """
        if not self._seen_this_period:
            self._look()
        self._under_way.append(command)
        self._seen_this_period = False
        if len(self._under_way) > self._action_periods:
            return self._robot.send(self._under_way.popleft())
        stands_rad = self._states[-1].position_rad
        return JointCommand(command.seq, command.stamp_ns, stands_rad, command.duration_s, command.ttl_s)

    def hold(self) -> None:
        """Stand still now; the commands under way are void."""
        self._under_way.clear()
        self._states.clear()
        self._seen_this_period = False
        self._robot.hold()

    def close(self) -> None:
        """Give the arm back."""
        self._robot.close()

    def _look(self) -> None:
        """Keep the newest state as that of the period under way."""
        state = self._robot.read_state()
        if self._seen_this_period:
            self._states[-1] = state
        else:
            self._states.append(state)
            self._seen_this_period = True


class DelayedSource:
    """A `BlockSource` whose sightings are `periods` old, and say so by their stamps. Read it once per period.

    Make a new one for every episode.
    """

    def __init__(self, source: BlockSource, periods: int) -> None:
        """Wrap `source`; raises BridgeError on a negative number of periods."""
        _refuse_negative("periods", periods)
        self._source = source
        self._sightings: deque[BlockSighting | None] = deque(maxlen=periods + 1)

    def read_block(self) -> BlockSighting | None:
        """Return the sighting of `periods` ago, or the oldest since the beginning."""
        self._sightings.append(self._source.read_block())
        return self._sightings[0]

    def missing(self) -> str:
        """Say what the source misses now: words need no exposure and no cable."""
        return self._source.missing()


def _refuse_negative(name: str, periods: int) -> None:
    if periods < 0:
        raise BridgeError(f"{name} must be at least 0, got {periods}")
