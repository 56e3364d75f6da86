"""Footage: one attempt on film, of the training world or of an arm, with the moment each phase began."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bridge.encoding import Phase
from bridge.loop import LoopStep
from urdf.pose import Array

Image = NDArray[np.uint8]

_ACTS = (Phase.DESCEND, Phase.CLOSE, Phase.LIFT, Phase.HOLD, Phase.DONE)


@dataclass(slots=True)
class PhaseMarks:
    """When each phase of an attempt was first seen, in seconds of whichever clock the caller reads."""

    begin_s: dict[Phase, float] = field(default_factory=lambda: {})

    def note(self, step: LoopStep, time_s: float) -> None:
        """Take in one control period."""
        if step.waiting_for or (step.phase == Phase.DONE and Phase.DESCEND not in self.begin_s):
            return
        self.begin_s.setdefault(step.phase, time_s)

    @property
    def complete(self) -> bool:
        """Whether the attempt went through every phase."""
        return all(phase in self.begin_s for phase in _ACTS)

    def moments_s(self) -> Array:
        """Return when descent, closing, lift, hold and the end began (5,), ascending."""
        return np.array([self.begin_s[phase] for phase in _ACTS])


@dataclass(frozen=True, slots=True)
class Footage:
    """Pictures of one attempt and their times. Every picture has the same size."""

    marks: PhaseMarks
    times_s: tuple[float, ...]
    pictures: tuple[Image, ...]

    def at(self, time_s: float) -> Image:
        """Return the picture taken nearest to `time_s`."""
        return self.pictures[int(np.abs(np.array(self.times_s) - time_s).argmin())]

    def phase_at(self, time_s: float) -> Phase:
        """Return the phase at `time_s`."""
        moments = self.marks.moments_s()
        return _ACTS[max(0, int(np.searchsorted(moments, time_s, side="right")) - 1)]

    def same_moment(self, other: Footage, time_s: float) -> float:
        """Return the time of `other` at which its attempt is as far as this one is at `time_s`, phase by phase."""
        return float(np.interp(time_s, self.marks.moments_s(), other.marks.moments_s()))
