"""Soft actor-critic: learn from everything that was ever tried, and prefer, among what is good, what is random.

Haarnoja et al., Soft Actor-Critic Algorithms and Applications, arXiv 1812.05905; the numbers below are its equations.
One `Sac.update` is one gradient step of critics, actor and temperature, in that order. Where it differs from the paper:

- returns over several steps, bootstrapped from the last one (`Replay`);
- the critics have layer norms, which keeps their values from running away (Ball et al., RLPD, arXiv 2302.02948);
- both critics are one batched product, and Adam and the moving targets one kernel each: what there is to gain on a CPU;
- actor and critics may see different parts of an observation: with a simulator at hand the critics need not look at
  pictures (Pinto et al., Asymmetric Actor Critic, arXiv 1710.06542);
- pictures that both see are encoded once, by the critics' encoder (Yarats et al., DrQ-v2, arXiv 2107.09645).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from policies.acceleration import Computing
from policies.adam import FlatAdam, flatten
from policies.distributions import squashed
from policies.errors import UnfitWorlds
from policies.learner_config import SacConfig
from policies.networks import Critics, Encoder, mlp
from policies.parts import Parts, Tensors, as_tensors, chosen_parts
from policies.replay import Batch

_LOG_STD_LOWER, _LOG_STD_UPPER = -10.0, 2.0


class Losses(NamedTuple):
    """What one update made of its batch, for the log."""

    critic: float
    actor: float
    temperature: float
    entropy: float
    mean_value: float


# The equations -------------------------------------------------------------------------------------------------------


def soft_target(
    rewards: Tensor, discounts: Tensor, next_values: Tensor, next_log_probabilities: Tensor, temperature: Tensor
) -> Tensor:
    """Return what the critics should say (b,): equations 2 and 3, the smaller of the critics' values (n, b) next.

    r + discount * (min_i Q_i(s', a') - temperature * log pi(a' | s')); a terminal state's discount is 0.
    """
    return rewards + discounts * (next_values.min(dim=0).values - temperature * next_log_probabilities)


def critic_loss(values: Tensor, target: Tensor) -> Tensor:
    """Return equation 5 for all critics (n, b) together: half the mean squared error, summed over the critics."""
    return 0.5 * (values - target).square().mean(dim=1).sum()


def actor_loss(values: Tensor, log_probabilities: Tensor, temperature: Tensor) -> Tensor:
    """Return equation 9: what the policy gives up in value (n, b), less what its randomness is worth."""
    return (temperature * log_probabilities - values.min(dim=0).values).mean()


def temperature_gradient(log_probabilities: Tensor, target_entropy: float) -> Tensor:
    """Return the gradient of equation 18 with respect to log temperature, the factor temperature left out.

    Too little entropy makes it negative, and the temperature rise.
    """
    return -(log_probabilities.mean() + target_entropy)


# The networks --------------------------------------------------------------------------------------------------------


class Actor(nn.Module):
    """Features to mean and logarithm of the standard deviation of a Gaussian, before it is squashed."""

    def __init__(self, size: int, hidden: Sequence[int], action_size: int) -> None:
        super().__init__()
        self.body = mlp(size, hidden, 2 * action_size)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log_std (b, a)."""
        mean, log_std = self.body(features).chunk(2, dim=1)
        return mean, log_std.clamp(_LOG_STD_LOWER, _LOG_STD_UPPER)


class DeterministicPolicy(nn.Module):
    """What is evaluated and exported: parts of an observation to the action in the middle."""

    def __init__(self, encoder: Encoder, actor: Actor) -> None:
        super().__init__()
        self.encoder, self.actor = encoder, actor

    def forward(self, parts: Mapping[str, Tensor]) -> Tensor:
        """Return the actions (b, a)."""
        return torch.tanh(self.actor(self.encoder(parts))[0])


# The learner ---------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Seen:
    """Which parts of the observation actor and critics see, and whether one encoder serves both."""

    actor: dict[str, gymnasium.spaces.Box]
    critic: dict[str, gymnasium.spaces.Box]
    shared: bool = field(init=False)

    def __post_init__(self) -> None:
        pictures = any(len(box.shape) == 3 for box in self.critic.values())
        self.shared = pictures and set(self.actor) == set(self.critic)


