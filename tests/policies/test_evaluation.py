from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from numpy.typing import NDArray

from bridge.observation import Observed, state_of
from policies.evaluation import episode_seeds, evaluate, wilson_interval
from policies.scripted import HoldPolicy, RandomPolicy
from tests.fakes.point_task import PointEnv


@pytest.mark.parametrize(("successes", "trials"), [(0, 10), (1, 10), (5, 10), (10, 10), (197, 200), (490, 500)])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_wilson_interval_agrees_with_scipy(successes: int, trials: int, confidence: float) -> None:
    expected = scipy.stats.binomtest(successes, trials).proportion_ci(confidence, method="wilson")
    assert wilson_interval(successes, trials, confidence) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_interval_meets_the_published_example() -> None:
    # Newcombe, Statistics in Medicine 17 (1998), table I: 81 of 263 and 0 of 20.
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)


def test_wilson_interval_without_trials_says_nothing() -> None:
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_wilson_interval_refuses_more_successes_than_trials() -> None:
    with pytest.raises(ValueError, match="3 of 2"):
        wilson_interval(3, 2)


class Straight:
    """Moves straight to the goal."""

    def act(self, observation: Observed) -> NDArray[np.float32]:
        return np.clip(state_of(observation) / 0.3, -1.0, 1.0).astype(np.float32)


def test_evaluate_counts_what_the_task_calls_success() -> None:
    env = PointEnv()
    best = evaluate(Straight(), env, 30, seed=1)
    assert (best.successes, best.episodes, best.success_rate) == (30, 30, 1.0)
    assert best.wilson == wilson_interval(30, 30)
    assert 1.0 <= best.mean_decisions <= 4.0

    still = evaluate(HoldPolicy(2), env, 30, seed=1)
    assert still.success_rate < 0.1
    assert still.mean_decisions > 15.0


def test_evaluate_gives_the_same_episodes_for_the_same_seed_whatever_ran_before() -> None:
    used, fresh = PointEnv(), PointEnv()
    evaluate(RandomPolicy(2, np.random.default_rng(5)), used, 7, seed=99)
    a = evaluate(Straight(), used, 10, seed=3)
    b = evaluate(Straight(), fresh, 10, seed=3)
    assert (a.mean_return, a.mean_decisions) == (b.mean_return, b.mean_decisions)
    assert evaluate(Straight(), fresh, 10, seed=4).mean_return != b.mean_return
    assert len(set(episode_seeds(3, 500))) == 500


def test_evaluate_reports_progress_and_stops_between_episodes() -> None:
    seen: list[tuple[int, int]] = []
    result = evaluate(
        Straight(), PointEnv(), 50, 0, lambda done, good: seen.append((done, good)), lambda: len(seen) >= 4
    )
    assert seen == [(1, 1), (2, 2), (3, 3), (4, 4)]
    assert (result.episodes, result.successes) == (4, 4)


def test_random_policy_fills_the_action_range_and_follows_its_seed() -> None:
    observation = np.zeros(2, dtype=np.float32)
    policy = RandomPolicy(2, np.random.default_rng(0))
    actions = np.array([policy.act(observation) for _ in range(500)])
    assert actions.dtype == np.float32
    assert -1.0 <= actions.min() < -0.95
    assert 0.95 < actions.max() <= 1.0
    assert np.array_equal(RandomPolicy(2, np.random.default_rng(0)).act(observation), actions[0])
