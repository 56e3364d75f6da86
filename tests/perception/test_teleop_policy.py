from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from bridge.attempt import Attempt
from bridge.free_attempt import FreeJointAttempt, FreeToolAttempt
from bridge.loop import ControlLoop, run_episode
from perception.body import PeopleSighting, Side
from perception.clutch import Clutch, ClutchPhase, ClutchSettings
from perception.person_view import PersonView
from perception.retarget_joints import Copying, JointRetarget
from perception.retarget_tool import ToolRetarget
from perception.teleop_drivers import Driver, JointDriver, ToolDriver
from perception.teleop_policy import Deadman, PersonLeft, StopAsked, TeleopMoment, TeleopPolicy, Wishes
from scripts.programs.pose_track import QUIET, Waypoint, pose_track
from tests.bridge.desk import ARM, RIG, START_NS, Desk, ObedientArm, StepClock, Tape
from urdf.kinematics import PinocchioKinematics
from urdf.pose import Array

PERIOD_S = 0.02
REST = (0.15, 0.35, -0.1)
ASIDE = (0.27, 0.35, -0.05)
SCALE = 0.3
KINEMATICS = PinocchioKinematics(ARM, RIG)
Free = type[FreeToolAttempt] | type[FreeJointAttempt]


class Played:
    """A recording that plays by the clock, each picture 15 ms after it was taken."""

    def __init__(self, sightings: Sequence[PeopleSighting], clock: StepClock) -> None:
        self.sightings, self._clock = list(sightings), clock

    def newest(self) -> PeopleSighting | None:
        here = [s for s in self.sightings if s.stamp_ns + 15_000_000 <= self._clock.now_ns()]
        return here[-1] if here else None

    def missing(self) -> str:
        return "no picture"

    def over(self) -> bool:
        return self._clock.now_ns() > self.sightings[-1].stamp_ns


class Person:
    """Somebody before the arm, who may also be at its keys."""

    def __init__(self, waypoints: Sequence[Waypoint], kind: Free = FreeToolAttempt) -> None:
        self.clock, self.tape = StepClock(), Tape()
        self.arm = ObedientArm(self.clock)
        attempt = kind(ARM, RIG, KINEMATICS, PERIOD_S)
        self.attempt: Attempt = attempt
        self.loop = ControlLoop(self.arm, self.clock, Desk(self.clock), attempt, self.tape)
        track = pose_track(waypoints, Side.RIGHT, np.random.default_rng(1), QUIET, start_ns=START_NS)
        self.played = Played(track, self.clock)
        self.moments: list[TeleopMoment] = []
        self.wish_at: dict[int, Wishes] = {}
        self.driver = self._driver()
        self.policy = TeleopPolicy(
            self.played, PersonView(Side.RIGHT, mirror=False), self.driver, Clutch(self.settings), self, self.clock,
            Deadman.HAND, self.moments.append,
        )  # fmt: skip

    settings = ClutchSettings()

    def _driver(self) -> Driver:
        return ToolDriver(self.attempt, ToolRetarget(RIG), SCALE, self.measured)

    def measured(self) -> Array:
        return self.arm.position_rad

    def read(self) -> Wishes:
        return self.wish_at.get(len(self.moments), Wishes())

    def run(self) -> None:
        with pytest.raises(PersonLeft):
            run_episode(self.loop, self.policy, 1)

    def tools_m(self) -> Array:
        return np.array([self.attempt.motion.locate(np.array(c.position_rad))[0] for c in self.arm.commands])

    def phases(self) -> list[ClutchPhase]:
        return [moment.state.phase for moment in self.moments]


def reaching(end_s: float = 4.0, **last: bool) -> list[Waypoint]:
    """The other hand is raised, a second later the wrist goes aside, where it stays."""
    return [
        Waypoint(0.0, REST, other_raised=True),
        Waypoint(1.0, REST, other_raised=True),
        Waypoint(2.0, ASIDE, other_raised=True),
        replace(Waypoint(3.0, ASIDE, other_raised=True), **last),
        replace(Waypoint(end_s, ASIDE, other_raised=True), **last),
    ]


def test_the_tool_goes_as_far_as_the_wrist_times_the_scale_and_never_jumps() -> None:
    person = Person(reaching())
    person.run()
    tools = person.tools_m()
    went_m = tools[150] - tools[0]
    assert went_m == pytest.approx(SCALE * (np.array(ASIDE) - REST), abs=3e-3)
    assert np.abs(np.diff(tools, axis=0)).max() < 0.004
    first = person.phases().index(ClutchPhase.ENGAGED)
    assert np.abs(tools[: first + 10] - tools[0]).max() < 2e-4
    assert person.loop.statistics.loop_hz == pytest.approx(50.0)


def test_between_two_pictures_the_arm_goes_on() -> None:
    person = Person(reaching())
    person.run()
    tools = person.tools_m()[70:95]  # the quickest part of the way
    assert (np.diff(tools[:, 0]) > 1e-5).all()