class Sac:
    """The learner: draws actions, and improves with every batch.

    Its noise comes from `rng`, a generator on the CPU wherever it learns: so a run can go on elsewhere.
    """

    def __init__(
        self,
        space: gymnasium.Space[object],
        action_space: gymnasium.Space[object],
        config: SacConfig,
        rng: torch.Generator,
        computing: Computing | None = None,
        actor_sees: Sequence[str] = (),
        critic_sees: Sequence[str] = (),
    ) -> None:
        """`actor_sees`, none: all parts of the observation; `critic_sees`, none: what the actor sees."""
        if not isinstance(action_space, gymnasium.spaces.Box) or len(action_space.shape) != 1:
            raise UnfitWorlds(f"SAC needs a Box of actions (a,), got {action_space}")
        if not (np.all(action_space.low == -1.0) and np.all(action_space.high == 1.0)):
            raise UnfitWorlds(
                f"SAC needs actions from -1 to 1, got {action_space}; gymnasium's RescaleAction makes them so"
            )
        self.config, self._rng, self._computing = config, rng, computing or Computing()
        self.device = self._computing.device
        self.action_size = action_space.shape[0]
        self._seen = _Seen(chosen_parts(space, actor_sees), chosen_parts(space, critic_sees or actor_sees))
        encoder = self._encoder(self._seen.critic)
        self.actor_encoder = encoder if self._seen.shared else self._encoder(self._seen.actor)
        self.critic_encoder = encoder
        self.actor = Actor(self.actor_encoder.size, config.hidden, self.action_size).to(self.device)
        self.critics = Critics(encoder.size, self.action_size, config.hidden, layer_norm=config.layer_norm).to(
            self.device
        )
        self.target_encoder, self.target_critics = copy.deepcopy(encoder), copy.deepcopy(self.critics)
        self.log_temperature = torch.tensor([float(np.log(config.initial_temperature))], device=self.device)
        self._target_entropy = config.entropy_per_action * self.action_size
        own = [] if self._seen.shared else list(self.actor_encoder.parameters())
        rate = config.learning_rate
        self.critic_adam = FlatAdam([*self.critics.parameters(), *encoder.parameters()], rate)
        self.actor_adam = FlatAdam([*self.actor.parameters(), *own], rate)
        self.temperature_adam = FlatAdam([self.log_temperature], rate)
        self.targets = flatten([*self.target_critics.parameters(), *self.target_encoder.parameters()])
        step = self._computing.step
        self._targets_of, self._judge, self._improve = step(self._target), step(self._judged), step(self._improved)

    def _encoder(self, boxes: Mapping[str, gymnasium.spaces.Box]) -> Encoder:
        c = self.config
        return Encoder(boxes, c.encoder, c.picture_features, c.spatial_softmax, c.coordinates).to(self.device)

    @property
    def actor_parts(self) -> tuple[str, ...]:
        """The parts of the observation that the policy reads."""
        return tuple(self._seen.actor)

    @property
    def layout(self) -> str:
        """What a checkpoint must agree on: the parts that actor and critics see, and the sizes of all weights."""
        sizes = [adam.row.numel() for adam in (self.critic_adam, self.actor_adam)]
        return f"actor {list(self._seen.actor)}, critics {list(self._seen.critic)}, {sizes} weights"

    @property
    def temperature(self) -> Tensor:
        """What a nat of entropy is worth in reward (1,)."""
        return self.log_temperature.detach().exp()

    @property
    def policy(self) -> DeterministicPolicy:
        """The policy without its noise; it shares its weights with the learner."""
        return DeterministicPolicy(self.actor_encoder, self.actor)

    def act(self, parts: Parts) -> NDArray[np.float32]:
        """Return actions (n, a) for the observations (n, ...) of n worlds, drawn as the policy draws them."""
        with torch.inference_mode():
            seen = {name: part.to(self.device) for name, part in as_tensors(parts, self._seen.actor).items()}
            mean, log_std = self.actor(self.actor_encoder(seen))
            return squashed(mean, log_std, self._noise(mean))[0].cpu().numpy()

    def update(self, batch: Batch) -> Losses:
        """Take one gradient step of critics, actor and temperature."""
        self._computing.begin()
        now, then = self._shifted(batch.observations), self._shifted(batch.following)
        temperature = self.temperature
        target = self._targets_of(then, self._noise(batch.actions), batch.rewards, batch.discounts, temperature)
        loss, values, features = self._judge(now, batch.actions, target)
        self.critic_adam.minimise(loss)
        cost, log_probabilities = self._improve(now, features, self._noise(batch.actions), temperature)
        self.actor_adam.minimise(cost)
        self.temperature_adam.follow(temperature_gradient(log_probabilities, self._target_entropy).reshape(1))
        self.targets.lerp_(self.critic_adam.row, self.config.target_rate)
        entropy = -log_probabilities.mean()
        return Losses(*torch.stack([loss.detach(), cost.detach(), temperature[0], entropy, values.mean()]).tolist())

    def _target(self, then: Tensors, noise: Tensor, rewards: Tensor, discounts: Tensor, temperature: Tensor) -> Tensor:
        """Return what the critics should say (b,): the next action is the policy's, its value the targets'."""
        with torch.no_grad():
            mean, log_std = self.actor(self._features(self.actor_encoder, then))
            actions, log_probabilities = squashed(mean, log_std, noise)
            values = self._values(self.target_critics, self._features(self.target_encoder, then), actions)
            return soft_target(rewards, discounts, values, log_probabilities, temperature)

    def _judged(self, now: Tensors, actions: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the critics' loss, their values (n, b) and what they see (b, size), the latter two as constants."""
        features = self._features(self.critic_encoder, now)
        values = self._values(self.critics, features, actions)
        return critic_loss(values, target), values.detach(), features.detach()

    def _improved(self, now: Tensors, constant: Tensor, noise: Tensor, temperature: Tensor) -> tuple[Tensor, Tensor]:
        """Return the actor's loss and, as constants, the log-probabilities (b,) of what it would do now.

        A shared encoder learns from the critics alone: what the actor wants of it would tear at their values.
        """
        mean, log_std = self.actor(constant if self._seen.shared else self._features(self.actor_encoder, now))
        actions, log_probabilities = squashed(mean, log_std, noise)
        wanted = self._values(self.critics, constant, actions, frozen=True)
        return actor_loss(wanted, log_probabilities, temperature), log_probabilities.detach()

    def _features(self, encoder: Encoder, parts: Tensors) -> Tensor:
        with self._computing.reduced():
            return encoder(parts).float()

    def _values(self, critics: Critics, features: Tensor, actions: Tensor, frozen: bool = False) -> Tensor:
        with self._computing.reduced():
            return critics.values(features, actions, frozen).float()

    def _noise(self, like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=self._rng).to(self.device)

    def _shifted(self, parts: Tensors) -> Tensors:
        if self.config.shift_px == 0:
            return parts
        return {n: random_shift(p, self.config.shift_px, self._rng) if p.ndim == 4 else p for n, p in parts.items()}


def random_shift(pictures: Tensor, most_px: int, rng: torch.Generator) -> Tensor:
    """Return pictures (b, c, h, w), each moved by up to `most_px` along both axes; its edge is repeated.

    Ref: Yarats et al., DrQ-v2, arXiv 2107.09645; whole pixels, so that bytes stay bytes. `rng` is on the CPU.
    """
    b, _, h, w = pictures.shape
    moves = torch.randint(-most_px, most_px + 1, (2, b, 1), generator=rng).to(pictures.device)
    rows = (torch.arange(h, device=pictures.device) + moves[0]).clamp(0, h - 1)
    columns = (torch.arange(w, device=pictures.device) + moves[1]).clamp(0, w - 1)
    index = torch.arange(b, device=pictures.device)[:, None, None]
    return pictures.permute(0, 2, 3, 1)[index, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
