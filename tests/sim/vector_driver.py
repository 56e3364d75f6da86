"""Steps worlds in a process of its own, for tests that end it: `python -m tests.sim.vector_driver KIND`.

KIND `step` steps for ever, `hang` sends a step that takes an hour. Prints the process ids of the workers first.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from sim.vector import SharedVectorEnv
from tests.fakes.odd_worlds import FailingTask, point


def main(kind: str, folder: str) -> None:
    worlds = SharedVectorEnv(point if kind == "step" else FailingTask("step", "hang", Path(folder)), 4, 2)
    worlds.reset(seed=1)
    print(*worlds.worker_pids, flush=True)  # noqa: T201
    while True:
        worlds.step(np.zeros((4, 2), np.float32))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
