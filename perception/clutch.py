"""Clutch: when a person's motion may move an arm, and why not. Pure: times and facts in, a state out.

    waiting -> ready -> engaged -> holding -> returning -> waiting          stopped: from anywhere, until it is cleared

| phase | what the arm does | what it takes |
|---|---|---|
| waiting | stands | nobody can be followed, or not yet for enough pictures |
| ready | stands | a steady pose, `good_pictures` in a row; the deadman is not held |
| engaged | follows | the deadman is held, and the person was seen within `stale_s` |
| holding | stands | the person was lost while engaged |
| returning | goes home slowly | `return_s` after the person was last seen |
| stopped | stands, its stop latched | the emergency stop; ends with `clear`, and with the deadman let go once |
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum

#: A picture that seems to be taken later than now by more than this is of another clock.
_AHEAD_S = 0.05
#: A control period that begins so long after the last one is no control period.
_AWAY_S = 0.5
#: Without a return, a person who was lost is given up after so long: somebody else may engage.
_GIVE_UP_S = 2.0


class ClutchPhase(StrEnum):
    """What a clutch lets happen."""

    WAITING = "waiting"
    READY = "ready"
    ENGAGED = "engaged"
    HOLDING = "holding"
    RETURNING = "returning"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class ClutchSettings:
    """Times in s, lengths in m, angles in rad.

    A pose is steady while the wrist stays within `steady_m` of where it was when the first of `good_pictures` was
    taken, none of them later than `max_pause_s` after the one before. `max_gap_rad`: how far any joint of the arm may
    be from the posture that it is to copy. `return_s`: None never returns.
    """

    good_pictures: int = 5
    steady_m: float = 0.06
    max_pause_s: float = 0.15
    stale_s: float = 0.25
    return_s: float | None = 2.0
    max_gap_rad: float = math.inf

    def __post_init__(self) -> None:
        numbers = (self.good_pictures, self.steady_m, self.max_pause_s, self.stale_s, self.max_gap_rad)
        if not all(value > 0 for value in numbers) or not (self.return_s is None or self.return_s > self.stale_s):
            raise ValueError(f"expected numbers above 0, and return_s above stale_s or None, got {self}")


@dataclass(frozen=True, slots=True)
class Look:
    """What one picture says of the person in control, or of who may take it.

    `why`: why the person cannot be followed in it, empty where they can. `gap_rad`: how far the arm's `gap_joint` is
    from the posture that it is to copy; 0 where motion is copied and not posture.
    """

    stamp_ns: int
    wrist_m: tuple[float, float, float] = (0.0, 0.0, 0.0)
    why: str = ""
    gap_rad: float = 0.0
    gap_joint: str = ""


@dataclass(frozen=True, slots=True)
class Signals:
    """What a clutch is told every control period. `look`: the newest, the same one again until another picture comes.

    `missing`: why no newer look comes. `held`: the deadman. `stop`: who wants an emergency stop, empty for nobody.
    """

    now_ns: int
    look: Look | None
    held: bool
    missing: str = ""
    stop: str = ""
    clear: bool = False
    at_home: bool = False


@dataclass(frozen=True, slots=True)
class ClutchState:
    """What a clutch remembers. `engages`: it engaged in this very step, so that references are latched now."""

    phase: ClutchPhase = ClutchPhase.WAITING
    reason: str = "nobody has been seen yet"
    engages: bool = False
    now_ns: int | None = None
    engaged_ns: int = 0
    seen_ns: int | None = None
    """Stamp of the newest picture."""
    followed_ns: int | None = None
    """Stamp of the newest picture in which the person could be followed."""
    good: int = 0
    anchor_m: tuple[float, float, float] = (0.0, 0.0, 0.0)
    let_go: bool = True
    """Whether somebody who was seen has let the deadman go since the last stop."""

    @property
    def moves(self) -> bool:
        """Whether the arm follows the person."""
        return self.phase is ClutchPhase.ENGAGED

    @property
    def owned(self) -> bool:
        """Whether somebody has the arm, so that nobody else may."""
        return self.phase in (ClutchPhase.ENGAGED, ClutchPhase.HOLDING, ClutchPhase.RETURNING)


class Clutch:
    """The rules. What happened so far is in the state that is passed in."""

    def __init__(self, settings: ClutchSettings | None = None) -> None:
        self.settings = settings or ClutchSettings()

    def step(self, before: ClutchState, signals: Signals) -> ClutchState:
        """Return the state after one control period."""
        # Who is not seen has not lowered their hand.
        lowered = not signals.held and signals.look is not None and not signals.look.why
        state = replace(before, engages=False, let_go=before.let_go or lowered)
        if signals.stop:
            return replace(
                self._forgotten(state, signals), phase=ClutchPhase.STOPPED, reason=signals.stop, let_go=False
            )
        if before.phase is ClutchPhase.STOPPED:
            if not signals.clear:
                return replace(state, now_ns=signals.now_ns, let_go=False)
            # However long it took: that is no jump of the clock.
            before = replace(before, phase=ClutchPhase.WAITING, now_ns=None, seen_ns=None)
            state = replace(state, phase=ClutchPhase.WAITING, let_go=not signals.held)
        jump = _clock_jump(before, signals)
        if jump:
            phase = ClutchPhase.HOLDING if before.owned else ClutchPhase.WAITING
            return replace(self._forgotten(state, signals), phase=phase, reason=jump, followed_ns=signals.now_ns)
        return self._decided(self._looked(replace(state, now_ns=signals.now_ns), signals), signals)

    def _forgotten(self, state: ClutchState, signals: Signals) -> ClutchState:
        return replace(state, now_ns=signals.now_ns, seen_ns=None, followed_ns=None, good=0)

    def _looked(self, state: ClutchState, signals: Signals) -> ClutchState:
        """Take in a picture that has not been seen before."""
        look = signals.look
        if look is None or look.stamp_ns == state.seen_ns:
            return state
        if look.why:
            return replace(state, seen_ns=look.stamp_ns, good=0)
        pause_s = math.inf if state.seen_ns is None else (look.stamp_ns - state.seen_ns) * 1e-9
        steady = math.dist(look.wrist_m, state.anchor_m) <= self.settings.steady_m
        goes_on = state.good > 0 and steady and pause_s <= self.settings.max_pause_s
        return replace(
            state,
            seen_ns=look.stamp_ns,
            followed_ns=look.stamp_ns,
            good=state.good + 1 if goes_on else 1,
            anchor_m=state.anchor_m if goes_on else look.wrist_m,
        )

    def _decided(self, state: ClutchState, signals: Signals) -> ClutchState:
        lost = self._lost(state, signals)
        if state.phase is ClutchPhase.ENGAGED:
            if not signals.held:
                return replace(state, phase=ClutchPhase.READY, reason="the deadman was let go", good=0)
            return replace(state, phase=ClutchPhase.HOLDING, reason=lost) if lost else state
        hindrance = lost or self._hindrance(state, signals)
        if not hindrance:
            return replace(
                state, phase=ClutchPhase.ENGAGED, reason="following", engages=True, engaged_ns=signals.now_ns
            )
        if state.owned:
            return self._lapsed(state, signals, hindrance)
        waits = bool(lost or state.good < self.settings.good_pictures)
        return replace(state, phase=ClutchPhase.WAITING if waits else ClutchPhase.READY, reason=hindrance)

    def _lapsed(self, state: ClutchState, signals: Signals, hindrance: str) -> ClutchState:
        """Return what becomes of an arm whose person was lost: it waits, then goes home, then is free."""
        since_s = math.inf if state.followed_ns is None else (signals.now_ns - state.followed_ns) * 1e-9
        if state.phase is ClutchPhase.RETURNING:
            free = signals.at_home
        else:
            free = self.settings.return_s is None and since_s > _GIVE_UP_S
        if free:
            return replace(state, phase=ClutchPhase.WAITING, reason=hindrance)
        if self.settings.return_s is not None and since_s > self.settings.return_s:
            return replace(state, phase=ClutchPhase.RETURNING, reason=f"going home slowly: {hindrance}")
        return replace(state, reason=hindrance)

    def _lost(self, state: ClutchState, signals: Signals) -> str:
        """Return why the person cannot be followed now, empty where they can."""
        age_s = math.inf if state.followed_ns is None else (signals.now_ns - state.followed_ns) * 1e-9
        if age_s <= self.settings.stale_s:
            return ""
        why = signals.look.why if signals.look is not None and signals.look.why else signals.missing
        if why or math.isinf(age_s):
            return why or "nobody has been seen yet"
        return f"no picture for {age_s:.1f} s, at most {self.settings.stale_s:g} s are accepted"

    def _hindrance(self, state: ClutchState, signals: Signals) -> str:
        """Return what is still missing before a person who is seen may engage, empty for nothing."""
        look, settings = signals.look, self.settings
        if look is not None and look.why:
            return look.why
        if state.good < settings.good_pictures:
            return f"keep your arm still: {state.good} of {settings.good_pictures} pictures"
        if look is not None and not look.gap_rad <= settings.max_gap_rad:
            return (
                f"bring your arm nearer to the robot's: {look.gap_joint} is {look.gap_rad:.2f} rad off, "
                f"{settings.max_gap_rad:g} are allowed"
            )
        if not state.let_go:
            return "let go of the deadman once, then hold it"
        return "" if signals.held else "hold the deadman"


def _clock_jump(before: ClutchState, signals: Signals) -> str:
    """Return what is wrong with the time, empty where nothing is."""
    if before.now_ns is not None and signals.now_ns < before.now_ns:
        return f"the clock jumped back by {(before.now_ns - signals.now_ns) * 1e-9:.3f} s"
    if before.now_ns is not None and (signals.now_ns - before.now_ns) * 1e-9 > _AWAY_S:
        return f"{(signals.now_ns - before.now_ns) * 1e-9:.1f} s went by at once: the clock jumped, or the loop hung"
    look = signals.look
    if look is None:
        return ""
    if (look.stamp_ns - signals.now_ns) * 1e-9 > _AHEAD_S:
        return f"a picture is stamped {(look.stamp_ns - signals.now_ns) * 1e-9:.3f} s in the future: the clock jumped"
    if before.seen_ns is not None and look.stamp_ns < before.seen_ns:
        return f"a picture is {(before.seen_ns - look.stamp_ns) * 1e-9:.3f} s older than the last: the clock jumped"
    return ""
