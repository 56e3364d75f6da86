"""Stable-Baselines3's soft actor-critic behind our interface: build, save and restore it without a pickle.

Ref: https://stable-baselines3.readthedocs.io/en/master/modules/sac.html
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray
from stable_baselines3 import SAC
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.logger import configure
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvObs, VecEnvStepReturn

from policies.checkpoint import Checkpoint, Counters
from policies.config import TrainConfig
from policies.errors import CheckpointError, UnfitWorlds
from policies.export import network_actions
from policies.replay import ALONE

_REPLAY_ARRAYS = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")
_ACTOR, _LEARNER = "actor.", "learner."

Array = NDArray[np.generic]
#: Many environments that step together, wherever they run.
Worlds = VectorEnv[Array | dict[str, Array], Array, Array]
Info = dict[str, object]


@runtime_checkable
class SplitStep(Protocol):
    """Worlds whose step can be sent on its way first and awaited later."""

    def step_async(self, actions: Array) -> None:
        """Send the actions."""
        ...

    def step_wait(self) -> tuple[Array | dict[str, Array], Array, Array, Array, Info]:
        """Return what `step` returns."""
        ...


class VectorAdapter(VecEnv):
    """A Gymnasium vector environment as Stable-Baselines3's learners want it; it does not own the worlds.

    The end of an episode reaches them in its own info: `terminal_observation`, `TimeLimit.truncated` and whatever the
    last step said; what the reset said lies in `reset_infos`. Raises UnfitWorlds where the next episode does not begin
    within the step that ends one.
    """

    def __init__(self, worlds: Worlds) -> None:
        mode = worlds.metadata.get("autoreset_mode")
        if mode is not AutoresetMode.SAME_STEP:
            raise UnfitWorlds(f"autoreset_mode must be {AutoresetMode.SAME_STEP}, got {mode}")
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


def split_infos(infos: Mapping[str, object], count: int) -> list[Info]:
    """Return one dict per world from Gymnasium's arrays over the worlds, each of which has its mask in `_name`."""
    rows: list[Info] = [{} for _ in range(count)]
    for name, values in infos.items():
        mask = infos.get(f"_{name}")
        if not isinstance(mask, np.ndarray):
            continue
        parts = split_infos(values, count) if isinstance(values, Mapping) else values
        assert isinstance(parts, list | np.ndarray)
        for world in np.flatnonzero(mask):
            rows[world][name] = parts[world]
    return rows


