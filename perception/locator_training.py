"""How the learned locator learns: one epoch at a time, so that a run can be stopped and gone on with after each."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from perception.errors import LocatorUnfit
from perception.locator_net import Labels, LocatorNet, loss
from urdf.pose import Array

#: In the first share of the epochs the network learns where, then also how sure it is.
_PLACE_ALONE = 0.3
_BATCH_TO_JUDGE = 512


@dataclass(frozen=True, slots=True)
class Lesson:
    """Pictures (n, c, h, w) float32 as `perception.learned.network_input` makes them, and the truth about them."""

    pictures: NDArray[np.float32]
    place: Array
    yaw4: Array
    there: NDArray[np.bool_]

    def labels(self, rows: NDArray[np.int64]) -> Labels:
        """Return the truth about some of them."""
        return Labels(
            *(torch.as_tensor(part[rows], dtype=torch.float32) for part in (self.place, self.yaw4, self.there))
        )


class LocatorTrainer:
    """A network under training. The same seed gives the same network, whether or not it was stopped in between."""

    def __init__(self, channels: int, epochs: int, batch: int, learning_rate: float, seed: int) -> None:
        self.epochs, self._batch, self._rate, self._seed = epochs, batch, learning_rate, seed
        self.done = 0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.net = LocatorNet(channels)
        self._adam = torch.optim.Adam(self.net.parameters(), learning_rate)

    def epoch(self, lesson: Lesson, sure: bool = True, on_batch: Callable[[float], None] = lambda share: None) -> float:
        """Learn from all of a lesson once; return the mean loss. `on_batch` hears which share of it is done.

        `sure` false: only where, by mean squares, throughout. Raises KeyboardInterrupt as it comes: the epoch is lost.
        """
        count = len(lesson.there)
        order = np.random.default_rng([self._seed, self.done]).permutation(count)
        starts = range(0, count, self._batch)
        knows = 1.0 if sure and self.done >= _PLACE_ALONE * self.epochs else 0.0
        total = 0.0
        self.net.train()
        for number, start in enumerate(starts):
            rows = order[start : start + self._batch]
            share = (self.done + number / len(starts)) / self.epochs
            for group in self._adam.param_groups:
                # A short rise, then a cosine to nothing.
                group["lr"] = (
                    self._rate * min(1.0, share * self.epochs * 4 + 0.1) * 0.5 * (1 + math.cos(math.pi * share))
                )
            value = loss(self.net(torch.from_numpy(lesson.pictures[rows])), lesson.labels(rows), knows)
            self._adam.zero_grad()
            value.backward()
            torch.nn.utils.clip_grad_norm_(self.net.parameters(), 5.0)
            self._adam.step()
            total += value.item() * len(rows)
            on_batch((number + 1) / len(starts))
        self.done += 1
        return total / count

    def outputs(self, pictures: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return what the network says (n, 9) of pictures (n, c, h, w)."""
        self.net.eval()
        with torch.inference_mode():
            parts = [
                self.net(torch.from_numpy(pictures[k : k + _BATCH_TO_JUDGE])).numpy()
                for k in range(0, len(pictures), _BATCH_TO_JUDGE)
            ]
        return np.concatenate(parts)

    # Keeping -------------------------------------------------------------------------------------
    def capture(self) -> dict[str, Tensor]:
        """Return copies of all that going on needs, by name."""
        tensors = {f"net.{name}": p.detach().clone() for name, p in self.net.named_parameters()}
        for name, p in self.net.named_parameters():
            for key, value in self._adam.state.get(p, {}).items():
                tensors[f"adam.{key}.{name}"] = torch.as_tensor(value).detach().clone()
        return tensors

    def restore(self, tensors: Mapping[str, Tensor], done: int) -> None:
        """Go on after `done` epochs from what `capture` returned; raises LocatorUnfit where the network is another."""
        for name, p in self.net.named_parameters():
            stored = tensors.get(f"net.{name}")
            if stored is None or stored.shape != p.shape:
                raise LocatorUnfit(f"the checkpoint's {name} is another network's: resume it with its own settings")
            with torch.no_grad():
                p.copy_(stored)
            keys = ("step", "exp_avg", "exp_avg_sq")
            if f"adam.step.{name}" in tensors:
                self._adam.state[p] = {key: tensors[f"adam.{key}.{name}"].clone() for key in keys}
        self.done = done
