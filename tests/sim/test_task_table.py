"""Every task on every arm in every rig is possible, for the oracle succeeds, and not trivial: the baselines fail."""

from __future__ import annotations

from contextlib import closing

import pytest

from policies.evaluation import episode_seeds, play
from scripts.evaluate import scripted_choice
from scripts.programs.bench_tasks import CASES, Case
from sim.env import ArmEnv

#: The policy, its episodes, and the fewest and the most of them that may succeed.
BARS = (("oracle", 3, 3, 3), ("hold", 2, 0, 0), ("random", 2, 0, 1), ("blind", 2, 0, 1))


def successes(env: ArmEnv, case: Case, policy: str, episodes: int) -> int:
    choice = scripted_choice(policy, case.rig, case.arm, case.task)
    return sum(play(choice.make_policy(env, seed), env, seed)[0] for seed in episode_seeds(2026, episodes))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.label.replace(" ", "-"))
def test_the_oracle_succeeds_and_the_baselines_do_not(case: Case) -> None:
    with closing(scripted_choice("oracle", case.rig, case.arm, case.task).make_env()) as env:
        counted = {policy: successes(env, case, policy, episodes) for policy, episodes, _, _ in BARS}
    assert all(least <= counted[policy] <= most for policy, _, least, most in BARS), counted
