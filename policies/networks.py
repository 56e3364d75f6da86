"""The networks of our own learners: encoders of what is seen, an actor, and critics that are computed together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import gymnasium
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from policies.errors import BadConfig
from policies.learner_config import EncoderKind

#: What a picture is divided by: depth comes in metres, colours as bytes.
_BYTE = 255.0


class SpatialSoftmax(nn.Module):
    """Where each channel is bright: (b, c, h, w) -> (b, 2 c), coordinates from -1 to 1.

    Ref: Finn et al., Deep Spatial Autoencoders for Visuomotor Learning, arXiv 1509.06113.
    """

    def __init__(self) -> None:
        super().__init__()
        self.log_sharpness = nn.Parameter(torch.zeros(()))

    def forward(self, maps: Tensor) -> Tensor:
        """Return the expected column and row of every channel."""
        b, c, h, w = maps.shape
        share = torch.softmax(maps.reshape(b, c, h * w) * self.log_sharpness.exp(), dim=2).reshape(b, c, h, w)
        column = torch.linspace(-1.0, 1.0, w, device=maps.device)
        row = torch.linspace(-1.0, 1.0, h, device=maps.device)
        return torch.cat([(share.sum(2) * column).sum(2), (share.sum(3) * row).sum(2)], dim=1)


class Residual(nn.Module):
    """IMPALA's block: twice relu and a 3x3 convolution, added to what came in."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """Return maps of the same shape."""
        return x + self.second(functional.relu(self.first(functional.relu(x))))


def _convolutions(kind: EncoderKind, channels: int) -> list[nn.Module]:
    if kind is EncoderKind.IMPALA:
        layers: list[nn.Module] = []
        for inner in (16, 32, 32):
            layers += [nn.Conv2d(channels, inner, 3, padding=1), nn.MaxPool2d(3, 2, padding=1)]
            layers += [Residual(inner), Residual(inner)]
            channels = inner
        return [*layers, nn.ReLU()]
    shapes = {
        # The border is what makes 64 pixels come out even: without it the last 14 of each row would not be seen.
        EncoderKind.STRIDED: ((16, 6, 4, 1), (32, 4, 4, 0)),
        EncoderKind.NATURE: ((32, 8, 4, 0), (64, 4, 2, 0), (64, 3, 1, 0)),
    }[kind]
    layers = []
    for inner, size, stride, border in shapes:
        layers += [nn.Conv2d(channels, inner, size, stride, border), nn.ReLU()]
        channels = inner
    return layers


class PictureEncoder(nn.Module):
    """Pictures (b, c, h, w), bytes or metres, to features (b, size)."""

    def __init__(
        self,
        shape: Sequence[int],
        is_bytes: bool,
        kind: EncoderKind,
        size: int,
        spatial_softmax: bool = False,
        coordinates: bool = False,
    ) -> None:
        """`coordinates`: two more channels tell every pixel where it is (Liu et al., CoordConv, arXiv 1807.03247)."""
        super().__init__()
        channels, height, width = shape
        self._scale = 1.0 / _BYTE if is_bytes else 1.0
        grid = torch.stack(torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij"))
        self.register_buffer("grid", grid if coordinates else torch.zeros(0, height, width), persistent=False)
        head: list[nn.Module] = [SpatialSoftmax()] if spatial_softmax else [nn.Flatten()]
        self.maps = nn.Sequential(*_convolutions(kind, channels + (2 if coordinates else 0)), *head)
        try:
            with torch.no_grad():
                flat = self.maps(torch.zeros(1, channels + (2 if coordinates else 0), height, width)).shape[1]
        except RuntimeError as error:
            raise BadConfig(f"pictures of {height}x{width} are too small for encoder {kind.value!r}") from error
        self.features = nn.Sequential(nn.Linear(flat, size), nn.LayerNorm(size), nn.Tanh())

    def forward(self, pictures: Tensor) -> Tensor:
        """Return the features."""
        x = pictures.float()
        if self._scale != 1.0:
            x = x * self._scale
        grid = self.get_buffer("grid")
        if len(grid):
            x = torch.cat([x, grid.expand(x.shape[0], -1, -1, -1)], dim=1)
        return self.features(self.maps(x))


class Encoder(nn.Module):
    """Named parts of an observation to one vector (b, size): vectors as they are, pictures encoded."""

    def __init__(
        self,
        boxes: Mapping[str, gymnasium.spaces.Box],
        kind: EncoderKind = EncoderKind.STRIDED,
        picture_features: int = 64,
        spatial_softmax: bool = False,
        coordinates: bool = False,
    ) -> None:
        super().__init__()
        self._vectors = [name for name, box in boxes.items() if len(box.shape) == 1]
        self._pictures = [name for name, box in boxes.items() if len(box.shape) == 3]
        others = [name for name in boxes if name not in (*self._vectors, *self._pictures)]
        if others:
            raise BadConfig(f"parts must be vectors (n,) or pictures (c, h, w): {others[0]!r} is {boxes[others[0]]}")
        # A module's name holds no dot, a part's may.
        self.encoders = nn.ModuleList(
            PictureEncoder(
                boxes[n].shape, boxes[n].dtype == np.uint8, kind, picture_features, spatial_softmax, coordinates
            )
            for n in self._pictures
        )
        self.size = sum(boxes[name].shape[0] for name in self._vectors) + picture_features * len(self._pictures)

    @property
    def sees_pictures(self) -> bool:
        """Whether any part is a picture."""
        return bool(self._pictures)

    def forward(self, parts: Mapping[str, Tensor]) -> Tensor:
        """Return the vector."""
        encoded = [encoder(parts[name]) for name, encoder in zip(self._pictures, self.encoders, strict=True)]
        seen = [*(parts[name] for name in self._vectors), *encoded]
        return seen[0] if len(seen) == 1 else torch.cat(seen, dim=1)


def mlp(size: int, hidden: Sequence[int], out: int, layer_norm: bool = False) -> nn.Sequential:
    """Return a multi-layer perceptron with ReLU."""
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(size, width), *([nn.LayerNorm(width)] if layer_norm else []), nn.ReLU()]
        size = width
    return nn.Sequential(*layers, nn.Linear(size, out))


