"""The network of the learned locator, and how it learns. PyTorch; what runs on a robot is `perception/learned.py`.

The reference's Coordinate-CNN, grown up: it regressed the place of one black pixel through two convolutions and 16,384
flattened numbers. Here a spatial softmax asks each map where it is bright (Finn et al., arXiv 1509.06113), which is a
place from the first step on, and with the place comes how sure it is. Borders repeat what is beside them: zeros beyond
them would be brighter than anything in the picture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

#: What the network says of a picture, in this order: the place (column, row from -1 to 1), the logarithms of their
#: standard deviations, their correlation (before a tanh), cosine and sine of four times the yaw, the logarithm of
#: their standard deviation, and whether the block is there (a logit).
OUTPUTS = (
    "column", "row", "log_sigma_column", "log_sigma_row", "correlation", "yaw_cos4", "yaw_sin4", "log_sigma_yaw",
    "there",
)  # fmt: skip
#: Around the block so much of the picture is looked at to see how it is turned.
_CROP_PX = 24
_LEAST_LOG, _MOST_LOG = math.log(1e-3), math.log(3.0)


class LocatorNet(nn.Module):
    """Pictures (b, c, h, w), scaled to about one, to `OUTPUTS` (b, 9)."""

    def __init__(self, channels: int, side_px: int = 64, maps: int = 32) -> None:
        super().__init__()
        self.early = nn.Sequential(
            nn.Conv2d(channels, 16, 5, stride=2, padding=2, padding_mode="replicate"),
            nn.ReLU(),
            nn.Conv2d(16, maps, 3, padding=1, padding_mode="replicate"),
            nn.ReLU(),
            nn.Conv2d(maps, maps, 3, stride=2, padding=1, padding_mode="replicate"),
            nn.ReLU(),
            nn.Conv2d(maps, maps, 3, padding=1, padding_mode="replicate"),
            nn.ReLU(),
        )
        self.register_buffer("fine", torch.linspace(-1.0, 1.0, side_px // 4), persistent=False)
        self.where = nn.Conv2d(maps, maps, 1)
        self.log_sharpness = nn.Parameter(torch.ones(()))
        last = nn.Linear(96, 6)
        self.place = nn.Sequential(nn.Linear(3 * maps, 96), nn.ReLU(), last)
        nn.init.zeros_(last.bias)
        line = torch.linspace(-1.0, 1.0, _CROP_PX) * ((_CROP_PX - 1) / (side_px - 1))
        rows, columns = torch.meshgrid(line, line, indexing="ij")
        self.register_buffer("crop", torch.stack([columns, rows], dim=-1), persistent=False)
        self.turn = nn.Sequential(
            nn.Conv2d(channels, 24, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(24, 32, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(32 * (_CROP_PX // 4) ** 2, 64),
            nn.ReLU(),
            nn.Linear(64, 3),
        )

    def forward(self, pictures: Tensor) -> Tensor:
        """Return the outputs."""
        fine = self.get_buffer("fine")
        maps = self.early(pictures)
        # Normalised over the picture: one small thing in it outshines the rest from the first step on.
        bright = functional.instance_norm(self.where(maps))
        share = torch.softmax(bright.flatten(2) * self.log_sharpness.exp(), dim=2).reshape(bright.shape)
        column = (share.sum(2) * fine).sum(2)
        row = (share.sum(3) * fine).sum(2)
        said = self.place(torch.cat([column, row, maps.mean(dim=(2, 3))], dim=1))
        place, logs = said[:, :2], said[:, 2:4].clamp(_LEAST_LOG, _MOST_LOG)
        # Which way it is turned is looked at where it is, in all pixels: they are few enough.
        window = self.get_buffer("crop") + place.detach().clamp(-1.0, 1.0)[:, None, None, :]
        around = functional.grid_sample(pictures, window, padding_mode="border", align_corners=True)
        turn = self.turn(functional.instance_norm(around))
        sure = turn[:, 2:].clamp(_LEAST_LOG, _MOST_LOG)
        return torch.cat([place, logs, said[:, 4:5], turn[:, :2], sure, said[:, 5:]], dim=1)


@dataclass(frozen=True, slots=True)
class Labels:
    """The truth of b pictures: place (b, 2) from -1 to 1, cosine and sine of four times the yaw (b, 2), there (b,)."""

    place: Tensor
    yaw4: Tensor
    there: Tensor


def loss(outputs: Tensor, labels: Labels, sure: float = 1.0) -> Tensor:
    """Return the mean negative log-likelihood of what is there, and the cross-entropy of whether it is.

    `sure` 0: mean squares in place of likelihoods, with which training begins: a network that does not know anything
    yet would learn first to be unsure. Where nothing is there, place and yaw do not count.
    """
    there = labels.there
    weight = there / there.sum().clamp(min=1.0)
    apart = outputs[:, :2] - labels.place
    turned = outputs[:, 5:7] - labels.yaw4
    squares = (apart**2).sum(1) + 0.3 * (turned**2).sum(1)
    total = functional.binary_cross_entropy_with_logits(outputs[:, 8], there) + (weight * squares).sum() * (2.0 - sure)
    if sure > 0:
        z = apart / outputs[:, 2:4].exp()
        rho = 0.98 * torch.tanh(outputs[:, 4])
        quadratic = (z[:, 0] ** 2 - 2 * rho * z[:, 0] * z[:, 1] + z[:, 1] ** 2) / (1 - rho**2)
        place = 0.5 * quadratic + outputs[:, 2:4].sum(1) + 0.5 * torch.log1p(-(rho**2))
        yaw = 0.5 * (turned**2).sum(1) * torch.exp(-2 * outputs[:, 7]) + 2 * outputs[:, 7]
        total = total + sure * (weight * (0.5 * place + 0.25 * yaw)).sum()
    return total
