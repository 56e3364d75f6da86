"""From easy to full: stages of a task, and the one object that decides when to go on to the next."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import msgspec

from sim.errors import BadCurriculum
from urdf.errors import UnknownName

MAX_DISTRACTORS = 4


@dataclass(frozen=True, slots=True)
class Stage:
    """How hard the episodes are. The default is the full task: the whole area, all the clutter, fully randomised.

    The object lies between `area_lower` and `area_upper`, fractions of the rig's area along x and y; where they are
    equal the area is a line or a point. At most `distractors` of those that the environment has lie beside it.
    The goal of a reach lies in the same share of the reach box.
    `randomization` scales the ranges of the randomisation, 0 to 1.
    """

    name: str
    area_lower: tuple[float, float] = (0.0, 0.0)
    area_upper: tuple[float, float] = (1.0, 1.0)
    distractors: int = MAX_DISTRACTORS
    randomization: float = 1.0

    def __post_init__(self) -> None:
        for axis, lower, upper in zip("xy", self.area_lower, self.area_upper, strict=True):
            if not 0.0 <= lower <= upper <= 1.0:
                raise BadCurriculum(
                    f"stage {self.name!r}: area_lower and area_upper along {axis} must be fractions with "
                    f"0 <= lower <= upper <= 1, got {lower} and {upper}"
                )
        if not 0 <= self.distractors <= MAX_DISTRACTORS:
            raise BadCurriculum(
                f"stage {self.name!r}: distractors must be 0 to {MAX_DISTRACTORS}, got {self.distractors}"
            )
        if not 0.0 <= self.randomization <= 1.0:
            raise BadCurriculum(f"stage {self.name!r}: randomization must be 0 to 1, got {self.randomization}")


#: What a task is without a curriculum.
FULL_STAGE = Stage("full")


class CurriculumState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a curriculum stands: what a checkpoint keeps. `outcomes` are those of the window, oldest first."""

    stage: str
    outcomes: tuple[bool, ...]


class Curriculum:
    """Promotes by the success rate of the last `window` finished episodes, and demotes when asked to.

    A decision needs a full window: at `promote_at` or more the next stage begins, at `demote_at` or less the one
    before. The outcomes are forgotten at every change.
    Ref: Bengio et al., Curriculum Learning, ICML 2009.
    """

    def __init__(self, stages: Sequence[Stage], window: int, promote_at: float, demote_at: float | None = None) -> None:
        names = [stage.name for stage in stages]
        if not names or len(set(names)) != len(names):
            raise BadCurriculum(f"stages must be at least one, each with a name of its own, got {names}")
        if window < 1:
            raise BadCurriculum(f"window must be at least 1 episode, got {window}")
        if not 0.0 < promote_at <= 1.0:
            raise BadCurriculum(f"promote_at must be above 0 and at most 1, got {promote_at}")
        if demote_at is not None and not 0.0 <= demote_at < promote_at:
            raise BadCurriculum(f"demote_at must be at least 0 and below promote_at {promote_at}, got {demote_at}")
        self.stages = tuple(stages)
        self.window = window
        # In whole episodes, so that 8 of 10 is 0.8 whatever a float makes of it.
        self._promoting = math.ceil(promote_at * window - 1e-9)
        self._demoting = -1 if demote_at is None else math.floor(demote_at * window + 1e-9)
        self._outcomes: deque[bool] = deque(maxlen=window)
        self.index = 0

    @property
    def stage(self) -> Stage:
        """The stage in which new episodes begin."""
        return self.stages[self.index]

    @property
    def success_rate(self) -> float | None:
        """Success rate of the episodes in the window; None when there are none yet."""
        return sum(self._outcomes) / len(self._outcomes) if self._outcomes else None

    def record(self, success: bool) -> bool:
        """Count a finished episode of the present stage; return whether the stage changed."""
        self._outcomes.append(bool(success))
        if len(self._outcomes) < self.window:
            return False
        successes, before = sum(self._outcomes), self.index
        if successes >= self._promoting:
            self.index = min(self.index + 1, len(self.stages) - 1)
        elif successes <= self._demoting:
            self.index = max(self.index - 1, 0)
        if self.index == before:
            return False
        self._outcomes.clear()
        return True

    def state(self) -> CurriculumState:
        """Return where it stands."""
        return CurriculumState(self.stage.name, tuple(self._outcomes))

    def restore(self, state: CurriculumState) -> None:
        """Go on from a state; raises BadCurriculum when it is not one of this curriculum."""
        names = [stage.name for stage in self.stages]
        if state.stage not in names:
            raise BadCurriculum(f"the saved stage {state.stage!r} is none of this curriculum's: {', '.join(names)}")
        if len(state.outcomes) > self.window:
            raise BadCurriculum(f"{len(state.outcomes)} outcomes were saved, the window holds {self.window}")
        self.index = names.index(state.stage)
        self._outcomes = deque(state.outcomes, maxlen=self.window)

    def capture(self) -> bytes:
        """Return the state as JSON."""
        return msgspec.json.encode(self.state())

    def resume(self, captured: bytes) -> None:
        """Go on from what `capture` returned; raises BadCurriculum when it does not fit."""
        try:
            state = msgspec.json.decode(captured, type=CurriculumState)
        except msgspec.MsgspecError as error:
            raise BadCurriculum(f"not the state of a curriculum: {error}") from error
        self.restore(state)


