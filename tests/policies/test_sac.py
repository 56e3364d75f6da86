"""The equations of soft actor-critic, against numbers worked out by hand and by SciPy."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import gymnasium
import numpy as np
import pytest
import torch
from scipy import integrate, stats

from policies.adam import FlatAdam
from policies.distributions import squashed
from policies.errors import BadConfig, UnfitWorlds
from policies.learner import WorldStep
from policies.learner_config import SacConfig
from policies.networks import Critics
from policies.parts import ALONE
from policies.replay import Batch, Replay
from policies.sac import Sac, actor_loss, critic_loss, random_shift, soft_target, temperature_gradient

PICTURES = gymnasium.spaces.Dict(
    {
        "depth": gymnasium.spaces.Box(0.0, 3.0, (1, 64, 64), np.float16),
        "joints": gymnasium.spaces.Box(-1.0, 1.0, (6,), np.float32),
        "truth": gymnasium.spaces.Box(-1.0, 1.0, (9,), np.float32),
    }
)
VECTOR = gymnasium.spaces.Box(-1.0, 1.0, (5,), np.float32)
ACTIONS = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)


def learner(
    config: SacConfig,
    space: gymnasium.Space[object] = VECTOR,
    seed: int = 0,
    actor_sees: Sequence[str] = (),
    critic_sees: Sequence[str] = (),
) -> Sac:
    torch.manual_seed(seed)
    rng = torch.Generator().manual_seed(seed)
    return Sac(space, ACTIONS, config, rng, None, actor_sees, critic_sees)


def batch_of(space: gymnasium.Space[object], count: int, seed: int = 0) -> Batch:
    rng = np.random.default_rng(seed)
    replay = Replay(space, 2, 1, 4 * count, 0.9)
    space.seed(seed)

    def one() -> dict[str, np.ndarray]:
        drawn = space.sample()
        parts = drawn if isinstance(drawn, dict) else {"observation": drawn}
        return {name: np.asarray(part)[None] for name, part in parts.items()}

    replay.begin(one())
    for _ in range(count):
        action = rng.uniform(-1, 1, (1, 2)).astype(np.float32)
        running = np.array([False])
        replay.add(WorldStep(action, rng.normal(size=1), running, running, one(), {}))
    return replay.sample(count, rng)


# Equations -----------------------------------------------------------------------------------------------------------


def test_the_soft_target_is_the_smaller_value_less_the_price_of_certainty() -> None:
    target = soft_target(
        rewards=torch.tensor([1.0, -2.0]),
        discounts=torch.tensor([0.9, 0.0]),
        next_values=torch.tensor([[3.0, 5.0], [4.0, 7.0]]),
        next_log_probabilities=torch.tensor([-0.5, 2.0]),
        temperature=torch.tensor([0.2]),
    )
    # 1 + 0.9 (3 + 0.2 * 0.5) = 3.79; a terminal state is worth its reward.
    assert target.tolist() == pytest.approx([3.79, -2.0])


def test_losses_and_the_temperatures_gradient_by_hand() -> None:
    values, target = torch.tensor([[1.0, 2.0], [0.0, 4.0]]), torch.tensor([2.0, 1.0])
    # (1 + 1) / 2 / 2 = 0.5 for the first critic, (4 + 9) / 2 / 2 = 3.25 for the second.
    assert critic_loss(values, target).item() == pytest.approx(3.75)
    # (0.5 * -1 - 0 + 0.5 * 3 - 2) / 2
    assert actor_loss(values, torch.tensor([-1.0, 3.0]), torch.tensor([0.5])).item() == pytest.approx(-0.5)
    # Entropy 0.25 where 1 is wanted: downhill is towards more temperature.
    assert temperature_gradient(torch.tensor([-0.5, 0.0]), target_entropy=1.0).item() == pytest.approx(-0.75)


def test_one_temperature_step_is_adams() -> None:
    sac = learner(SacConfig(hidden=(8,), learning_rate=0.01, initial_temperature=0.2, entropy_per_action=5.0))
    before = float(sac.log_temperature)
    sac.update(batch_of(VECTOR, 16))
    # Far too little entropy; Adam's first step is the learning rate in the direction of the sign.
    assert float(sac.log_temperature) == pytest.approx(before + 0.01, abs=1e-6)


def test_the_density_of_a_squashed_gaussian_is_scipys() -> None:
    mean, log_std = torch.tensor([[0.3, -1.2]], dtype=torch.float64), torch.tensor([[-0.5, 0.4]], dtype=torch.float64)
    noise = torch.tensor([[0.7, -1.9]], dtype=torch.float64)
    action, log_probability = squashed(mean, log_std, noise)
    u = np.arctanh(action.numpy())
    expected = stats.norm.logpdf(u, mean.numpy(), np.exp(log_std.numpy())) - np.log(1.0 - action.numpy() ** 2)
    assert log_probability.item() == pytest.approx(expected.sum(), abs=1e-9)


def test_the_density_integrates_to_one_and_stays_finite_where_tanh_is_one() -> None:
    mean, log_std = torch.tensor([[0.8]], dtype=torch.float64), torch.tensor([[-0.3]], dtype=torch.float64)

    def density(a: float) -> float:
        noise = (torch.tensor([[np.arctanh(a)]]) - mean) / log_std.exp()
        return float(squashed(mean, log_std, noise)[1].exp())

    assert integrate.quad(density, -1 + 1e-12, 1 - 1e-12)[0] == pytest.approx(1.0, abs=1e-6)
    action, log_probability = squashed(torch.tensor([[30.0]]), torch.tensor([[0.0]]), torch.tensor([[0.0]]))
    assert action.item() == 1.0
    # log N(0) - 2 (log 2 - 30 - 0)
    assert log_probability.item() == pytest.approx(-0.9189385 - 2 * (0.6931472 - 30.0), abs=1e-4)


# Networks ------------------------------------------------------------------------------------------------------------


def test_batched_critics_are_two_critics() -> None:
    torch.manual_seed(1)
    critics = Critics(3, 2, (4,), layer_norm=True)
    features, actions = torch.randn(7, 3), torch.randn(7, 2)
    both = critics(features, actions)
    for k in range(2):
        x = torch.cat([features, actions], 1) @ critics.weights[0][k] + critics.biases[0][k]
        x = (x - x.mean(1, keepdim=True)) / torch.sqrt(x.var(1, unbiased=False, keepdim=True) + 1e-5)
        x = torch.relu(x)
        assert torch.allclose(both[k], (x @ critics.weights[1][k] + critics.biases[1][k])[:, 0], atol=1e-6)


def test_frozen_critics_pass_a_gradient_to_the_action_alone() -> None:
    critics = Critics(3, 2, (4,))
    actions = torch.randn(5, 2, requires_grad=True)
    critics.values(torch.randn(5, 3), actions, frozen=True).sum().backward()
    assert actions.grad is not None
    assert all(parameter.grad is None for parameter in critics.parameters())


class Linear:
    """SAC with networks of one layer, one number seen and one done, worked out in NumPy and by finite differences."""

    def __init__(self, sac: Sac, noise: np.ndarray) -> None:
        self.actor = sac.actor_adam.row.double().numpy().copy()  # weights of mean and log_std, then both biases
        self.critics = sac.critic_adam.row.double().numpy().copy()
        self.noise = noise  # (2, b, 1): of the action that follows, of the one that is judged

    def act(self, actor: np.ndarray, seen: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mean, std = actor[0] * seen + actor[2], np.exp(actor[1] * seen + actor[3])
        before = mean + std * noise
        density = stats.norm.logpdf(before, mean, std) - np.log(1.0 - np.tanh(before) ** 2)
        return np.tanh(before), density

    def values(self, critics: np.ndarray, seen: np.ndarray, done: np.ndarray) -> np.ndarray:
        (w, bias) = critics[:4].reshape(2, 2), critics[4:6]
        return np.stack([w[k, 0] * seen + w[k, 1] * done + bias[k] for k in range(2)])


def gradient_of(loss: Callable[[np.ndarray], float], at: np.ndarray) -> np.ndarray:
    nudges = 1e-6 * np.eye(len(at))
    return np.array([(loss(at + n) - loss(at - n)) / 2e-6 for n in nudges])


def test_one_whole_update_is_that_of_numpy() -> None:
    """Critics, actor, temperature, targets, in this order; Adam's first step is -rate * g / (|g| + epsilon)."""
    rate, tau, temperature, discount = 0.01, 0.25, 0.3, 0.9
    config = SacConfig(
        hidden=(), learning_rate=rate, target_rate=tau, initial_temperature=temperature, layer_norm=False
    )
    torch.manual_seed(3)
    one = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)
    sac = Sac(one, one, config, torch.Generator().manual_seed(5))
    draws = torch.Generator().manual_seed(5)
    hand = Linear(sac, torch.stack([torch.randn((4, 1), generator=draws) for _ in range(2)]).double().numpy()[:, :, 0])
    rng = np.random.default_rng(0)
    seen, done, rewards, then = rng.uniform(-1.0, 1.0, (4, 4))
    discounts = np.array([discount, 0.0, discount, discount])

    def row(values: np.ndarray) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.float32)

    losses = sac.update(
        Batch(
            {ALONE: row(seen)[:, None]}, row(done)[:, None], row(rewards), row(discounts), {ALONE: row(then)[:, None]}
        )
    )

    following, dear = hand.act(hand.actor, then, hand.noise[0])
    target = rewards + discounts * (hand.values(hand.critics, then, following).min(axis=0) - temperature * dear)

    def critics_lose(critics: np.ndarray) -> float:
        return 0.5 * float(((hand.values(critics, seen, done) - target) ** 2).mean(axis=1).sum())

    def step(gradient: np.ndarray) -> np.ndarray:
        return -rate * gradient / (np.abs(gradient) + 1e-8)

    critics_gradient = gradient_of(critics_lose, hand.critics)
    critics = hand.critics + step(critics_gradient)

    def actor_loses(actor: np.ndarray) -> float:
        action, density = hand.act(actor, seen, hand.noise[1])
        return float((temperature * density - hand.values(critics, seen, action).min(axis=0)).mean())

    actor_gradient = gradient_of(actor_loses, hand.actor)
    actor = hand.actor + step(actor_gradient)
    _, density = hand.act(hand.actor, seen, hand.noise[1])
    log_temperature = np.log(temperature) + step(np.array([-(density.mean() - 1.0)]))

    # After one step Adam's mean is a tenth of the gradient.
    np.testing.assert_allclose(sac.critic_adam.mean.numpy(), 0.1 * critics_gradient, atol=1e-6)
    np.testing.assert_allclose(sac.actor_adam.mean.numpy(), 0.1 * actor_gradient, atol=1e-6)
    np.testing.assert_allclose(sac.critic_adam.row.numpy(), critics, atol=2e-6)
    np.testing.assert_allclose(sac.actor_adam.row.numpy(), actor, atol=2e-6)
    np.testing.assert_allclose(sac.log_temperature.numpy(), log_temperature, atol=2e-6)
    np.testing.assert_allclose(sac.targets.numpy(), hand.critics + tau * (critics - hand.critics), atol=2e-6)
    assert losses.critic == pytest.approx(critics_lose(hand.critics), abs=1e-5)
    assert losses.actor == pytest.approx(actor_loses(hand.actor), abs=1e-5)
    assert losses.temperature == pytest.approx(temperature)
    assert losses.entropy == pytest.approx(-density.mean(), abs=1e-5)


