"""Proximal policy optimisation, against numbers worked out by hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import gymnasium
import numpy as np
import onnxruntime
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from policies.adam import FlatAdam
from policies.artifact import InputRecord
from policies.errors import BadConfig, CheckpointError, UnfitWorlds
from policies.export import onnx_bytes
from policies.learner import Learner, LearnerState, WorldStep
from policies.learner_config import Head, PpoConfig
from policies.normalize import Normaliser
from policies.parts import Parts, as_parts, parts_of
from policies.ppo import Batch, Ppo, approximate_kl, clipped_objective, value_loss
from policies.rollout import Rollout, advantages, explained_variance
from tests.fakes.point_env import PointTask

PICTURES = gymnasium.spaces.Dict(
    {
        "depth": gymnasium.spaces.Box(0.0, 3.0, (1, 40, 40), np.float16),
        "joints": gymnasium.spaces.Box(-1.0, 1.0, (6,), np.float32),
        "truth": gymnasium.spaces.Box(-1.0, 1.0, (9,), np.float32),
    }
)
VECTOR = gymnasium.spaces.Box(-1.0, 1.0, (5,), np.float32)
ACTIONS = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)
CHOICES = gymnasium.spaces.Discrete(3)
#: Actions in units of their own: degrees, and a share.
ODD = gymnasium.spaces.Box(np.array([-90.0, 0.1], np.float32), np.array([30.0, 0.3], np.float32))
SMALL = PpoConfig(hidden=(8,), rollout_steps=4, epochs=2, batch_size=4)
WORLDS = 3


def learner(
    config: PpoConfig = SMALL,
    space: gymnasium.Space = VECTOR,
    actions: gymnasium.Space = ACTIONS,
    seed: int = 0,
    worlds: int = WORLDS,
    actor_sees: Sequence[str] = (),
    critic_sees: Sequence[str] = (),
    discount: float = 0.99,
) -> Ppo:
    rng = torch.Generator().manual_seed(seed)
    return Ppo(space, actions, config, rng, worlds, discount, None, actor_sees, critic_sees)


def seen(space: gymnasium.Space, rng: np.random.Generator, *shape: int) -> Parts:
    boxes = parts_of(space)
    return {name: rng.uniform(-1, 1, (*shape, *box.shape)).astype(box.dtype) for name, box in boxes.items()}


def live(ppo: Ppo, steps: int, space: gymnasium.Space = VECTOR, seed: int = 0) -> list[np.ndarray]:
    """Begin, and take steps that observe and earn at random; every fifth ends world 0's episode. Return the actions."""
    rng, tried, none = np.random.default_rng(seed), [], np.zeros(WORLDS, np.bool_)
    observations = seen(space, rng, WORLDS)
    ppo.begin(observations)
    for k in range(steps):
        tried.append(ppo.act(observations))
        ppo.improve()
        cut = np.arange(WORLDS) == (0 if k % 5 == 4 else -1)
        observations, last = seen(space, rng, WORLDS), {0: seen(space, rng)} if cut.any() else {}
        ppo.take_in(WorldStep(tried[-1], rng.normal(size=WORLDS), none, cut, observations, last))
    return tried


def weights(ppo: Ppo) -> list[torch.Tensor]:
    return [p.detach().clone() for p in ppo.networks.parameters()]


# Equations -----------------------------------------------------------------------------------------------------------


def test_the_trace_of_advantages_by_hand_is_cut_at_every_end() -> None:
    """World 0 is cut off after its second step, world 1 terminates there; both begin anew. Discount 0.5, lambda 0.5."""
    found = advantages(
        rewards=torch.tensor([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]),
        values=torch.tensor([[4.0, 4.0], [2.0, 2.0], [6.0, 6.0]]),
        # After the second step: what the last observation of the episode is worth, not the first of the next, 6.
        next_values=torch.tensor([[2.0, 2.0], [8.0, 8.0], [10.0, 10.0]]),
        terminated=torch.tensor([[False, False], [False, True], [False, False]]),
        over=torch.tensor([[False, False], [True, True], [False, False]]),
        discount=0.5,
        gae_lambda=0.5,
    )
    # Third step: 3 + 0.5 * 10 - 6 = 2. Second: 2 + 0.5 * 8 - 2 = 4 cut off, 2 - 2 = 0 terminated, and nothing of the
    # third. First: 1 + 0.5 * 2 - 4 = -2, and a quarter of the second: -1 and -2.
    assert found.tolist() == [[-1.0, -2.0], [4.0, 0.0], [2.0, 2.0]]


