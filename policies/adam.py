"""Adam over all parameters of a learner at once: what torch.optim.Adam computes, in one kernel instead of hundreds."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_FIRST, _SECOND = 0.9, 0.999


def flatten(tensors: Sequence[Tensor]) -> Tensor:
    """Return the numbers of all tensors in one row, and make the tensors views of it: who writes one, writes both."""
    row = torch.cat([t.detach().reshape(-1) for t in tensors])
    start = 0
    for tensor in tensors:
        tensor.data = row[start : start + tensor.numel()].view_as(tensor)
        start += tensor.numel()
    return row


class FlatAdam:
    """Adam with its usual constants. Ref: Kingma and Ba, arXiv 1412.6980, algorithm 1.

    `row` (n,) holds the parameters, `mean` and `square` (n,) the moments. `learning_rate` may change between steps.
    Gradients longer than `longest` are made that long: all parameters together, as PPO's are.
    """

    def __init__(
        self,
        parameters: Sequence[Tensor],
        learning_rate: float,
        epsilon: float = 1e-8,
        longest: float | None = None,
    ) -> None:
        self._parameters, self.learning_rate = list(parameters), learning_rate
        self._epsilon, self._longest = epsilon, longest
        self.row = flatten(self._parameters)
        self.mean, self.square = torch.zeros_like(self.row), torch.zeros_like(self.row)
        self.steps = 0

    def rows(self) -> dict[str, Tensor]:
        """Return the parameters and both moments, each one row (n,), by name: with `steps`, all there is to keep."""
        return {"row": self.row, "mean": self.mean, "square": self.square}

    def minimise(self, loss: Tensor) -> None:
        """Take one step down the gradient of a loss."""
        gradients = torch.autograd.grad(loss, self._parameters)
        self.follow(torch.cat([g.reshape(-1) for g in gradients]))

    def follow(self, gradient: Tensor) -> None:
        """Take one step down a gradient (n,)."""
        self.steps += 1
        if self._longest is not None:
            gradient = gradient * (self._longest / gradient.norm().clamp(min=self._longest))
        # The one kernel of torch.optim.Adam(fused=True), without what its step() does around it.
        torch._fused_adam_(  # pyright: ignore[reportPrivateImportUsage]
            [self.row], [gradient], [self.mean], [self.square], [],
            [torch.full((), float(self.steps), device=self.row.device)],
            lr=self.learning_rate, beta1=_FIRST, beta2=_SECOND, weight_decay=0.0, eps=self._epsilon, amsgrad=False,
            maximize=False,
        )  # fmt: skip
