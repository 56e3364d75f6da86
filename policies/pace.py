"""How fast a run learns: the rates of its counters over the last seconds in which it did."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

_WINDOW_S = 10.0


class _Mark(NamedTuple):
    learning_s: float
    decisions: int
    updates: int


class Pace:
    """Rates over the last ten seconds of learning; evaluations and films do not count as time."""

    def __init__(self) -> None:
        self._marks: deque[_Mark] = deque()
        self._learning_s = 0.0
        self._since_s: float | None = None

    def take_in(self, now_s: float, decisions: int, updates: int, learning: bool) -> None:
        """Take in where the counters stand, and whether the time from here on is spent on learning."""
        if self._since_s is not None:
            self._learning_s += now_s - self._since_s
        self._since_s = now_s if learning else None
        self._marks.append(_Mark(self._learning_s, decisions, updates))
        # The oldest mark lies a whole window back, or there is none that old.
        while len(self._marks) > 2 and self._marks[1].learning_s <= self._learning_s - _WINDOW_S:
            self._marks.popleft()

    @property
    def decisions_per_s(self) -> float | None:
        """Decisions of all worlds per second; None before two moments are known."""
        return self._rate(self._marks[-1].decisions - self._marks[0].decisions) if self._marks else None

    @property
    def updates_per_s(self) -> float | None:
        """Gradient steps per second; None before two moments are known."""
        return self._rate(self._marks[-1].updates - self._marks[0].updates) if self._marks else None

    def _rate(self, gained: int) -> float | None:
        spent_s = self._marks[-1].learning_s - self._marks[0].learning_s
        return gained / spent_s if spent_s > 0 else None
