"""LandmarkReplay: a recording of landmarks, seen again at its own speed, as if the person were there now."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import replace
from itertools import pairwise

from bridge.ports import Clock
from perception.body import PeopleSighting
from perception.errors import BadLandmarks
from perception.landmark_log import LandmarkRecording

#: Two pictures whose stamps do not rise, or rise by more, lie so far apart as those of a usual camera.
_LONGEST_STEP_NS, _USUAL_STEP_NS = 1_000_000_000, 33_333_333


class LandmarkReplay:
    """A source of sightings (`perception.teleop_policy.Sightings`). It begins when it is first asked.

    The stamps are of `clock`: a sighting is of the moment at which it is shown. Raises BadLandmarks for a recording
    without pictures.
    """

    def __init__(self, recording: LandmarkRecording, clock: Clock) -> None:
        if not recording.sightings:
            raise BadLandmarks(f"the recording of {recording.header.source} has no picture in it")
        self._sightings, self._clock = recording.sightings, clock
        self._after_ns = _times_ns(recording.sightings)
        self._began_ns: int | None = None

    def newest(self) -> PeopleSighting | None:
        """Return the newest sighting at once."""
        index = bisect_right(self._after_ns, self._played_ns()) - 1
        return replace(self._sightings[index], stamp_ns=self._start_ns() + self._after_ns[index])

    def missing(self) -> str:
        """Say why no newer one comes, empty where one does."""
        return "the recording is over" if self.over() else ""

    def over(self) -> bool:
        """Return whether the last one has been there for as long as a picture lasts."""
        return self._played_ns() >= self._after_ns[-1] + _USUAL_STEP_NS

    def _played_ns(self) -> int:
        return self._clock.now_ns() - self._start_ns()

    def _start_ns(self) -> int:
        if self._began_ns is None:
            self._began_ns = self._clock.now_ns()
        return self._began_ns


def _times_ns(sightings: tuple[PeopleSighting, ...]) -> list[int]:
    """Return when each is due after the first: as its stamp says, where that can be believed."""
    times = [0]
    for before, after in pairwise(sightings):
        step_ns = after.stamp_ns - before.stamp_ns
        times.append(times[-1] + (step_ns if 0 < step_ns <= _LONGEST_STEP_NS else _USUAL_STEP_NS))
    return times
