"""The learner that a configuration names."""

from __future__ import annotations

import gymnasium
import torch

from policies.acceleration import choose_computing
from policies.bc import BehaviourCloning
from policies.config import TrainConfig
from policies.demonstrations import Demonstrations
from policies.distill import Distill
from policies.errors import BadConfig
from policies.learner import Learner
from policies.off_policy import OffPolicy
from policies.ppo import Ppo
from policies.sb3_ppo import Sb3Ppo
from policies.sb3_sac import Sb3Sac
from policies.workers import Worlds


def make_learner(
    config: TrainConfig, worlds: Worlds, seed: int, demonstrations: Demonstrations | None = None
) -> Learner:
    """Return the learner that a run asks for.

    Raises UnfitWorlds where it cannot work with these worlds, UnfitDemonstrations where the demonstrations are of
    others, BadConfig where they are missing.
    """
    space, actions, count = worlds.single_observation_space, worlds.single_action_space, worlds.num_envs
    # One part alone is no dict, and has no name.
    named = isinstance(space, gymnasium.spaces.Dict)
    sees, critic_sees = (config.sees, config.critic_sees) if named else ((), ())
    computing = choose_computing(config, space)
    if demonstrations is not None:
        demonstrations = demonstrations.fitted(space, actions, config.sees)
    match config.algo:
        case "sac":
            learner = OffPolicy(space, actions, count, config.sac, config.discount, seed, sees, critic_sees, computing)
            if demonstrations is not None:
                learner.learn_from(demonstrations, config.reward_scale)
            return learner
        case "bc":
            if demonstrations is None:
                raise BadConfig("bc learns from demonstrations alone: name recordings with --demonstrations")
            return BehaviourCloning(space, actions, count, demonstrations, config.bc, seed, sees, computing.device)
        case "ppo":
            rng = torch.Generator().manual_seed(seed)
            return Ppo(space, actions, config.ppo, rng, count, config.discount, computing.device, sees, critic_sees)
        case "distill":
            teacher, student = config.sac, config.distill
            return Distill(space, actions, count, teacher, student, config.discount, seed, sees, critic_sees, computing)
        case "sb3-sac":
            return Sb3Sac(worlds, config.sac, config.discount, seed)
        case "sb3-ppo":
            return Sb3Ppo(worlds, config.ppo, config.discount, seed)
