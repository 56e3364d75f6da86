"""A rollout: what many worlds went through since the policy last changed, and how much better than expected it was."""

from __future__ import annotations

from collections.abc import Mapping

import gymnasium
import numpy as np
import torch
from torch import Tensor

from policies.errors import CheckpointError
from policies.learner import WorldStep
from policies.parts import Parts, Tensors, stored_dtype

#: The tensors with a row for every step, beside what was seen.
_ROWS = ("actions", "log_probabilities", "rewards", "terminated", "over", "lost")


class Rollout:
    """`steps` decisions of `worlds` worlds; `seen` has one row more, for what followed the last of them.

    Its arrays are made once. `actions` are as they were drawn, `log_probabilities` what they were drawn with. Where an
    episode was cut off, `last` has what it ended with, by step and world.
    """

    def __init__(
        self,
        boxes: Mapping[str, gymnasium.spaces.Box],
        action_space: gymnasium.spaces.Box | gymnasium.spaces.Discrete,
        worlds: int,
        steps: int,
    ) -> None:
        self.worlds, self.steps = worlds, steps
        self.seen: Tensors = {
            name: torch.from_numpy(np.zeros((steps + 1, worlds, *box.shape), stored_dtype(box.dtype)))
            for name, box in boxes.items()
        }
        self.actions = (
            torch.zeros(steps, worlds, *action_space.shape)
            if isinstance(action_space, gymnasium.spaces.Box)
            else torch.zeros(steps, worlds, dtype=torch.int64)
        )
        self.log_probabilities, self.rewards = torch.zeros(2, steps, worlds)
        self.terminated, self.over, self.lost = (torch.zeros(steps, worlds, dtype=torch.bool) for _ in range(3))
        self.last: dict[tuple[int, int], Tensors] = {}
        self.at = 0
        self._rows_met = 0

    @property
    def full(self) -> bool:
        """Whether all steps were taken."""
        return self.at == self.steps

    def begin(self, observations: Parts) -> None:
        """Go on from the first observations (worlds, ...) after a reset: the episodes under way are cut off."""
        if self.at:
            t = self.at - 1
            for world in (~self.over[t]).nonzero().flatten().tolist():
                self.over[t, world] = True
                self.last[t, world] = {name: part[self.at, world].clone() for name, part in self.seen.items()}
        self._see(observations)

    def add(self, drawn: Tensor, log_probabilities: Tensor, step: WorldStep) -> None:
        """Take in one step, with the actions (worlds, ...) as they were drawn."""
        t = self.at
        lost = torch.tensor([world in step.lost for world in range(self.worlds)])
        self.actions[t], self.log_probabilities[t] = drawn, log_probabilities
        self.rewards[t] = torch.from_numpy(step.rewards)
        self.terminated[t] = torch.from_numpy(step.terminated) & ~lost
        self.over[t] = torch.from_numpy(step.terminated | step.truncated) | lost
        self.lost[t] = lost
        for world in (self.over[t] & ~self.terminated[t] & ~lost).nonzero().flatten().tolist():
            ended = step.last[world]
            self.last[t, world] = {n: torch.tensor(np.asarray(ended[n]), dtype=p.dtype) for n, p in self.seen.items()}
        self.at += 1
        self._see(step.following)

    def restart(self) -> None:
        """Go on where a full rollout ended."""
        for part in self.seen.values():
            part[0] = part[self.at]
        self.at = 0
        self.last.clear()

    def capture(self) -> dict[str, np.ndarray]:
        """Return copies of what was gone through so far, and of what is left of the observations before it."""
        at, ends = self.at, list(self.last)
        kept = {f"seen.{name}": part[: self._rows_met] for name, part in self.seen.items()}
        kept |= {name: getattr(self, name)[:at] for name in _ROWS}
        kept |= {f"last.{n}": torch.stack([self.last[end][n] for end in ends]) for n in self.seen if ends}
        arrays = {f"rollout.{name}": tensor.numpy().copy() for name, tensor in kept.items()}
        return {**arrays, "rollout.ends": np.array(ends, np.int64).reshape(-1, 2)}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Take over what `capture` returned; raises CheckpointError, and changes nothing, where it does not fit."""
        own = self.seen | {name: getattr(self, name) for name in _ROWS}
        for name, tensor in own.items():
            stored = arrays.get(f"rollout.{'seen.' if name in self.seen else ''}{name}")
            if stored is None or len(stored) > len(tensor) or stored.shape[1:] != tensor.shape[1:]:
                raise CheckpointError(
                    f"the checkpoint's rollout has {None if stored is None else stored.shape} for {name}, this run's "
                    f"{tuple(tensor.shape)}: resume it with the settings that it was begun with"
                )
        self.at = len(arrays["rollout.rewards"])
        for name, part in self.seen.items():
            self._rows_met = len(arrays[f"rollout.seen.{name}"])
            part[: self._rows_met] = torch.from_numpy(arrays[f"rollout.seen.{name}"])
        for name in _ROWS:
            getattr(self, name)[: self.at] = torch.from_numpy(arrays[f"rollout.{name}"])
        self.last = {
            (int(step), int(world)): {n: torch.from_numpy(arrays[f"rollout.last.{n}"][k].copy()) for n in self.seen}
            for k, (step, world) in enumerate(arrays["rollout.ends"])
        }

    def met(self, count: int, names: Mapping[str, object], rng: np.random.Generator) -> Parts:
        """Return the named parts of up to `count` observations, drawn from this rollout and what is left of others."""
        met = self._rows_met * self.worlds
        rows = torch.from_numpy(rng.choice(met, min(count, met), replace=False))
        return {name: self.seen[name].flatten(0, 1)[rows].numpy() for name in names}

    def _see(self, observations: Parts) -> None:
        for name, part in self.seen.items():
            part[self.at] = torch.from_numpy(np.asarray(observations[name]))
        self._rows_met = max(self._rows_met, self.at + 1)


def advantages(
    rewards: Tensor,
    values: Tensor,
    next_values: Tensor,
    terminated: Tensor,
    over: Tensor,
    discount: float,
    gae_lambda: float,
) -> Tensor:
    """Return how much better than expected each action was (t, worlds): equations 11 and 12 of arXiv 1707.06347.

    delta = r + discount * V(s') - V(s), A = delta + discount * lambda * A'. What terminated has no V(s'); where an
    episode is `over`, terminated or cut off, there is no A'. `next_values` are of the episode's own next observation.
    Ref: Schulman et al., High-Dimensional Continuous Control Using Generalized Advantage Estimation, arXiv 1506.02438.
    """
    errors = rewards + discount * next_values * ~terminated - values
    carried = discount * gae_lambda * ~over
    found = torch.empty_like(errors)
    later = torch.zeros_like(errors[0])
    for t in reversed(range(len(errors))):
        found[t] = later = errors[t] + carried[t] * later
    return found


def explained_variance(values: Tensor, returns: Tensor) -> float:
    """Return the share of the variance of the returns that the values foretold: 1 at best, 0 where nothing varies."""
    variance = returns.var(correction=0)
    return float(1.0 - (returns - values).var(correction=0) / variance) if variance > 0.0 else 0.0
