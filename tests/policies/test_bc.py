"""Behaviour cloning, and soft actor-critic that is shown how: losses by hand and by SciPy, kept and gone on with."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import norm

from policies.bc import chunk_loss, gaussian_loss
from policies.config import TrainConfig
from policies.demonstrations import Demonstration, Demonstrations
from policies.errors import BadConfig, CheckpointError, UnfitDemonstrations
from policies.learner import Learner
from policies.learner_config import BcConfig, BcHead
from policies.learners import make_learner
from policies.replay import joined
from policies.workers import Stepper
from tests.fakes.point_env import PointEnv
from tests.policies.test_learners import TINY, as_tensors, run, weights, worlds_of


def right_way(seen: np.ndarray) -> np.ndarray:
    """The whole way to the goal in one move, or as far as a move goes."""
    return np.clip(seen / 0.3, -1.0, 1.0).astype(np.float32)


def shown(count: int) -> Demonstrations:
    """Attempts of somebody who knows the way."""
    env, attempts = PointEnv(), []
    for seed in range(count):
        seen, actions, rewards, over = [env.reset(seed=seed)[0]], [], [], False
        while not over:
            actions.append(right_way(seen[-1]))
            observation, reward, terminated, truncated, _ = env.step(actions[-1])
            seen.append(observation)
            rewards.append(reward)
            over = terminated or truncated
        attempts.append(Demonstration({"state": np.array(seen)}, np.array(actions), np.array(rewards), True))
    return Demonstrations(tuple(attempts))


CLONE = replace(TINY, algo="bc", bc=BcConfig(hidden=(32,), batch_size=32, updates_per_decision=8.0, chunk=3))
heads = pytest.mark.parametrize("head", list(BcHead))


def of_head(head: BcHead) -> TrainConfig:
    return replace(CLONE, bc=replace(CLONE.bc, head=head))


def error(learner: Learner) -> float:
    """How far the policy is from the right way, where nobody showed it."""
    seen = np.random.default_rng(1).uniform(-1.0, 1.0, (200, 2)).astype(np.float32)
    with torch.no_grad():
        told = learner.policy(as_tensors({"observation": seen})).numpy()
    return float(np.abs(told - right_way(seen)).mean())


# Losses --------------------------------------------------------------------------------------------------------------
def test_the_gaussian_loss_is_what_scipy_says_less_its_constant() -> None:
    mean, log_std = torch.tensor([[0.3, -0.2]]), torch.tensor([[-0.5, -5.0]])
    wanted = torch.tensor([[0.9, -0.1]])
    stds = np.exp([-0.5, -2.0])  # a spread is never told more exactly than that
    density = norm.logpdf([0.9, -0.1], np.tanh([0.3, -0.2]), stds) + 0.5 * np.log(2 * np.pi)
    assert gaussian_loss(mean, log_std, wanted).item() == pytest.approx(-density.sum(), abs=1e-6)


def test_the_chunk_loss_counts_what_was_done_alone() -> None:
    """Distances 0.1 and 0.3 count, their mean over two numbers each; what stands after the end does not."""
    told = torch.tensor([[[0.1, 0.0], [0.0, 0.6], [9.0, 9.0]]])
    wanted = torch.zeros(1, 3, 2)
    was_done = torch.tensor([[True, True, False]])
    assert chunk_loss(told, wanted, was_done).item() == pytest.approx((0.05 + 0.3) / 2)


# Cloning -------------------------------------------------------------------------------------------------------------
@heads
def test_what_was_shown_is_done_where_nobody_showed_it(head: BcHead) -> None:
    worlds = worlds_of(PointEnv)
    learner = make_learner(of_head(head), worlds, 0, shown(40))
    assert error(learner) > 0.4
    run(learner, Stepper(worlds), 60, seed=0)
    assert learner.updates == 960
    assert error(learner) < 0.12
    assert learner.scalars()["imitation"] < 0.2


@heads
def test_a_clone_that_is_kept_goes_on_exactly(head: BcHead) -> None:
    worlds, demonstrations = worlds_of(PointEnv), shown(5)
    kept = make_learner(of_head(head), worlds, 0, demonstrations)
    run(kept, Stepper(worlds), 10, seed=1)
    state = kept.capture()
    run(kept, Stepper(worlds), 10, seed=2)
    restored = make_learner(of_head(head), worlds, 7, demonstrations)
    restored.restore(state)
    run(restored, Stepper(worlds), 10, seed=2)
    assert restored.updates == kept.updates
    assert all(torch.equal(a, b) for a, b in zip(weights(kept), weights(restored), strict=True))


def test_without_demonstrations_there_is_nothing_to_clone() -> None:
    with pytest.raises(BadConfig, match="--demonstrations"):
        make_learner(CLONE, worlds_of(PointEnv), 0)


@pytest.mark.parametrize("algo", ["sac", "bc"])
def test_a_run_goes_on_with_the_demonstrations_that_it_began_with(algo: str) -> None:
    config = replace(CLONE, algo="sac" if algo == "sac" else "bc")
    worlds = worlds_of(PointEnv)
    kept = make_learner(config, worlds, 0, shown(3))
    run(kept, Stepper(worlds), 4, seed=0)
    with pytest.raises(CheckpointError, match="as they were"):
        make_learner(config, worlds, 0, shown(4)).restore(kept.capture())


# Shown to soft actor-critic ------------------------------------------------------------------------------------------
def test_of_every_batch_the_asked_share_was_shown() -> None:
    """A quarter of 32: what was shown is worth a thousand, what was tried is worth less than two."""
    worlds = worlds_of(PointEnv)
    config = replace(TINY, sac=replace(TINY.sac, demonstration_share=0.25), reward_scale=1.0)
    valuable = Demonstrations(tuple(replace(a, rewards=a.rewards + 1e3) for a in shown(3).attempts))
    learner = make_learner(config, worlds, 0, valuable)
    batches: list[torch.Tensor] = []
    sac = learner.sac  # pyright: ignore[reportAttributeAccessIssue]
    update = sac.update
    sac.update = lambda batch: (batches.append(batch.rewards), update(batch))[1]
    run(learner, Stepper(worlds), 40, seed=0)
    assert len(batches) > 10
    assert all(int((rewards > 500.0).sum()) == 8 for rewards in batches)


def test_a_warm_start_acts_at_once_as_was_shown_and_a_cold_one_at_random() -> None:
    worlds = worlds_of(PointEnv)
    warm = replace(TINY, sac=replace(TINY.sac, hidden=(32, 32), warm_start=400))
    learner = make_learner(warm, worlds, 0, shown(40))
    learner.begin(Stepper(worlds).reset(seed=0))
    assert error(learner) < 0.15 < 0.4 < error(make_learner(TINY, worlds, 0, shown(40)))
    seen = {"observation": np.array([[0.3, 0.3], [-0.3, 0.3]], np.float32)}
    acted = np.array([learner.act(seen) for _ in range(100)])  # decision 0: no warm-up of uniform ones
    assert np.abs(acted.mean(axis=0) - right_way(seen["observation"])).max() < 0.45


def test_shown_the_way_it_is_found_sooner() -> None:
    """The same 320 decisions, with and without five attempts to look at."""
    found: list[float] = []
    for demonstrations in (None, shown(5)):
        worlds = worlds_of(PointEnv)
        config = replace(TINY, sac=replace(TINY.sac, hidden=(32, 32), warm_up=40, updates_per_decision=1.0))
        learner = make_learner(config, worlds, 0, demonstrations)
        run(learner, Stepper(worlds), 160, seed=0)
        found.append(error(learner))
    assert found[1] < 0.8 * found[0]


def test_joined_batches_hold_both() -> None:
    replays = [shown(2).fitted(PointEnv().observation_space, PointEnv().action_space, ("state",))] * 2
    one, other = (r.replay(PointEnv().observation_space, 2, 0.9, 1, 1.0).sample(3, np.random.default_rng(k))
                  for k, r in enumerate(replays))  # fmt: skip
    both = joined(one, other)
    assert torch.equal(both.rewards, torch.cat([one.rewards, other.rewards]))
    assert torch.equal(both.following["observation"][3:], other.following["observation"])
    assert both.observations["observation"].shape == (6, 2)


def test_demonstrations_are_for_those_who_can_learn_from_them() -> None:
    with pytest.raises(BadConfig, match="ppo learns from none"):
        replace(TINY, algo="ppo", demonstrations=("newest",))
    with pytest.raises(UnfitDemonstrations):
        make_learner(CLONE, worlds_of(PointEnv), 0, Demonstrations(()))
