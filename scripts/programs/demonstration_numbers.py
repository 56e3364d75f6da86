"""What a set of demonstrations comes to in numbers: how many, how long, how many succeeded, what ranges they span."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from bridge.episode_attempts import RecordedAttempt, RecordedDemonstrations
from bridge.episode_decisions import FAILURE, SUCCESS
from bridge.errors import PolicyMismatch
from policies.evaluation import wilson_interval


class Spread(msgspec.Struct, frozen=True):
    """Smallest, largest, mean and standard deviation of one number over all decisions."""

    name: str
    least: float
    most: float
    mean: float
    std: float


class DemonstrationFigures(msgspec.Struct, frozen=True):
    """The numbers of `stats`. `success_rate` is of the attempts whose outcome is known; null where that is none.

    `decisions_*` are of one attempt; `duration_s` is the time of all attempts together.
    """

    attempts: int
    successes: int
    failures: int
    unknown: int
    success_rate: float | None
    wilson_low: float
    wilson_high: float
    decisions: int
    decisions_least: int
    decisions_median: float
    decisions_most: int
    duration_s: float
    mean_return: float
    actions: tuple[Spread, ...]
    observations: dict[str, tuple[Spread, ...]]


def demonstration_figures(sets: Sequence[RecordedDemonstrations]) -> DemonstrationFigures:
    """Return the numbers of all attempts of recordings that belong together; there must be one attempt at least."""
    attempts = [attempt for recorded in sets for attempt in recorded.attempts]
    won = sum(attempt.verdict == SUCCESS for attempt in attempts)
    lost = sum(attempt.verdict == FAILURE for attempt in attempts)
    low, high = wilson_interval(won, won + lost)
    lengths = np.array([attempt.decisions for attempt in attempts])
    layout = sets[0].layout
    actions = np.concatenate([attempt.actions for attempt in attempts])
    return DemonstrationFigures(
        attempts=len(attempts),
        successes=won,
        failures=lost,
        unknown=len(attempts) - won - lost,
        success_rate=won / (won + lost) if won + lost else None,
        wilson_low=low,
        wilson_high=high,
        decisions=int(lengths.sum()),
        decisions_least=int(lengths.min()),
        decisions_median=float(np.median(lengths)),
        decisions_most=int(lengths.max()),
        duration_s=round(sum(duration_s(a, r) for r in sets for a in r.attempts), 3),
        mean_return=float(np.mean([attempt.rewards.sum() for attempt in attempts])),
        actions=_spreads(layout.action_layout.names, actions),
        observations={part.name: _part_spreads(attempts, part.name, part.feature_names) for part in layout.parts},
    )


def check_belong_together(sets: Sequence[RecordedDemonstrations]) -> None:
    """Raise PolicyMismatch unless the recordings are of one arm, rig, task and layout: it names what differs."""
    first = sets[0]
    for other in sets[1:]:
        pairs = (
            ("arm", first.header.arm, other.header.arm),
            ("description of the arm", first.header.arm_sha256[:12], other.header.arm_sha256[:12]),
            ("rig", first.header.rig, other.header.rig),
            ("task", first.layout.task, other.layout.task),
            ("parts of an observation", _part_words(first), _part_words(other)),
            ("layout of the state", _layout_words(first), _layout_words(other)),
            ("layout of the actions", _action_words(first), _action_words(other)),
            ("periods a decision lasts", str(first.layout.action_repeat), str(other.layout.action_repeat)),
            ("period", f"{first.header.period_s:g} s", f"{other.header.period_s:g} s"),
        )
        for what, mine, its in pairs:
            if mine != its:
                raise PolicyMismatch(
                    f"{other.path.name} does not belong with {first.path.name}: its {what} is {its}, not {mine}. Name "
                    "recordings of one arm at one task"
                )


def duration_s(attempt: RecordedAttempt, recorded: RecordedDemonstrations) -> float:
    """Return how long the decisions of an attempt took; what a skill did after the last one is not counted."""
    one_s = recorded.layout.action_repeat * recorded.header.period_s
    return float(attempt.stamp_ns[-1] - attempt.stamp_ns[0]) * 1e-9 + one_s


def _part_spreads(attempts: Sequence[RecordedAttempt], name: str, features: Sequence[str]) -> tuple[Spread, ...]:
    values = np.concatenate([attempt.observations[name] for attempt in attempts]).astype(np.float64)
    return _spreads(features, values) if features else _spreads((name,), values.reshape(-1, 1))


def _spreads(names: Sequence[str], values: np.ndarray) -> tuple[Spread, ...]:
    return tuple(
        Spread(name, float(column.min()), float(column.max()), float(column.mean()), float(column.std()))
        for name, column in zip(names, values.T, strict=True)
    )


def _part_words(recorded: RecordedDemonstrations) -> str:
    return ", ".join(f"{part.name} {part.dtype} {'x'.join(map(str, part.shape))}" for part in recorded.layout.parts)


def _layout_words(recorded: RecordedDemonstrations) -> str:
    return f"{recorded.layout.state_layout.name} {recorded.layout.state_layout.version}"


def _action_words(recorded: RecordedDemonstrations) -> str:
    return f"{recorded.layout.action_layout.name} {recorded.layout.action_layout.version}"