@pytest.mark.parametrize(
    ("ratio", "advantage", "worth", "slope"),
    [
        # Good: credit up to 1.2 times as likely, no more, and none is taken away below.
        (1.1, 2.0, 2.2, 2.0),
        (1.3, 2.0, 2.4, 0.0),
        (0.5, 2.0, 1.0, 2.0),
        # Bad: credit down to 0.8 times as likely; where it became likelier, the whole price.
        (0.9, -2.0, -1.8, -2.0),
        (0.5, -2.0, -1.6, 0.0),
        (1.3, -2.0, -2.6, -2.0),
    ],
)
def test_both_sides_of_the_clip(ratio: float, advantage: float, worth: float, slope: float) -> None:
    ratios = torch.tensor([ratio], requires_grad=True)
    objective = clipped_objective(ratios, torch.tensor([advantage]), clip=0.2)
    objective.backward()
    assert ratios.grad is not None
    assert (objective.item(), ratios.grad.item()) == pytest.approx((worth, slope))


def test_the_value_loss_with_and_without_its_clip() -> None:
    values, old, returns = (
        torch.tensor([3.0, 0.0], requires_grad=True),
        torch.tensor([1.0, 0.1]),
        torch.tensor([3.0, 1.0]),
    )
    assert value_loss(values, old, returns, None).item() == pytest.approx((0.0 + 1.0) / 2)
    # The first moved by 2 where 0.5 is allowed: it counts as 1.5, an error of 1.5 squared, and learns nothing from it.
    loss = value_loss(values, old, returns, 0.5)
    loss.backward()
    assert loss.item() == pytest.approx((2.25 + 1.0) / 2)
    assert values.grad is not None
    assert values.grad.tolist() == pytest.approx([0.0, -1.0])


def test_the_kl_divergence_and_the_explained_variance_by_hand() -> None:
    # Ratios 2 and 1/2: (2 - 1 - log 2 + 1/2 - 1 + log 2) / 2.
    assert approximate_kl(torch.tensor([2.0, 0.5]).log()).item() == pytest.approx(0.25)
    assert approximate_kl(torch.zeros(3)).item() == 0.0
    # Errors 0, 0, 1, 1 with variance 1/4; returns 0, 2, 0, 2 with variance 1.
    returns = torch.tensor([0.0, 2.0, 0.0, 2.0])
    assert explained_variance(returns - torch.tensor([0.0, 0.0, 1.0, 1.0]), returns) == pytest.approx(0.75)
    assert explained_variance(returns, torch.ones(4)) == 0.0


def test_adam_with_a_longest_gradient_is_torchs() -> None:
    torch.manual_seed(0)
    ours, theirs = torch.nn.Linear(3, 4), torch.nn.Linear(3, 4)
    theirs.load_state_dict(ours.state_dict())
    flat = FlatAdam(list(ours.parameters()), 0.01, epsilon=1e-5, longest=0.5)
    adam = torch.optim.Adam(theirs.parameters(), lr=0.01, eps=1e-5)
    for k in range(20):
        flat.learning_rate = adam.param_groups[0]["lr"] = 0.01 / (k + 1)
        # Both shorter than the longest and longer.
        x = torch.randn(5, 3) * 0.3 * k
        flat.minimise(ours(x).square().mean())
        adam.zero_grad()
        theirs(x).square().mean().backward()
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), 0.5)
        adam.step()
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


# Observations and actions --------------------------------------------------------------------------------------------


