"""What policies draw from: a squashed Gaussian for SAC; for PPO a Gaussian, a Beta on [-1, 1] and a categorical."""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional

_LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)
_LOG_2 = math.log(2.0)
#: A Beta draw keeps this far from -1 and 1, where its density is 0 or infinite: float32 would round onto them.
_EDGE = 1e-6


def squashed(mean: Tensor, log_std: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Return actions (b, a) in (-1, 1) and the logarithm of their density (b,).

    u = mean + std * noise is Gaussian, a = tanh(u). With log|da/du| = log(1 - tanh(u)^2), which loses all digits
    where tanh is nearly 1, written as 2 (log 2 - u - softplus(-2 u)), which is exact everywhere.
    Ref: Haarnoja et al., arXiv 1812.05905, appendix C.
    """
    u = mean + log_std.exp() * noise
    log_gaussian = -0.5 * noise.square() - log_std - _LOG_SQRT_2PI
    log_slope = 2.0 * (_LOG_2 - u - functional.softplus(-2.0 * u))
    return torch.tanh(u), (log_gaussian - log_slope).sum(dim=-1)


class Distribution(Protocol):
    """Over the actions of a batch of observations: b rows of them."""

    def draw(self, rng: torch.Generator) -> Tensor:
        """Return one action per row, on the CPU as `rng` is; no gradient passes through it."""
        ...

    def log_probability(self, actions: Tensor) -> Tensor:
        """Return the logarithm of the density, or of the probability, of one action per row (b,)."""
        ...

    def entropy(self) -> Tensor:
        """Return the entropies in nats (b,)."""
        ...

    def without_noise(self) -> Tensor:
        """Return the action that stands for each row: the mean, or the likeliest where there is no mean."""
        ...


class Gaussian(NamedTuple):
    """Independent Gaussians: mean and log_std (b, a). Its draws have no bounds."""

    mean: Tensor
    log_std: Tensor

    def draw(self, rng: torch.Generator) -> Tensor:
        """Return actions (b, a)."""
        mean, std = self.mean.detach().cpu(), self.log_std.detach().exp().cpu()
        return mean + std * torch.randn(mean.shape, generator=rng)

    def log_probability(self, actions: Tensor) -> Tensor:
        """Return the log-densities (b,)."""
        deviations = (actions - self.mean) * (-self.log_std).exp()
        return (-0.5 * deviations.square() - self.log_std - _LOG_SQRT_2PI).sum(dim=-1)

    def entropy(self) -> Tensor:
        """Return the entropies (b,): log(std sqrt(2 pi e)) per number."""
        return (self.log_std + (_LOG_SQRT_2PI + 0.5)).sum(dim=-1)

    def without_noise(self) -> Tensor:
        """Return the means (b, a)."""
        return self.mean


class Beta(NamedTuple):
    """Independent Betas, stretched from [0, 1] to [-1, 1]: alpha and beta (b, a), above 0.

    x = 2 u - 1 with u ~ Beta(alpha, beta), so the log-density of x is that of u less log|dx/du| = log 2.
    Ref: Chou, Maturana and Scherer, Improving Stochastic Policy Gradients in Continuous Control with Deep Reinforcement
    Learning using the Beta Distribution, ICML 2017: no draw has to be clipped, so no bound bends the gradient.
    """

    alpha: Tensor
    beta: Tensor

    def draw(self, rng: torch.Generator) -> Tensor:
        """Return actions (b, a) in (-1, 1)."""
        # A Beta is a Dirichlet of two; torch.distributions draws it so, but only from the global generator.
        both = torch.stack([self.alpha, self.beta], dim=-1).detach().cpu()
        share = torch._sample_dirichlet(both, generator=rng)[..., 0]  # pyright: ignore[reportPrivateImportUsage]
        return (2.0 * share - 1.0).clamp(_EDGE - 1.0, 1.0 - _EDGE)

    def log_probability(self, actions: Tensor) -> Tensor:
        """Return the log-densities (b,).

        With u = (1 + x) / 2: (alpha - 1) log u + (beta - 1) log(1 - u) - log B(alpha, beta) - log 2.
        """
        ends = (self.alpha - 1.0) * torch.log1p(actions) + (self.beta - 1.0) * torch.log1p(-actions)
        return (ends - (self.alpha + self.beta - 1.0) * _LOG_2 - self._log_normaliser()).sum(dim=-1)

    def entropy(self) -> Tensor:
        """Return the entropies (b,): that of the Beta on [0, 1], and log 2 for the stretch."""
        both = self.alpha + self.beta
        spread = (both - 2.0) * torch.digamma(both)
        spread = spread - (self.alpha - 1.0) * torch.digamma(self.alpha) - (self.beta - 1.0) * torch.digamma(self.beta)
        return (self._log_normaliser() + spread + _LOG_2).sum(dim=-1)

    def without_noise(self) -> Tensor:
        """Return the means (b, a)."""
        return (self.alpha - self.beta) / (self.alpha + self.beta)

    def _log_normaliser(self) -> Tensor:
        return torch.lgamma(self.alpha) + torch.lgamma(self.beta) - torch.lgamma(self.alpha + self.beta)


class Categorical(NamedTuple):
    """One of k choices: logits (b, k); an action is its number (b,)."""

    logits: Tensor

    def draw(self, rng: torch.Generator) -> Tensor:
        """Return choices (b,)."""
        probabilities = torch.softmax(self.logits.detach().cpu(), dim=-1)
        return torch.multinomial(probabilities, 1, generator=rng)[:, 0]

    def log_probability(self, actions: Tensor) -> Tensor:
        """Return the log-probabilities (b,)."""
        return torch.log_softmax(self.logits, dim=-1).gather(-1, actions[:, None])[:, 0]

    def entropy(self) -> Tensor:
        """Return the entropies (b,)."""
        log_probabilities = torch.log_softmax(self.logits, dim=-1)
        return -(log_probabilities.exp() * log_probabilities).sum(dim=-1)

    def without_noise(self) -> Tensor:
        """Return the likeliest choices (b,)."""
        return self.logits.argmax(dim=-1)
