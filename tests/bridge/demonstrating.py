"""A process of its own that records demonstrations, five decisions of 10 ms an attempt, until it is killed."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from bridge.episode import EpisodeWriter
from bridge.episode_witness import Demonstrator
from tests.bridge.recordings import CLOCK, make_header
from tests.bridge.test_episode_attempts import HEADER, seen

_PERIOD_NS, _DECISIONS = 10_000_000, 5


def main() -> None:
    """Tell attempt, number and stamp of every decision, on stdout, once it is handed over."""
    writer = EpisodeWriter(Path(sys.argv[1]), make_header(), CLOCK, demonstration=HEADER)
    demonstrator = Demonstrator(writer, HEADER, CLOCK)
    observation = seen(np.random.default_rng(0))
    deadline_ns = CLOCK.now_ns()
    for k in range(100_000):
        number = k % _DECISIONS
        attempt = demonstrator.begin() if number == 0 else demonstrator.attempt
        demonstrator.decide(observation, np.zeros(2, np.float32))
        last = number == _DECISIONS - 1
        demonstrator.outcome(0.0, terminated=last, success=True if last else None)
        sys.stdout.write(f"{attempt} {number} {CLOCK.now_ns()}\n")
        sys.stdout.flush()
        deadline_ns += _PERIOD_NS
        CLOCK.sleep_until(deadline_ns)


if __name__ == "__main__":
    main()