def test_a_normaliser_knows_mean_and_variance_of_all_it_met() -> None:
    rng = np.random.default_rng(0)
    batches = [rng.normal(3.0, 2.0, (count, 9)).astype(np.float32) for count in (1, 50, 7)]
    normaliser = Normaliser(parts_of(PICTURES))
    for batch in batches:
        normaliser.take_in({"joints": torch.from_numpy(batch[:, :6]), "truth": torch.from_numpy(batch)})
    met, depth = np.concatenate(batches), torch.ones(2, 1, 40, 40, dtype=torch.float16)
    asked = {"depth": depth, "joints": torch.zeros(2, 6), "truth": torch.full((2, 9), 1e6)}
    normal = normaliser(asked)
    assert normal["joints"].numpy() == pytest.approx(np.tile(-met[:, :6].mean(0) / met[:, :6].std(0), (2, 1)), rel=1e-5)
    assert normal["truth"].tolist() == [[10.0] * 9] * 2
    assert normal["depth"] is depth


@pytest.mark.parametrize("head", Head)
@pytest.mark.parametrize("space", [ACTIONS, ODD])
def test_actions_stay_within_the_bounds_of_the_space(head: Head, space: gymnasium.spaces.Box) -> None:
    ppo = learner(dataclasses.replace(SMALL, head=head, initial_std=2.0), actions=space, worlds=2000)
    rng = np.random.default_rng(0)
    tried = ppo.act(seen(VECTOR, rng, 2000))
    assert tried.dtype == np.float32
    assert all(space.contains(action) for action in tried)
    # They reach far into both halves of every axis.
    share = np.subtract(tried, space.low) / (space.high - space.low)
    assert np.all(share.min(0) < 0.05)
    assert np.all(share.max(0) > 0.95)
    wanted = ppo.policy({"observation": torch.from_numpy(rng.normal(size=(50, 5)).astype(np.float32))})
    assert all(space.contains(action) for action in wanted.detach().numpy())


def test_a_gaussian_is_clipped_for_the_worlds_and_remembered_as_it_was_drawn() -> None:
    ppo = learner(dataclasses.replace(SMALL, initial_std=5.0))
    tried = np.concatenate(live(ppo, 3))
    assert np.any(np.abs(tried) == 1.0)
    remembered = ppo._rollout.actions[:3].flatten(0, 1).numpy()
    assert np.abs(remembered).max() > 1.0
    assert np.array_equal(np.clip(remembered, -1.0, 1.0), tried)


def test_the_policy_is_the_middle_of_what_is_drawn() -> None:
    for head, space in ((Head.GAUSSIAN, ACTIONS), (Head.BETA, ODD)):
        ppo = learner(dataclasses.replace(SMALL, head=head, initial_std=0.1), actions=space, worlds=20_000)
        same = {"observation": np.full((20_000, 5), 0.3, np.float32)}
        middle = ppo.act(same).mean(0)
        wanted = ppo.policy({"observation": torch.full((1, 5), 0.3)})[0].detach().numpy()
        assert (wanted - middle) / (space.high - space.low) == pytest.approx(0.0, abs=0.01)


def test_choices_are_counted_as_the_space_counts_them() -> None:
    ppo = learner(actions=gymnasium.spaces.Discrete(3, start=5), worlds=200)
    same = {"observation": np.full((200, 5), 0.3, np.float32)}
    tried = ppo.act(same)
    assert (tried.shape, sorted(set(tried.tolist()))) == ((200,), [5, 6, 7])
    last = ppo.networks.actor.body[-1]
    assert isinstance(last, torch.nn.Linear)
    last.bias.data = torch.tensor([0.0, 9.0, 0.0])
    assert ppo.policy({"observation": torch.zeros(2, 5)}).tolist() == [6, 6]


def test_actor_and_critic_may_see_different_parts() -> None:
    ppo = learner(SMALL, PICTURES, actor_sees=("depth", "joints"), critic_sees=("truth", "joints"))
    before = weights(ppo)
    live(ppo, 4, PICTURES)
    assert list(ppo.networks.critic_trunk.encoder.parameters()) == []
    assert all(not torch.equal(a, b) for a, b in zip(before, weights(ppo), strict=True))
    # What is exported knows nothing of what only the critic sees.
    read = ppo.seen(2, np.random.default_rng(0))
    assert set(read) == {"depth", "joints"}
    assert read["depth"].dtype == np.float16
    assert ppo.policy({name: torch.from_numpy(part) for name, part in read.items()}).shape == (2, 2)


