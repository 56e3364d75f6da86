"""Record demonstrations in simulation: what a policy, or a person at the keys, sees and does, attempt by attempt."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from io import BytesIO

import msgspec
from PIL import Image as Pillow

from bridge.episode import EpisodeWriter
from bridge.episode_decisions import DemonstrationHeader
from bridge.episode_witness import Demonstrator
from bridge.loop import LoopStep
from bridge.observation import Observed
from bridge.ports import Clock, Policy
from scripts.programs.keyboard_policy import PersonLeft, PersonSkipped
from scripts.programs.scene_eye import SceneEye
from sim.env import ArmEnv

#: The scene from in front of the arm, for whoever looks through the recordings; no policy sees it.
SCENE = "scene"
_SCENE_PX, _PICTURES_HZ, _JPEG_QUALITY = (240, 180), 4.0, 85
#: Between two attempts, so that nothing of one has the time of the other.
_PAUSE_NS = 500_000_000


@dataclass(frozen=True, slots=True)
class DemonstratedAttempt:
    """One attempt that was recorded. `success` is None where the person gave it up."""

    number: int
    decisions: int
    success: bool | None
    time_s: float


class AttemptClock:
    """The time of a simulation whose clock begins anew with every attempt: here it goes on."""

    def __init__(self, robot: Clock) -> None:
        self._robot = robot
        self._before_ns = 0

    def now_ns(self) -> int:
        """Return the time since the first attempt began."""
        return self._before_ns + self._robot.now_ns()

    def sleep_until(self, deadline_ns: int) -> None:
        """Step physics."""
        self._robot.sleep_until(deadline_ns - self._before_ns)

    def next_attempt(self) -> None:
        """Call it right before the clock of the simulation is set to zero."""
        self._before_ns = self.now_ns() + _PAUSE_NS

    def shifted(self, stamp_ns: int) -> int:
        """Return a stamp of this attempt on the clock that goes on."""
        return self._before_ns + stamp_ns


@dataclass(frozen=True, slots=True)
class Reel:
    """Where a simulation is recorded, on which clock, and who takes pictures of the scene (None: nobody)."""

    writer: EpisodeWriter
    clock: AttemptClock
    eye: SceneEye | None


class SimulationTape:
    """The recorder of an environment's control loop: writes its periods, and a picture of the scene now and then."""

    def __init__(self) -> None:
        self._reel: Reel | None = None
        self._due_ns = 0

    def begin_attempt(self, reel: Reel) -> None:
        """Write there from now on; the first period is pictured."""
        self._reel, self._due_ns = reel, 0

    def record(self, step: LoopStep) -> None:
        """Take in one control period."""
        reel = self._reel
        if reel is None:
            return
        now_ns = reel.clock.now_ns()
        if now_ns >= self._due_ns:
            self._due_ns = now_ns + round(1e9 / _PICTURES_HZ)
            self.picture()
        reel.writer.record(_shifted(step, reel.clock))
        reel.writer.wait_for_room()

    def picture(self, solved: bool = False) -> None:
        """Take a picture of the scene now, where somebody takes pictures."""
        reel = self._reel
        if reel is not None and reel.eye is not None:
            data = BytesIO()
            Pillow.fromarray(reel.eye.picture(solved)).save(data, "JPEG", quality=_JPEG_QUALITY)
            reel.writer.frame(SCENE, reel.clock.now_ns(), data.getvalue())


def _shifted(step: LoopStep, clock: AttemptClock) -> LoopStep:
    """Return a period of this attempt on the clock that goes on."""
    sighting = step.sighting
    return dataclasses.replace(
        step,
        state=msgspec.structs.replace(step.state, stamp_ns=clock.shifted(step.state.stamp_ns)),
        sent=msgspec.structs.replace(step.sent, stamp_ns=clock.shifted(step.sent.stamp_ns)),
        sighting=sighting and dataclasses.replace(sighting, stamp_ns=clock.shifted(sighting.stamp_ns)),
    )


def scene_eye(env: ArmEnv) -> SceneEye:
    """Return the eye that takes the scene's pictures."""
    return SceneEye(env, _SCENE_PX)


def record_attempts(
    env: ArmEnv,
    tape: SimulationTape,
    reel: Reel,
    header: DemonstrationHeader,
    seeds: Iterable[int],
    policy_of: Callable[[int], Policy],
    on_attempt: Callable[[DemonstratedAttempt], None],
) -> None:
    """Play an episode with every seed and record it; ends sooner where the person at the keys leaves.

    An attempt that the person gives up is recorded as cut off, its success unknown.
    """
    demonstrator = Demonstrator(reel.writer, header, reel.clock)
    for seed in seeds:
        if demonstrator.attempt:
            reel.clock.next_attempt()
        observation, _ = env.reset(seed=seed)
        number = demonstrator.begin()
        tape.begin_attempt(reel)
        reel.writer.event("attempt", f"attempt {number} begins")
        policy = policy_of(seed)
        try:
            attempt = _play(env, policy, observation, demonstrator, tape)
        except PersonLeft:
            reel.writer.event("attempt", f"attempt {number}: the person left")
            return
        reel.writer.event("attempt", _in_words(attempt))
        on_attempt(attempt)


def _play(
    env: ArmEnv,
    policy: Policy,
    observation: Observed,
    demonstrator: Demonstrator,
    tape: SimulationTape,
) -> DemonstratedAttempt:
    decisions, over, success = 0, False, None
    while not over:
        try:
            action = policy.act(observation)
        except PersonSkipped:
            break
        demonstrator.decide(observation, action)
        observation, reward, terminated, truncated, info = env.step(action)
        over = terminated or truncated
        success = bool(info["is_success"]) if over else None
        demonstrator.outcome(float(reward), terminated, truncated, success)
        decisions += 1
    tape.picture(bool(success))
    if over:
        demonstrator.see_last(observation)
    return DemonstratedAttempt(demonstrator.attempt, decisions, success, env.robot.now_ns() * 1e-9)


def _in_words(attempt: DemonstratedAttempt) -> str:
    verdict = "given up" if attempt.success is None else "success" if attempt.success else "failed"
    return f"attempt {attempt.number}: {verdict}, {attempt.decisions} decisions, {attempt.time_s:.1f} s"