@dataclass(frozen=True, slots=True)
class CurriculumPreset:
    """The arguments of a `Curriculum`; each training run makes its own from them.

    A stage takes away from what its world has: `distractors` and `randomization` (a name) are what the worlds need for
    the stages to differ.
    """

    stages: tuple[Stage, ...]
    window: int
    promote_at: float
    demote_at: float | None = None
    distractors: int = 0
    randomization: str = "none"

    def make(self) -> Curriculum:
        """Return a new curriculum at its first stage."""
        return Curriculum(self.stages, self.window, self.promote_at, self.demote_at)


#: From a line 10 cm x 0 at the far edge to 10 cm x 5 cm in steps of a quarter, each after 8 successes in 10 episodes.
_REFERENCE = tuple(
    Stage(name, area_lower=(0.0, lower))
    for name, lower in (("line", 1.0), ("quarter", 0.75), ("half", 0.5), ("three quarters", 0.25), ("full", 0.0))
)
#: Where the object may lie first, for that decides whether anything is ever learnt; then what must not distract.
_FULL = (
    Stage("middle", area_lower=(0.35, 0.35), area_upper=(0.65, 0.65), distractors=0, randomization=0.0),
    Stage("half", area_lower=(0.2, 0.2), area_upper=(0.8, 0.8), distractors=0, randomization=0.1),
    Stage("area", distractors=0, randomization=0.25),
    Stage("one distractor", distractors=1, randomization=0.5),
    Stage("two distractors", distractors=2, randomization=0.75),
    Stage("full", distractors=MAX_DISTRACTORS),
)

CURRICULA: Mapping[str, CurriculumPreset] = MappingProxyType(
    {
        "none": CurriculumPreset((FULL_STAGE,), window=10, promote_at=0.8),
        "reference": CurriculumPreset(_REFERENCE, window=10, promote_at=0.8),
        "full": CurriculumPreset(_FULL, 20, promote_at=0.8, demote_at=0.3, distractors=4, randomization="mild"),
    }
)


def curriculum_preset(name: str) -> CurriculumPreset:
    """Return a preset; raises UnknownName with the valid names, nearest first."""
    if name not in CURRICULA:
        raise UnknownName("curriculum", name, CURRICULA)
    return CURRICULA[name]


def make_curriculum(name: str) -> Curriculum:
    """Return a new curriculum; raises UnknownName with the valid names, nearest first."""
    return curriculum_preset(name).make()
