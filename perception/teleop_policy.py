"""TeleopPolicy: a person as a policy. It is asked by the same loop as any other, and waits for nobody."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from bridge.errors import PolicyWaits
from bridge.observation import Observed
from bridge.ports import Clock
from perception.body import PeopleSighting
from perception.clutch import Clutch, ClutchPhase, ClutchState, Look, Signals
from perception.person_view import PersonView, SeenPerson
from perception.teleop_drivers import Action, Driver


class Deadman(StrEnum):
    """What must be held for the arm to follow: the raised other hand, a key, a pedal; nothing, for recordings."""

    HAND = "hand"
    KEY = "key"
    PEDAL = "pedal"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Wishes:
    """What somebody at keys, pedal and stop button wants now. `stop`: who wants an emergency stop, empty for nobody."""

    held: bool = False
    stop: str = ""
    leave: bool = False
    scale_by: float = 1.0


class Controls(Protocol):
    """Keys, pedal and stop button."""

    def read(self) -> Wishes:
        """Return what is wanted now, at once."""
        ...


class Sightings(Protocol):
    """Where people are seen: a camera and a model, or a recording."""

    def newest(self) -> PeopleSighting | None:
        """Return the newest sighting at once, None before the first."""
        ...

    def missing(self) -> str:
        """Say why no newer one comes, empty where one does."""
        ...

    def over(self) -> bool:
        """Return whether none will come any more."""
        ...


class PersonLeft(Exception):  # no error: control flow from deep inside an episode
    """The person has had enough, or the recording is over."""


class StopAsked(Exception):
    """Somebody wants an emergency stop; the message says who."""


@dataclass(frozen=True, slots=True)
class TeleopMoment:
    """What there is to show of one control period. `fresh`: its picture is used for the first time."""

    state: ClutchState
    seen: SeenPerson | None
    held: bool
    scale: float
    goal_m: tuple[float, float, float]
    fresh: bool


class TeleopPolicy:
    """Acts as the person in control does; raises PolicyWaits, which says why, while the arm has to stand.

    Raises PersonLeft or StopAsked where that is wanted.
    """

    def __init__(
        self,
        sightings: Sightings,
        view: PersonView,
        driver: Driver,
        clutch: Clutch,
        controls: Controls,
        clock: Clock,
        deadman: Deadman,
        on_moment: Callable[[TeleopMoment], None],
    ) -> None:
        self.state = ClutchState()
        self._sightings, self._view, self._driver = sightings, view, driver
        self._clutch, self._controls, self._clock = clutch, controls, clock
        self._deadman, self._on_moment = deadman, on_moment
        self._seen: SeenPerson | None = None
        self._look: Look | None = None
        self._clear = False

    def clear(self) -> None:
        """End an emergency stop; the deadman has to be let go once."""
        self._clear = True

    def act(self, observation: Observed) -> Action:
        """Return the action of this period."""
        wishes, now_ns = self._controls.read(), self._clock.now_ns()
        fresh = self._take_in()
        held = self._is_held(wishes)
        self.state = self._clutch.step(
            self.state,
            Signals(
                now_ns, self._look, held, self._sightings.missing(), wishes.stop, self._clear, self._driver.at_home
            ),
        )
        self._clear = False
        try:
            return self._do(wishes, now_ns, fresh)
        finally:
            self._tell(held, fresh)

    def _take_in(self) -> bool:
        """Look at the newest picture; return whether it is new."""
        sighting = self._sightings.newest()
        if sighting is None or (self._seen is not None and sighting.stamp_ns == self._seen.sighting.stamp_ns):
            return False
        seen = self._view.see(sighting)
        gap_rad, joint = (0.0, "") if seen.limb is None else self._driver.gap(seen.limb)
        x, y, z = (0.0, 0.0, 0.0) if seen.limb is None else seen.limb.wrist_m.tolist()
        self._seen, self._look = seen, Look(sighting.stamp_ns, (x, y, z), seen.why, gap_rad, joint)
        return True

    def _is_held(self, wishes: Wishes) -> bool:
        if self._deadman is Deadman.HAND:
            return self._seen is not None and self._seen.other_raised
        return wishes.held or self._deadman is Deadman.NONE

    def _do(self, wishes: Wishes, now_ns: int, fresh: bool) -> Action:
        """Return the action that the clutch lets happen."""
        state, limb = self.state, None if self._seen is None else self._seen.limb
        if wishes.stop:
            raise StopAsked(wishes.stop)
        if wishes.leave or self._sightings.over():
            raise PersonLeft
        if state.engages:
            self._view.tracker.lock()
        elif not state.owned:
            self._view.tracker.release()
        if state.engages and limb is not None:
            self._driver.latch(limb)
        if wishes.scale_by != 1.0:
            self._driver.scale_by(wishes.scale_by, limb if state.moves else None)
        if state.moves:
            if fresh and limb is not None:
                self._driver.see(limb, now_ns)
            return self._driver.follow(now_ns)
        if state.phase is ClutchPhase.RETURNING:
            return self._driver.go_home()
        raise PolicyWaits(state.reason)

    def _tell(self, held: bool, fresh: bool) -> None:
        x, y, z = (float(value) for value in self._driver.goal_m)
        self._on_moment(TeleopMoment(self.state, self._seen, held, self._driver.scale, (x, y, z), fresh))
