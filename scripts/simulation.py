"""The simulated tasks: built in whichever process calls, so nothing here may load a learner."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import gymnasium

import sim
from bridge.loop import Recorder
from bridge.observation import PRIVILEGED, PROPRIOCEPTION, STATE, CameraView, ImageKind, ObservationSpec
from calibration.actuator_file import ActuatorCalibration
from sim.curriculum import make_curriculum
from sim.randomization import NONE, Randomization, randomization
from sim.ranges import Range
from sim.vector import SharedVectorEnv
from sim.vector_worker import WorldFactory
from urdf.errors import UnknownName

if TYPE_CHECKING:
    from policies.config import TrainConfig


@dataclass(frozen=True, slots=True)
class SimulatedTask:
    """Builds a task's environment."""

    environment: str
    rig: str
    spec: ObservationSpec
    action_repeat: int
    discount: float
    servo_zero_rad: float
    sighting_error_m: float
    randomization: str
    distractors: int
    renderer: str
    unit: ActuatorCalibration | None = None

    def __call__(self, index: int) -> gymnasium.Env:
        """Return a new environment; all are alike, whatever the index."""
        return self.build()

    def build(self, recorder: Recorder | None = None) -> gymnasium.Env:
        """Return a new environment of whose control periods `recorder` sees every one."""
        return gymnasium.make(
            self.environment,
            rig=self.rig,
            spec=self.spec,
            action_repeat=self.action_repeat,
            discount=self.discount,
            randomization=self._ranges(),
            distractors=self.distractors,
            renderer=self.renderer,
            sighting_error_m=self.sighting_error_m,
            recorder=recorder,
            disable_env_checker=True,
            actuator=None if self.unit is None else self.unit.model(),
        )

    def _ranges(self) -> Randomization:
        """Return the named ranges; servo zeros have the wider one of theirs and the task's.

        A measured unit's servos vary around it as its own ranges say, unless nothing is to vary.
        """
        named = randomization(self.randomization)
        if self.unit is not None and named != NONE:
            ranges = self.unit.ranges
            named = dataclasses.replace(
                named,
                servo_speed_factor=Range(*ranges.speed_factor),
                servo_dead_time_s=Range(*ranges.dead_time_s),
                servo_backlash_rad=Range(*ranges.backlash_rad),
            )
        zero = named.servo_zero_rad
        zero = Range(min(zero.low, -self.servo_zero_rad), max(zero.high, self.servo_zero_rad))
        return dataclasses.replace(named, servo_zero_rad=zero)


def observation_spec(names: Sequence[str], picture_px: int, frames: int) -> ObservationSpec:
    """Return the spec that has the parts `names`: state, proprioception, privileged, or CAMERA_KIND for pictures.

    Raises UnknownName for a name that is none of these.
    """
    words = (STATE, PROPRIOCEPTION, PRIVILEGED)
    views: list[CameraView] = []
    for name in dict.fromkeys(names):
        camera, _, kind = name.rpartition("_")
        if name in words:
            continue
        if not camera or kind not in list(ImageKind):
            raise UnknownName("part of an observation", name, [*words, *(f"wrist_{kind}" for kind in ImageKind)])
        views.append(CameraView(camera, ImageKind(kind), picture_px, picture_px))
    return ObservationSpec(
        state=STATE in names,
        proprioception=PROPRIOCEPTION in names,
        views=tuple(views),
        frames=frames,
        privileged=PRIVILEGED in names,
    )


def environment_id(arm: str, task: str) -> str:
    """Return the id under which a task of an arm is registered; raises UnknownName where there is none."""
    assert sim.__name__ == "sim"  # importing it registers them
    registered = {s.id: s.kwargs for s in gymnasium.registry.values() if s.id.startswith("Tandem/")}
    arms = sorted({str(kwargs["arm"]) for kwargs in registered.values()})
    tasks = sorted({str(kwargs["task"]) for kwargs in registered.values()})
    if arm not in arms:
        raise UnknownName("arm", arm, arms)
    if task not in tasks:
        raise UnknownName("task", task, tasks)
    return next(name for name, kwargs in registered.items() if (kwargs["arm"], kwargs["task"]) == (arm, task))


def simulated(config: TrainConfig, rig: str) -> WorldFactory:
    """Return the factory of a task's simulated environment; raises UnknownName for a task without one."""
    return _simulated(config, rig, (*config.sees, *config.critic_sees))


def _simulated(config: TrainConfig, rig: str, parts: Sequence[str]) -> SimulatedTask:
    return SimulatedTask(
        environment=environment_id(config.arm, config.task),
        rig=rig,
        spec=observation_spec(parts, config.picture_px, config.frames),
        action_repeat=config.action_repeat,
        discount=config.discount if config.shaping_discount is None else config.shaping_discount,
        servo_zero_rad=math.radians(config.servo_zero_deg),
        sighting_error_m=config.sighting_error_mm / 1000,
        randomization=config.randomization,
        distractors=config.distractors,
        renderer=config.renderer,
    )


def judged(config: TrainConfig, rig: str) -> WorldFactory:
    """Return the factory of the environment that policies are judged in: what is promised, and only what they read.

    Nothing is off there but what `judged_randomization` draws.
    """
    exact = dataclasses.replace(config, servo_zero_deg=0.0, sighting_error_mm=0.0)
    return _simulated(dataclasses.replace(exact, randomization=config.judged_randomization), rig, config.sees)


def of_unit(factory: WorldFactory, unit: ActuatorCalibration | None) -> WorldFactory:
    """Return the factory with the servos of a measured robot, where there is one and the worlds are simulated here."""
    return dataclasses.replace(factory, unit=unit) if isinstance(factory, SimulatedTask) else factory


def training_worlds(factory: WorldFactory, config: TrainConfig) -> SharedVectorEnv:
    """Start the worlds to learn in, under the configured curriculum; raises UnknownName when there is none such."""
    curriculum = make_curriculum(config.curriculum)
    # One stage is no curriculum, and needs no worlds that have stages.
    followed = curriculum if len(curriculum.stages) > 1 else None
    return SharedVectorEnv(factory, config.worlds, config.workers, curriculum=followed)


def judging_worlds(factory: WorldFactory, config: TrainConfig) -> SharedVectorEnv:
    """Start the worlds to judge in: always the full task."""
    return SharedVectorEnv(factory, config.worlds, config.workers)
