"""Stable-Baselines3's learners behind our interface: the same worlds, loop, checkpoints and export as our own.

Nothing of theirs is pickled. Ref: https://stable-baselines3.readthedocs.io/en/master/modules/sac.html
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3 import SAC
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvObs, VecEnvStepReturn

from policies.config import SacConfig
from policies.errors import CheckpointError, UnfitWorlds
from policies.learner import LearnerState, WorldStep
from policies.parts import ALONE, Parts
from policies.workers import Array, Info, SplitStep, Worlds, check_worlds, split_infos

_REPLAY_ARRAYS = ("actions", "rewards", "dones", "timeouts")
_SEEN = ("observations", "next_observations")


class VectorAdapter(VecEnv):
    """A Gymnasium vector environment as Stable-Baselines3's learners want it; it does not own the worlds.

    The end of an episode reaches them in its own info: `terminal_observation`, `TimeLimit.truncated` and whatever the
    last step said; what the reset said lies in `reset_infos`. Raises UnfitWorlds where the next episode does not begin
    within the step that ends one.
    """

    def __init__(self, worlds: Worlds) -> None:
        check_worlds(worlds)
        self.worlds = worlds
        self._actions: Array | None = None
        super().__init__(worlds.num_envs, worlds.single_observation_space, worlds.single_action_space)

    def reset(self) -> VecEnvObs:
        """Begin new episodes, with the seeds that `seed` set last, and return their first observations."""
        options = self._options[0] or None
        if any(other != self._options[0] for other in self._options):
            raise UnfitWorlds(f"all worlds must have the same options, got {self._options}")
        # Both libraries give world i the seed of world 0 plus i.
        observations, infos = self.worlds.reset(seed=self._seeds[0], options=options)
        self.reset_infos = split_infos(infos, self.num_envs)
        self._reset_seeds()
        self._reset_options()
        return observations

    def step_async(self, actions: Array) -> None:
        """Send the actions on their way, where the worlds can do that."""
        self._actions = actions
        if isinstance(self.worlds, SplitStep):
            self.worlds.step_async(actions)

    def step_wait(self) -> VecEnvStepReturn:
        """Return observations, rewards, ends of episodes, and a dict of infos per world."""
        if isinstance(self.worlds, SplitStep):
            observations, rewards, terminated, truncated, infos = self.worlds.step_wait()
        else:
            assert self._actions is not None
            observations, rewards, terminated, truncated, infos = self.worlds.step(self._actions)
        over = np.logical_or(terminated, truncated)
        rows = split_infos(infos, self.num_envs)
        for world, row in enumerate(rows):
            if over[world]:
                final_info, final_observation = row.pop("final_info", {}), row.pop("final_obs")
                self.reset_infos[world] = row
                assert isinstance(final_info, dict)
                rows[world] = row = {**final_info, "terminal_observation": final_observation}
            row["TimeLimit.truncated"] = bool(truncated[world] and not terminated[world])
        return observations, rewards, over, rows

    def close(self) -> None:
        """Close the worlds."""
        self.worlds.close()

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[object]:
        """Return `render_mode`, the one attribute that the learners ask for; the worlds live in other processes."""
        if attr_name != "render_mode":
            raise AttributeError(f"worlds in other processes tell only their render_mode, not {attr_name!r}")
        return [self.worlds.render_mode for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: object, indices: VecEnvIndices = None) -> None:
        """Refuse: no learner of Stable-Baselines3 asks for it."""
        raise AttributeError(f"worlds in other processes: {attr_name!r} cannot be set from here")

    def env_method(
        self, method_name: str, *method_args: object, indices: VecEnvIndices = None, **method_kwargs: object
    ) -> list[object]:
        """Refuse: no learner of Stable-Baselines3 asks for it."""
        raise AttributeError(f"worlds in other processes: {method_name!r} cannot be called from here")

    def env_is_wrapped(self, wrapper_class: type[gymnasium.Wrapper], indices: VecEnvIndices = None) -> list[bool]:
        """Return False everywhere: what is wrapped around a world is wrapped in its own process."""
        return [False for _ in self._get_indices(indices)]


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
        if isinstance(space, spaces.Dict) and "privileged" in space.spaces:
            raise UnfitWorlds(
                "the part `privileged` of an observation is for a critic alone, and here actor and critics read the "
                "same: leave it out, or learn with algo sac"
            )
        if not isinstance(worlds.single_action_space, spaces.Box):
            raise UnfitWorlds(f"SAC needs a Box of actions, got {worlds.single_action_space}")
        self._config, self._worlds = config, worlds.num_envs
        self._draws = np.random.default_rng(seed)
        self._model = SAC(
            *_policy_for(space),
            VectorAdapter(worlds),
            learning_rate=config.learning_rate,
            buffer_size=config.capacity,
            batch_size=config.batch_size,
            tau=config.target_rate,
            gamma=discount,
            n_steps=config.steps,
            target_entropy=config.entropy_per_action * float(np.prod(worlds.single_action_space.shape)),
            ent_coef=f"auto_{config.initial_temperature}",
            policy_kwargs={"net_arch": list(config.hidden), "optimizer_kwargs": {"fused": True}, **_pictures(space)},
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
        """Take in the first observations after a reset of all worlds."""
        self._now = observations

    def act(self, observations: Parts) -> NDArray[np.float32]:
        """Return actions (n, a): uniform ones during the warm-up, then the policy's with its noise."""
        if self.decisions < self._config.warm_up:
            shape = (self._worlds, *(self._model.action_space.shape or ()))
            return self._draws.uniform(-1.0, 1.0, shape).astype(np.float32)
        return self._model.predict(self._observation(observations), deterministic=False)[0]  # pyright: ignore

    def improve(self) -> None:
        """Take as many gradient steps as a step of all worlds is worth, once the warm-up is over."""
        if self.decisions < self._config.warm_up:
            return
        count = max(1, round(self._config.updates_per_decision * self._worlds))
        self._model.train(count, self._config.batch_size)
        share = min(1.0, count * max(self._config.averaging_rate, 1.0 / (count + self.updates)))
        with torch.no_grad():
            for mine, live in zip(self.average.actor.parameters(), self._model.actor.parameters(), strict=True):
                mine.lerp_(live, share)

    def take_in(self, step: WorldStep) -> None:
        """Remember one step of all worlds."""
        buffer, over = _buffer(self._model), step.terminated | step.truncated
        following = {name: np.array(part) for name, part in step.following.items()}
        for world, parts in step.last.items():
            for name, part in parts.items():
                following[name][world] = part
        infos: list[Info] = [
            {"TimeLimit.truncated": bool(o and not t)} for o, t in zip(over, step.terminated, strict=True)
        ]
        now, then = self._observation(self._now), self._observation(following)
        buffer.add(now, then, np.asarray(step.actions), step.rewards, over, infos)  # pyright: ignore
        self._now = step.following
        self.decisions += self._worlds

    def scalars(self) -> Mapping[str, float]:
        """Return what the last updates said, and the temperature."""
        said = self._model.logger.name_to_value
        temperature = self._model.log_ent_coef
        told = {"temperature": float(temperature.exp()) if temperature is not None else 0.0}
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
        tensors = {name: tensor.detach().clone() for name, tensor in self._tensors()}
        tensors["noise"] = torch.get_rng_state()
        filled = buffer.size()
        arrays = {f"replay.{name}": getattr(buffer, name)[:filled].copy() for name in _REPLAY_ARRAYS}
        for kind in _SEEN:
            arrays |= {f"replay.{kind}.{n}": part[:filled].copy() for n, part in _parts_in(buffer, kind).items()}
        facts = {
            "counters": json.dumps([self.decisions, model._n_updates, buffer.pos, buffer.full]),
            "draws": json.dumps(self._draws.bit_generator.state),
            "sampler": json.dumps(_sampler_state()),
        }
        return LearnerState(tensors, arrays, facts)

    def restore(self, state: LearnerState) -> None:
        """Take over what `capture` returned; raises CheckpointError where the networks are others."""
        self._make_moments()
        for name, tensor in self._tensors():
            stored = state.tensors.get(name)
            if stored is None or stored.shape != tensor.shape:
                shape = None if stored is None else tuple(stored.shape)
                raise CheckpointError(f"the checkpoint has {shape} for {name}, this run's is {tuple(tensor.shape)}")
            with torch.no_grad():
                tensor.copy_(stored)
        buffer = _buffer(self._model)
        self.decisions, self._model._n_updates, buffer.pos, buffer.full = json.loads(state.facts["counters"])
        filled = buffer.size()
        for name in _REPLAY_ARRAYS:
            getattr(buffer, name)[:filled] = state.arrays[f"replay.{name}"]
        for kind in _SEEN:
            for name, part in _parts_in(buffer, kind).items():
                part[:filled] = state.arrays[f"replay.{kind}.{name}"]
        self._draws.bit_generator.state = json.loads(state.facts["draws"])
        keys, position, has_gauss = json.loads(state.facts["sampler"])
        np.random.set_state(("MT19937", np.array(keys, np.uint32), position, has_gauss, 0.0))  # noqa: NPY002
        torch.set_rng_state(state.tensors["noise"])

    def _tensors(self) -> Iterator[tuple[str, torch.Tensor]]:
        model = self._model
        for name, tensor in model.policy.state_dict().items():
            yield f"policy.{name}", tensor
        for name, tensor in self.average.state_dict().items():
            yield f"average.{name}", tensor
        if model.log_ent_coef is None or model.ent_coef_optimizer is None:
            raise CheckpointError("the entropy coefficient of this learner is not tuned")
        yield "log_temperature", model.log_ent_coef.data
        named = {
            "actor": model.actor.optimizer,
            "critic": model.critic.optimizer,
            "temperature": model.ent_coef_optimizer,
        }
        for name, optimizer in named.items():
            for index, moments in enumerate(optimizer.state.values()):
                for key, tensor in moments.items():
                    yield f"{name}.{index}.{key}", tensor

    def _make_moments(self) -> None:
        """Have Adam make its moments, which it does at its first step, so that there is something to fill."""
        model = self._model
        for optimizer in (model.actor.optimizer, model.critic.optimizer, model.ent_coef_optimizer):
            assert optimizer is not None
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    parameter.grad = torch.zeros_like(parameter)
            optimizer.step()
            optimizer.zero_grad()


