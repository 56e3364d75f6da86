from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.sim import episode_hash

ROOT = Path(__file__).parent.parent.parent
RIGS = ("table", "hanging")


def play_in_a_fresh_process(rig_name: str, episodes_before: int) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "tests.sim.episode_hash", rig_name, str(episodes_before)],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=280,
    )  # fmt: skip
    return done.stdout.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_episode_is_the_same_in_a_fresh_process_and_after_40_full_of_contacts() -> None:
    """Every bit of state, block and command in every control period, of a grasp that lifts the block."""
    jobs = [(rig_name, before) for before in (40, 0) for rig_name in RIGS]
    with ThreadPoolExecutor(2) as pool:
        results = dict(zip(jobs, pool.map(lambda job: play_in_a_fresh_process(*job), jobs), strict=True))
    for rig_name in RIGS:
        digest, periods, height_mm = results[rig_name, 0].split()
        assert results[rig_name, 40].split()[0] == digest, rig_name
        assert int(periods) > 90  # descent, grip, lift and hold were all in it
        assert float(height_mm) > 45.0


@pytest.mark.parametrize("rig_name", RIGS)
def test_a_few_episodes_before_change_nothing_either(rig_name: str) -> None:
    assert episode_hash.main(rig_name, 1) == episode_hash.main(rig_name, 3)
