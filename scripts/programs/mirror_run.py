"""Drives a mirrored arm through a motion, and puts the figures and the verdict together."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np

from bridge.clock import MonotonicClock
from bridge.encoding import Phase
from bridge.loop import ControlLoop, LoopStatistics, LoopStep
from calibration.actuator import ActuatorModel
from scripts.programs.episode_replay import APPROACH_SPEED_RAD_S, NoBlock, ReplayAttempt
from scripts.programs.mirror_links import CameraLook, CameraMirror, camera_mirror, seen_links
from scripts.programs.mirror_numbers import (
    JointMirror,
    ToolMirror,
    combine_lags,
    joint_mirrors,
    joint_traces,
    seconds_since,
    tool_distances_mm,
    tool_mirror,
)
from scripts.programs.mirror_plot import MirrorPicture, draw_mirror
from scripts.programs.mirror_robot import MirroredRobot, MirrorLog
from sim.sim_robot import SimRobot
from sim.world import ArmWorld
from urdf.description import ArmDescription, Rig
from urdf.kinematics import PinocchioKinematics
from urdf.pose import Array

#: What an arm may be off before the verdict is bad: twice what the zeros of servos are randomised by in training.
BAD_OFFSET_RAD = math.radians(2.0)
#: And how much earlier or later than the model it may move: the dead times of such boards lie 60 to 120 ms.
BAD_LAG_MS = 50.0
_SETTLE_S = 0.5


class MirrorSummary(msgspec.Struct, frozen=True):
    """The JSON line. Differences are the arm's readings less the twin's positions.

    `behind_ms`: how much later than the twin the arm moves, uncertain by `behind_error_ms`. `lag_ms`: the twin's own
    dead time and that, so the time from a command to the first motion. Both null where the motion does not tell.
    `zero_known`: whether a camera looked where the links stand; a servo's own readings cannot tell where its zero is.
    """

    robot: str
    motion: str
    verdict: str
    fine: bool
    lag_ms: float | None
    behind_ms: float | None
    behind_error_ms: float | None
    joints: tuple[JointMirror, ...]
    tool: ToolMirror | None
    missed_deadlines: int
    loop_hz: float
    episode: str | None
    picture: str | None
    zero_known: bool = False
    camera: CameraMirror | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Judgement:
    """What came of it, in a sentence, and whether that is fine."""

    fine: bool
    text: str


def make_twin(description: ArmDescription, rig: Rig, period_s: float) -> SimRobot:
    """Return the twin: the nominal servos, but with perfect gears, so that all play that is seen is the arm's."""
    nominal = ActuatorModel.nominal(description)
    perfect = dataclasses.replace(nominal, backlash_rad=(), dead_band_rad=(), readback_rad=())
    return SimRobot(ArmWorld(description, rig), period_s, perfect)


class MirrorRun:
    """One motion of one arm and its twin. `log` is whole at every moment, so a run that is stopped can be told of."""

    def __init__(self, robot: MirroredRobot, rig: Rig, targets_rad: Array, period_s: float) -> None:
        self.robot = robot
        self._targets_rad = targets_rad
        self._onward: Callable[[LoopStep], None] | None = None
        kinematics = PinocchioKinematics(robot.description, rig)
        self._attempt = ReplayAttempt(robot.description, rig, period_s, targets_rad, kinematics)
        self.loop = ControlLoop(robot, MonotonicClock(), NoBlock(), self._attempt, self)

    @property
    def log(self) -> MirrorLog:
        """What was seen so far."""
        return self.robot.log

    @property
    def statistics(self) -> LoopStatistics:
        """What the loop counted so far."""
        return self.loop.statistics

    def run(self, onward: Callable[[LoopStep], None]) -> None:
        """Go slowly to the first pose, play the motion, and hold, also when interrupted; `onward` sees every period."""
        self._onward = onward
        try:
            self.loop.move_to(self._targets_rad[0], APPROACH_SPEED_RAD_S, _SETTLE_S)
            self.loop.begin()
            while self._attempt.phase != Phase.DONE:
                self.loop.observe()
                self.loop.apply(self.loop.no_action)
        except KeyboardInterrupt:
            self.robot.hold()
            raise
        self.robot.hold()

    def record(self, step: LoopStep) -> None:
        """Pass one control period on."""
        if self._onward is not None:
            self._onward(step)


