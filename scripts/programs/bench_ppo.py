"""How well our PPO learns CartPole-v1: the mean return of 100 episodes that no training saw, for three seeds.

`python -m scripts.programs.bench_ppo` trains and judges them, 20 seconds each.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv

from policies.learner import WorldStep
from policies.learner_config import PpoConfig
from policies.parts import as_parts
from policies.ppo import Ppo
from scripts.programs.figures import Row, at_least

FRAMES, SEEDS, BAR = 82_000, (0, 1, 2), 475.0
#: What a seed's episodes are judged on: far from the seeds that worlds are trained with.
_JUDGE_SEED, _EPISODES = 1_000_000, 100
_WORLDS, _DISCOUNT = 8, 0.98
#: Ref: rl-baselines3-zoo, hyperparams/ppo.yml, CartPole-v1; annealed over `FRAMES`.
CARTPOLE = PpoConfig(
    learning_rate=1e-3,
    anneal_over=FRAMES,
    rollout_steps=32,
    epochs=20,
    batch_size=256,
    gae_lambda=0.8,
)


def _worlds(count: int) -> VectorEnv[np.ndarray, np.ndarray, np.ndarray]:
    return gymnasium.make_vec(
        "CartPole-v1",
        num_envs=count,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP},
    )


def trained(seed: int, frames: int, config: PpoConfig = CARTPOLE) -> Ppo:
    """Return a learner that has decided `frames` times on CartPole-v1."""
    worlds = _worlds(_WORLDS)
    rng = torch.Generator().manual_seed(seed)
    learner = Ppo(worlds.single_observation_space, worlds.single_action_space, config, rng, _WORLDS, _DISCOUNT)
    observations, _ = worlds.reset(seed=_WORLDS * seed)
    learner.begin(as_parts(observations))
    for _ in range(frames // _WORLDS):
        actions = learner.act(as_parts(observations))
        observations, rewards, terminated, truncated, infos = worlds.step(actions)
        ended = np.flatnonzero(terminated | truncated)
        last = {int(world): as_parts(infos["final_obs"][world]) for world in ended}
        learner.improve()
        learner.take_in(WorldStep(actions, rewards, terminated, truncated, as_parts(observations), last))
    worlds.close()
    return learner


def judged(learner: Ppo) -> float:
    """Return the mean return of the policy without noise over 100 episodes, always the same."""
    worlds = _worlds(_EPISODES)
    observations, _ = worlds.reset(seed=_JUDGE_SEED)
    returns, running = np.zeros(_EPISODES), np.ones(_EPISODES, np.bool_)
    with torch.inference_mode():
        while running.any():
            actions = learner.policy({n: torch.from_numpy(p) for n, p in as_parts(observations).items()}).numpy()
            observations, rewards, terminated, truncated, _ = worlds.step(actions)
            returns += rewards * running
            running &= ~(terminated | truncated)
    worlds.close()
    return float(returns.mean())


def cartpole(seed: int, frames: int = FRAMES) -> float:
    """Return the mean return over 100 episodes of a policy trained on so many decisions."""
    return judged(trained(seed, frames))


def measure(on_progress: Callable[[str, float], None]) -> list[Row]:
    """Train and judge every seed; return a row for each."""
    rows: list[Row] = []
    for done, seed in enumerate(SEEDS):
        on_progress("PPO on CartPole-v1", done / len(SEEDS))
        figure = f"PPO CartPole-v1 mean return, seed {seed}"
        rows.append(at_least(figure, cartpole(seed), "", BAR, f"{_EPISODES} episodes after {FRAMES:,} decisions"))
    on_progress("PPO on CartPole-v1", 1.0)
    return rows


def main() -> int:
    """Measure, and print a line for each seed."""
    torch.set_num_threads(1)
    rows = measure(lambda what, share: print(f"{what}: {100 * share:.0f} %", file=sys.stderr, flush=True))
    for row in rows:
        print(f"{row.figure}: {row.value:.1f} ({row.direction} {row.bar:g}; {row.baseline})")
    return 0 if all(row.holds for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