def test_the_targets_follow_by_the_target_rate() -> None:
    sac = learner(SacConfig(hidden=(8,), target_rate=0.25))
    old = [p.detach().clone() for p in sac.target_critics.parameters()]
    sac.update(batch_of(VECTOR, 16))
    for before, live, target in zip(old, sac.critics.parameters(), sac.target_critics.parameters(), strict=True):
        assert torch.allclose(target, 0.75 * before + 0.25 * live, atol=1e-7)


def test_asymmetric_critics_look_at_no_picture() -> None:
    sac = learner(SacConfig(hidden=(8,)), PICTURES, 0, ("depth", "joints"), ("truth", "joints"))
    assert list(sac.critic_encoder.parameters()) == []
    assert sac.act({"depth": np.zeros((3, 1, 64, 64), np.float16), "joints": np.zeros((3, 6), np.float32)}).shape == (
        3,
        2,
    )
    before = [p.detach().clone() for p in sac.actor_encoder.parameters()]
    sac.update(batch_of(PICTURES, 16))
    assert any(not torch.equal(a, b) for a, b in zip(before, sac.actor_encoder.parameters(), strict=True))


def test_a_shared_encoder_learns_from_the_critics_alone() -> None:
    sac = learner(SacConfig(hidden=(8,)), PICTURES)
    assert sac.actor_encoder is sac.critic_encoder
    # No actor loss reaches it: with critics that stand still, so does the encoder.
    sac.critic_adam.minimise = lambda loss: None
    before = sac.critic_adam.row.clone()
    actor = sac.actor_adam.row.clone()
    sac.update(batch_of(PICTURES, 16))
    assert torch.equal(sac.critic_adam.row, before)
    assert not torch.equal(sac.actor_adam.row, actor)