class AveragedActor(torch.nn.Module):
    """The policy that is evaluated and exported: the only part of an observation (n, d) -> tanh of the mean action.

    Its weights are a running average of the learning actor's. Ref: Polyak and Juditsky, Acceleration of Stochastic
    Approximation by Averaging, SIAM J. Control Optim. 30 (1992).
    """

    def __init__(self, model: SAC) -> None:
        super().__init__()
        self.hidden = copy.deepcopy(model.actor.latent_pi)
        self.mean = copy.deepcopy(model.actor.mu)
        self.requires_grad_(False)

    def forward(self, parts: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the actions (n, a)."""
        return torch.tanh(self.mean(self.hidden(parts[ALONE])))

    def act_batch(self, observations: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the actions (n, a) for observations (n, d)."""
        return network_actions(self, {ALONE: observations})

    def follow(self, model: SAC, share: float) -> None:
        """Move by `share` of the way to the learning actor."""
        live = [*model.actor.latent_pi.parameters(), *model.actor.mu.parameters()]
        with torch.no_grad():
            for mine, theirs in zip(self.parameters(), live, strict=True):
                mine.lerp_(theirs, share)


def build_sac(config: TrainConfig, workers: VecEnv, seed: int, tensorboard: Path) -> SAC:
    """Return a new SAC with the run's settings; it learns only when `train` is called, never from `learn`.

    Raises UnfitWorlds for observations with a `privileged` part: these actors read all that their critics read.
    """
    space = workers.observation_space
    if isinstance(space, gymnasium.spaces.Dict) and "privileged" in space.spaces:
        raise UnfitWorlds(
            "the part `privileged` of an observation is for a critic alone, and here actor and critics read the same: "
            "leave it out (ObservationSpec(privileged=False))"
        )
    model = SAC(
        "MlpPolicy",
        workers,
        learning_rate=config.learning_rate,
        buffer_size=config.buffer_size,
        learning_starts=config.learning_starts,
        batch_size=config.batch_size,
        tau=config.target_rate,
        gamma=config.discount,
        train_freq=(1, "step"),
        gradient_steps=0,
        target_entropy=config.entropy_per_action * float(np.prod(workers.action_space.shape or (1,))),
        ent_coef=f"auto_{config.initial_entropy}",
        # One fused kernel instead of one per tensor: a tenth more updates a second on networks this small.
        policy_kwargs={"net_arch": list(config.network), "optimizer_kwargs": {"fused": True}},
        seed=seed,
        device="cpu",
    )
    model.set_logger(configure(str(tensorboard), ["tensorboard"]))
    return model


def _buffer(model: SAC) -> ReplayBuffer:
    if model.replay_buffer is None:
        raise CheckpointError("this learner has no replay buffer")
    return model.replay_buffer


def replay_observations(model: SAC, count: int, seed: int) -> NDArray[np.float32]:
    """Return up to `count` observations (count, d) drawn from the replay buffer."""
    buffer = _buffer(model)
    seen = buffer.observations[: buffer.size()].reshape(-1, *buffer.obs_shape)
    picks = np.random.default_rng(seed).choice(len(seen), size=min(count, len(seen)), replace=False)
    return np.asarray(seen[picks], dtype=np.float32)


def _optimizers(model: SAC) -> Iterator[tuple[str, torch.optim.Optimizer]]:
    yield "actor_optimizer", model.actor.optimizer
    yield "critic_optimizer", model.critic.optimizer
    if model.ent_coef_optimizer is None:
        raise CheckpointError("the entropy coefficient of this learner is not tuned")
    yield "entropy_optimizer", model.ent_coef_optimizer


def _log_entropy(model: SAC) -> torch.Tensor:
    if model.log_ent_coef is None:
        raise CheckpointError("the entropy coefficient of this learner is not tuned")
    return model.log_ent_coef


def entropy_coefficient(model: SAC) -> float:
    """Return what one nat of entropy is worth in reward now."""
    return float(_log_entropy(model).detach().exp())


def actor_tensors(actor: AveragedActor) -> dict[str, torch.Tensor]:
    """Return the weights of the policy, as a checkpoint keeps them."""
    return {f"{_ACTOR}{name}": tensor for name, tensor in actor.state_dict().items()}


def capture(model: SAC, actor: AveragedActor, counters: Counters) -> Checkpoint:
    """Return everything that the learner needs to go on: weights, optimisers, replay, random numbers."""
    tensors = actor_tensors(actor)
    tensors.update({f"{_LEARNER}{name}": tensor for name, tensor in model.policy.state_dict().items()})
    tensors["log_entropy"] = _log_entropy(model).detach()
    tensors["torch_rng"] = torch.get_rng_state()
    for prefix, optimizer in _optimizers(model):
        for index, values in optimizer.state_dict()["state"].items():
            tensors.update({f"{prefix}.{index}.{key}": value for key, value in values.items()})
    buffer = _buffer(model)
    arrays = {name: getattr(buffer, name)[: buffer.size()] for name in _REPLAY_ARRAYS}
    # The replay buffer draws from NumPy's global generator.
    _, keys, position, has_gauss, gauss = np.random.get_state()  # noqa: NPY002
    arrays["numpy_rng_keys"] = np.asarray(keys)
    arrays["numpy_rng_rest"] = np.array([position, has_gauss, gauss], dtype=np.float64)
    return Checkpoint(
        counters=counters,
        tensors=tensors,
        arrays=arrays,
        action_rng=json.dumps(model.action_space.np_random.bit_generator.state),
        replay_position=buffer.pos,
        replay_full=buffer.full,
    )


def restore_actor(actor: AveragedActor, checkpoint: Checkpoint) -> None:
    """Put the weights of a checkpoint into the policy; raises CheckpointError when they do not fit."""
    _load(actor, _ACTOR, checkpoint)


def _load(module: torch.nn.Module, prefix: str, checkpoint: Checkpoint) -> None:
    weights = {k.removeprefix(prefix): t for k, t in checkpoint.tensors.items() if k.startswith(prefix)}
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointError(f"the checkpoint's network is not this run's: {error}") from error


def restore(model: SAC, actor: AveragedActor, checkpoint: Checkpoint) -> None:
    """Put a whole checkpoint into the learner: the inverse of `capture`."""
    _load(model.policy, _LEARNER, checkpoint)
    restore_actor(actor, checkpoint)
    tensors, arrays = checkpoint.tensors, checkpoint.arrays
    with torch.no_grad():
        _log_entropy(model).copy_(tensors["log_entropy"])
    for prefix, optimizer in _optimizers(model):
        _restore_optimizer(optimizer, prefix, tensors)
    buffer = _buffer(model)
    size = len(arrays["rewards"])
    if arrays["observations"].shape[1:] != buffer.observations.shape[1:] or size > buffer.buffer_size:
        raise CheckpointError(
            f"the checkpoint's replay has shape {arrays['observations'].shape}, this run's {buffer.observations.shape}"
        )
    for name in _REPLAY_ARRAYS:
        getattr(buffer, name)[:size] = arrays[name]
    buffer.pos, buffer.full = checkpoint.replay_position, checkpoint.replay_full
    model.num_timesteps = checkpoint.counters.decisions
    model._episode_num = checkpoint.counters.episodes
    model._n_updates = checkpoint.counters.updates
    model.action_space.np_random.bit_generator.state = json.loads(checkpoint.action_rng)
    torch.set_rng_state(tensors["torch_rng"])
    position, has_gauss, gauss = arrays["numpy_rng_rest"].tolist()
    keys = np.asarray(arrays["numpy_rng_keys"], dtype=np.uint32)
    np.random.set_state(("MT19937", keys, int(position), int(has_gauss), float(gauss)))  # noqa: NPY002


def _restore_optimizer(optimizer: torch.optim.Optimizer, prefix: str, tensors: dict[str, torch.Tensor]) -> None:
    fresh = optimizer.state_dict()
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith(prefix + "."):
            _, index, key = name.split(".")
            state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": fresh["param_groups"]})
