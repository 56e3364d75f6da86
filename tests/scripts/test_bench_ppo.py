"""PPO's bench on CartPole-v1: that it trains, and judges always alike."""

from __future__ import annotations

from scripts.programs.bench_ppo import cartpole


def test_a_policy_that_decided_for_a_while_holds_the_pole_longer_than_a_new_one() -> None:
    new = cartpole(0, 0)
    # One that always pushes the same way, or nearly, lets the pole fall after 8 to 10 steps.
    assert new == cartpole(0, 0)
    assert 8.0 <= new < 20.0
    assert cartpole(0, 4096) > 3 * new
