"""Plays the commands of a recording again, through the same loop, and compares the two motions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from bridge.actions import ActionLayout
from bridge.attempt import ToolMotion
from bridge.encoding import ObservationLayout, Phase
from bridge.episode_reader import Episode
from bridge.errors import BadEpisode, BridgeError, PolicyMismatch
from bridge.loop import ControlLoop, LoopStatistics, LoopStep, Recorder
from bridge.messages import RobotState
from bridge.ports import BlockSighting, Clock, Kinematics, Robot
from scripts.programs.bus_recording import TORQUE, TORQUE_OFF
from scripts.programs.episode_numbers import PAUSE_PERIODS
from urdf.description import ArmDescription, Rig
from urdf.pose import Array

#: To the first pose nobody has gone this way before: slowly.
APPROACH_SPEED_RAD_S = 0.4
#: An arm that is further away from the first pose than this has been stopped on its way.
_ARRIVED_RAD = 0.12
_SETTLE_S = 0.8
#: Commands that come as far as this from one a period, as a share of it, are put into periods by their times.
_OTHER_RATE = 0.1
#: Of a period: what two times that are the same may differ by.
_ROUNDING = 1e-6


class JointDifference(msgspec.Struct, frozen=True):
    """How far one joint was from where it was in the recording, at the same command [rad]."""

    joint: str
    rms_rad: float
    max_rad: float


@dataclass(frozen=True, slots=True)
class Timeline:
    """The commands (m, n) of a recording period by period; `source` (m,) is the place of each in the recording.

    Where the recording pauses, the command before the pause is repeated, for `max_pause_s` at most.
    """

    targets_rad: Array
    source: NDArray[np.int64]

    @staticmethod
    def of(episode: Episode, max_pause_s: float) -> Timeline:
        """Return the commands of a recording; raises BadEpisode where it cannot be played, and says why."""
        _check_playable(episode)
        period_s = episode.header.period_s
        gaps = np.diff(episode.sent_stamp_ns) * 1e-9 / period_s
        if len(gaps) and abs(float(np.median(gaps)) - 1.0) > _OTHER_RATE:
            # A server's: it writes down what was sent whenever it was, at whatever rate somebody sent it.
            at = np.append(0.0, np.cumsum(np.minimum(gaps, max_pause_s / period_s)))
            periods = np.arange(int(at[-1] + _ROUNDING) + 1, dtype=np.float64)
            source = np.searchsorted(at, periods + _ROUNDING, side="right") - 1
            return Timeline(episode.sent_rad[source], source)
        longest = max(round(max_pause_s / period_s), 1)
        # A period that came late is one period: only a pause stands for more.
        repeats = np.where(gaps > PAUSE_PERIODS, np.minimum(np.rint(gaps), longest), 1).astype(np.int64)
        source = np.repeat(np.arange(episode.steps), np.append(repeats, 1))
        return Timeline(episode.sent_rad[source], source)


def _check_playable(episode: Episode) -> None:
    if episode.steps == 0 and episode.bus_sent:
        raise BadEpisode(
            f"{episode.path} holds servo counts and no angles: whoever recorded it (`tandem jog`) knew no calibration, "
            "so nobody knows where another arm, or the same one calibrated, would go"
        )
    if episode.steps == 0:
        raise BadEpisode(f"{episode.path} holds no command: there is nothing to play")
    if episode.missing_steps:
        raise BadEpisode(
            f"{episode.path} lacks {episode.missing_steps} periods in its middle: the arm would jump there"
        )
    first_ns, last_ns = int(episode.sent_stamp_ns[0]), int(episode.sent_stamp_ns[-1])
    for event in episode.events:
        if (event.name, event.text) == (TORQUE, TORQUE_OFF) and first_ns < event.stamp_ns < last_ns:
            at_s = (event.stamp_ns - episode.header.start_clock_ns) * 1e-9
            raise BadEpisode(
                f"{episode.path}: the torque went off after {at_s:.1f} s, and nobody commanded how the arm moved then"
            )


class ReplayAttempt:
    """An `Attempt` that asks nobody: it commands one target after the other."""

    observation_layout = ObservationLayout("replay", 1, ())
    action_layout = ActionLayout("replay", 1, ())
    ready = False
    deciding = False

    def __init__(
        self, description: ArmDescription, rig: Rig, period_s: float, targets_rad: Array, kinematics: Kinematics
    ) -> None:
        self.phase = Phase.DONE
        self.motion = ToolMotion(kinematics)
        self.description, self.rig, self.period_s = description, rig, period_s
        self.played = 0
        """How many of the targets have been commanded."""
        self._targets_rad = targets_rad

    def begin(self, state: RobotState) -> None:
        """Start with the first target."""
        self.phase, self.played = Phase.MOVE, 0

    def see(self, state: RobotState, sighting: BlockSighting | None, missing: str, now_ns: int) -> str:
        """Miss nothing."""
        return ""

    def observe(self) -> NDArray[np.float32]:
        """Refuse: there is nothing to decide."""
        raise ValueError("a replay observes nothing")

    def command(self, action: NDArray[np.float32], waiting_for: str) -> Array:
        """Return the target of this period."""
        target = self._targets_rad[self.played]
        self.played += 1
        if self.played == len(self._targets_rad):
            self.phase = Phase.DONE
        return target


class NoBlock:
    """A `BlockSource` of nothing, that misses nothing."""

    def read_block(self) -> BlockSighting | None:
        """See no block."""
        return None

    def missing(self) -> str:
        """Miss nothing."""
        return ""


class _Measured:
    """Remembers where the arm was in every period, and passes it on."""

    def __init__(self, onward: Recorder | None, advance: Callable[[], None]) -> None:
        self.position_rad: list[tuple[float, ...]] = []
        self.playing = False
        self._onward, self._advance = onward, advance

    def record(self, step: LoopStep) -> None:
        """Take in one control period."""
        if self._onward is not None:
            self._onward.record(step)
        if self.playing:
            self.position_rad.append(step.state.position_rad)
            self._advance()


def check_same_arm(episode: Episode, description: ArmDescription, rig: str) -> None:
    """Raise PolicyMismatch unless the recording is of such an arm, mounted like this one."""
    header = episode.header
    if header.arm != description.name or header.arm_sha256 != description.sha256:
        raise PolicyMismatch(
            f"recorded on arm {header.arm!r} ({header.arm_sha256[:12]}), this one is {description.name!r} "
            f"({description.sha256[:12]}): its commands mean something else here"
        )
    if header.rig != rig:
        raise PolicyMismatch(f"recorded on rig {header.rig!r}, this arm stands in rig {rig!r}")


def replay(
    episode: Episode,
    timeline: Timeline,
    robot: Robot,
    rig: Rig,
    clock: Clock,
    kinematics: Kinematics,
    recorder: Recorder | None,
    advance: Callable[[], None],
) -> tuple[tuple[JointDifference, ...], LoopStatistics]:
    """Go slowly to the first pose, play everything, and return how the motion differs, joint by joint.

    Raises BridgeError where the first pose is not reached: the safety filter, or the arm, has stopped on the way.
    """
    attempt = ReplayAttempt(robot.description, rig, episode.header.period_s, timeline.targets_rad, kinematics)
    measured = _Measured(recorder, advance)
    loop = ControlLoop(robot, clock, NoBlock(), attempt, measured)
    loop.move_to(timeline.targets_rad[0], APPROACH_SPEED_RAD_S, _SETTLE_S)
    _check_arrived(robot, timeline.targets_rad[0])
    loop.begin()
    measured.playing = True
    while attempt.phase != Phase.DONE:
        loop.observe()
        loop.apply(loop.no_action)
    robot.hold()
    off_rad = np.array(measured.position_rad) - episode.position_rad[timeline.source]
    first = np.append(True, np.diff(timeline.source) > 0)  # a pause is no motion to compare
    return _differences(robot.description.joint_names, off_rad[first]), loop.statistics


def _check_arrived(robot: Robot, first_rad: Array) -> None:
    count = robot.description.arm_joint_count  # what the jaws hold may keep them open
    off_rad = np.abs(np.array(robot.read_state().position_rad) - first_rad)[:count]
    worst = int(np.argmax(off_rad))
    if off_rad[worst] > _ARRIVED_RAD:
        raise BridgeError(
            f"the first pose of the recording was not reached: {robot.description.joint_names[worst]} is "
            f"{np.degrees(off_rad[worst]):.1f} degrees away. Clear the way, or move the arm nearer (`tandem jog`)"
        )


def _differences(names: tuple[str, ...], off_rad: Array) -> tuple[JointDifference, ...]:
    rms_rad, max_rad = np.sqrt(np.mean(off_rad**2, axis=0)), np.abs(off_rad).max(axis=0)
    return tuple(
        JointDifference(name, round(float(rms), 6), round(float(most), 6))
        for name, rms, most in zip(names, rms_rad, max_rad, strict=True)
    )
