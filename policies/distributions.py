"""The squashed Gaussian: what a policy on a bounded action space draws from."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

_LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)
_LOG_2 = math.log(2.0)


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
