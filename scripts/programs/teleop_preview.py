"""Preview: the person leads the arm's twin in simulation first, and says when the arm itself is to follow."""

from __future__ import annotations

from collections.abc import Callable

from bridge.loop import LoopStep
from perception.body import BodyPose, Landmark
from perception.limb import MIN_VISIBILITY
from perception.teleop_policy import TeleopMoment
from scripts.programs.teleop_controls import LEAVE_KEYS
from scripts.programs.teleop_session import Show, TeleopNotes

GO_KEY = "g"
GO_HELP = f"both hands over your head for a second, or {GO_KEY}: then the arm itself follows   {LEAVE_KEYS[0]} leave"
#: So long are both hands held up; a hand that only passes means nothing.
_HOLD_S = 1.0


class Confirmation:
    """Hears of a go, by key or by gesture, and ends the preview with it: it is keys and a screen at once."""

    def __init__(self, show: Show) -> None:
        """`show`: who shows the person what happens."""
        self.given = False
        self._show = show
        self._since_ns: int | None = None

    def key_of(self, source: Callable[[], str]) -> Callable[[], str]:
        """Return keys of which the one that says go leaves."""

        def key() -> str:
            pressed = source()
            self.given |= pressed == GO_KEY
            return LEAVE_KEYS[0] if pressed == GO_KEY else pressed

        return key

    def gesture(self) -> str:
        """Return the key that leaves once the gesture was made, else ''."""
        return LEAVE_KEYS[0] if self.given else ""

    def show(self, moment: TeleopMoment, step: LoopStep, notes: TeleopNotes) -> None:
        """Take in one control period."""
        self._show(moment, step, notes)
        seen = moment.seen
        if seen is None or not both_hands_up(seen.body):
            self._since_ns = None
            return
        stamp_ns = seen.sighting.stamp_ns
        self._since_ns = stamp_ns if self._since_ns is None else self._since_ns
        self.given |= (stamp_ns - self._since_ns) * 1e-9 >= _HOLD_S


def both_hands_up(body: BodyPose | None) -> bool:
    """Return whether both wrists are seen above the nose."""
    if body is None:
        return False
    rows = [Landmark.NOSE, Landmark.LEFT_WRIST, Landmark.RIGHT_WRIST]
    if not (body.visibility[rows] >= MIN_VISIBILITY).all():
        return False
    nose, left, right = body.image[rows, 1]
    return bool(max(left, right) < nose)
