"""Trimming, pure: which decisions at the ends of an attempt are idle, and the attempt without them."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from bridge.actions import ActionLayout
from bridge.episode_attempts import RecordedAttempt
from bridge.errors import BadEpisode

#: From decision, to decision (excluded).
Kept = tuple[int, int]
#: An action of the jaws says what they shall be, not how they move: it is idle while it stays the same.
_HELD = "grip"


def busy_range(attempt: RecordedAttempt, layout: ActionLayout, still: float, spare: int) -> Kept:
    """Return the decisions from the first to the last that moves something, and `spare` more at both ends.

    Idle is an action whose every motion is at most `still` (of 1) and that leaves the jaws as they are. An attempt in
    which nothing moves is kept whole.
    """
    moving = _moving(attempt.actions, layout, still)
    places = np.flatnonzero(moving)
    if places.size == 0:
        return 0, attempt.decisions
    return max(0, int(places[0]) - spare), min(attempt.decisions, int(places[-1]) + 1 + spare)


def _moving(actions: NDArray[np.float32], layout: ActionLayout, still: float) -> NDArray[np.bool_]:
    motions = [k for k, name in enumerate(layout.names) if name != _HELD]
    moving = np.abs(actions[:, motions]).max(axis=1, initial=0.0) > still
    if _HELD in layout.names:
        closing = actions[:, layout.names.index(_HELD)] > 0
        moving |= np.append(False, closing[1:] != closing[:-1])
    return moving


def trimmed(attempt: RecordedAttempt, kept: Kept) -> RecordedAttempt:
    """Return the attempt without the decisions before and after `kept`; raises BadEpisode where that is no range of it.

    How it ended stays true: what was earned after the cut is earned by the last decision that is kept.
    """
    first, end = kept
    if not 0 <= first < end <= attempt.decisions:
        raise BadEpisode(
            f"attempt {attempt.number} has decisions 0 to {attempt.decisions - 1}: {first} to {end - 1} cannot be kept"
        )
    rewards = attempt.rewards[first:end].copy()
    rewards[-1] += attempt.rewards[end:].sum()
    # What is seen last is how it ended, wherever the cut is.
    places = np.append(np.arange(first, end), attempt.decisions)
    return dataclasses.replace(
        attempt,
        stamp_ns=attempt.stamp_ns[first:end].copy(),
        observations={name: part[places] for name, part in attempt.observations.items()},
        actions=attempt.actions[first:end].copy(),
        rewards=rewards,
    )
