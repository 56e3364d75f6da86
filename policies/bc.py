"""Behaviour cloning: do what was demonstrated. Regression from what was seen to what was done, and nothing else.

Two heads. `gaussian` maximises the likelihood of the demonstrated action, its spread told as well (Pomerleau, ALVINN,
NIPS 1988, began with regression). `chunk` tells the next several actions at once, by their distance (Zhao et al., ACT,
arXiv 2304.13705, without its latent); the first is done and the others are told anew at the next decision, so that the
policy remembers nothing, and runs wherever any other does.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from policies.adam import FlatAdam
from policies.demonstrations import Demonstrations
from policies.errors import CheckpointError, UnfitWorlds
from policies.learner import LearnerState, WorldStep, updates_due
from policies.learner_config import BcConfig, BcHead
from policies.networks import Encoder, mlp
from policies.parts import Parts, Tensors, as_tensors, chosen_parts
from policies.sac import Actor, DeterministicPolicy, random_shift

#: A demonstrated action is not told more exactly than this (a spread of 0.14): the rest of the effort goes to others.
_LEAST_LOG_STD = -2.0


def gaussian_loss(mean: Tensor, log_std: Tensor, wanted: Tensor) -> Tensor:
    """Return the mean negative logarithm of the density of actions (b, a), but for its constant.

    The Gaussian stands about tanh(mean), so that the policy's own action is in bounds.
    """
    log_std = log_std.clamp(min=_LEAST_LOG_STD)
    off = (wanted - torch.tanh(mean)) * torch.exp(-log_std)
    return (0.5 * off.square() + log_std).sum(dim=1).mean()


def chunk_loss(told: Tensor, wanted: Tensor, was_done: Tensor) -> Tensor:
    """Return the mean distance, number by number, of chunks (b, h, a) from what was done, where anything was (b, h)."""
    off = (told - wanted).abs().mean(dim=2)
    return (off * was_done).sum() / was_done.sum()


class ChunkActor(nn.Module):
    """Features (b, d) to the next `length` actions (b, length, a)."""

    def __init__(self, size: int, hidden: Sequence[int], length: int, action_size: int) -> None:
        super().__init__()
        self._shape = (length, action_size)
        self.body = mlp(size, hidden, length * action_size)

    def forward(self, features: Tensor) -> Tensor:
        """Return the actions, each in -1 to 1."""
        return torch.tanh(self.body(features)).unflatten(1, self._shape)


class FirstOfChunk(nn.Module):
    """What is evaluated and exported of a chunk head: parts of an observation to the action to do now (b, a)."""

    def __init__(self, encoder: Encoder, actor: ChunkActor) -> None:
        super().__init__()
        self.encoder, self.actor = encoder, actor

    def forward(self, parts: Mapping[str, Tensor]) -> Tensor:
        """Return the first action of the chunk."""
        return self.actor(self.encoder(parts))[:, 0]


class BehaviourCloning:
    """A `policies.learner.Learner` that reads demonstrations alone.

    In the worlds it acts as the policy so far does, which shows how good that is; it learns nothing from them.
    """

    def __init__(
        self,
        space: gymnasium.Space[object],
        action_space: gymnasium.Space[object],
        worlds: int,
        demonstrations: Demonstrations,
        config: BcConfig,
        seed: int,
        sees: Sequence[str] = (),
        device: torch.device | None = None,
    ) -> None:
        if not isinstance(action_space, gymnasium.spaces.Box) or len(action_space.shape) != 1:
            raise UnfitWorlds(f"behaviour cloning needs a Box of actions (a,), got {action_space}")
        self._config, self._worlds, self._demonstrated = config, worlds, demonstrations.sha256
        self._sees = chosen_parts(space, sees)
        self._seen = demonstrations.seen(space, tuple(self._sees))
        done, was_done = demonstrations.chunks(config.chunk if config.head is BcHead.CHUNK else 1)
        self._device = device or torch.device("cpu")
        self._done, self._was_done = torch.from_numpy(done), torch.from_numpy(was_done)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.cloned = self._network(action_space.shape[0]).to(self._device)
        self.average = copy.deepcopy(self.cloned).requires_grad_(False)
        self._adam = FlatAdam(list(self.cloned.parameters()), config.learning_rate)
        self._draws = np.random.default_rng(seed)
        self._shifts = torch.Generator().manual_seed(seed)
        self.decisions = 0
        self._losses: list[float] = []

    def _network(self, action_size: int) -> DeterministicPolicy | FirstOfChunk:
        c = self._config
        encoder = Encoder(self._sees, c.encoder, c.picture_features, c.spatial_softmax, c.coordinates)
        if c.head is BcHead.CHUNK:
            return FirstOfChunk(encoder, ChunkActor(encoder.size, c.hidden, c.chunk, action_size))
        return DeterministicPolicy(encoder, Actor(encoder.size, c.hidden, action_size))

    @property
    def updates(self) -> int:
        """Gradient steps so far."""
        return self._adam.steps

    @property
    def policy(self) -> nn.Module:
        """The running average of the policies so far."""
        return self.average

    # Learning --------------------------------------------------------------------------------------------------------
    def begin(self, observations: Parts) -> None:
        """Nothing is remembered of the worlds."""

    def act(self, observations: Parts) -> NDArray[np.float32]:
        """Return what the policy so far does (n, a)."""
        with torch.inference_mode():
            return self.average(self._there(as_tensors(observations, self._sees))).cpu().numpy()

    def _there(self, parts: Tensors) -> Tensors:
        return {name: part.to(self._device) for name, part in parts.items()}

    def improve(self) -> None:
        """Take as many gradient steps as a step of all worlds is worth."""
        count = updates_due(self._config.updates_per_decision, self.decisions, self._worlds)
        for _ in range(count):
            loss = self._loss(self._draws.integers(len(self._done), size=self._config.batch_size))
            self._adam.minimise(loss)
            self._losses.append(loss.item())
        share = min(1.0, count * max(self._config.averaging_rate, 1.0 / max(self.updates, 1)))
        with torch.no_grad():
            for mine, live in zip(self.average.parameters(), self.cloned.parameters(), strict=True):
                mine.lerp_(live, share)

    def _loss(self, rows: NDArray[np.int64]) -> Tensor:
        seen = self._there(as_tensors({name: part[rows] for name, part in self._seen.items()}, self._sees))
        if self._config.shift_px:
            seen = {
                n: random_shift(p, self._config.shift_px, self._shifts) if p.ndim == 4 else p for n, p in seen.items()
            }
        features, done = self.cloned.encoder(seen), self._done[rows].to(self._device)
        if isinstance(self.cloned, FirstOfChunk):
            return chunk_loss(self.cloned.actor(features), done, self._was_done[rows].to(self._device))
        mean, log_std = self.cloned.actor(features)
        return gaussian_loss(mean, log_std, done[:, 0])

    def take_in(self, step: WorldStep) -> None:
        """Count it: decisions are what the updates, evaluations and checkpoints of a run go by."""
        self.decisions += self._worlds

    # Telling ---------------------------------------------------------------------------------------------------------
    def scalars(self) -> Mapping[str, float]:
        """Return the mean loss of the updates since the last call."""
        told = {"imitation": float(np.mean(self._losses))} if self._losses else {}
        self._losses = []
        return told

    def seen(self, count: int, rng: np.random.Generator) -> Parts:
        """Return up to `count` observations that were demonstrated."""
        rows = rng.choice(len(self._done), size=min(count, len(self._done)), replace=False)
        return {name: part[rows] for name, part in self._seen.items()}

    # Keeping ---------------------------------------------------------------------------------------------------------
    def _tensors(self) -> Tensors:
        return {**self._adam.rows(), **{f"average.{name}": p for name, p in self.average.named_parameters()}}

    @property
    def _layout(self) -> str:
        return f"{self._config.head.value} of {list(self._sees)}, {self._adam.row.numel()} weights"

    def capture(self) -> LearnerState:
        """Return copies of weights, moments, counters and generators; the demonstrations stay where they are."""
        tensors = {name: tensor.detach().cpu().clone() for name, tensor in self._tensors().items()}
        facts = {
            "layout": self._layout,
            "demonstrations": self._demonstrated,
            "counters": json.dumps([self.decisions, self._adam.steps]),
            "draws": json.dumps(self._draws.bit_generator.state),
        }
        return LearnerState({**tensors, "shifts": self._shifts.get_state()}, {}, facts)

    def restore(self, state: LearnerState) -> None:
        """Take over what `capture` returned; raises CheckpointError where network or demonstrations are others."""
        if state.facts.get("layout") != self._layout:
            raise CheckpointError(
                f"the checkpoint's network is {state.facts.get('layout')}, this run's {self._layout}: "
                "resume it with the settings that it was begun with"
            )
        check_same_demonstrations(state, self._demonstrated)
        with torch.no_grad():
            for name, tensor in self._tensors().items():
                tensor.copy_(state.tensors[name])
        self._shifts.set_state(state.tensors["shifts"])
        self.decisions, self._adam.steps = json.loads(state.facts["counters"])
        self._draws.bit_generator.state = json.loads(state.facts["draws"])


def check_same_demonstrations(state: LearnerState, sha256: str) -> None:
    """Raise CheckpointError where a checkpoint was learnt from other demonstrations (`sha256` empty: from none)."""
    was = state.facts.get("demonstrations", "")
    if was != sha256:
        raise CheckpointError(
            f"the checkpoint was learnt from {was[:12] or 'no'} demonstrations, this run has {sha256[:12] or 'none'}: "
            "put the recordings and their labels back as they were"
        )
