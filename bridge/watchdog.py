"""Watchdog: what happens when commands stop coming. Pure: times in, tiers out; who owns the motors acts on them.

| tier | when | what the server does |
|---|---|---|
| late | one and a half periods after the last command | counts it, and warns |
| hold | 100 ms after it (`hold_s`) | holds |
| park | 2 s after it (`park_s`), where that is configured | walks slowly to the rest pose, torque on |
| own | the server's own loop has not turned for 50 ms (`own_s`) while the arm is led | holds |

It is fed by accepted commands and by nothing else: a client whose heart beats while its loop hangs is silent.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

LATE_PERIODS = 1.5
HOLD_S, OWN_S = 0.1, 0.05


class Tier(IntEnum):
    """How long the silence has lasted."""

    FRESH = 0
    LATE = 1
    HOLD = 2
    PARK = 3


@dataclass(frozen=True, slots=True)
class WatchdogLimits:
    """When each tier begins, in seconds; no `park_s`, no parking."""

    hold_s: float = HOLD_S
    park_s: float | None = None
    own_s: float = OWN_S

    def __post_init__(self) -> None:
        if not 0.0 < self.own_s < self.hold_s or not (self.park_s is None or self.park_s > self.hold_s):
            raise ValueError(f"expected 0 < own_s < hold_s < park_s, got {self.own_s}, {self.hold_s}, {self.park_s} s")


class Watchdog:
    """Watches over an arm that is being led. Nothing is watched before the first command, or after `rest`."""

    def __init__(self, limits: WatchdogLimits) -> None:
        self._limits = limits
        self._fed_ns: int | None = None
        self._late_ns = 0
        self._tier = Tier.FRESH
        self._turned_ns: int | None = None

    @property
    def leading(self) -> bool:
        """Whether somebody's commands still count: none of them is older than what holds the arm."""
        return self._fed_ns is not None and self._tier < Tier.HOLD

    def feed(self, now_ns: int, duration_s: float) -> None:
        """Take note of an accepted command that was to last for `duration_s`."""
        self._fed_ns, self._tier = now_ns, Tier.FRESH
        self._late_ns = round(LATE_PERIODS * duration_s * 1e9)

    def rest(self) -> None:
        """Stop watching: the arm was told to stand still."""
        self._fed_ns, self._tier = None, Tier.FRESH

    def look(self, now_ns: int) -> Tier | None:
        """Return the tier that the silence has newly reached, the highest of them; None while nothing is new."""
        if self._fed_ns is None:
            return None
        silent_ns = now_ns - self._fed_ns
        tier = Tier.FRESH
        if silent_ns > self._late_ns:
            tier = Tier.LATE
        if silent_ns > round(self._limits.hold_s * 1e9):
            tier = Tier.HOLD
        if self._limits.park_s is not None and silent_ns > round(self._limits.park_s * 1e9):
            tier = Tier.PARK
        if tier <= self._tier:
            return None
        self._tier = tier
        return tier

    def turned(self, now_ns: int) -> bool:
        """Take note that the server's loop turns; return whether it was away for too long while it led the arm."""
        before_ns, self._turned_ns = self._turned_ns, now_ns
        return self.leading and before_ns is not None and now_ns - before_ns > round(self._limits.own_s * 1e9)
