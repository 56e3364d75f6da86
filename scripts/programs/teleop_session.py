"""One teleoperation: the person as a policy in the control loop, what is noted of every period, and emergency stops."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np

from bridge.attempt import Attempt
from bridge.episode import EpisodeWriter
from bridge.episode_decisions import DemonstrationHeader
from bridge.episode_format import Level
from bridge.episode_witness import Demonstrator, WitnessedPolicy, demonstration_header
from bridge.errors import BridgeError
from bridge.free_attempt import FREE_HZ, FreeJointAttempt, FreeToolAttempt
from bridge.loop import ControlLoop, LoopStep, run_episode
from bridge.observation import ObservationSpec
from bridge.ports import BlockSighting, Clock
from perception.body import Side
from perception.clutch import Clutch, ClutchPhase, ClutchSettings, ClutchState
from perception.person_view import PersonView
from perception.retarget_joints import Copying, JointRetarget
from perception.retarget_tool import ToolRetarget, natural_scale
from perception.teleop_drivers import Driver, JointDriver, ToolDriver
from perception.teleop_policy import Deadman, PersonLeft, Sightings, StopAsked, TeleopMoment, TeleopPolicy
from scripts.programs.teleop_arm import TeleopArm, WorldBlock
from scripts.programs.teleop_controls import TeleopControls
from urdf.kinematics import PinocchioKinematics
from urdf.pose import Array

PERIOD_S = 1.0 / FREE_HZ
_CLEAR_LOOK_S = 0.05
#: Of what the arm waits for so many letters are counted as one: numbers in it change.
REASON_LENGTH = 60
#: What a person does freely is of no task; every stretch that the arm followed is an attempt.
FREE_TASK = "free"


class Mode(StrEnum):
    """What of the person's arm is taken over: its outline, its posture, or the motion of the wrist."""

    PLANAR = "planar"
    ARM = "arm"
    TOOL = "tool"


@dataclass(frozen=True, slots=True)
class TeleopSetup:
    """How the person leads the arm. `scale`: metres of tool for a metre of wrist; None is what suits the arm.

    `let_go_first`: the deadman has to be let go once before it counts.
    """

    mode: Mode
    side: Side
    mirror: bool
    deadman: Deadman
    scale: float | None = None
    turning: bool = False
    return_s: float | None = 2.0
    max_gap_rad: float = math.inf
    let_go_first: bool = False


@dataclass(slots=True)
class TeleopNotes:
    """What a teleoperation came to. `tools_m`: where the tool was sent; `goals_m`: where the person wanted it.

    `place_m` (3,): where the block is to go, where a task says so.
    """

    latency_ms: list[float] = field(default_factory=lambda: [])
    times_s: list[float] = field(default_factory=lambda: [])
    phases: list[ClutchPhase] = field(default_factory=lambda: [])
    tools_m: list[Array] = field(default_factory=lambda: [])
    goals_m: list[tuple[float, float, float]] = field(default_factory=lambda: [])
    reasons: Counter[str] = field(default_factory=lambda: Counter[str]())
    engagements: int = 0
    pictures: int = 0
    stopped: str = ""
    place_m: Array | None = None


#: Whoever shows a control period to the person.
Show = Callable[[TeleopMoment, LoopStep, TeleopNotes], None]


def show_nothing(moment: TeleopMoment, step: LoopStep, notes: TeleopNotes) -> None:
    """Nobody looks at a screen."""


class NoBlock:
    """A `BlockSource` of a free attempt: nobody looks for a block but the person."""

    def read_block(self) -> BlockSighting | None:
        """Return nothing."""
        return None

    def missing(self) -> str:
        """Say that nothing is missing."""
        return ""


class TeleopRecorder:
    """The loop's recorder: notes, events, and the first command that a picture led to."""

    def __init__(
        self,
        arm: TeleopArm,
        attempt: Attempt,
        writer: EpisodeWriter | None,
        tell: Callable[[str], None],
        show: Show,
        demonstrator: Demonstrator | None = None,
    ) -> None:
        """`demonstrator` is told of every stretch that the arm follows as of an attempt."""
        self.notes = TeleopNotes()
        self._arm, self._attempt, self._writer, self._tell, self._show = arm, attempt, writer, tell, show
        self.demonstrator = demonstrator
        self._moment: TeleopMoment | None = None
        self._told: tuple[ClutchPhase, str] | None = None
        self._began_ns = arm.clock.now_ns()

    def moment(self, moment: TeleopMoment) -> None:
        """Take in what the policy has just decided on."""
        self._moment = moment
        self.notes.pictures += moment.fresh
        self.notes.engagements += moment.state.engages
        if moment.state.engages and self.demonstrator is not None:
            self.end_demonstration()
            self.demonstrator.begin()
        if moment.state.phase is ClutchPhase.STOPPED:
            self.notes.stopped = moment.state.reason
        # Numbers in a reason change from period to period: its first words are what it is.
        told = moment.state.phase, moment.state.reason[:16]
        if told != self._told:
            self._told = told
            words = f"{moment.state.phase}: {moment.state.reason}"
            self._tell(words)
            if self._writer is not None:
                level = Level.INFO if moment.state.moves else Level.WARNING
                self._writer.event("clutch", words, level)

    def end_demonstration(self) -> None:
        """End the stretch that the person led the arm: nobody knows yet whether that was a success."""
        if self.demonstrator is not None:
            self.demonstrator.end(None, truncated=True)

    def record(self, step: LoopStep) -> None:
        """Take in one control period."""
        if self._writer is not None:
            self._writer.record(step)
        moment, notes = self._moment, self.notes
        if moment is None:  # the way home, before the person is asked
            return
        notes.times_s.append((step.sent.stamp_ns - self._began_ns) * 1e-9)
        notes.phases.append(moment.state.phase)
        notes.tools_m.append(self._attempt.motion.locate(np.array(step.sent.position_rad))[0])
        notes.goals_m.append(moment.goal_m)
        if step.waiting_for:
            notes.reasons[step.waiting_for[:REASON_LENGTH]] += 1
        if moment.fresh and moment.state.moves and moment.seen is not None:
            notes.latency_ms.append((self._arm.written_ns(step) - moment.seen.sighting.stamp_ns) * 1e-6)
        self._moment = replace(moment, fresh=False)  # nobody is asked while a skill moves the arm
        self._show(moment, step, notes)


