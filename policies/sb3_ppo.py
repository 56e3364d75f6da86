"""Stable-Baselines3's proximal policy optimisation behind our interface.

Ref: https://stable-baselines3.readthedocs.io/en/master/modules/ppo.html
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3 import PPO
from stable_baselines3.common.logger import Logger

from policies.errors import NotFinite
from policies.learner import LearnerState, WorldStep, refuse_not_finite
from policies.learner_config import PpoConfig
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
from policies.workers import Array, Worlds

#: Steps whose observations are kept beyond their rollout, for the golden pairs of a policy.
_KEPT_STEPS = 64
_ROLLOUT_ARRAYS = ("actions", "rewards", "episode_starts", "values", "log_probs")
_SAID = ("policy_gradient_loss", "value_loss", "entropy_loss", "approx_kl", "clip_fraction")


class ClippedActor(torch.nn.Module):
    """SB3's PPO actor without its noise: named parts of an observation to the mean action (n, a), within its bounds."""

    def __init__(self, model: PPO) -> None:
        super().__init__()
        self.network = model.policy
        self._alone = not isinstance(model.observation_space, spaces.Dict)

    def forward(self, parts: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the actions."""
        observation = parts[ALONE] if self._alone else dict(parts)
        network = self.network
        features = network.extract_features(observation, network.pi_features_extractor)  # pyright: ignore
        hidden = network.mlp_extractor.forward_actor(features)  # pyright: ignore[reportArgumentType]
        return network.action_net(hidden).clamp(-1.0, 1.0)


class Sb3Ppo:
    """Stable-Baselines3's proximal policy optimisation as a `policies.learner.Learner`."""

    def __init__(self, worlds: Worlds, config: PpoConfig, discount: float, seed: int) -> None:
        space = worlds.single_observation_space
        refuse_privileged(space)
        refuse_actions(worlds.single_action_space)
        self._config, self._discount, self._worlds = config, discount, worlds.num_envs
        self._model = PPO(
            *policy_for(space),
            VectorAdapter(worlds),
            learning_rate=config.learning_rate,
            n_steps=config.rollout_steps,
            batch_size=config.batch_size,
            n_epochs=config.epochs,
            gamma=discount,
            gae_lambda=config.gae_lambda,
            clip_range=config.clip,
            clip_range_vf=config.value_clip,
            ent_coef=config.entropy_coefficient,
            vf_coef=config.value_coefficient,
            max_grad_norm=config.max_grad_norm,
            target_kl=config.target_kl,
            policy_kwargs={"net_arch": list(config.hidden), **picture_settings(space)},
            seed=seed,
            device="cpu",
        )
        self._model.set_logger(Logger(None, []))
        self._now: Parts = {}
        self._met: list[Parts] = []
        self._starts = np.ones(self._worlds)
        self._lost = np.zeros((config.rollout_steps, self._worlds), np.bool_)
        self._drawn = self._values = self._log_probabilities = torch.zeros(0)

    @property
    def updates(self) -> int:
        """Epochs so far, which is what SB3 counts."""
        return self._model._n_updates

    @property
    def policy(self) -> ClippedActor:
        """The policy without its noise; it shares its weights with the learner."""
        return ClippedActor(self._model)

    def _tensors_of(self, parts: Parts) -> torch.Tensor | dict[str, torch.Tensor]:
        tensors = {name: torch.from_numpy(np.ascontiguousarray(part)) for name, part in parts.items()}
        return tensors.get(ALONE, tensors)

    def begin(self, observations: Parts) -> None:
        """Take in the first observations after a reset of all worlds: the episodes before it are cut off."""
        buffer = self._model.rollout_buffer
        if buffer.pos:
            with torch.no_grad():
                values = self._model.policy.predict_values(self._tensors_of(self._now)).flatten().numpy()  # pyright: ignore
            # Worth what was expected of it, as where a time limit ends an episode.
            buffer.rewards[buffer.pos - 1] += self._discount * values * (1.0 - self._starts)
        self._now, self._starts = observations, np.ones(self._worlds)

    def act(self, observations: Parts) -> NDArray[np.float32]:
        """Return actions (n, a) as the policy draws them, clipped to their bounds."""
        with torch.no_grad():
            drawn = self._model.policy(self._tensors_of(observations))
        self._drawn, self._values, self._log_probabilities = drawn
        return self._drawn.numpy().clip(-1.0, 1.0)

    def improve(self) -> None:
        """Do nothing: a rollout is learnt from when it is complete."""

    def take_in(self, step: WorldStep) -> None:
        """Remember one step of all worlds, and learn from a rollout that it completes."""
        buffer, policy = self._model.rollout_buffer, self._model.policy
        over, rewards = step.terminated | step.truncated, step.rewards.copy()
        lost = sorted(step.lost)
        self._lost[buffer.pos] = np.isin(np.arange(self._worlds), lost)
        # A lost step is worth what was expected: so what came before it is judged by the last observation known.
        rewards[lost] = self._values.flatten().numpy()[lost]
        with torch.no_grad():
            for world in np.flatnonzero(step.truncated & ~step.terminated & ~self._lost[buffer.pos]).tolist():
                last = self._tensors_of({name: np.asarray(part)[None] for name, part in step.last[world].items()})
                rewards[world] += self._discount * float(policy.predict_values(last))  # pyright: ignore
            now = self._now[ALONE] if ALONE in self._now else dict(self._now)
            buffer.add(now, self._drawn.numpy(), rewards, self._starts, self._values, self._log_probabilities)  # pyright: ignore
            self._met = [*self._met[-_KEPT_STEPS:], self._now]
            self._now, self._starts = step.following, over.astype(np.float64)
            if buffer.full:
                values = policy.predict_values(self._tensors_of(self._now))  # pyright: ignore
                buffer.compute_returns_and_advantage(values, over)
        if buffer.full:
            if self._replace_lost():
                try:
                    self._model.train()
                except ValueError as error:  # what PyTorch's distributions say of parameters that are no numbers
                    said = str(error).partition(",")[0]
                    raise NotFinite(f"SB3: {said}: a smaller learning rate may help") from error
                refuse_not_finite([self.scalars()], self._model.policy.parameters())
            buffer.reset()
            with torch.no_grad():  # SB3 keeps its last distribution, gradients and all, which nothing can copy
                policy(self._tensors_of(self._now))

    def _replace_lost(self) -> bool:
        """Put sound steps in place of the lost ones, for which a rollout has room as well; False: none was sound."""
        sound, lost = np.argwhere(~self._lost), np.argwhere(self._lost)
        if len(sound) == 0:
            return False
        there, here = tuple(lost.T), tuple(sound[np.arange(len(lost)) % len(sound)].T)
        buffer = self._model.rollout_buffer
        for array in (*self._arrays().values(), buffer.advantages, buffer.returns):
            array[there] = array[here]
        return True

    def scalars(self) -> Mapping[str, float]:
        """Return what the last rollout's updates said."""
        said = self._model.logger.name_to_value
        return {name: float(said[f"train/{name}"]) for name in _SAID if f"train/{name}" in said}

    def seen(self, count: int, rng: np.random.Generator) -> Parts:
        """Return up to `count` of the last observations."""
        rows = {name: np.concatenate([parts[name] for parts in (*self._met, self._now)]) for name in self._now}
        met = len(next(iter(rows.values())))
        picks = rng.choice(met, min(count, met), replace=False)
        return {name: part[picks] for name, part in rows.items()}

    def capture(self) -> LearnerState:
        """Return copies of weights, moments, generators and the rollout under way."""
        model = self._model
        facts = {
            "counters": json.dumps([model._n_updates, model.rollout_buffer.pos]),
            "sampler": sampler_state(),
            "said": said_by(model),
        }
        arrays = {name: array.copy() for name, array in self._arrays().items()}
        arrays |= {f"met.{name}": np.stack([parts[name] for parts in (*self._met, self._now)]) for name in self._now}
        return LearnerState(
            copies_of(self._tensors()), {**arrays, "starts": self._starts.copy(), "lost": self._lost.copy()}, facts
        )

    def restore(self, state: LearnerState) -> None:
        """Take over what `capture` returned; raises CheckpointError where the networks or the rollout are others."""
        if "policy.0.step" in state.tensors:  # else nothing had been learnt yet
            make_moments(self._model.policy.optimizer)
        fill(self._tensors(), state.tensors)
        fill({**self._arrays(), "starts": self._starts, "lost": self._lost}, state.arrays)
        self._model._n_updates, self._model.rollout_buffer.pos = json.loads(state.facts["counters"])
        met = {n.removeprefix("met."): part for n, part in state.arrays.items() if n.startswith("met.")}
        count = len(next(iter(met.values()), ()))
        rows: list[Parts] = [{n: part[k] for n, part in met.items()} for k in range(count)]
        *self._met, self._now = rows or [{}]
        say_again(self._model, state.facts["said"])
        restore_generators(state)

    def _arrays(self) -> dict[str, Array]:
        """Return the arrays of the rollout that are filled step by step."""
        buffer = self._model.rollout_buffer
        seen = buffer.observations if isinstance(buffer.observations, dict) else {ALONE: buffer.observations}
        rows = {f"rollout.{name}": getattr(buffer, name) for name in _ROLLOUT_ARRAYS}
        return rows | {f"rollout.seen.{name}": part for name, part in seen.items()}

    def _tensors(self) -> dict[str, torch.Tensor]:
        weights = {f"policy.{name}": tensor for name, tensor in self._model.policy.state_dict().items()}
        return {**weights, **moments_of({"policy": self._model.policy.optimizer})}
