"""How good a policy is: episodes with seeds of their own, and the interval that the count supports."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from bridge.observation import Observed
from bridge.ports import Policy

if TYPE_CHECKING:
    import gymnasium

_Observation = TypeVar("_Observation", bound=Observed)


def wilson_interval(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the Wilson score interval of a success rate; (0, 1) without trials.

    Ref: Wilson, Probable Inference, JASA 22 (1927); it stays honest at 0 and at all successes.
    """
    if not 0 <= successes <= trials:
        raise ValueError(f"expected 0 <= successes <= trials, got {successes} of {trials}")
    if trials == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    rate = successes / trials
    center = rate + z * z / (2 * trials)
    half = z * math.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    # At 0 and at all successes one end is exactly the rate; rounding must not push it past.
    low = 0.0 if successes == 0 else (center - half) / scale
    high = 1.0 if successes == trials else (center + half) / scale
    return low, high


@dataclass(frozen=True, slots=True)
class EvaluationResult:
    """The outcome of an evaluation; `mean_return` is undiscounted and in the environment's own scale.

    `lost` episodes went with a process that died, and were played again.
    """

    successes: int
    episodes: int
    mean_return: float
    mean_decisions: float
    wall_s: float
    lost: int = 0

    @property
    def success_rate(self) -> float:
        """Share of episodes that succeeded, 0 without episodes."""
        return self.successes / self.episodes if self.episodes else 0.0

    @property
    def wilson(self) -> tuple[float, float]:
        """The 95 % Wilson interval of the success rate."""
        return wilson_interval(self.successes, self.episodes)


def episode_seeds(seed: int, episodes: int) -> list[int]:
    """Return one seed per episode, so that episode k is the same whatever ran before it."""
    return [int(s) for s in np.random.SeedSequence(seed).generate_state(episodes)]


def _never() -> bool:
    return False


def play(policy: Policy, env: gymnasium.Env[_Observation, NDArray[np.float32]], seed: int) -> tuple[bool, float, int]:
    """Play one episode; return (success, undiscounted return, decisions)."""
    observation, info = env.reset(seed=seed)
    over, total, decisions = False, 0.0, 0
    while not over:
        observation, reward, terminated, truncated, info = env.step(policy.act(observation))
        over = terminated or truncated
        total += float(reward)
        decisions += 1
    return bool(info["is_success"]), total, decisions


def evaluate(
    policy: Policy,
    env: gymnasium.Env[_Observation, NDArray[np.float32]],
    episodes: int,
    seed: int,
    on_episode: Callable[[int, int], None] | None = None,
    should_stop: Callable[[], bool] = _never,
) -> EvaluationResult:
    """Run `episodes` episodes and count those whose last `info["is_success"]` is true.

    `on_episode(done, successes)` follows the progress; `should_stop` ends between two episodes.
    """
    start = time.monotonic()
    successes, done, decisions, total = 0, 0, 0, 0.0
    for episode_seed in episode_seeds(seed, episodes):
        if should_stop():
            break
        success, episode_return, episode_decisions = play(policy, env, episode_seed)
        successes += success
        total += episode_return
        decisions += episode_decisions
        done += 1
        if on_episode is not None:
            on_episode(done, successes)
    count = max(1, done)
    return EvaluationResult(successes, done, total / count, decisions / count, time.monotonic() - start)
