"""The keyboard as a policy: every key is one decision. The world waits for the next key, so there is no hurry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bridge.actions import ActionLayout
from bridge.observation import Observed
from scripts.keyboard import ESCAPE

LEAVE, NEXT = ("q", ESCAPE), "n"
#: Keys that overtake those before them.
STOPS = (*LEAVE, NEXT)
_WAIT, _GRIP = ".", " "
#: key -> (number of the action, its sign), where the action has such a number.
_MOTIONS = {
    "right": ("dx", 1.0),
    "left": ("dx", -1.0),
    "up": ("dy", 1.0),
    "down": ("dy", -1.0),
    "w": ("dz", 1.0),
    "s": ("dz", -1.0),
    "a": ("dyaw", 1.0),
    "d": ("dyaw", -1.0),
}
_HELP = (
    (("dx",), "←→ x"),
    (("dy",), "↑↓ y (away, back)"),
    (("dz",), "w s up, down"),
    (("dyaw",), "a d turn"),
    (("grip",), "space jaws"),
)
_IDLE_S = 0.25


class Keys(Protocol):
    """Where keys come from."""

    def read(self, timeout_s: float) -> str:
        """Return the next key, or '' when none came in time."""
        ...


class PersonLeft(Exception):  # no error: control flow from deep inside an episode
    """The person has had enough."""


class PersonSkipped(Exception):
    """The person wants the next episode."""


@dataclass(frozen=True, slots=True)
class Situation:
    """What the person's last key meant."""

    key: str = ""
    decisions: int = 0
    closing: bool = False


def help_line(layout: ActionLayout) -> str:
    """Return which keys there are for an action."""
    known = [text for names, text in _HELP if set(names) <= set(layout.names)]
    return "   ".join([*known, ". wait", "n next", "q leave"])


class KeyboardPolicy:
    """A person. `show` draws what the person needs to see, before every key and while none comes."""

    def __init__(self, layout: ActionLayout, keys: Keys, show: Callable[[Situation], None]) -> None:
        self._layout, self._keys, self._show = layout, keys, show
        self._situation = Situation()

    def begin(self) -> None:
        """Begin an episode: the jaws are open."""
        self._situation = Situation(decisions=self._situation.decisions)

    def act(self, observation: Observed) -> NDArray[np.float32]:
        """Return the action of the next key; raises PersonLeft or PersonSkipped."""
        self._show(self._situation)
        action: NDArray[np.float32] | None = None
        while action is None:
            key = self._keys.read(_IDLE_S)
            if key in LEAVE:
                raise PersonLeft
            if key == NEXT:
                raise PersonSkipped
            action = self._meaning(key)
        return action

    def _meaning(self, key: str) -> NDArray[np.float32] | None:
        """Return the action that a key asks for, None where it asks for nothing."""
        names = self._layout.names
        closing = self._situation.closing
        action = np.zeros(len(names), dtype=np.float32)
        if key == _GRIP and "grip" in names:
            closing = not closing
        elif key in _MOTIONS and _MOTIONS[key][0] in names:
            name, sign = _MOTIONS[key]
            action[names.index(name)] = sign
        elif key != _WAIT:
            return None
        if "grip" in names:
            action[names.index("grip")] = 1.0 if closing else -1.0
        self._situation = Situation(key, self._situation.decisions + 1, closing)
        return action