def test_pictures_that_both_see_are_encoded_once() -> None:
    ppo = learner(space=PICTURES)
    assert ppo.networks.trunk is ppo.networks.critic_trunk
    assert learner().networks.trunk is not learner().networks.critic_trunk


def test_the_normaliser_is_exported_with_the_policy() -> None:
    ppo = learner(dataclasses.replace(SMALL, normalise_observations=True, head=Head.BETA))
    live(ppo, 8)

    asked = np.random.default_rng(1).normal(2.0, 3.0, (4, 5)).astype(np.float32)
    session = onnxruntime.InferenceSession(
        onnx_bytes(ppo.policy, {"observation": InputRecord("observation", (5,), "float32")})
    )
    (exported,) = session.run(None, {"observation": asked})
    with torch.inference_mode():
        assert np.abs(exported - ppo.policy({"observation": torch.from_numpy(asked)}).numpy()).max() < 1e-6
    normaliser = ppo.policy.trunk.normaliser
    assert normaliser is not None
    assert normaliser.count.item() == 8 * WORLDS


# The rollout ---------------------------------------------------------------------------------------------------------


def test_nothing_is_learnt_before_a_rollout_is_full() -> None:
    ppo = learner()
    before = weights(ppo)
    live(ppo, 3)
    assert ppo.updates == 0
    assert ppo.scalars() == {}
    assert all(torch.equal(a, b) for a, b in zip(before, weights(ppo), strict=True))
    live(ppo, 4)
    # Two epochs over 4 steps of 3 worlds, in minibatches of 4.
    assert ppo.updates == 2 * 3
    assert np.all(np.isfinite(list(ppo.scalars().values())))


def judged(config: PpoConfig, step: WorldStep) -> tuple[list[float], Ppo]:
    """Return the advantages of a rollout of one such step, of a critic that says 10 times the first number it sees."""
    ppo = learner(dataclasses.replace(config, rollout_steps=1), discount=0.5)
    ppo._values = lambda parts: 10.0 * parts["observation"][:, 0]
    ppo.begin({"observation": np.full((WORLDS, 5), 0.1, np.float32)})
    ppo.act({"observation": np.full((WORLDS, 5), 0.1, np.float32)})
    ppo._rollout.add(ppo._drawn, ppo._log_probabilities, step)
    return ppo._judged().advantages.tolist(), ppo


def test_a_truncation_is_judged_by_the_episodes_last_observation_and_a_terminal_not_at_all() -> None:
    step = WorldStep(
        actions=np.zeros((3, 2), np.float32),
        rewards=np.array([1.0, 1.0, 1.0]),
        terminated=np.array([False, True, False]),
        truncated=np.array([True, False, False]),
        following={"observation": np.full((3, 5), 0.3, np.float32)},
        last={w: {"observation": np.full(5, 0.8, np.float32)} for w in (0, 1)},
    )
    # All are worth 1 at first. 1 + 0.5 * 8 - 1; 1 - 1; 1 + 0.5 * 3 - 1.
    assert judged(SMALL, step)[0] == pytest.approx([4.0, 0.0, 1.5])


def test_nothing_is_learnt_from_a_lost_step() -> None:
    step = WorldStep(
        actions=np.zeros((3, 2), np.float32),
        rewards=np.array([1.0, np.nan, 1.0]),
        terminated=np.zeros(3, np.bool_),
        truncated=np.array([False, True, False]),
        following={"observation": np.full((3, 5), 0.3, np.float32)},
        last={},
        lost=frozenset({1}),
    )
    better, ppo = judged(SMALL, step)
    assert better == pytest.approx([1.5, 1.5])
    ppo = learner(dataclasses.replace(SMALL, rollout_steps=1, normalise_observations=True))
    ppo.begin({"observation": np.zeros((WORLDS, 5), np.float32)})
    ppo.act({"observation": np.zeros((WORLDS, 5), np.float32)})
    ppo.take_in(step._replace(lost=frozenset({0, 1, 2})))
    assert ppo.updates == 0
    assert all(torch.isfinite(tensor).all() for tensor in ppo.networks.state_dict().values())


