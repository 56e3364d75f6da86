"""TaskSession: a person shows a task, attempt after attempt, deciding as often as a policy that is to learn from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bridge.encoding import Phase
from bridge.episode import EpisodeWriter
from bridge.errors import PolicyWaits
from bridge.grasp import PATIENCE_S
from bridge.loop import ControlLoop, LoopStep, run_episode
from bridge.observation import ObservationSpec, Observed
from bridge.pick_place import PickPlaceAttempt
from bridge.ports import Policy
from bridge.sensing import SensingPolicy
from perception.clutch import ClutchState
from perception.teleop_policy import Deadman, PersonLeft, Sightings, StopAsked
from scripts.programs.demonstration_score import ScoredAttempts
from scripts.programs.teleop_arm import TeleopArm
from scripts.programs.teleop_controls import TeleopControls
from scripts.programs.teleop_ground import Ground
from scripts.programs.teleop_session import (
    REASON_LENGTH,
    Show,
    TeleopRecorder,
    TeleopSetup,
    demonstrator_of,
    driver_of,
    hold_if_reached,
    person_at,
    show_nothing,
    stop_and_wait,
)


@dataclass(frozen=True, slots=True)
class ShownAttempt:
    """One attempt of a person. `success` is None where they gave it up."""

    number: int
    success: bool | None
    duration_s: float

    @property
    def words(self) -> str:
        """What came of it, in a line."""
        verdict = "given up" if self.success is None else "success" if self.success else "failed"
        return f"attempt {self.number}: {verdict}, {self.duration_s:.1f} s"


class DecidingPerson:
    """A person who is looked at in every period and decides every `periods`.

    Where the arm has to stand it stands at once: what is left of a decision is dropped, and the next motion is a new
    one.
    """

    def __init__(self, person: Policy, periods: int, scored: ScoredAttempts) -> None:
        self._person, self._periods, self._scored = person, periods, scored
        self._left = 0
        self._action: NDArray[np.float32] = np.zeros(0, np.float32)

    def act(self, observation: Observed) -> NDArray[np.float32]:
        """Return the action of this period; raises what the person raises."""
        try:
            action = self._person.act(observation)
        except BaseException:
            self._left = 0
            raise
        if self._left == 0:
            self._scored.decide(observation, action)
            self._action, self._left = action, self._periods
        self._left -= 1
        return self._action


class TaskSession:
    """A person and an arm at a task. `run` ends after so many attempts, or when the person leaves.

    Before every attempt the arm goes home, the block is put somewhere, and the person engages anew. An attempt that the
    arm stands still in for eight seconds is given up. What the task's skill does alone, such as closing the jaws and
    lifting, goes on without the deadman, as for any policy; the keys stop it.
    """

    def __init__(
        self,
        arm: TeleopArm,
        setup: TeleopSetup,
        ground: Ground,
        spec: ObservationSpec,
        action_repeat: int,
        attempts: int,
        sightings: Sightings,
        controls: TeleopControls,
        writer: EpisodeWriter | None,
        tell: Callable[[str], None],
        show: Show = show_nothing,
    ) -> None:
        self._arm, self._ground, self._controls, self._tell, self._writer = arm, ground, controls, tell, writer
        attempt = self._attempt = ground.task.attempt
        self.recorder = TeleopRecorder(arm, attempt, writer, tell, show)
        self.loop = ControlLoop(arm.robot, arm.clock, ground.source, attempt, self)
        driver = driver_of(arm, attempt, setup, action_repeat)
        self._person = person_at(arm, setup, driver, sightings, controls, self.recorder.moment)
        self._let_go = setup.deadman is Deadman.NONE
        self._scored = ScoredAttempts(demonstrator_of(writer, arm.clock), ground.task)
        deciding = DecidingPerson(self._person, action_repeat, self._scored)
        self._policy = SensingPolicy(deciding, spec, attempt, arm.robot, ground.pictures)
        self._under_way = False
        self._waited_s = 0.0
        self._attempts = attempts
        self.shown: list[ShownAttempt] = []

    def run(self) -> bool:
        """Have the attempts made; return False where an emergency stop ended it."""
        try:
            while len(self.shown) < self._attempts:
                try:
                    self._shown(len(self.shown) + 1)
                except StopAsked as stop:
                    self._scored.end(None)
                    if not stop_and_wait(self._arm, self._controls, stop, self._tell):
                        return False
                    self._ground.clear(self.loop)
            self.loop.move_to(self._arm.rig.home_rad)
        except PersonLeft:
            self._arm.robot.hold()
        except BaseException:
            hold_if_reached(self._arm, self._tell)
            raise
        finally:
            self._under_way = False
        return True

    def record(self, step: LoopStep) -> None:
        """Take in one control period; the loop's recorder."""
        self.recorder.record(step)
        self._ground.on_state(step.state)
        if not self._under_way:
            return
        attempt = self._attempt
        self._waited_s = self._waited_s + attempt.period_s if step.waiting_for else 0.0
        if self._ground.watch(step) or self._waited_s > PATIENCE_S:
            attempt.phase = Phase.DONE
        elif not attempt.deciding:
            wishes = self._controls.read()
            if wishes.stop:
                raise StopAsked(wishes.stop)
            if wishes.leave:
                raise PersonLeft

    def _shown(self, number: int) -> None:
        """Make one attempt."""
        self._under_way = False
        self.loop.move_to(self._arm.rig.home_rad)
        self._ground.prepare(self.loop)
        self.recorder.notes.place_m = self._attempt.goal_m if isinstance(self._attempt, PickPlaceAttempt) else None
        self._note(f"attempt {number} begins")
        self._await_person()
        began_ns = self._arm.clock.now_ns()
        self._scored.begin()
        self._policy.begin()
        self._under_way, self._waited_s = True, 0.0
        run_episode(self.loop, self._policy, 1)
        duration_s = (self._arm.clock.now_ns() - began_ns) * 1e-9
        success = None if self._waited_s > PATIENCE_S else self._ground.succeeded(self.loop)
        self._under_way = False
        self._scored.end(success)
        shown = ShownAttempt(number, success, duration_s)
        self.shown.append(shown)
        self._note(shown.words)
        self._tell(shown.words)
        self._ground.clear(self.loop)

    def _await_person(self) -> None:
        """Stand at home until the person has let go, come to rest, and engaged: nobody leads two attempts in one."""
        self._person.state = ClutchState(reason="the next attempt", let_go=self._let_go)
        self.loop.begin()
        while not self._person.state.moves:
            try:
                self._person.act(self.loop.no_action)
            except PolicyWaits as wait:
                self.recorder.notes.reasons[str(wait)[:REASON_LENGTH]] += 1
                self.loop.stay(self._arm.rig.home_rad, self._attempt.period_s)

    def _note(self, words: str) -> None:
        if self._writer is not None:
            self._writer.event("attempt", words)
