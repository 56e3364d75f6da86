"""How well our SAC learns Pendulum-v1, beside Stable-Baselines3's: the mean return of 100 episodes, always the same."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers import RescaleAction
from numpy.typing import NDArray
from stable_baselines3 import SAC

from policies.export import network_actions
from policies.learner_config import SacConfig
from policies.off_policy import OffPolicy
from policies.parts import ALONE, Parts
from policies.precision import choose_precision
from policies.workers import BatchPolicy, Stepper, Worlds, evaluate_workers
from scripts.programs.figures import Row, at_least

STEPS, BAR, SLACK = 10_000, -170.0, 5.0
_EPISODES, _JUDGE_SEED = 100, 1_000_000
_SEED, _DISCOUNT = 0, 0.99
#: Ref: rl-baselines3-zoo, hyperparams/sac.yml, Pendulum-v1: everything but the learning rate is SB3's default.
_LEARNING_RATE, _WARM_UP = 1e-3, 100
PENDULUM = SacConfig(learning_rate=_LEARNING_RATE, warm_up=_WARM_UP)


def measure(figure: str, bar: float, on_progress: Callable[[str, float], None]) -> Row:
    """Train both and return the row of ours, which may be a little less than theirs."""
    with closing(worlds(1)) as world:
        mine = judged(NetworkPolicy(trained(world, STEPS, lambda share: on_progress(figure, 0.3 * share)).policy))
    other = judged(Sb3Policy(_sb3_trained(STEPS)))
    on_progress(figure, 1.0)
    return at_least(
        figure, mine, "", min(bar, other - SLACK),
        f"{_EPISODES} episodes after {STEPS:,} steps, seed {_SEED}; SB3 {other:.1f} in the same run, and the bar is "
        f"{bar:g}, or {SLACK:g} below SB3 where that is less",
    )  # fmt: skip


def trained(world: Worlds, steps: int, on_share: Callable[[float], None], config: SacConfig = PENDULUM) -> OffPolicy:
    """Return our learner after so many steps."""
    torch.set_num_threads(1)
    choose_precision()
    space, actions = world.single_observation_space, world.single_action_space
    learner = OffPolicy(space, actions, world.num_envs, config, _DISCOUNT, _SEED)
    stepper = Stepper(world)
    learner.begin(stepper.reset(_SEED))
    for step in range(steps):
        stepper.send(learner.act(stepper.observations))
        learner.improve()
        learner.take_in(stepper.wait())
        stepper.finished.clear()
        on_share((step + 1) / steps)
    return learner


def judged(policy: BatchPolicy) -> float:
    """Return the mean return of the policy."""
    with closing(worlds(_EPISODES)) as judges:
        result = evaluate_workers(policy, judges, _EPISODES, _JUDGE_SEED, lambda: False)
    assert result is not None
    return result.mean_return


@dataclass(frozen=True, slots=True)
class NetworkPolicy:
    """A network of ours, without noise."""

    network: torch.nn.Module

    def act_batch(self, observations: Parts) -> NDArray[np.float32]:
        """Return the actions (n, a) for n observations."""
        return network_actions(self.network, observations)


@dataclass(frozen=True, slots=True)
class Sb3Policy:
    """A model of Stable-Baselines3, without noise."""

    model: SAC

    def act_batch(self, observations: Parts) -> NDArray[np.float32]:
        """Return the actions (n, a) for n observations."""
        return self.model.predict(observations[ALONE], deterministic=True)[0]


def _sb3_trained(steps: int) -> SAC:
    torch.set_num_threads(1)  # it learns the same with more
    torch.set_float32_matmul_precision("highest")
    with closing(_rescaled(gymnasium.make("Pendulum-v1"))) as world:
        model = SAC("MlpPolicy", world, learning_rate=_LEARNING_RATE, seed=_SEED, device="cpu")
        return model.learn(steps)


def worlds(count: int) -> Worlds:
    """Return so many pendulums, whose actions go from -1 to 1."""
    return gymnasium.make_vec(
        "Pendulum-v1",
        num_envs=count,
        vectorization_mode="sync",
        wrappers=[_rescaled],
        vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP},
    )


def _rescaled(world: gymnasium.Env[Any, Any]) -> gymnasium.Wrapper[Any, Any, Any, Any]:
    return RescaleAction(world, np.float32(-1.0), np.float32(1.0))
