"""The simulated tasks: built in whichever process calls, so nothing here may load a learner."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import gymnasium

from sim.curriculum import make_curriculum
from sim.randomization import Randomization, randomization
from sim.ranges import Range
from sim.vector import SharedVectorEnv
from sim.vector_worker import WorldFactory
from urdf.errors import UnknownName

if TYPE_CHECKING:
    from policies.config import TrainConfig

_ENVIRONMENTS: Mapping[str, str] = {"grasp": "Tandem/Dofbot-Grasp-v0"}


@dataclass(frozen=True, slots=True)
class SimulatedTask:
    """Builds a task's environment."""

    task: str
    rig: str
    action_repeat: int
    discount: float
    servo_zero_rad: float
    sighting_error_m: float
    randomization: str
    distractors: int
    renderer: str

    def __call__(self, index: int) -> gymnasium.Env:
        """Return a new environment; all are alike, whatever the index."""
        return gymnasium.make(
            _ENVIRONMENTS[self.task],
            rig=self.rig,
            action_repeat=self.action_repeat,
            # The shaping of the reward leaves the optimum alone only under the learner's own discount.
            discount=self.discount,
            randomization=self._ranges(),
            distractors=self.distractors,
            renderer=self.renderer,
            sighting_error_m=self.sighting_error_m,
            disable_env_checker=True,
        )

    def _ranges(self) -> Randomization:
        """Return the named ranges; servo zeros have the wider one of theirs and the task's."""
        named = randomization(self.randomization)
        zero = named.servo_zero_rad
        zero = Range(min(zero.low, -self.servo_zero_rad), max(zero.high, self.servo_zero_rad))
        return dataclasses.replace(named, servo_zero_rad=zero)


def simulated(config: TrainConfig, rig: str) -> WorldFactory:
    """Return the factory of a task's simulated environment; raises UnknownName for a task without one."""
    if config.task not in _ENVIRONMENTS:
        raise UnknownName("task", config.task, _ENVIRONMENTS)
    return SimulatedTask(
        task=config.task,
        rig=rig,
        action_repeat=config.action_repeat,
        discount=config.discount,
        servo_zero_rad=math.radians(config.servo_zero_deg),
        sighting_error_m=config.sighting_error_mm / 1000,
        randomization=config.randomization,
        distractors=config.distractors,
        renderer=config.renderer,
    )


def judged(config: TrainConfig, rig: str) -> WorldFactory:
    """Return the factory of the environment that policies are judged in: nothing is off, as in what is promised."""
    exact = dataclasses.replace(config, servo_zero_deg=0.0, sighting_error_mm=0.0, randomization="none")
    return simulated(exact, rig)


def training_worlds(factory: WorldFactory, config: TrainConfig) -> SharedVectorEnv:
    """Start the worlds to learn in, under the configured curriculum; raises UnknownName when there is none such."""
    curriculum = make_curriculum(config.curriculum)
    # One stage is no curriculum, and needs no worlds that have stages.
    followed = curriculum if len(curriculum.stages) > 1 else None
    return SharedVectorEnv(factory, config.worlds, config.workers, curriculum=followed)


def judging_worlds(factory: WorldFactory, config: TrainConfig) -> SharedVectorEnv:
    """Start the worlds to judge in: always the full task."""
    return SharedVectorEnv(factory, config.worlds, config.workers)
