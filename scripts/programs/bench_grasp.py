"""Whether the grasp is neither trivial nor impossible: what policies that nobody trained make of it, in both rigs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from policies.evaluation import wilson_interval
from scripts.evaluate import choose_policy, evaluate_policy
from scripts.programs.figures import Row, at_least, at_most

_SEED = 2026
RIGS = ("table", "hanging")


@dataclass(frozen=True, slots=True)
class Promise:
    """What one scripted policy must reach, or must not exceed, over so many episodes."""

    policy: str
    episodes: int
    direction: Literal[">=", "<="]
    bar: float


PROMISES = (
    Promise("oracle", 500, ">=", 0.97),
    Promise("random", 1000, "<=", 0.05),
    Promise("hold", 1000, "<=", 0.0),
    Promise("blind", 1000, "<=", 0.20),
)


def measure(on_progress: Callable[[str, float], None]) -> list[Row]:
    """Return a row per rig and policy; `on_progress` hears what is being done and the share that is done."""
    return [measure_one(promise, rig, on_progress) for rig in RIGS for promise in PROMISES]


def measure_one(promise: Promise, rig: str, on_progress: Callable[[str, float], None]) -> Row:
    """Play the episodes of one promise in one rig: the bar is held against the interval's lower end, or the rate."""
    label = f"grasp {rig} {promise.policy}"
    done = 0

    def count(_success: bool) -> None:
        nonlocal done
        done += 1
        on_progress(label, done / promise.episodes)

    outcomes = evaluate_policy(choose_policy(promise.policy, rig), promise.episodes, _SEED, 0, count)
    successes = sum(outcomes)
    low, high = wilson_interval(successes, promise.episodes)
    counted = f"{successes} of {promise.episodes} episodes, {100 * low:.1f}-{100 * high:.1f} % with 95 % confidence"
    if promise.direction == ">=":
        return at_least(f"{label} success, lower end of the interval", low, "", promise.bar, counted)
    return at_most(f"{label} success", successes / promise.episodes, "", promise.bar, counted)