def test_a_random_shift_moves_whole_pixels_and_repeats_the_edge() -> None:
    picture = torch.arange(25, dtype=torch.float16).reshape(1, 1, 5, 5).expand(64, 1, 5, 5)
    moved = random_shift(picture, 1, torch.Generator().manual_seed(0))
    padded = torch.nn.functional.pad(picture[:1].float(), (1, 1, 1, 1), mode="replicate")[0, 0]
    windows = {tuple(padded[r : r + 5, c : c + 5].flatten().tolist()) for r in range(3) for c in range(3)}
    assert moved.dtype == torch.float16
    assert {tuple(m.flatten().tolist()) for m in moved.float()} == windows


def test_flat_adam_is_torchs() -> None:
    torch.manual_seed(0)
    ours, theirs = torch.nn.Linear(3, 4), torch.nn.Linear(3, 4)
    theirs.load_state_dict(ours.state_dict())
    flat, adam = FlatAdam(list(ours.parameters()), 0.01), torch.optim.Adam(theirs.parameters(), lr=0.01)
    for k in range(20):
        x = torch.randn(5, 3) * (k + 1)
        flat.minimise(ours(x).square().mean())
        adam.zero_grad()
        theirs(x).square().mean().backward()
        adam.step()
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


# Learning ------------------------------------------------------------------------------------------------------------


