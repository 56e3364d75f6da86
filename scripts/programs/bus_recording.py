"""What passes on a servo bus, as the items of a recording: in counts, and in radians where a calibration is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from bridge.encoding import Phase
from bridge.episode_format import BusRead, BusSent, Level
from bridge.episode_messages import Event
from bridge.loop import LoopStep
from bridge.messages import JointCommand, RobotState
from bridge.ports import Clock
from calibration.servo import ServoCalibration
from hardware.servo_bus import Reading

BusItem = BusSent | BusRead | Event | LoopStep
#: What an event of the torque is called, and what it says.
TORQUE, TORQUE_ON, TORQUE_OFF = "torque", "on", "off"
_NO_ACTION = np.zeros(0, dtype=np.float32)


class BusScribe:
    """A `BusWitness` that hands on what it hears, in the servos' own counts."""

    def __init__(self, take: Callable[[BusItem], None], clock: Clock) -> None:
        """`take` gets every item, and must return at once."""
        self._take, self._clock = take, clock

    def wrote(self, servo_ids: Sequence[int], ticks: Sequence[int], duration_s: float) -> None:
        """Take note of what was sent."""
        self._take(BusSent(self._clock.now_ns(), tuple(servo_ids), tuple(ticks), duration_s))

    def switched(self, torque_on: bool) -> None:
        """Take note of the torque."""
        text = TORQUE_ON if torque_on else TORQUE_OFF
        self._take(Event(self._clock.now_ns(), Level.INFO, TORQUE, text))

    def read(self, reading: Reading) -> None:
        """Take note of what was read."""
        self._take(BusRead(reading.received_ns, reading.servo_id, reading.ticks))


class ArmScribe:
    """A `BusScribe` for an arm whose servos are calibrated: whatever was sent is a period of the recording as well."""

    def __init__(self, take: Callable[[BusItem], None], clock: Clock, calibration: ServoCalibration) -> None:
        self._take, self._clock, self._calibration = take, clock, calibration
        self._bus = BusScribe(take, clock)
        self._ticks: dict[int, int] = {}
        self._seq = 0
        self._read_state: Callable[[], RobotState] | None = None

    def watch(self, read_state: Callable[[], RobotState]) -> None:
        """Ask so from now on where the arm is: whoever finds the arm on its bus writes before anybody knows."""
        self._read_state = read_state

    def wrote(self, servo_ids: Sequence[int], ticks: Sequence[int], duration_s: float) -> None:
        """Take note of what was sent, and of where the arm was then."""
        self._bus.wrote(servo_ids, ticks, duration_s)
        self._ticks.update(zip(servo_ids, ticks, strict=True))
        if self._read_state is None:
            return
        pose_rad = self._calibration.to_rad([self._ticks[i] for i in self._calibration.servo_ids])
        self._seq += 1
        sent = JointCommand(self._seq, self._clock.now_ns(), tuple(pose_rad.tolist()), duration_s)
        self._take(LoopStep(self._read_state(), None, Phase.MOVE, _NO_ACTION, sent, ""))

    def switched(self, torque_on: bool) -> None:
        """Take note of the torque."""
        self._bus.switched(torque_on)

    def read(self, reading: Reading) -> None:
        """Take note of what was read."""
        self._bus.read(reading)
