"""What soft actor-critic needs around it to learn from worlds: a warm-up, the replay, a schedule, a running average."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray

from policies.acceleration import Computing
from policies.bc import check_same_demonstrations, gaussian_loss
from policies.demonstrations import Demonstrations
from policies.errors import CheckpointError
from policies.learner import LearnerState, WorldStep, updates_due
from policies.learner_config import SacConfig
from policies.parts import Parts, Tensors
from policies.replay import Batch, Replay, joined
from policies.sac import DeterministicPolicy, Losses, Sac


class OffPolicy:
    """SAC as a `policies.learner.Learner`. Everything that is random comes from `seed` and is kept in checkpoints."""

    def __init__(
        self,
        space: gymnasium.Space[object],
        action_space: gymnasium.Space[object],
        worlds: int,
        config: SacConfig,
        discount: float,
        seed: int,
        sees: Sequence[str] = (),
        critic_sees: Sequence[str] = (),
        computing: Computing | None = None,
    ) -> None:
        self._config, self._worlds = config, worlds
        self._noise = torch.Generator().manual_seed(seed)
        self._draws = np.random.default_rng(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.sac = Sac(space, action_space, config, self._noise, computing, sees, critic_sees)
        self.replay = Replay(space, self.sac.action_size, worlds, config.capacity, discount, config.steps)
        self.average: DeterministicPolicy = copy.deepcopy(self.sac.policy).requires_grad_(False)
        self.decisions = self.updates = 0
        self._losses: list[Losses] = []
        self._space, self._discount = space, discount
        self._demonstrated: Replay | None = None
        self._demonstrations_sha256 = ""

    def learn_from(self, demonstrations: Demonstrations, reward_scale: float) -> None:
        """Have `demonstration_share` of every batch come from these, and the policy begin with what they show."""
        config = self._config
        self._demonstrated = demonstrations.replay(
            self._space, self.sac.action_size, self._discount, config.steps, reward_scale
        )
        self._demonstrations_sha256 = demonstrations.sha256

    @property
    def _begins_warm(self) -> bool:
        return self._demonstrated is not None and self._config.warm_start > 0

    @property
    def policy(self) -> DeterministicPolicy:
        """The running average of the policies so far. Ref: Polyak and Juditsky, SIAM J. Control Optim. 30 (1992)."""
        return self.average

    # Learning --------------------------------------------------------------------------------------------------------
    def begin(self, observations: Parts) -> None:
        """Take in the first observations after a reset of all worlds; a warm start comes before the first decision."""
        if self._demonstrated is not None and self._begins_warm and self.decisions == 0:
            warm_start(self.sac, self._demonstrated, self._draws)
            self.average = copy.deepcopy(self.sac.policy).requires_grad_(False)
        self.replay.begin(observations)

    def act(self, observations: Parts) -> NDArray[np.float32]:
        """Return actions (n, a): uniform ones during the warm-up, then the policy's with its noise.

        A policy that begins with what was demonstrated has something better to try than uniform ones.
        """
        if self.decisions < self._config.warm_up and not self._begins_warm:
            return self._draws.uniform(-1.0, 1.0, (self._worlds, self.sac.action_size)).astype(np.float32)
        return self.sac.act(observations)

    def improve(self) -> None:
        """Take as many gradient steps as a step of all worlds is worth, once the warm-up is over."""
        count = updates_due(self._config.updates_per_decision, self.decisions, self._worlds)
        if count == 0 or self.decisions < self._config.warm_up or len(self.replay) == 0:
            return
        for _ in range(count):
            self._losses.append(self.sac.update(self._batch().to(self.sac.device)))
        self.updates += count
        # The average begins where the policy begins to learn: nearly all of it, then less and less.
        share = min(1.0, count * max(self._config.averaging_rate, 1.0 / (count + self.updates)))
        with torch.no_grad():
            for mine, live in zip(self.average.parameters(), self.sac.policy.parameters(), strict=True):
                mine.lerp_(live, share)

    def _batch(self) -> Batch:
        size = self._config.batch_size
        if self._demonstrated is None:
            return self.replay.sample(size, self._draws)
        shown = round(self._config.demonstration_share * size)
        return joined(self.replay.sample(size - shown, self._draws), self._demonstrated.sample(shown, self._draws))

    def take_in(self, step: WorldStep) -> None:
        """Remember one step of all worlds."""
        self.replay.add(step)
        self.decisions += self._worlds

    # Telling ---------------------------------------------------------------------------------------------------------
    def scalars(self) -> Mapping[str, float]:
        """Return the mean of what the updates since the last call said, and the temperature."""
        told = {"temperature": float(self.sac.temperature)}
        if self._losses:
            told |= dict(zip(Losses._fields, np.mean(self._losses, axis=0).tolist(), strict=True))
        self._losses = []
        return told

    def seen(self, count: int, rng: np.random.Generator) -> Parts:
        """Return up to `count` observations of the replay, the parts that the policy reads."""
        return self.replay.observations(count, rng, self.sac.actor_parts)

    # Keeping ---------------------------------------------------------------------------------------------------------
    def _adams(self) -> Mapping[str, torch.Tensor]:
        named = {"critic": self.sac.critic_adam, "actor": self.sac.actor_adam, "temperature": self.sac.temperature_adam}
        return {f"{name}.{key}": row for name, adam in named.items() for key, row in adam.rows().items()}

    def _tensors(self) -> Tensors:
        targets = self.sac.targets
        average = {f"average.{name}": p for name, p in self.average.named_parameters()}
        return {**self._adams(), "targets": targets, **average}

    def capture(self) -> LearnerState:
        """Return copies of weights, moments, replay, counters and generators."""
        adams = (self.sac.critic_adam, self.sac.actor_adam, self.sac.temperature_adam)
        facts = {
            "layout": self.sac.layout,
            "demonstrations": self._demonstrations_sha256,
            "counters": json.dumps([self.decisions, self.updates, *(adam.steps for adam in adams)]),
            "draws": json.dumps(self._draws.bit_generator.state),
        }
        tensors = {name: tensor.detach().cpu().clone() for name, tensor in self._tensors().items()}
        return LearnerState({**tensors, "noise": self._noise.get_state()}, dict(self.replay.capture()), facts)

    def restore(self, state: LearnerState) -> None:
        """Take over what `capture` returned; raises CheckpointError where the networks or the replay are others."""
        # Earlier checkpoints named the device, on which nothing depends any more.
        if state.facts.get("layout", "").removesuffix(" on cpu") != self.sac.layout:
            raise CheckpointError(
                f"the checkpoint's networks are {state.facts.get('layout')}, this run's {self.sac.layout}: "
                "resume it with the settings that it was begun with"
            )
        check_same_demonstrations(state, self._demonstrations_sha256)
        adams = (self.sac.critic_adam, self.sac.actor_adam, self.sac.temperature_adam)
        self.replay.restore(state.arrays)
        with torch.no_grad():
            for name, tensor in self._tensors().items():
                tensor.copy_(state.tensors[name])
        self._noise.set_state(state.tensors["noise"])
        self.decisions, self.updates, *steps = json.loads(state.facts["counters"])
        for adam, count in zip(adams, steps, strict=True):
            adam.steps = count
        self._draws.bit_generator.state = json.loads(state.facts["draws"])


def warm_start(sac: Sac, demonstrated: Replay, rng: np.random.Generator) -> None:
    """Have the actor learn for `warm_start` steps to do what was demonstrated; the critics know nothing yet."""
    config = sac.config
    weights = [*sac.actor.parameters(), *sac.actor_encoder.parameters()]
    adam = torch.optim.Adam(weights, config.learning_rate)
    for _ in range(config.warm_start):
        batch = demonstrated.sample(config.batch_size, rng).to(sac.device)
        mean, log_std = sac.actor(sac.actor_encoder(batch.observations))
        loss = gaussian_loss(mean, log_std, batch.actions)
        adam.zero_grad()
        loss.backward()
        adam.step()
    for weight in weights:
        weight.grad = None
    sac.targets.copy_(sac.critic_adam.row)  # an encoder that critics and actor share has moved
