"""What Stable-Baselines3's learners need here: worlds as they want them, and a way to be kept that pickles nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TypeVar

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvObs, VecEnvStepReturn

from policies.errors import CheckpointError, UnfitWorlds
from policies.learner import LearnerState
from policies.parts import parts_of
from policies.workers import Array, SplitStep, Worlds, check_worlds, split_infos

Values = TypeVar("Values", torch.Tensor, Array)


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


def refuse_privileged(space: gymnasium.Space[object]) -> None:
    """Raise UnfitWorlds where an observation has a part that is no Box, or one that is for a critic alone."""
    if "privileged" in parts_of(space):
        raise UnfitWorlds(
            "the part `privileged` of an observation is for a critic alone, and in Stable-Baselines3 actor and critics "
            "read the same: leave it out, or learn with algo sac or ppo"
        )


def refuse_actions(space: gymnasium.Space[object]) -> None:
    """Raise UnfitWorlds unless actions are a Box from -1 to 1."""
    if not (isinstance(space, spaces.Box) and np.all(space.low == -1.0) and np.all(space.high == 1.0)):
        raise UnfitWorlds(f"a Box of actions from -1 to 1 is needed (gymnasium's RescaleAction makes one), got {space}")


def moments_of(optimizers: Mapping[str, torch.optim.Optimizer]) -> dict[str, torch.Tensor]:
    """Return Adam's moments by name."""
    return {
        f"{name}.{index}.{key}": tensor
        for name, optimizer in optimizers.items()
        for index, moments in enumerate(optimizer.state.values())
        for key, tensor in moments.items()
    }


def make_moments(*optimizers: torch.optim.Optimizer) -> None:
    """Have Adam make its moments, which it does at its first step, so that there is something to fill."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        optimizer.zero_grad()


def copies_of(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return copies of all, and the state of torch's global generator, which SB3 draws from."""
    return {**{name: tensor.detach().clone() for name, tensor in tensors.items()}, "noise": torch.get_rng_state()}


def said_by(model: BaseAlgorithm) -> str:
    """Return what a model's last updates said of themselves, as text."""
    return json.dumps({name: float(value) for name, value in model.logger.name_to_value.items()})


def say_again(model: BaseAlgorithm, said: str) -> None:
    """Have a model say what `said_by` returned, until its next updates."""
    for name, value in json.loads(said).items():
        model.logger.record(name, value)


def fill(own: Mapping[str, Values], kept: Mapping[str, Values]) -> None:
    """Copy what was kept into tensors or arrays; raises CheckpointError where it has another shape."""
    for name, values in own.items():
        stored = kept.get(name)
        if stored is None or stored.shape != values.shape:
            shape = None if stored is None else tuple(stored.shape)
            raise CheckpointError(
                f"the checkpoint has {shape} for {name}, this run {tuple(values.shape)}: resume it with the settings "
                "that it was begun with"
            )
        with torch.no_grad():
            values[...] = stored


def restore_generators(state: LearnerState) -> None:
    """Set the global generators of NumPy and torch, from which SB3 draws."""
    keys, position, has_gauss = json.loads(state.facts["sampler"])
    np.random.set_state(("MT19937", np.array(keys, np.uint32), position, has_gauss, 0.0))  # noqa: NPY002
    torch.set_rng_state(state.tensors["noise"])


def sampler_state() -> str:
    """Return the state of NumPy's global generator, from which SB3's replay draws."""
    _, keys, position, has_gauss, _ = np.random.get_state()  # noqa: NPY002
    return json.dumps([np.asarray(keys).tolist(), int(position), int(has_gauss)])


def policy_for(space: gymnasium.Space[object]) -> tuple[str]:
    """Return SB3's name of the policy for an observation space."""
    if isinstance(space, spaces.Dict):
        return ("MultiInputPolicy",)
    return ("CnnPolicy" if space.shape is not None and len(space.shape) == 3 else "MlpPolicy",)


def picture_settings(space: gymnasium.Space[object]) -> dict[str, object]:
    """Return what makes SB3 take metres for a picture: they are no bytes, and need no division by 255."""
    boxes = list(space.spaces.values()) if isinstance(space, spaces.Dict) else [space]
    metric = any(b.shape is not None and len(b.shape) == 3 and b.dtype != np.uint8 for b in boxes)
    return {"features_extractor_kwargs": {"normalized_image": True}, "normalize_images": False} if metric else {}
