"""Whether the tasks are neither trivial nor impossible: what policies that nobody trained make of every one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from policies.evaluation import wilson_interval
from scripts.evaluate import evaluate_policy, scripted_choice
from scripts.programs.figures import Row, at_least, at_most

_SEED = 2026


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


@dataclass(frozen=True, slots=True)
class Case:
    """One task on one arm in one rig."""

    task: str
    arm: str
    rig: str

    @property
    def label(self) -> str:
        """What its figures begin with."""
        return f"{self.task} {self.arm} {self.rig}"


_BENCHES = (
    ("dofbot", "table"), ("dofbot", "hanging"), ("ur5", "table"), ("kuka_iiwa", "table"), ("kuka_iiwa", "reference"),
)  # fmt: skip
CASES = tuple(Case(task, arm, rig) for task in ("grasp", "reach", "pick-place") for arm, rig in _BENCHES)


def figure(promise: Promise, case: Case) -> str:
    """Return what the row of a promise is called."""
    end = ", lower end of the interval" if promise.direction == ">=" else ""
    return f"{case.label} {promise.policy} success{end}"


def measure(on_progress: Callable[[str, float], None], only: str = "", cases: Sequence[Case] = CASES) -> Iterator[Row]:
    """Yield a row per case and policy whose figure contains `only`.

    `on_progress` hears what is being done and the share that is done.
    """
    rows = [(promise, case) for case in cases for promise in PROMISES if only in figure(promise, case)]
    for number, (promise, case) in enumerate(rows, 1):
        yield measure_one(promise, case, lambda what, share, n=number: on_progress(f"{n}/{len(rows)} {what}", share))


def measure_grasp(on_progress: Callable[[str, float], None], only: str = "") -> Iterator[Row]:
    """Yield the rows of the Dofbot's grasp alone."""
    return measure(on_progress, only, [case for case in CASES if case.task == "grasp" and case.arm == "dofbot"])


def measure_one(promise: Promise, case: Case, on_progress: Callable[[str, float], None]) -> Row:
    """Play the episodes of one promise: the bar is held against the interval's lower end, or the rate."""
    label = f"{case.label} {promise.policy}"
    done = 0

    def count(_success: bool) -> None:
        nonlocal done
        done += 1
        on_progress(label, done / promise.episodes)

    choice = scripted_choice(promise.policy, case.rig, case.arm, case.task)
    successes = sum(evaluate_policy(choice, promise.episodes, _SEED, 0, count))
    low, high = wilson_interval(successes, promise.episodes)
    counted = f"{successes} of {promise.episodes} episodes, {100 * low:.1f}-{100 * high:.1f} % with 95 % confidence"
    if promise.direction == ">=":
        return at_least(figure(promise, case), low, "", promise.bar, counted)
    return at_most(figure(promise, case), successes / promise.episodes, "", promise.bar, counted)