def test_a_person_who_leaves_the_picture_stops_the_arm_and_it_goes_home_slowly() -> None:
    person = Person(reaching(7.5, present=False))
    person.run()
    tools, phases = person.tools_m(), person.phases()
    gone = 150  # periods, 3 s
    assert phases[gone + 14] is ClutchPhase.HOLDING
    assert np.abs(np.diff(tools[gone + 14 : gone + 95], axis=0)).max() < 1e-6
    back = phases.index(ClutchPhase.RETURNING)
    assert 97 <= back - gone <= 102
    assert np.linalg.norm(np.diff(tools[back:], axis=0), axis=1).max() < 0.045 * PERIOD_S
    assert np.linalg.norm(tools[-1] - tools[0]) < 0.01
    assert phases[-1] is ClutchPhase.WAITING
    assert any(step.waiting_for == "nobody is in the picture" for step in person.tape.steps)


def test_somebody_else_never_moves_the_arm_once_one_has_it() -> None:
    person = Person(reaching(3.5))
    stranger = pose_track(
        [Waypoint(0.0, REST, other_raised=True), Waypoint(5.2, (0.3, 0.2, 0.2), other_raised=True)],
        Side.RIGHT, np.random.default_rng(2), QUIET, start_ns=START_NS,
    )  # fmt: skip
    joined = []
    for k, theirs in enumerate(stranger):
        other = replace(theirs.bodies[0], image=theirs.bodies[0].image * [1.0, 1.3] + [0.33, -0.2])
        mine = person.played.sightings[k].bodies if k < len(person.played.sightings) else ()
        joined.append(replace(theirs, bodies=((other, *mine) if k > 40 else mine)))
    person.played.sightings = joined
    person.run()
    tools, phases = person.tools_m(), person.phases()
    left = 176  # the one in control leaves, the stranger stays with a raised hand
    assert phases[left - 5] is ClutchPhase.ENGAGED
    assert tools[left] - tools[0] == pytest.approx(SCALE * (np.array(ASIDE) - REST), abs=3e-3)
    assert set(phases[left + 20 : left + 80]) == {ClutchPhase.HOLDING}
    assert any("somebody else" in step.waiting_for for step in person.tape.steps)


def test_lowering_the_hand_lets_go_and_raising_it_again_jumps_nowhere() -> None:
    up, down = {"other_raised": True}, {"other_raised": False}
    person = Person(
        [
            Waypoint(0.0, REST, **up), Waypoint(0.6, REST, **down), Waypoint(1.2, ASIDE, **down),
            Waypoint(1.6, ASIDE, **up), Waypoint(2.5, ASIDE, **up),
        ]
    )  # fmt: skip
    person.run()
    assert {ClutchPhase.ENGAGED, ClutchPhase.READY} <= set(person.phases())
    tools = person.tools_m()
    assert np.abs(tools - tools[0]).max() < 1e-3


def test_a_larger_scale_moves_nothing_by_itself() -> None:
    person = Person(reaching())
    person.wish_at = {130: Wishes(scale_by=2.0)}
    person.run()
    tools = person.tools_m()
    assert np.abs(np.diff(tools[125:140], axis=0)).max() < 5e-4
    assert person.moments[-1].scale == pytest.approx(2 * SCALE)


def test_an_emergency_stop_ends_the_episode_at_once_and_says_who() -> None:
    person = Person(reaching())
    person.wish_at = {90: Wishes(stop="the space key")}
    with pytest.raises(StopAsked, match="space key"):
        run_episode(person.loop, person.policy, 1)
    assert person.policy.state.phase is ClutchPhase.STOPPED
    assert len(person.arm.commands) == 90


def test_pictures_whose_clock_jumps_hold_the_arm() -> None:
    person = Person(reaching())
    sightings = person.played.sightings
    person.played.sightings = [*sightings[:60], *(replace(s, stamp_ns=s.stamp_ns - 10**9) for s in sightings[60:])]
    person.played.newest = lambda: person.played.sightings[min(len(person.moments) * 3 // 5, 120)]  # type: ignore[method-assign]
    person.run()
    phases = person.phases()
    assert phases[98] is ClutchPhase.ENGAGED
    assert phases[101] is ClutchPhase.HOLDING


class Copier(Person):
    """Somebody whose posture is copied."""

    settings = ClutchSettings()

    def _driver(self) -> Driver:
        return JointDriver(self.attempt, JointRetarget(ARM, Copying.ARM), self.measured)


def test_a_posture_is_approached_slowly_then_copied() -> None:
    person = Copier(reaching(6.0), FreeJointAttempt)
    person.run()
    joints = np.array([c.position_rad for c in person.arm.commands])
    steps = np.abs(np.diff(joints, axis=0)) / (ARM.max_speed_rad_s * PERIOD_S)
    first = person.phases().index(ClutchPhase.ENGAGED)
    assert steps[: first + 5].max() < 0.2
    assert steps.max() <= 1.0 + 1e-6
    seen = PersonView(Side.RIGHT, mirror=False).see(person.played.sightings[150])
    assert seen.limb is not None
    posture = JointRetarget(ARM, Copying.ARM).posture_rad(seen.limb, joints[299])
    assert joints[299] == pytest.approx(posture, abs=0.03)


class Careful(Copier):
    """The same, with an arm that waits until the posture is near."""

    settings = ClutchSettings(max_gap_rad=0.1)


def test_a_posture_far_from_the_arm_does_not_engage() -> None:
    person = Careful(reaching(), FreeJointAttempt)
    person.run()
    assert ClutchPhase.ENGAGED not in person.phases()
    assert any("bring your arm nearer" in step.waiting_for for step in person.tape.steps)