def test_what_came_before_a_lost_step_is_judged_by_the_last_observation_known() -> None:
    lost, over = torch.tensor([[False], [True]]), torch.tensor([[False], [True]])
    rollout = Rollout({"observation": VECTOR}, ACTIONS, 1, 2)
    rollout.begin({"observation": np.zeros((1, 5), np.float32)})
    fine, none = np.zeros(1, np.bool_), {}
    for losing in (frozenset[int](), frozenset({0})):
        step = WorldStep(
            np.zeros((1, 2)), np.ones(1), fine, fine, {"observation": np.zeros((1, 5), np.float32)}, none, losing
        )
        rollout.add(torch.zeros(1, 2), torch.zeros(1), step)
    assert torch.equal(rollout.lost, lost)
    assert torch.equal(rollout.over, over)
    # Worth 3 and then 7: 1 + 0.5 * 7 - 3, and the lost step, worth what was expected, adds nothing.
    values = torch.tensor([[3.0], [7.0]])
    rewards = torch.where(rollout.lost, values, rollout.rewards)
    found = advantages(rewards, values, torch.tensor([[7.0], [0.0]]), lost, rollout.over, 0.5, 1.0)
    assert found.tolist() == [[1.5], [0.0]]


def test_the_last_observation_is_a_copy() -> None:
    """Worlds may write the next one into the same memory."""
    shared = np.full(5, 0.8, np.float32)
    cut = np.ones(1, np.bool_)
    rollout = Rollout({"observation": VECTOR}, ACTIONS, 1, 2)
    first = {"observation": np.zeros((1, 5), np.float32)}
    rollout.begin(first)
    step = WorldStep(np.zeros((1, 2)), np.ones(1), ~cut, cut, first, {0: {"observation": shared}})
    rollout.add(torch.zeros(1, 2), torch.zeros(1), step)
    shared[:] = 0.0
    assert rollout.last[0, 0]["observation"].tolist() == pytest.approx([0.8] * 5)


# Updates -------------------------------------------------------------------------------------------------------------


def test_the_first_ratio_is_one_even_with_a_normaliser_that_learns() -> None:
    """One epoch of one minibatch: what it says is of the policy that drew."""
    config = dataclasses.replace(SMALL, epochs=1, batch_size=100, normalise_observations=True)
    for head in Head:
        ppo = learner(dataclasses.replace(config, head=head))
        live(ppo, 12)
        assert ppo.updates == 3
        assert ppo.scalars()["kl"] == pytest.approx(0.0, abs=1e-9)
        assert ppo.scalars()["clip_fraction"] == 0.0


def test_the_epochs_end_where_the_policy_moved_too_far() -> None:
    far = dataclasses.replace(SMALL, epochs=10, learning_rate=0.03)
    free, held = learner(far), learner(dataclasses.replace(far, target_kl=0.01))
    live(free, 4)
    live(held, 4)
    assert free.updates == 10 * 3
    assert 0 < held.updates < free.updates
    assert held.scalars()["kl"] > 0.01


def test_learning_rate_and_clip_fall_to_zero_over_the_budget() -> None:
    ppo = learner(dataclasses.replace(SMALL, learning_rate=0.1, clip=0.2, anneal_over=2 * 4 * WORLDS))
    said: list[tuple[float, float]] = []
    for _ in range(3):
        live(ppo, 4)
        said.append((ppo.scalars()["learning_rate"], ppo.scalars()["clip"]))
    assert np.array(said) == pytest.approx(np.array([(0.1, 0.2), (0.05, 0.1), (0.0, 0.0)]))