def free_attempt(arm: TeleopArm, mode: Mode) -> FreeToolAttempt | FreeJointAttempt:
    """Return the attempt that a mode acts in."""
    kind = FreeToolAttempt if mode is Mode.TOOL else FreeJointAttempt
    return kind(arm.description, arm.rig, PinocchioKinematics(arm.description, arm.rig), PERIOD_S)


def free_header(arm: TeleopArm, mode: Mode) -> DemonstrationHeader:
    """Return what a recording says of demonstrations by teleoperation: what the arm knows of itself, and actions."""
    attempt, spec = free_attempt(arm, mode), ObservationSpec(state=False, proprioception=True)
    layouts = attempt.observation_layout, attempt.action_layout
    return demonstration_header(FREE_TASK, spec, *layouts, 1, arm.description)


def driver_of(arm: TeleopArm, attempt: Attempt, setup: TeleopSetup, periods: int = 1) -> Driver:
    """Return what turns the person's limb into actions that last so many periods.

    Raises NoLimbRules where an arm copies no limb.
    """

    def measured() -> Array:
        return np.array(arm.robot.read_state().position_rad)

    if setup.mode is Mode.TOOL:
        retarget = ToolRetarget(arm.rig, turning=setup.turning)
        return ToolDriver(attempt, retarget, setup.scale or natural_scale(arm.rig), measured, periods)
    copying = Copying.PLANAR if setup.mode is Mode.PLANAR else Copying.ARM
    return JointDriver(attempt, JointRetarget(arm.description, copying), measured)


def demonstrator_of(writer: EpisodeWriter | None, clock: Clock) -> Demonstrator | None:
    """Return who tells a recording what was seen and done, None where none was asked for."""
    if writer is None or writer.demonstration is None:
        return None
    return Demonstrator(writer, writer.demonstration, clock)


def person_at(
    arm: TeleopArm,
    setup: TeleopSetup,
    driver: Driver,
    sightings: Sightings,
    controls: TeleopControls,
    on_moment: Callable[[TeleopMoment], None],
) -> TeleopPolicy:
    """Return the person as a policy, who has yet to engage."""
    clutch = Clutch(ClutchSettings(return_s=setup.return_s, max_gap_rad=setup.max_gap_rad))
    view = PersonView(setup.side, setup.mirror)
    person = TeleopPolicy(sightings, view, driver, clutch, controls, arm.clock, setup.deadman, on_moment)
    person.state = ClutchState(let_go=not setup.let_go_first or setup.deadman is Deadman.NONE)
    return person


def stop_and_wait(arm: TeleopArm, controls: TeleopControls, stop: StopAsked, tell: Callable[[str], None]) -> bool:
    """Stop the arm until somebody clears the stop; return False where they leave instead."""
    arm.stop()
    tell(f"{stop}: the arm stands still. c clears the stop, q leaves")

    def wait() -> None:
        arm.robot.read_state()  # on a link, so that its end is noticed
        arm.clock.sleep_until(arm.clock.now_ns() + round(1e9 * _CLEAR_LOOK_S))

    if not controls.wait_for_clear(wait):
        return False
    arm.clear()
    return True


def hold_if_reached(arm: TeleopArm, tell: Callable[[str], None]) -> None:
    """Have the arm stand still whatever went wrong, if it can still be reached."""
    try:
        arm.robot.hold()
    except BridgeError as error:
        tell(f"the arm could not be told to hold, its own watchdog does: {error}")


class TeleopSession:
    """A person and an arm. `run` ends when the person leaves, or a recording does."""

    def __init__(
        self,
        arm: TeleopArm,
        setup: TeleopSetup,
        sightings: Sightings,
        controls: TeleopControls,
        writer: EpisodeWriter | None,
        tell: Callable[[str], None],
        show: Show = show_nothing,
    ) -> None:
        self._arm, self._controls, self._tell = arm, controls, tell
        self.attempt = free_attempt(arm, setup.mode)
        demonstrator = demonstrator_of(writer, arm.clock)
        self.recorder = TeleopRecorder(arm, self.attempt, writer, tell, show, demonstrator)
        source = NoBlock() if arm.world is None else WorldBlock(arm.world, arm.clock)  # for the screen
        self.loop = ControlLoop(arm.robot, arm.clock, source, self.attempt, self.recorder)
        driver = driver_of(arm, self.attempt, setup)
        self._policy = person_at(arm, setup, driver, sightings, controls, self.recorder.moment)
        self._witnessed = WitnessedPolicy(self._policy)
        self._witnessed.demonstrator = demonstrator

    def run(self) -> bool:
        """Go home, then follow the person; return False where an emergency stop ended it."""
        self.loop.move_to(self._arm.rig.home_rad)
        while True:
            try:
                run_episode(self.loop, self._witnessed, 1)
            except PersonLeft:
                self._arm.robot.hold()
                return True
            except StopAsked as stop:
                if not stop_and_wait(self._arm, self._controls, stop, self._tell):
                    return False
                self._policy.clear()
            except BaseException:
                hold_if_reached(self._arm, self._tell)
                raise
            finally:
                self.recorder.end_demonstration()