def orthogonal_mlp(size: int, hidden: Sequence[int], out: int, gain: float, rng: torch.Generator) -> nn.Sequential:
    """Return a multi-layer perceptron with tanh, whose layers are orthogonal; `gain` is that of the last."""
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(size, width), nn.Tanh()]
        size = width
    last = nn.Linear(size, out)
    body = nn.Sequential(*layers, last)
    make_orthogonal(body, math.sqrt(2.0), rng)
    make_orthogonal(last, gain, rng)
    return body


def make_orthogonal(module: nn.Module, gain: float, rng: torch.Generator) -> None:
    """Draw the weights of all linear and convolutional layers anew, orthogonal and `gain` long; biases become 0.

    Ref: Saxe et al., arXiv 1312.6120; for PPO: Engstrom et al., Implementation Matters, arXiv 2005.12729.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.orthogonal_(layer.weight, gain, generator=rng)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


class Critics(nn.Module):
    """Several critics computed as one batched matrix product a layer: features (b, d) and actions (b, a) -> (n, b).

    Their first layers see the same input, so those are one wide matrix.
    """

    def __init__(
        self, size: int, action_size: int, hidden: Sequence[int], count: int = 2, layer_norm: bool = True
    ) -> None:
        super().__init__()
        self.count, self._layer_norm = count, layer_norm
        widths = [size + action_size, *hidden, 1]
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        for fan_in, fan_out in pairwise(widths):
            # What nn.Linear does: uniform within 1 / sqrt(fan_in).
            bound = 1.0 / math.sqrt(fan_in)
            self.weights.append(nn.Parameter(torch.empty(count, fan_in, fan_out).uniform_(-bound, bound)))
            self.biases.append(nn.Parameter(torch.empty(count, 1, fan_out).uniform_(-bound, bound)))

    def forward(self, features: Tensor, actions: Tensor) -> Tensor:
        """Return the values (n, b)."""
        return self.values(features, actions, frozen=False)

    def values(self, features: Tensor, actions: Tensor, frozen: bool) -> Tensor:
        """Return the values (n, b); `frozen`: as constants, so that a gradient reaches the action alone."""
        x = torch.cat([features, actions], dim=1).expand(self.count, -1, -1)
        last = len(self.weights) - 1
        for k in range(last + 1):
            weight, bias = self._constant(self.weights[k], frozen), self._constant(self.biases[k], frozen)
            x = torch.baddbmm(bias, x, weight)
            if k < last:
                if self._layer_norm:
                    # Without scale and shift, which cost as much again and bound nothing.
                    x = functional.layer_norm(x, x.shape[-1:])
                x = functional.relu(x)
        return x.squeeze(2)

    @staticmethod
    def _constant(parameter: Tensor, frozen: bool) -> Tensor:
        return parameter.detach() if frozen else parameter