def test_what_is_made_small_is_equation_9() -> None:
    """Nothing has moved yet: the objective is the mean advantage, the entropy that of two unit Gaussians."""
    config = dataclasses.replace(SMALL, normalise_advantages=False, value_coefficient=0.25, entropy_coefficient=0.5)
    ppo = learner(config)
    ppo.act({"observation": np.zeros((WORLDS, 5), np.float32)})
    nothing = torch.zeros(WORLDS)
    batch = Batch(
        observations={"observation": torch.zeros(WORLDS, 5)},
        actions=ppo._drawn,
        log_probabilities=ppo._log_probabilities,
        values=nothing,
        advantages=torch.tensor([1.0, 2.0, 6.0]),
        returns=torch.full((WORLDS,), 2.0),
    )
    # Biases begin at 0, so what sees only zeros says 0, and is 2 off; the entropy of a number is log(2 pi e) / 2.
    expected = -3.0 + 0.25 * 4.0 - 0.5 * float(np.log(2 * np.pi * np.e))
    assert ppo._loss(batch, clip=0.2)[0].item() == pytest.approx(expected, abs=1e-6)


# Keeping -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("actions", [ACTIONS, CHOICES])
@pytest.mark.parametrize("head", Head)
def test_a_restored_learner_goes_on_to_the_same_bits(actions: gymnasium.Space, head: Head) -> None:
    config = dataclasses.replace(SMALL, normalise_observations=True, anneal_over=1000, head=head)
    first = learner(config, actions=actions)
    # The last rollout is half full.
    live(first, 10)
    kept = first.capture()
    assert all(tensor.is_contiguous() for tensor in kept.tensors.values())
    went_on = live(first, 9, seed=7)
    other = learner(config, actions=actions, seed=5)
    live(other, 2)
    other.restore(kept)
    assert other.updates == 2 * 2 * 3
    assert all(np.array_equal(a, b) for a, b in zip(went_on, live(other, 9, seed=7), strict=True))
    ends = first.capture(), other.capture()
    assert ends[0].facts == ends[1].facts
    assert ends[0].tensors.keys() == ends[1].tensors.keys()
    assert all(torch.equal(tensor, ends[1].tensors[name]) for name, tensor in ends[0].tensors.items())


def test_the_same_seed_begins_with_the_same_bits_whatever_was_drawn_before() -> None:
    torch.manual_seed(1)
    once = weights(learner(space=PICTURES))
    torch.manual_seed(2)
    assert all(torch.equal(a, b) for a, b in zip(once, weights(learner(space=PICTURES)), strict=True))


def test_a_checkpoint_of_another_layout_is_refused_and_changes_nothing() -> None:
    ppo, before = learner(), weights(learner())
    with pytest.raises(
        CheckpointError, match=r"\(16, 5\) for networks\.actor\.body\.0\.weight, this run's PPO \(8, 5\)"
    ):
        ppo.restore(learner(dataclasses.replace(SMALL, hidden=(16,)), seed=1).capture())
    with pytest.raises(CheckpointError, match=r"None for networks\.actor\.log_std"):
        ppo.restore(learner(actions=CHOICES).capture())
    with pytest.raises(CheckpointError, match="damaged"):
        ppo.restore(LearnerState(learner(seed=1).capture().tensors, facts={"generator": "00"}))
    assert all(torch.equal(a, b) for a, b in zip(before, weights(ppo), strict=True))


# Learning ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", Head)
def test_it_learns_to_bring_a_point_to_its_goal(head: Head) -> None:
    config = PpoConfig(
        hidden=(32, 32), learning_rate=2e-3, rollout_steps=64, epochs=8, batch_size=128, head=head,
        normalise_observations=True, value_clip=0.5, entropy_coefficient=1e-3,
    )  # fmt: skip
    worlds = SyncVectorEnv([PointTask() for _ in range(8)], autoreset_mode=AutoresetMode.SAME_STEP)
    rng = torch.Generator().manual_seed(0)
    ppo: Learner = Ppo(worlds.single_observation_space, worlds.single_action_space, config, rng, 8, 0.9)

    def success(deterministic: bool, steps: int) -> float:
        """Return the share of the episodes that ended at the goal."""
        ended = won = 0
        observations, _ = worlds.reset(seed=0)
        ppo.begin(as_parts(observations))
        for _ in range(steps):
            if deterministic:
                with torch.inference_mode():
                    actions = ppo.policy({"observation": torch.from_numpy(observations)}).numpy()
            else:
                actions = ppo.act(as_parts(observations))
            observations, rewards, terminated, truncated, infos = worlds.step(actions)
            over = np.flatnonzero(terminated | truncated)
            ended, won = ended + len(over), won + int(terminated.sum())
            if not deterministic:
                last = {int(world): as_parts(infos["final_obs"][world]) for world in over}
                ppo.improve()
                ppo.take_in(WorldStep(actions, rewards, terminated, truncated, as_parts(observations), last))
        return won / max(1, ended)

    assert success(deterministic=True, steps=60) < 0.3
    success(deterministic=False, steps=15 * 64)
    assert success(deterministic=True, steps=100) > 0.9
    # A critic that says the same of everything explains nothing.
    assert ppo.scalars()["explained_variance"] > 0.2


