"""What PPO draws from, against SciPy: densities, entropies, and where the draws lie."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from policies.distributions import Beta, Categorical, Gaussian


def row(*numbers: float) -> torch.Tensor:
    return torch.tensor([numbers], dtype=torch.float64)


def test_a_gaussian_is_scipys() -> None:
    mean, log_std, actions = row(0.3, -1.2), row(-0.5, 0.4), row(0.9, -4.0)
    gaussian = Gaussian(mean, log_std)
    scipys = {"loc": mean.numpy(), "scale": np.exp(log_std.numpy())}
    expected = stats.norm.logpdf(actions.numpy(), **scipys).sum()
    assert gaussian.log_probability(actions).item() == pytest.approx(expected, abs=1e-12)
    assert gaussian.entropy().item() == pytest.approx(stats.norm.entropy(**scipys).sum(), abs=1e-12)
    assert gaussian.without_noise().tolist() == [[0.3, -1.2]]


def test_a_beta_is_scipys_stretched_to_minus_one_and_one() -> None:
    alpha, beta, actions = row(1.5, 4.0), row(2.5, 1.0), row(-0.6, 0.99)
    ours = Beta(alpha, beta)
    # SciPy stretches itself: loc is where it begins, scale how long it is, and its density is half as high.
    scipys = {"a": alpha.numpy(), "b": beta.numpy(), "loc": -1.0, "scale": 2.0}
    expected = stats.beta.logpdf(actions.numpy(), **scipys).sum()
    assert ours.log_probability(actions).item() == pytest.approx(expected, abs=1e-12)
    assert ours.entropy().item() == pytest.approx(stats.beta.entropy(**scipys).sum(), abs=1e-12)
    assert ours.without_noise().numpy() == pytest.approx(stats.beta.mean(**scipys), abs=1e-12)


def test_the_density_of_a_beta_is_one_in_all_and_a_flat_one_is_a_half() -> None:
    def density(x: float) -> float:
        return float(Beta(row(2.2), row(1.3)).log_probability(row(x)).exp())

    assert integrate.quad(density, -1.0, 1.0)[0] == pytest.approx(1.0, abs=1e-8)
    assert Beta(row(1.0), row(1.0)).log_probability(row(0.7)).exp().item() == pytest.approx(0.5)
    assert Beta(row(1.0), row(1.0)).entropy().item() == pytest.approx(np.log(2.0))


def test_a_categorical_is_scipys() -> None:
    probabilities = np.array([0.5, 0.2, 0.3])
    # A constant on all logits changes nothing.
    choices = Categorical(torch.from_numpy(np.log(probabilities) + 7.0)[None].expand(3, 3))
    assert choices.log_probability(torch.arange(3)).numpy() == pytest.approx(np.log(probabilities))
    assert choices.entropy()[0].item() == pytest.approx(stats.entropy(probabilities))
    assert choices.without_noise().tolist() == [0, 0, 0]


def test_draws_are_distributed_as_they_say() -> None:
    rng, many = torch.Generator().manual_seed(0), 4000
    gaussian = Gaussian(torch.full((many, 1), 0.4), torch.full((many, 1), -1.0)).draw(rng)
    assert stats.kstest(gaussian[:, 0], stats.norm(0.4, np.exp(-1.0)).cdf).pvalue > 0.01
    beta = Beta(torch.full((many, 1), 2.0), torch.full((many, 1), 5.0)).draw(rng)
    assert stats.kstest(beta[:, 0], stats.beta(2.0, 5.0, loc=-1.0, scale=2.0).cdf).pvalue > 0.01
    drawn = Categorical(torch.tensor([0.5, 0.2, 0.3]).log().expand(many, 3)).draw(rng)
    assert stats.chisquare(np.bincount(drawn, minlength=3), [0.5 * many, 0.2 * many, 0.3 * many]).pvalue > 0.01


def test_a_draw_is_the_generators_alone() -> None:
    beta = Beta(torch.full((5, 2), 2.0), torch.full((5, 2), 3.0))
    torch.manual_seed(1)
    once = beta.draw(torch.Generator().manual_seed(3))
    torch.manual_seed(2)
    assert torch.equal(once, beta.draw(torch.Generator().manual_seed(3)))


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 1.0), (1.0, 1e6), (1e6, 1.0), (1e6, 1e6)])
def test_a_beta_stays_within_its_bounds_and_its_density_finite(alpha: float, beta: float) -> None:
    ours = Beta(torch.full((2000, 1), alpha), torch.full((2000, 1), beta))
    drawn = ours.draw(torch.Generator().manual_seed(0))
    assert drawn.abs().max() < 1.0
    assert torch.isfinite(ours.log_probability(drawn)).all()


def test_gradients_are_those_of_the_formulas() -> None:
    alpha, beta = row(1.7).requires_grad_(), row(3.1).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: Beta(a, b).log_probability(row(0.2)), (alpha, beta))
    assert torch.autograd.gradcheck(lambda a, b: Beta(a, b).entropy(), (alpha, beta))
    # d log N / d mean = (x - mean) / variance = 0.5 / 4.
    mean = row(0.5).requires_grad_()
    Gaussian(mean, row(np.log(2.0))).log_probability(row(1.0)).backward()
    assert mean.grad is not None
    assert mean.grad.item() == pytest.approx(0.125)
