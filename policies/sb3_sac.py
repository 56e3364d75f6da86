"""Stable-Baselines3's soft actor-critic behind our interface.

Ref: https://stable-baselines3.readthedocs.io/en/master/modules/sac.html
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3 import SAC
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.logger import Logger

from policies.errors import CheckpointError, UnfitWorlds
from policies.learner import LearnerState, WorldStep, updates_due
from policies.learner_config import SacConfig
from policies.parts import ALONE, Parts
from policies.sb3 import (
    VectorAdapter,
    copies_of,
    fill,
    make_moments,
    moments_of,
    picture_settings,
    policy_for,
    refuse_actions,
    refuse_privileged,
    restore_generators,
    said_by,
    sampler_state,
    say_again,
)
from policies.workers import Array, Info, Worlds

_REPLAY_ARRAYS = ("actions", "rewards", "dones", "timeouts")
_SEEN = ("observations", "next_observations")


class SquashedActor(torch.nn.Module):
    """SB3's SAC actor without its noise: named parts of an observation to the tanh of the mean action (n, a)."""

    def __init__(self, model: SAC) -> None:
        super().__init__()
        self.actor = copy.deepcopy(model.actor).requires_grad_(False)
        self._alone = not isinstance(model.observation_space, spaces.Dict)

    def forward(self, parts: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the actions."""
        observation = parts[ALONE] if self._alone else dict(parts)
        features = self.actor.extract_features(observation, self.actor.features_extractor)
        return torch.tanh(self.actor.mu(self.actor.latent_pi(features)))


class Sb3Sac:
    """Stable-Baselines3's soft actor-critic as a `policies.learner.Learner`.

    Raises UnfitWorlds for observations with a `privileged` part: this actor reads all that its critics read.
    """

    def __init__(self, worlds: Worlds, config: SacConfig, discount: float, seed: int) -> None:
        space = worlds.single_observation_space
        refuse_privileged(space)
        refuse_actions(worlds.single_action_space)
        if config.steps > 1 and isinstance(space, spaces.Dict):
            raise UnfitWorlds("Stable-Baselines3 sums rewards of several steps for one part alone: sac.steps must be 1")
        self._config, self._worlds = config, worlds.num_envs
        self._draws = np.random.default_rng(seed)
        self._model = SAC(
            *policy_for(space),
            VectorAdapter(worlds),
            learning_rate=config.learning_rate,
            buffer_size=config.capacity,
            batch_size=config.batch_size,
            tau=config.target_rate,
            gamma=discount,
            n_steps=config.steps,
            target_entropy=config.entropy_per_action * float(np.prod(worlds.single_action_space.shape or (1,))),
            ent_coef=f"auto_{config.initial_temperature}",
            policy_kwargs={
                "net_arch": list(config.hidden),
                **picture_settings(space),
            },
            seed=seed,
            device="cpu",
        )
        self._model.set_logger(Logger(None, []))
        self.average = SquashedActor(self._model)
        self.decisions = 0
        self._now: Parts = {}

    @property
    def updates(self) -> int:
        """Gradient steps so far."""
        return self._model._n_updates

    @property
    def policy(self) -> SquashedActor:
        """The running average of the policies so far."""
        return self.average

    def _observation(self, parts: Parts) -> Array | dict[str, Array]:
        return parts[ALONE] if ALONE in parts else dict(parts)

    def begin(self, observations: Parts) -> None:
        """Take in the first observations after a reset of all worlds: the episodes before it are cut off."""
        self._cut_off(range(self._worlds))
        self._now = observations

    def act(self, observations: Parts) -> NDArray[np.float32]:
        """Return actions (n, a): uniform ones during the warm-up, then the policy's with its noise."""
        if self.decisions < self._config.warm_up:
            shape = (self._worlds, *(self._model.action_space.shape or ()))
            return self._draws.uniform(-1.0, 1.0, shape).astype(np.float32)
        return self._model.predict(self._observation(observations), deterministic=False)[0]  # pyright: ignore

    def improve(self) -> None:
        """Take as many gradient steps as a step of all worlds is worth, once the warm-up is over."""
        count = updates_due(self._config.updates_per_decision, self.decisions, self._worlds)
        if count == 0 or self.decisions < self._config.warm_up or _buffer(self._model).size() == 0:
            return
        self._model.train(count, self._config.batch_size)
        share = min(1.0, count * max(self._config.averaging_rate, 1.0 / (count + self.updates)))
        with torch.no_grad():
            for mine, live in zip(self.average.actor.parameters(), self._model.actor.parameters(), strict=True):
                mine.lerp_(live, share)

    def take_in(self, step: WorldStep) -> None:
        """Remember one step of all worlds, less those that are lost."""
        buffer, over = _buffer(self._model), step.terminated | step.truncated
        following = {name: np.array(part) for name, part in step.following.items()}
        for world, parts in step.last.items():
            for name, part in parts.items():
                following[name][world] = part
        self._cut_off(sorted(step.lost))
        sound = [world for world in range(self._worlds) if world not in step.lost]
        if sound:
            # The replay has a row for every world: that of a lost one shows what a sound one did, and ends there.
            taken = np.array([sound[0] if world in step.lost else world for world in range(self._worlds)])
            over = over[taken] | (taken != np.arange(self._worlds))
            terminated = step.terminated[taken]
            now, then = ({name: part[taken] for name, part in parts.items()} for parts in (self._now, following))
            infos: list[Info] = [{"TimeLimit.truncated": cut} for cut in (over & ~terminated).tolist()]
            actions, rewards = np.asarray(step.actions)[taken], step.rewards[taken]
            buffer.add(self._observation(now), self._observation(then), actions, rewards, over, infos)  # pyright: ignore
        self._now = step.following
        self.decisions += self._worlds

    def _cut_off(self, worlds: Sequence[int]) -> None:
        """End what these worlds' last rows began: no return over several steps goes on behind them."""
        buffer = _buffer(self._model)
        going_on = [world for world in worlds if not buffer.dones[buffer.pos - 1, world]]
        buffer.dones[buffer.pos - 1, going_on] = buffer.timeouts[buffer.pos - 1, going_on] = 1.0

    def scalars(self) -> Mapping[str, float]:
        """Return what the last updates said, and the temperature."""
        said = self._model.logger.name_to_value
        temperature = self._model.log_ent_coef
        told = {"temperature": float(temperature.detach().exp()) if temperature is not None else 0.0}
        names = {"critic": "train/critic_loss", "actor": "train/actor_loss"}
        return told | {name: float(said[key]) for name, key in names.items() if key in said}

    def seen(self, count: int, rng: np.random.Generator) -> Parts:
        """Return up to `count` observations of the replay."""
        buffer = _buffer(self._model)
        arrays = _parts_in(buffer, "observations")
        filled = buffer.size() * self._worlds
        picks = rng.choice(filled, size=min(count, filled), replace=False)
        return {name: array.reshape(-1, *array.shape[2:])[picks] for name, array in arrays.items()}

    # Keeping ---------------------------------------------------------------------------------------------------------
    def capture(self) -> LearnerState:
        """Return copies of weights, moments, replay, counters and generators."""
        model, buffer = self._model, _buffer(self._model)
        tensors = copies_of(self._tensors())
        arrays = {name: array.copy() for name, array in self._arrays().items()}
        facts = {
            "counters": json.dumps([self.decisions, model._n_updates, buffer.pos, buffer.full]),
            "draws": json.dumps(self._draws.bit_generator.state),
            "sampler": sampler_state(),
            "said": said_by(model),
        }
        return LearnerState(tensors, arrays, facts)

    def restore(self, state: LearnerState) -> None:
        """Take over what `capture` returned; raises CheckpointError where the networks are others."""
        if "actor.0.step" in state.tensors:  # else nothing had been learnt yet
            make_moments(*self._optimizers().values())
        fill(self._tensors(), state.tensors)
        buffer = _buffer(self._model)
        self.decisions, self._model._n_updates, buffer.pos, buffer.full = json.loads(state.facts["counters"])
        fill(self._arrays(), state.arrays)
        say_again(self._model, state.facts["said"])
        self._draws.bit_generator.state = json.loads(state.facts["draws"])
        restore_generators(state)

    def _arrays(self) -> dict[str, Array]:
        """Return the rows of the replay that are filled."""
        buffer = _buffer(self._model)
        arrays = {f"replay.{name}": getattr(buffer, name) for name in _REPLAY_ARRAYS}
        for kind in _SEEN:
            arrays |= {f"replay.{kind}.{name}": part for name, part in _parts_in(buffer, kind).items()}
        return {name: array[: buffer.size()] for name, array in arrays.items()}

    def _optimizers(self) -> dict[str, torch.optim.Optimizer]:
        model = self._model
        assert model.ent_coef_optimizer is not None
        return {
            "actor": model.actor.optimizer,
            "critic": model.critic.optimizer,
            "temperature": model.ent_coef_optimizer,
        }

    def _tensors(self) -> dict[str, torch.Tensor]:
        model = self._model
        assert model.log_ent_coef is not None
        weights = {f"policy.{name}": tensor for name, tensor in model.policy.state_dict().items()}
        weights |= {f"average.{name}": tensor for name, tensor in self.average.state_dict().items()}
        return {**weights, "log_temperature": model.log_ent_coef.data, **moments_of(self._optimizers())}


def _buffer(model: SAC) -> ReplayBuffer:
    if model.replay_buffer is None:
        raise CheckpointError("this learner has no replay buffer")
    return model.replay_buffer


def _parts_in(buffer: ReplayBuffer, kind: str) -> dict[str, Array]:
    """Return the replay's arrays of `observations` or `next_observations` by part."""
    arrays = getattr(buffer, kind)
    return arrays if isinstance(arrays, dict) else {ALONE: arrays}
