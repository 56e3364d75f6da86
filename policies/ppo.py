"""Proximal policy optimisation: try for a while, learn from that a few times over, and stay near what was tried.

Schulman et al., Proximal Policy Optimization Algorithms, arXiv 1707.06347; the numbers below are its equations. Every
`rollout_steps` steps of all worlds the critic judges the rollout (equations 11 and 12, in `policies.rollout`), it is
gone through `epochs` times in minibatches, and forgotten. What the paper leaves open is as in Huang et al., The 37
Implementation Details of Proximal Policy Optimization, ICLR blog track 2022. Beyond that:

- an episode that is cut off counts as if it went on: its last observation is judged in place of what never came
  (Pardo et al., Time Limits in Reinforcement Learning, arXiv 1712.00378);
- the epochs end early where the policy has moved too far (`target_kl`);
- actor and critic may see different parts of an observation (Pinto et al., arXiv 1710.06542);
- the normaliser of observations stands still during a rollout and the learning from it, so the first ratio is 1.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from policies.actor_critic import ActorCritic, DeterministicPolicy, Trunk, fit_action_space
from policies.adam import FlatAdam
from policies.errors import CheckpointError
from policies.learner import LearnerState, WorldStep, refuse_not_finite
from policies.learner_config import PpoConfig
from policies.networks import Encoder, make_orthogonal
from policies.normalize import Normaliser
from policies.parts import Parts, Tensors, as_tensors, chosen_parts
from policies.rollout import Rollout, advantages, explained_variance

_ADAM_EPSILON, _LEAST_SPREAD = 1e-5, 1e-8
#: Observations that are judged at once: what pictures of them need in memory.
_CHUNK = 2048


# The equations -------------------------------------------------------------------------------------------------------


def clipped_objective(ratio: Tensor, advantage: Tensor, clip: float) -> Tensor:
    """Return equation 7, which is to be made large: what a change of policy (b,) gains, but no credit beyond the clip.

    min(ratio * A, clip(ratio, 1 - clip, 1 + clip) * A), averaged.
    """
    return torch.minimum(ratio * advantage, ratio.clamp(1.0 - clip, 1.0 + clip) * advantage).mean()


def value_loss(values: Tensor, old_values: Tensor, returns: Tensor, clip: float | None) -> Tensor:
    """Return the mean squared error of the critic (b,), equation 9's L^VF.

    With `clip` the larger of that and of what it would be had the values moved by no more than the clip (detail 9).
    """
    errors = (values - returns).square()
    if clip is not None:
        moved = old_values + (values - old_values).clamp(-clip, clip)
        errors = torch.maximum(errors, (moved - returns).square())
    return errors.mean()


def approximate_kl(log_ratio: Tensor) -> Tensor:
    """Return KL(old, new) as estimated from what the old policy drew (b,): the mean of (ratio - 1) - log ratio.

    Unbiased and never negative. Ref: Schulman, Approximating KL Divergence, http://joschu.net/blog/kl-approx.html.
    """
    return (torch.expm1(log_ratio) - log_ratio).mean()


# The learner ---------------------------------------------------------------------------------------------------------


class Batch(NamedTuple):
    """Decisions (b, ...): what was seen and drawn, how it was judged before the update, and what came of it."""

    observations: Tensors
    actions: Tensor
    log_probabilities: Tensor
    values: Tensor
    advantages: Tensor
    returns: Tensor

    def rows(self, index: Tensor) -> Batch:
        """Return some of the decisions."""
        return Batch({name: part[index] for name, part in self.observations.items()}, *(t[index] for t in self[1:]))


class Losses(NamedTuple):
    """What one minibatch said, for the log."""

    policy: float
    value: float
    entropy: float
    kl: float
    clip_fraction: float


class Ppo:
    """The learner. All that it draws, its first weights included, comes from `rng`, a generator on the CPU."""

    def __init__(
        self,
        space: gymnasium.Space[object],
        action_space: gymnasium.Space[object],
        config: PpoConfig,
        rng: torch.Generator,
        worlds: int,
        discount: float,
        device: torch.device | None = None,
        actor_sees: Sequence[str] = (),
        critic_sees: Sequence[str] = (),
    ) -> None:
        """`actor_sees`, none: all parts of the observation; `critic_sees`, none: what the actor sees."""
        self.config, self._discount, self._rng, self.device = config, discount, rng, device or torch.device("cpu")
        fit = fit_action_space(action_space)
        self._sees, judges = chosen_parts(space, actor_sees), chosen_parts(space, critic_sees or actor_sees)
        self.networks = _networks(self._sees, judges, fit, config, rng).to(self.device)
        self.adam = FlatAdam(
            list(self.networks.parameters()), config.learning_rate, _ADAM_EPSILON, longest=config.max_grad_norm
        )
        self._rollout = Rollout(self._sees | judges, fit, worlds, config.rollout_steps)
        self._drawn, self._log_probabilities = torch.zeros(2, 0)
        self._learnt_from = 0
        self._scalars: dict[str, float] = {}

    @property
    def updates(self) -> int:
        """Gradient steps so far."""
        return self.adam.steps

    @property
    def policy(self) -> DeterministicPolicy:
        """The policy without its noise; it shares its weights with the learner."""
        return DeterministicPolicy(self.networks)

    def begin(self, observations: Parts) -> None:
        """Take in the first observations after a reset of all worlds: the episodes before it are cut off."""
        self._rollout.begin(observations)

    def act(self, observations: Parts) -> NDArray[np.generic]:
        """Return actions within their bounds (n, a), or choices (n,), as the policy draws them."""
        with torch.inference_mode():
            seen = self._there(as_tensors(observations, self._sees))
            distribution = self.networks.actor(self.networks.trunk(seen))
            drawn = distribution.draw(self._rng).to(self.device)
            self._drawn, self._log_probabilities = drawn.cpu(), distribution.log_probability(drawn).cpu()
            return self.networks.actor.into_space(drawn).cpu().numpy()

    def take_in(self, step: WorldStep) -> None:
        """Remember one step of all worlds, which did what `act` said last; a rollout that it completes is learnt from.

        That is not left to `improve`, which comes after the next actions are drawn: they are the new policy's.
        """
        self._rollout.add(self._drawn, self._log_probabilities, step)
        self.improve()

    def improve(self) -> None:
        """Learn from the rollout, if it is full."""
        if not self._rollout.full:
            return
        batch = self._judged()
        left = 1.0
        if self.config.anneal_over is not None:
            left = max(0.0, 1.0 - self._learnt_from / self.config.anneal_over)
        self.adam.learning_rate, clip = left * self.config.learning_rate, left * self.config.clip
        said = self._epochs(batch, clip)
        refuse_not_finite([losses._asdict() for losses in said], [self.adam.row])
        if said:
            mean = Losses(*np.mean(said, axis=0).tolist())
            self._scalars = {**mean._asdict(), "kl": said[-1].kl}
            self._scalars |= {"learning_rate": self.adam.learning_rate, "clip": clip}
            self._scalars["explained_variance"] = explained_variance(batch.values, batch.returns)
            for normaliser in self.networks.normalisers():
                normaliser.take_in(batch.observations)
        self._learnt_from += self._rollout.steps * self._rollout.worlds
        self._rollout.restart()

    def _judged(self) -> Batch:
        """Return the rollout's decisions as the critic judges them, without those that were lost."""
        rollout, config = self._rollout, self.config
        seen = self._there({name: part.flatten(0, 1) for name, part in rollout.seen.items()})
        values = self._values(seen).unflatten(0, (rollout.steps + 1, rollout.worlds))
        values, next_values = values[:-1], values[1:].clone()
        if rollout.last:
            ends = list(rollout.last.values())
            last = self._values(self._there({name: torch.stack([end[name] for end in ends]) for name in seen}))
            steps, worlds = torch.tensor(list(rollout.last)).unbind(dim=1)
            next_values[steps, worlds] = last
        # A lost step is worth what was expected: so what came before it is judged by the last observation known.
        better = advantages(
            torch.where(rollout.lost, values, rollout.rewards),
            values,
            next_values,
            rollout.terminated | rollout.lost,
            rollout.over,
            self._discount,
            config.gae_lambda,
        )
        decided = Batch(
            {name: part[: better.numel()] for name, part in seen.items()},
            rollout.actions.flatten(0, 1).to(self.device),
            *(t.flatten().to(self.device) for t in (rollout.log_probabilities, values, better, better + values)),
        )
        return decided.rows((~rollout.lost.flatten()).nonzero().flatten().to(self.device))

    def _values(self, parts: Tensors) -> Tensor:
        """Return the values (b,), on the CPU."""
        count = len(next(iter(parts.values())))
        with torch.no_grad():
            chunks = [{name: part[k : k + _CHUNK] for name, part in parts.items()} for k in range(0, count, _CHUNK)]
            return torch.cat([self.networks.values(chunk) for chunk in chunks]).cpu()

    def _epochs(self, batch: Batch, clip: float) -> list[Losses]:
        """Go through the rollout in minibatches until all epochs are over or the policy has moved too far."""
        count, said = len(batch.actions), list[Losses]()
        most = self.config.target_kl
        for _ in range(self.config.epochs if count else 0):
            order = torch.randperm(count, generator=self._rng).to(self.device)
            for index in order.tensor_split(-(-count // self.config.batch_size)):
                loss, losses = self._loss(batch.rows(index), clip)
                said.append(losses)
                if most is not None and losses.kl > most:
                    return said
                self.adam.minimise(loss)
        return said

    def _loss(self, batch: Batch, clip: float) -> tuple[Tensor, Losses]:
        """Return equation 9, to be made small, and what it is made of."""
        c, better = self.config, batch.advantages
        if c.normalise_advantages:
            better = (better - better.mean()) / (better.std(correction=0) + _LEAST_SPREAD)
        distribution, values = self.networks(batch.observations)
        log_ratio = distribution.log_probability(batch.actions) - batch.log_probabilities
        ratio = log_ratio.exp()
        objective = clipped_objective(ratio, better, clip)
        error = value_loss(values, batch.values, batch.returns, c.value_clip)
        entropy = distribution.entropy().mean()
        with torch.no_grad():
            clipped = ((ratio - 1.0).abs() > clip).float().mean()
            told = torch.stack([-objective, error, entropy, approximate_kl(log_ratio), clipped])
        return -objective + c.value_coefficient * error - c.entropy_coefficient * entropy, Losses(*told.tolist())

    def _there(self, parts: Tensors) -> Tensors:
        return {name: part.to(self.device) for name, part in parts.items()}

    # For the run -----------------------------------------------------------------------------------------------------
    def scalars(self) -> Mapping[str, float]:
        """Return what the last rollout's minibatches said on average, and the KL divergence of the last of them."""
        return self._scalars

    def seen(self, count: int, rng: np.random.Generator) -> Parts:
        """Return up to `count` observations of the last rollouts, the parts that the policy reads."""
        return self._rollout.met(count, self._sees, rng)

    def capture(self) -> LearnerState:
        """Return weights, moments, normalisers, the generator and the rollout under way."""
        return LearnerState(
            tensors={name: tensor.detach().cpu().clone() for name, tensor in self._tensors().items()},
            arrays=self._rollout.capture(),
            facts={
                "generator": self._rng.get_state().numpy().tobytes().hex(),
                "updates": str(self.adam.steps),
                "learnt_from": str(self._learnt_from),
                "said": json.dumps(self._scalars),
            },
        )

    def restore(self, state: LearnerState) -> None:
        """Take over what `capture` returned; raises CheckpointError, and changes no weight, where it does not fit."""
        tensors = self._tensors()
        kept = {name: tuple(tensor.shape) for name, tensor in state.tensors.items()}
        own = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        if kept != own:
            other = next(name for name in own | kept if kept.get(name) != own.get(name))
            raise CheckpointError(
                f"the checkpoint has {kept.get(other)} for {other}, this run's PPO {own.get(other)}: "
                f"resume it with the settings it was begun with"
            )
        try:
            generator = torch.frombuffer(bytearray.fromhex(state.facts["generator"]), dtype=torch.uint8)
            updates, learnt_from = int(state.facts["updates"]), int(state.facts["learnt_from"])
            said = json.loads(state.facts["said"])
            self._rng.set_state(generator)
        except (KeyError, ValueError, RuntimeError, TypeError) as error:
            raise CheckpointError(f"the checkpoint's facts about PPO are damaged: {error!r}") from error
        self._rollout.restore({name: np.asarray(array) for name, array in state.arrays.items()})
        for name, tensor in tensors.items():
            tensor.copy_(state.tensors[name])
        self.adam.steps, self._learnt_from, self._scalars = updates, learnt_from, said

    def _tensors(self) -> Tensors:
        networks = {f"networks.{name}": tensor for name, tensor in self.networks.state_dict().items()}
        return {**networks, "adam.mean": self.adam.mean, "adam.square": self.adam.square}


def _networks(
    decides: Mapping[str, gymnasium.spaces.Box],
    judges: Mapping[str, gymnasium.spaces.Box],
    action_space: gymnasium.spaces.Box | gymnasium.spaces.Discrete,
    config: PpoConfig,
    rng: torch.Generator,
) -> ActorCritic:
    """Return actor and critic; where both see the same pictures they share the encoder, as in the paper."""
    c = config

    def trunk(boxes: Mapping[str, gymnasium.spaces.Box]) -> Trunk:
        encoder = Encoder(boxes, c.encoder, c.picture_features, c.spatial_softmax, c.coordinates)
        make_orthogonal(encoder, math.sqrt(2.0), rng)
        return Trunk(encoder, Normaliser(boxes) if c.normalise_observations else None)

    own = trunk(decides)
    other = own if own.encoder.sees_pictures and set(decides) == set(judges) else trunk(judges)
    return ActorCritic(own, other, c.hidden, action_space, c.head, c.initial_std, rng)
