"""What decides and what judges: from what is seen to a distribution of actions, and to what is expected of it.

Distributions are on [-1, 1] or on choices counted from 0; `into_space` makes what is drawn an action of the space.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import gymnasium
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from policies.distributions import Beta, Categorical, Distribution, Gaussian
from policies.errors import UnfitWorlds
from policies.learner_config import Head
from policies.networks import Encoder, orthogonal_mlp
from policies.normalize import Normaliser

#: Gain of the last layer: at first nothing that is seen sways the policy. Ref: Andrychowicz et al., arXiv 2006.05990.
_GAIN = 0.01


class BoxActor(nn.Module):
    """Features (b, size) to a distribution on [-1, 1], which `into_space` stretches to the bounds of the space."""

    def __init__(
        self,
        size: int,
        hidden: Sequence[int],
        space: gymnasium.spaces.Box,
        head: Head,
        initial_std: float,
        rng: torch.Generator,
    ) -> None:
        super().__init__()
        count = space.shape[0]
        self.log_std = nn.Parameter(torch.full((count,), math.log(initial_std))) if head is Head.GAUSSIAN else None
        self.body = orthogonal_mlp(size, hidden, count if head is Head.GAUSSIAN else 2 * count, _GAIN, rng)
        self.low: Tensor
        self.high: Tensor
        self.register_buffer("low", torch.from_numpy(space.low.astype(np.float32)), persistent=False)
        self.register_buffer("high", torch.from_numpy(space.high.astype(np.float32)), persistent=False)

    def forward(self, features: Tensor) -> Gaussian | Beta:
        """Return the distribution of b actions."""
        numbers = self.body(features)
        if self.log_std is not None:
            return Gaussian(numbers, self.log_std.expand_as(numbers))
        alpha, beta = (1.0 + functional.softplus(numbers)).chunk(2, dim=1)
        return Beta(alpha, beta)

    def into_space(self, drawn: Tensor) -> Tensor:
        """Return the actions (b, a) within the space's bounds; where those are -1 and 1, what was drawn, clipped."""
        middle, half = 0.5 * (self.high + self.low), 0.5 * (self.high - self.low)
        return torch.clamp(middle + half * drawn, self.low, self.high)


class DiscreteActor(nn.Module):
    """Features (b, size) to the probabilities of the choices."""

    def __init__(
        self, size: int, hidden: Sequence[int], space: gymnasium.spaces.Discrete, rng: torch.Generator
    ) -> None:
        super().__init__()
        self.body = orthogonal_mlp(size, hidden, int(space.n), _GAIN, rng)
        self._start = int(space.start)

    def forward(self, features: Tensor) -> Categorical:
        """Return the distribution of b choices."""
        return Categorical(self.body(features))

    def into_space(self, drawn: Tensor) -> Tensor:
        """Return the choices (b,) as the space counts them."""
        return drawn + self._start


class Trunk(nn.Module):
    """Parts of an observation to features (b, size): vectors normalised where that is wanted, pictures encoded."""

    def __init__(self, encoder: Encoder, normaliser: Normaliser | None) -> None:
        super().__init__()
        self.encoder, self.normaliser = encoder, normaliser

    def forward(self, parts: Mapping[str, Tensor]) -> Tensor:
        """Return the features."""
        return self.encoder(parts if self.normaliser is None else self.normaliser(parts))


class ActorCritic(nn.Module):
    """Actor and critic on the trunks that they see through, which may be one."""

    def __init__(
        self,
        trunk: Trunk,
        critic_trunk: Trunk,
        hidden: Sequence[int],
        space: gymnasium.spaces.Box | gymnasium.spaces.Discrete,
        head: Head,
        initial_std: float,
        rng: torch.Generator,
    ) -> None:
        super().__init__()
        self.trunk, self.critic_trunk = trunk, critic_trunk
        size, critic_size = trunk.encoder.size, critic_trunk.encoder.size
        if isinstance(space, gymnasium.spaces.Box):
            self.actor = BoxActor(size, hidden, space, head, initial_std, rng)
        else:
            self.actor = DiscreteActor(size, hidden, space, rng)
        self.critic = orthogonal_mlp(critic_size, hidden, 1, 1.0, rng)

    def forward(self, parts: Mapping[str, Tensor]) -> tuple[Distribution, Tensor]:
        """Return the distribution of b actions, and the values (b,)."""
        features = self.trunk(parts)
        judged = features if self.critic_trunk is self.trunk else self.critic_trunk(parts)
        return self.actor(features), self.critic(judged).squeeze(1)

    def values(self, parts: Mapping[str, Tensor]) -> Tensor:
        """Return the values (b,)."""
        return self.critic(self.critic_trunk(parts)).squeeze(1)

    def normalisers(self) -> list[Normaliser]:
        """Return the normalisers, each once."""
        return [module for module in self.modules() if isinstance(module, Normaliser)]


class DeterministicPolicy(nn.Module):
    """What is evaluated and exported: parts of an observation to the mean action, or to the likeliest choice."""

    def __init__(self, networks: ActorCritic) -> None:
        super().__init__()
        self.trunk, self.actor = networks.trunk, networks.actor

    def forward(self, parts: Mapping[str, Tensor]) -> Tensor:
        """Return the actions (b, a) within their bounds, or choices (b,)."""
        return self.actor.into_space(self.actor(self.trunk(parts)).without_noise())


def fit_action_space(space: gymnasium.Space[object]) -> gymnasium.spaces.Box | gymnasium.spaces.Discrete:
    """Return the space; raises UnfitWorlds on one that no head here acts in."""
    if isinstance(space, gymnasium.spaces.Discrete):
        return space
    if (
        isinstance(space, gymnasium.spaces.Box)
        and len(space.shape) == 1
        and np.issubdtype(space.dtype, np.floating)
        and np.all(np.isfinite(space.low) & np.isfinite(space.high) & (space.low < space.high))
    ):
        return space
    raise UnfitWorlds(f"PPO acts in a Discrete, or in a Box (a,) of floats with finite low below high; got {space}")
