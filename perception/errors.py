"""Errors of perception."""

from __future__ import annotations

from collections.abc import Iterable


class PerceptionError(Exception):
    """A picture did not say what was asked of it."""


class TargetNotSeen(PerceptionError):
    """No marker, or too few, of a target is in the picture; the message lists those that were looked for."""

    def __init__(self, target: str, wanted: Iterable[int], found: Iterable[int], needed: int) -> None:
        ids = ", ".join(str(n) for n in wanted)
        seen = ", ".join(str(n) for n in found)
        what = f"only marker {seen} of the {target}" if seen else f"no marker of the {target}"
        more = f"; {needed} are needed" if needed > 1 else ""
        super().__init__(f"{what} in the picture (ids {ids}){more}")


class PoseUncertain(PerceptionError):
    """The markers were seen, but no pose explains their corners well enough to be believed."""
