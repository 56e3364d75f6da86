"""PersonView: from who is in the pictures to the one arm that is followed, and whether the other hand is raised."""

from __future__ import annotations

from dataclasses import dataclass

from perception.body import BodyPose, PeopleSighting, Side
from perception.body_filter import BodyFilter, HandFilter
from perception.errors import StampNotRising
from perception.hand import hand_of
from perception.limb import LIMB_LANDMARKS, MIN_VISIBILITY, Limb, limb_of
from perception.person_tracker import PersonTracker

#: A hand is raised above this share of the picture's height over its shoulder, and no longer raised below it.
_RAISED, _LOWERED = 0.04, 0.0
_PARTS = ("shoulder", "elbow", "wrist")


@dataclass(frozen=True, slots=True)
class SeenPerson:
    """What one picture says of the person who is followed. `limb` is None, and `why` says so, where it says too little.

    `body` is smoothed; it is there for whoever draws it.
    """

    sighting: PeopleSighting
    limb: Limb | None
    why: str
    other_raised: bool
    body: BodyPose | None


class PersonView:
    """Smooths the pictures of one person. `side`: whose arm is followed; `mirror`: as a mirror shows it."""

    def __init__(self, side: Side, mirror: bool) -> None:
        self.tracker = PersonTracker()
        self._side, self._mirror = side, mirror
        self._other = Side.LEFT if side is Side.RIGHT else Side.RIGHT
        self._filter, self._hand = BodyFilter(), HandFilter()
        self._raised = False

    def see(self, sighting: PeopleSighting) -> SeenPerson:
        """Take in the next picture."""
        person = self.tracker.find(sighting)
        if person.new:
            self._filter.reset()
            self._raised = False
        try:
            body = self._filter.update(sighting.stamp_ns, person.body, sighting.aspect)
        except StampNotRising as error:
            return SeenPerson(sighting, None, f"the clock jumped: {error}", self._raised, None)
        if body is None or person.body is None:
            # Who is out of sight has not let go: they are lost, which the clutch tells from a lowered hand.
            return SeenPerson(sighting, None, person.why or "nobody is in the picture", self._raised, body)
        hand = self._hand.update(sighting.stamp_ns, hand_of(sighting, body, self._side), sighting.aspect)
        limb = limb_of(body, self._side, sighting.aspect, hand)
        if limb is not None and self._mirror:
            limb = limb.mirrored()
        why = "somebody new: keep still" if person.new else "" if limb is not None else self._hidden(body)
        self._raised = self._is_raised(body)
        return SeenPerson(sighting, limb, why, self._raised, body)

    def _hidden(self, body: BodyPose) -> str:
        rows = LIMB_LANDMARKS[self._side]
        hidden = [part for part, row in zip(_PARTS, rows, strict=True) if body.visibility[row] < MIN_VISIBILITY]
        return f"your {self._side} {' and '.join(hidden) or 'arm'} cannot be seen"

    def _is_raised(self, body: BodyPose) -> bool:
        """Return whether the other hand is above its shoulder; a hand that is not seen is not raised."""
        shoulder, _, wrist = LIMB_LANDMARKS[self._other]
        if min(float(body.visibility[shoulder]), float(body.visibility[wrist])) < MIN_VISIBILITY:
            return False
        above = float(body.image[shoulder][1] - body.image[wrist][1])
        return above > (_LOWERED if self._raised else _RAISED)