def test_a_contextual_choice_is_learnt() -> None:
    """The right one of three choices stands in the observation; every episode ends at once."""
    config = PpoConfig(hidden=(32,), learning_rate=3e-3, rollout_steps=8, epochs=4, batch_size=64)
    worlds, rng = 16, np.random.default_rng(0)
    ppo = learner(config, gymnasium.spaces.Box(0.0, 1.0, (3,), np.float32), CHOICES, worlds=worlds)

    def asked() -> tuple[np.ndarray, Parts]:
        right = rng.integers(3, size=worlds)
        return right, {"observation": np.eye(3, dtype=np.float32)[right]}

    right, observations = asked()
    ppo.begin(observations)
    for _ in range(40 * 8):
        choices = ppo.act(observations)
        rewards = (choices == right).astype(np.float64)
        right, observations = asked()
        over = np.ones(worlds, np.bool_)
        ppo.take_in(WorldStep(choices, rewards, over, ~over, observations, {}))
    assert ppo.policy({"observation": torch.eye(3)}).tolist() == [0, 1, 2]


# Bad input -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "space",
    [
        gymnasium.spaces.MultiDiscrete([2, 3]),
        gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32),
        gymnasium.spaces.Box(-1.0, 1.0, (2, 2), np.float32),
        gymnasium.spaces.Box(0, 5, (2,), np.int64),
        gymnasium.spaces.Box(np.array([0.0, 1.0]), np.array([1.0, 1.0]), dtype=np.float64),
    ],
)
def test_actions_that_it_cannot_take_are_refused(space: gymnasium.Space) -> None:
    with pytest.raises(UnfitWorlds, match=r"Discrete, or in a Box \(a,\) of floats with finite low below high; got"):
        learner(actions=space)


def test_observations_that_it_cannot_read_are_refused() -> None:
    with pytest.raises(UnfitWorlds, match=r"no part 'depht'; it has depth, joints, truth"):
        learner(SMALL, PICTURES, actor_sees=("depht",))
    with pytest.raises(UnfitWorlds, match="part 'observation' is Discrete"):
        learner(space=gymnasium.spaces.Discrete(3))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gae_lambda": -0.1}, r"gae_lambda is -0\.1; expected in \[0, 1\]"),
        ({"clip": 0.0}, r"clip is 0\.0; expected in \(0, 1\)"),
        ({"value_clip": 0.0}, r"value_clip is 0\.0; expected above 0"),
        ({"target_kl": -1.0}, r"target_kl is -1\.0; expected above 0"),
        ({"learning_rate": float("nan")}, "learning_rate is nan; expected above 0"),
        ({"entropy_coefficient": -1.0}, r"entropy_coefficient is -1\.0; expected 0 or more"),
        ({"rollout_steps": 0}, "rollout_steps is 0; expected 1 or more"),
        ({"anneal_over": 0}, "anneal_over is 0; expected 1 or more"),
        ({"hidden": (64, 0)}, r"hidden is \(64, 0\); expected widths of 1 or more"),
    ],
)
def test_settings_that_make_no_sense_are_refused(change: dict[str, float], message: str) -> None:
    with pytest.raises(BadConfig, match=message):
        dataclasses.replace(SMALL, **change)
