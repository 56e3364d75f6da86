"""Teacher and student: one learns from the state, the other to do from pictures what the first would do.

The teacher is soft actor-critic on parts of the observation that only a simulator has. Then the student acts, and
learns by regression what the teacher would have done wherever it got to: DAgger (Ross et al., arXiv 1011.0686,
algorithm 3.1), all of the first episodes being the teacher's and all of the others the student's.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray

from policies.acceleration import Computing
from policies.adam import FlatAdam
from policies.errors import CheckpointError
from policies.learner import LearnerState, WorldStep, updates_due
from policies.learner_config import DistillConfig, SacConfig
from policies.networks import Encoder
from policies.off_policy import OffPolicy
from policies.parts import Parts, Tensors, as_tensors, chosen_parts
from policies.sac import Actor, DeterministicPolicy

_STUDENT = "student."


class Distill:
    """A `policies.learner.Learner` whose policy is the student. What was met is kept once, for both."""

    def __init__(
        self,
        space: gymnasium.Space[object],
        action_space: gymnasium.Space[object],
        worlds: int,
        teacher: SacConfig,
        config: DistillConfig,
        discount: float,
        seed: int,
        sees: Sequence[str],
        teacher_sees: Sequence[str],
        computing: Computing | None = None,
    ) -> None:
        self._computing = computing or Computing()
        self._config, self._worlds = config, worlds
        self.teacher = OffPolicy(
            space, action_space, worlds, teacher, discount, seed, teacher_sees, teacher_sees, self._computing
        )
        self._sees = chosen_parts(space, sees)
        c = config
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            encoder = Encoder(self._sees, c.encoder, c.picture_features, c.spatial_softmax, c.coordinates)
            student = DeterministicPolicy(encoder, Actor(encoder.size, c.hidden, self.teacher.sac.action_size))
        self.student = student.to(self._computing.device)
        self.average = copy.deepcopy(self.student).requires_grad_(False)
        self._adam = FlatAdam(list(self.student.parameters()), c.learning_rate)
        self._error = self._computing.step(self._imitated)
        self._draws = np.random.default_rng([seed, 1])
        self._errors: list[float] = []

    @property
    def updates(self) -> int:
        """Gradient steps of both."""
        return self.teacher.updates + self._adam.steps

    @property
    def policy(self) -> DeterministicPolicy:
        """The running average of the students so far."""
        return self.average

    @property
    def _taught(self) -> bool:
        return self.teacher.decisions >= self._config.teacher_decisions

    def begin(self, observations: Parts) -> None:
        """Take in the first observations after a reset of all worlds."""
        self.teacher.begin(observations)

    def act(self, observations: Parts) -> NDArray[np.float32]:
        """Return actions (n, a): the teacher's with its noise while it learns, then the student's with a little."""
        if not self._taught:
            return self.teacher.act(observations)
        with torch.inference_mode():
            seen = as_tensors(observations, self._sees)
            chosen = self.student({name: part.to(self._computing.device) for name, part in seen.items()}).cpu().numpy()
        noise = self._draws.normal(0.0, self._config.noise, chosen.shape)
        return (chosen + noise).clip(-1.0, 1.0).astype(np.float32)

    def improve(self) -> None:
        """Take the teacher's gradient steps while it learns; then the student's."""
        if not self._taught:
            self.teacher.improve()
            return
        count = updates_due(self._config.updates_per_decision, self.teacher.decisions, self._worlds)
        if count == 0 or len(self.teacher.replay) == 0:
            return
        for _ in range(count):
            self._computing.begin()
            batch = self.teacher.replay.sample(self._config.batch_size, self._draws).to(self._computing.device)
            error = self._error(batch.observations)
            self._adam.minimise(error)
            self._errors.append(error.item())
        share = min(1.0, count * max(self._config.averaging_rate, 1.0 / (count + self._adam.steps)))
        with torch.no_grad():
            for mine, live in zip(self.average.parameters(), self.student.parameters(), strict=True):
                mine.lerp_(live, share)

    def _imitated(self, seen: Tensors) -> torch.Tensor:
        """Return how far the student is from its teacher, whose actions are computed in full precision."""
        with torch.no_grad():
            wanted = self.teacher.policy(seen)
        with self._computing.reduced():
            features = self.student.encoder(seen).float()
        return imitation_loss(torch.tanh(self.student.actor(features)[0]), wanted)

    def take_in(self, step: WorldStep) -> None:
        """Remember one step of all worlds."""
        self.teacher.take_in(step)

    def scalars(self) -> Mapping[str, float]:
        """Return what the teacher says, and how far the student was from it."""
        said = {**self.teacher.scalars(), **({"imitation": float(np.mean(self._errors))} if self._errors else {})}
        self._errors = []
        return said

    def seen(self, count: int, rng: np.random.Generator) -> Parts:
        """Return up to `count` observations that were met, the parts that the student reads."""
        return self.teacher.replay.observations(count, rng, tuple(self._sees))

    # Keeping ---------------------------------------------------------------------------------------------------------
    def _tensors(self) -> Tensors:
        average = {f"average.{name}": p for name, p in self.average.named_parameters()}
        return {f"{_STUDENT}{name}": tensor for name, tensor in {**self._adam.rows(), **average}.items()}

    def capture(self) -> LearnerState:
        """Return copies of all that both need."""
        state = self.teacher.capture()
        tensors = {name: tensor.detach().cpu().clone() for name, tensor in self._tensors().items()}
        own = {"student_steps": str(self._adam.steps), "student_draws": json.dumps(self._draws.bit_generator.state)}
        return LearnerState({**state.tensors, **tensors}, state.arrays, {**state.facts, **own})

    def restore(self, state: LearnerState) -> None:
        """Take over what `capture` returned; raises CheckpointError where a network is another."""
        for name, tensor in self._tensors().items():
            stored = state.tensors.get(name)
            if stored is None or stored.shape != tensor.shape:
                raise CheckpointError(
                    f"the checkpoint's network for {name} is {None if stored is None else tuple(stored.shape)}, this "
                    f"run's {tuple(tensor.shape)}: resume it with the settings that it was begun with"
                )
        self.teacher.restore(state)
        with torch.no_grad():
            for name, tensor in self._tensors().items():
                tensor.copy_(state.tensors[name])
        self._adam.steps = int(state.facts["student_steps"])
        self._draws.bit_generator.state = json.loads(state.facts["student_draws"])


def imitation_loss(actions: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Return the mean squared distance between what the student does (b, a) and what the teacher would."""
    return (actions - wanted).square().sum(dim=1).mean()
