"""SAC's bench on Pendulum-v1: that it trains, and judges always alike."""

from __future__ import annotations

from contextlib import closing

from policies.learner_config import SacConfig
from scripts.programs.bench_pendulum import NetworkPolicy, judged, trained, worlds

SMALL = SacConfig(hidden=(32, 32), batch_size=32, warm_up=100)


def test_a_policy_is_judged_on_the_same_episodes_every_time() -> None:
    with closing(worlds(1)) as world:
        learner = trained(world, 120, lambda share: None, SMALL)
    assert learner.updates == 20
    first = judged(NetworkPolicy(learner.policy))
    assert first == judged(NetworkPolicy(learner.policy))
    # 200 steps that cost at most pi**2 + 0.1 * 8**2 + 0.001 * 2**2 each.
    assert -200 * 16.28 < first < -100.0