def _sampler_state() -> list[object]:
    """Return the state of NumPy's global generator, from which SB3's replay draws."""
    _, keys, position, has_gauss, _ = np.random.get_state()  # noqa: NPY002
    return [np.asarray(keys).tolist(), int(position), int(has_gauss)]


def _policy_for(space: gymnasium.Space[object]) -> tuple[str]:
    if isinstance(space, spaces.Dict):
        return ("MultiInputPolicy",)
    return ("CnnPolicy" if space.shape is not None and len(space.shape) == 3 else "MlpPolicy",)


def _pictures(space: gymnasium.Space[object]) -> dict[str, object]:
    """Return what makes SB3 take metres for a picture: they are no bytes, and need no division by 255."""
    boxes = list(space.spaces.values()) if isinstance(space, spaces.Dict) else [space]
    metric = any(b.shape is not None and len(b.shape) == 3 and b.dtype != np.uint8 for b in boxes)
    return {"features_extractor_kwargs": {"normalized_image": True}, "normalize_images": False} if metric else {}


def _buffer(model: SAC) -> ReplayBuffer:
    if model.replay_buffer is None:
        raise CheckpointError("this learner has no replay buffer")
    return model.replay_buffer


def _parts_in(buffer: ReplayBuffer, kind: str) -> dict[str, Array]:
    """Return the replay's arrays of `observations` or `next_observations` by part."""
    arrays = getattr(buffer, kind)
    return arrays if isinstance(arrays, dict) else {ALONE: arrays}
