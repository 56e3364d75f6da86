"""DemonstrationSet: attempts of one arm at one task, wherever they came from, and what they are of."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from bridge.episode_attempts import RecordedAttempt, RecordedDemonstrations
from bridge.episode_decisions import SUCCESS, DemonstrationHeader
from bridge.errors import BadEpisode, PolicyMismatch
from scripts.programs.demonstration_numbers import check_belong_together
from urdf.description import ArmDescription


class DemonstrationOrigin(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What demonstrations are of. Every export carries it, so that an import need not guess.

    `recordings` are the names of the files that they came from; `period_s` is the control period, of which a decision
    lasts `layout.action_repeat`.
    """

    arm: str
    arm_sha256: str
    rig: str
    robots: tuple[str, ...]
    policies: tuple[str, ...]
    period_s: float
    layout: DemonstrationHeader
    recordings: tuple[str, ...] = ()

    @property
    def decision_s(self) -> float:
        """How long a decision lasts."""
        return self.layout.action_repeat * self.period_s

    def check_arm(self, description: ArmDescription) -> None:
        """Raise PolicyMismatch unless they are of this very arm."""
        if (self.arm, self.arm_sha256) != (description.name, description.sha256):
            raise PolicyMismatch(
                f"demonstrated on arm {self.arm!r} ({self.arm_sha256[:12]}), this one is {description.name!r} "
                f"({description.sha256[:12]}): its actions mean something else here"
            )


@dataclass(frozen=True, slots=True)
class DemonstrationSet:
    """Attempts that belong together, numbered from 1."""

    origin: DemonstrationOrigin
    attempts: tuple[RecordedAttempt, ...]

    @property
    def decisions(self) -> int:
        """How many decisions there are."""
        return sum(attempt.decisions for attempt in self.attempts)


def gathered(sets: Sequence[RecordedDemonstrations], only_successes: bool) -> DemonstrationSet:
    """Return the attempts of recordings as one set, renumbered.

    Raises PolicyMismatch where the recordings do not belong together, BadEpisode where nothing is left of them, or
    where nobody said which attempts succeeded and only those are wanted.
    """
    check_belong_together(sets)
    attempts = [attempt for recorded in sets for attempt in recorded.attempts]
    names = ", ".join(recorded.path.stem for recorded in sets)
    if not attempts:
        why = "; ".join(remark for recorded in sets for remark in recorded.remarks) or "nothing was demonstrated"
        raise BadEpisode(f"{names}: no attempt has an end, there is nothing to export: {why}")
    if only_successes:
        kept = [attempt for attempt in attempts if attempt.verdict == SUCCESS]
        if not kept:
            unlabelled = sum(not attempt.verdict for attempt in attempts)
            raise BadEpisode(
                f"{names}: none of {len(attempts)} attempts is a success, {unlabelled} have no label. Label them with "
                "`tandem episodes label`, or export all of them with --all"
            )
        attempts = kept
    numbered = tuple(dataclasses.replace(attempt, number=k) for k, attempt in enumerate(attempts, 1))
    first = sets[0]
    origin = DemonstrationOrigin(
        arm=first.header.arm,
        arm_sha256=first.header.arm_sha256,
        rig=first.header.rig,
        robots=tuple(sorted({recorded.header.robot for recorded in sets})),
        policies=tuple(sorted({recorded.header.policy for recorded in sets})),
        period_s=first.header.period_s,
        layout=first.layout,
        recordings=tuple(recorded.path.stem for recorded in sets),
    )
    return DemonstrationSet(origin, numbered)