def judge(joints: tuple[JointMirror, ...], behind_ms: float | None) -> Judgement:
    """Return the verdict: bad where a joint stands off by more than 2 degrees, or the lag is unlike the model's."""
    told = [(j.joint, off_rad) for j in joints if (off_rad := told_offset_rad(j)) is not None]
    if not told:
        return Judgement(False, "nothing can be said: the arm was not read while it stood")
    worst, off_rad = max(told, key=lambda pair: abs(pair[1]))
    by = "by the camera" if any(j.link is not None for j in joints) else "by its servo's readings"
    where = f"{worst} stands {off_rad:+.4f} rad ({math.degrees(off_rad):+.2f} degrees) off its twin, {by}"
    if abs(off_rad) > BAD_OFFSET_RAD:
        return Judgement(
            False, f"{where}: look for a slipped horn, a load, or another calibration (`tandem calibrate servos`)"
        )
    if behind_ms is None:
        return Judgement(True, f"at most {where}; this motion does not tell the lag")
    late = f"the arm moves {abs(behind_ms):.0f} ms {'after' if behind_ms >= 0 else 'before'} its twin"
    if abs(behind_ms) > BAD_LAG_MS:
        return Judgement(False, f"{late}, unlike the model: {BAD_LAG_MS:.0f} ms at most are trained for")
    return Judgement(True, f"at most {where}, and {late}: it follows its model")


def told_offset_rad(joint: JointMirror) -> float | None:
    """Return how far a joint stands off its twin: by the camera where one told, else by its readings."""
    return joint.link.offset_rad if joint.link is not None else joint.offset_rad


def summarize(
    run: MirrorRun,
    robot: str,
    motion: str,
    picture: Path | None,
    episode: Path | None,
    look: CameraLook | None = None,
) -> MirrorSummary:
    """Return the figures of a run, and draw them where a picture is wanted; `look` is what a camera found out."""
    log, description = run.log, run.robot.description
    traces = joint_traces(log)
    joints = joint_mirrors(log, traces, description.joint_names)
    camera: CameraMirror | None = None
    if look is not None:
        joints, camera = _looked_at(joints, look, log, description)
    time_s, tool_mm = tool_distances_mm(log, description)
    combined = combine_lags(joints)
    behind_ms, error_ms = combined or (None, None)
    judged = judge(joints[: description.arm_joint_count], behind_ms)  # jaws may hold what the twin's do not
    drawn = picture if log.twin_rad and log.sent_ns else None
    if drawn is not None:
        twin_s = seconds_since(log.twin_ns, log.sent_ns[0])
        twin_rad = np.array(log.twin_rad)
        title = f"tandem mirror: {description.name} “{robot}” and its twin, {motion}"
        draw_mirror(
            MirrorPicture(
                title, judged.text, judged.fine, traces, joints, twin_s, twin_rad, time_s, tool_mm, behind_ms
            ),
            drawn,
        )
    nominal_ms = 1e3 * ActuatorModel.nominal(description).dead_time_s
    return MirrorSummary(
        robot=robot,
        motion=motion,
        verdict=judged.text,
        fine=judged.fine,
        lag_ms=None if behind_ms is None else nominal_ms + behind_ms,
        behind_ms=behind_ms,
        behind_error_ms=error_ms,
        joints=joints,
        tool=tool_mirror(tool_mm),
        missed_deadlines=run.statistics.missed_deadlines,
        loop_hz=round(run.statistics.loop_hz, 3),
        episode=str(episode) if episode is not None else None,
        picture=str(drawn) if drawn is not None else None,
        zero_known=any(joint.link is not None for joint in joints),
        camera=camera,
    )


def _looked_at(
    joints: tuple[JointMirror, ...], look: CameraLook, log: MirrorLog, description: ArmDescription
) -> tuple[tuple[JointMirror, ...], CameraMirror]:
    """Return the joints with what the camera says of their links, and the camera's own figures."""
    twin_rad = log.twin_rad[-1]
    if look.fit is None:
        return joints, camera_mirror(look, (), twin_rad, description)
    links = seen_links(look.fit, twin_rad, [joint.offset_rad for joint in joints], description.joint_names)
    seen = tuple(msgspec.structs.replace(j, link=link) for j, link in zip(joints, links, strict=True))
    return seen, camera_mirror(look, links, twin_rad, description)
