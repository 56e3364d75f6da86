"""The learner that a configuration names."""

from __future__ import annotations

import gymnasium
import torch

from policies.config import TrainConfig
from policies.distill import Distill
from policies.learner import Learner
from policies.off_policy import OffPolicy
from policies.ppo import Ppo
from policies.precision import choose_device
from policies.sb3_ppo import Sb3Ppo
from policies.sb3_sac import Sb3Sac
from policies.workers import Worlds


def make_learner(config: TrainConfig, worlds: Worlds, seed: int) -> Learner:
    """Return the learner that a run asks for; raises UnfitWorlds where it cannot work with these worlds."""
    space, actions, count = worlds.single_observation_space, worlds.single_action_space, worlds.num_envs
    # One part alone is no dict, and has no name.
    named = isinstance(space, gymnasium.spaces.Dict)
    sees, critic_sees = (config.sees, config.critic_sees) if named else ((), ())
    device = choose_device(config.device, space)
    match config.algo:
        case "sac":
            sac = config.sac
            return OffPolicy(space, actions, count, sac, config.discount, seed, sees, critic_sees, device)
        case "ppo":
            rng = torch.Generator().manual_seed(seed)
            return Ppo(space, actions, config.ppo, rng, count, config.discount, device, sees, critic_sees)
        case "distill":
            teacher, student = config.sac, config.distill
            return Distill(space, actions, count, teacher, student, config.discount, seed, sees, critic_sees)
        case "sb3-sac":
            return Sb3Sac(worlds, config.sac, config.discount, seed)
        case "sb3-ppo":
            return Sb3Ppo(worlds, config.ppo, config.discount, seed)