def test_the_same_seed_learns_the_same_bits() -> None:
    def trained() -> list[torch.Tensor]:
        sac = learner(SacConfig(hidden=(16, 16)), seed=3)
        for k in range(5):
            sac.update(batch_of(VECTOR, 32, seed=k))
        return [p.detach() for p in sac.policy.parameters()]

    assert all(torch.equal(a, b) for a, b in zip(trained(), trained(), strict=True))


def test_a_bandit_is_solved() -> None:
    """The reward is highest at (0.5, -0.5); every episode ends at once."""
    config = SacConfig(hidden=(32, 32), learning_rate=3e-3, entropy_per_action=-2.0, initial_temperature=0.1)
    sac, rng = learner(config), np.random.default_rng(0)
    best = np.array([0.5, -0.5], np.float32)
    replay = Replay(VECTOR, 2, 8, 4000, 0.9)
    seen = {"observation": np.zeros((8, 5), np.float32)}
    ended, running = np.ones(8, np.bool_), np.zeros(8, np.bool_)
    replay.begin(seen)
    for step in range(300):
        actions = sac.act(seen)
        rewards = -np.square(actions - best).sum(1)
        last = {k: {"observation": np.zeros(5, np.float32)} for k in range(8)}
        replay.add(WorldStep(actions, rewards.astype(np.float64), ended, running, seen, last))
        if step > 10:
            sac.update(replay.sample(64, rng))
    with torch.inference_mode():
        chosen = sac.policy({"observation": torch.zeros(1, 5)})[0].numpy()
    assert np.abs(chosen - best).max() < 0.1


# Bad input -----------------------------------------------------------------------------------------------------------


def test_what_it_cannot_learn_from_is_refused() -> None:
    rng = torch.Generator()
    with pytest.raises(UnfitWorlds, match="Box of actions"):
        Sac(VECTOR, gymnasium.spaces.Discrete(3), SacConfig(), rng)
    with pytest.raises(UnfitWorlds, match="RescaleAction"):
        Sac(VECTOR, gymnasium.spaces.Box(-2.0, 2.0, (1,), np.float32), SacConfig(), rng)
    with pytest.raises(UnfitWorlds, match=r"no part 'depht'; it has depth, joints, truth"):
        Sac(PICTURES, ACTIONS, SacConfig(), rng, None, ("depht",))
    with pytest.raises(UnfitWorlds, match="part 'choice'"):
        Sac(gymnasium.spaces.Dict({"choice": gymnasium.spaces.Discrete(3)}), ACTIONS, SacConfig(), rng)
    with pytest.raises(BadConfig, match=r"target_rate is 1\.5; expected more than 0, at most 1"):
        SacConfig(target_rate=1.5)
