"""What compiling and half the precision gain here: our SAC's gradient steps per second, each way in turns.

`python -m scripts.programs.bench_acceleration` makes the table of docs/learning.md; it takes five minutes. Nothing is
promised of it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from policies.acceleration import Computing
from policies.learner_config import SacConfig
from policies.presets import find_preset
from scripts.programs.figures import machine
from scripts.programs.updates_baseline import TRANSITIONS
from scripts.programs.updates_race import PICTURE_TRANSITIONS, TURN_S, TURNS, TorchRacer, depth_config, ours, spaces_of

#: In the order of the columns.
WAYS: Mapping[str, Computing] = {
    "plain": Computing(),
    "compiled": Computing(compiled=True),
    "mixed precision": Computing(mixed_precision=True),
    "both": Computing(compiled=True, mixed_precision=True),
}


def from_state(computing: Computing) -> TorchRacer:
    """Return the learner of the grasp's state with one thread: 256x256, batch 256."""
    return ours(spaces_of(find_preset("grasp")), SacConfig(), (), (), TRANSITIONS, computing)[0]


def from_depth(computing: Computing) -> TorchRacer:
    """Return the learner of `depth-asym` with one thread: 128x128, batch 128, 64x64 depth."""
    config = depth_config()
    return ours(spaces_of(config), config.sac, config.sees, config.critic_sees, PICTURE_TRANSITIONS, computing)[0]


def raced(
    make: Callable[[Computing], TorchRacer], turns: int = TURNS, turn_s: float = TURN_S
) -> tuple[Sequence[float], Sequence[float]]:
    """Return updates/s of each way, the median of its turns, and the seconds that its first update took."""
    racers, first_s = [make(how) for how in WAYS.values()], list[float]()
    for racer in racers:
        start_s = time.monotonic()
        racer.update()
        first_s.append(time.monotonic() - start_s)
    rates = np.array([[racer.rate(turn_s) for racer in racers] for _ in range(turns + 1)])
    return np.median(rates[1:], axis=0).tolist(), first_s


def main() -> int:
    """Print the table, a row as it is measured."""
    print(f"{machine()}; updates/s with one thread, median of {TURNS} turns of {TURN_S:g} s\n")
    print(f"| learner | {' | '.join(WAYS)} | first update, compiled |\n|{'---|' * (len(WAYS) + 2)}", flush=True)
    for label, make in (("SAC from state", from_state), ("SAC from depth", from_depth)):
        rates, first_s = raced(make)
        print(f"| {label} | {' | '.join(f'{rate:.0f}' for rate in rates)} | {first_s[1]:.0f} s |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
