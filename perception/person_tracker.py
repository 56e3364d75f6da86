"""PersonTracker: which of the people in the pictures is in control. Who engaged keeps it, whoever else comes by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from perception.body import BodyPose, Landmark, PeopleSighting
from urdf.pose import Array

_SHOULDERS = (Landmark.LEFT_SHOULDER, Landmark.RIGHT_SHOULDER)
_TRUNK = (*_SHOULDERS, Landmark.LEFT_HIP, Landmark.RIGHT_HIP)
#: Whose trunk is seen less surely than this on average is nobody.
_MIN_VISIBILITY = 0.4
#: Noise of a trunk that stands still, in its own size.
_SLACK = 0.15


@dataclass(frozen=True, slots=True)
class TrackLimits:
    """How a person is known again: by the place and size of their trunk. Sizes are heights of the trunk.

    A trunk moves `max_speed` of its size in a second at most, `max_reach` of it altogether, and looks larger or smaller
    by the factor `max_growth` at most. Where another person is nearly as near, by `clear_by` of the size, nobody is
    taken for the one in control.
    """

    max_speed: float = 2.5
    max_reach: float = 0.8
    max_growth: float = 1.4
    clear_by: float = 0.3


@dataclass(frozen=True, slots=True)
class Trunk:
    """A person's trunk in the picture: middle of the shoulders (2,) and size, in shares of the picture's height."""

    middle: Array
    size: float


@dataclass(frozen=True, slots=True)
class Person:
    """Who is followed in one picture; `body` is None, and `why` says so, where nobody is.

    `new`: it is somebody else than in the picture before.
    """

    body: BodyPose | None
    why: str = ""
    new: bool = False


class PersonTracker:
    """Follows one person from picture to picture.

    While nobody is locked, the largest person is the one who may engage: whoever stands nearest to the camera.
    """

    def __init__(self, limits: TrackLimits | None = None) -> None:
        self._limits = limits or TrackLimits()
        self._trunk: Trunk | None = None
        self._seen_ns = 0
        self.locked = False

    def lock(self) -> None:
        """Let nobody but the person of the last picture be followed from now on."""
        self.locked = self._trunk is not None

    def release(self) -> None:
        """Let whoever stands nearest be followed again."""
        self.locked = False

    def find(self, sighting: PeopleSighting) -> Person:
        """Return who is followed in this picture."""
        people = [(body, trunk) for body in sighting.bodies if (trunk := trunk_of(body, sighting.aspect)) is not None]
        if not people:
            return Person(None, "nobody is in the picture" if not sighting.bodies else "no shoulders in the picture")
        if self.locked and self._trunk is not None:
            before, trunks = self._trunk, [trunk for _, trunk in people]
            nearest = min(range(len(people)), key=lambda k: _distance(trunks[k], before))
            why = self._doubt(trunks, nearest, before, sighting.stamp_ns)
            if why:
                return Person(None, why)
            body, trunk = people[nearest]
            new = False
        else:
            body, trunk = max(people, key=lambda person: person[1].size)
            new = self._trunk is None or not self._could_be(trunk, self._trunk, sighting.stamp_ns)
        self._trunk, self._seen_ns = trunk, sighting.stamp_ns
        return Person(body, new=new)

    def _doubt(self, trunks: Sequence[Trunk], nearest: int, before: Trunk, stamp_ns: int) -> str:
        """Return why the nearest of these is not taken for the person who is locked, empty where it is."""
        if not self._could_be(trunks[nearest], before, stamp_ns):
            return "the person in control is not in the picture; somebody else does not move the arm"
        others = [_distance(trunk, before) for k, trunk in enumerate(trunks) if k != nearest]
        if others and min(others) - _distance(trunks[nearest], before) < self._limits.clear_by:
            return "two people stand where the one in control was"
        return ""

    def _could_be(self, trunk: Trunk, before: Trunk, stamp_ns: int) -> bool:
        """Return whether somebody can have come here, and look as large, since the last picture."""
        limits = self._limits
        elapsed_s = max((stamp_ns - self._seen_ns) * 1e-9, 0.0)
        reach = min(_SLACK + limits.max_speed * elapsed_s, limits.max_reach)
        growth = trunk.size / before.size
        return _distance(trunk, before) <= reach and 1 / limits.max_growth <= growth <= limits.max_growth


def _distance(trunk: Trunk, before: Trunk) -> float:
    """Return how far apart two trunks are, in sizes of the earlier one."""
    return float(np.hypot(*(trunk.middle - before.middle))) / before.size


def trunk_of(body: BodyPose, aspect: float) -> Trunk | None:
    """Return where a person's trunk is, None where neither shoulders nor a size can be told.

    Hips that are hidden, as behind a desk, are taken to be as far below the shoulders as those are wide, and half more.
    """
    points = body.image * [aspect, 1.0]
    shoulders = points[list(_SHOULDERS)]
    if not np.isfinite(shoulders).all() or float(body.visibility[list(_SHOULDERS)].mean()) < _MIN_VISIBILITY:
        return None
    trunk = points[list(_TRUNK)]
    width = float(np.hypot(*(shoulders[0] - shoulders[1])))
    height = float(np.hypot(*(trunk[2:].mean(axis=0) - shoulders.mean(axis=0)))) if np.isfinite(trunk).all() else 0.0
    seen = bool(body.visibility[list(_TRUNK[2:])].mean() >= _MIN_VISIBILITY)
    size = max(1.5 * width, height if seen else 0.0)
    return Trunk(shoulders.mean(axis=0), size) if size > 1e-3 else None
