"""Running mean and spread of what is observed, as a module, so that it is trained, saved and exported with a policy."""

from __future__ import annotations

from collections.abc import Mapping

import gymnasium
import torch
from torch import Tensor, nn

from policies.parts import Tensors

#: What a normalised number is clipped to, and what is added to a variance: those of Stable-Baselines3's VecNormalize.
_LARGEST, _EPSILON = 10.0, 1e-8


class Normaliser(nn.Module):
    """Makes the vectors among the parts of an observation of mean 0 and variance 1; pictures pass as they are.

    Until it has met anything it only clips. Its buffers are float64: counts grow beyond float32's integers.
    """

    def __init__(self, boxes: Mapping[str, gymnasium.spaces.Box]) -> None:
        super().__init__()
        self._places: dict[str, slice] = {}
        size = 0
        for name, box in boxes.items():
            if len(box.shape) == 1:
                self._places[name] = slice(size, size + box.shape[0])
                size += box.shape[0]
        self.count: Tensor
        self.mean: Tensor
        self.variance: Tensor
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("mean", torch.zeros(size, dtype=torch.float64))
        self.register_buffer("variance", torch.ones(size, dtype=torch.float64))

    def forward(self, parts: Mapping[str, Tensor]) -> Tensors:
        """Return the parts (b, ...), normalised."""
        mean, scale = self.mean.float(), (self.variance + _EPSILON).rsqrt().float()
        normal = dict(parts)
        for name, place in self._places.items():
            normal[name] = ((parts[name] - mean[place]) * scale[place]).clamp(-_LARGEST, _LARGEST)
        return normal

    @torch.no_grad()
    def take_in(self, parts: Mapping[str, Tensor]) -> None:
        """Count the vectors (b, ...) in, b >= 1.

        Ref: Chan, Golub and LeVeque, Updating Formulae and a Pairwise Algorithm for Computing Sample Variances (1979).
        """
        if not self._places:
            return
        rows = torch.cat([parts[name] for name in self._places], dim=1).double()
        total = self.count + len(rows)
        gap = rows.mean(dim=0) - self.mean
        spread = self.variance * self.count + rows.var(dim=0, correction=0) * len(rows)
        spread += gap.square() * self.count * len(rows) / total
        self.mean += gap * len(rows) / total
        self.variance.copy_(spread / total)
        self.count.copy_(total)
