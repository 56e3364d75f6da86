"""Errors of the arm descriptions."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ArmError(Exception):
    """An arm description is missing, wrong or asked for something it cannot do."""


def nearest_first(name: str, valid: Iterable[str]) -> list[str]:
    """Return the valid names, the most similar to `name` first."""
    return sorted(valid, key=lambda v: -difflib.SequenceMatcher(None, name.lower(), v.lower()).ratio())


#: More names than these fill a screen; the nearest are among them.
_MOST_SHOWN = 12


class UnknownName(ArmError):
    """A name that is not in a closed list; the message lists the valid ones, nearest first, of many the nearest."""

    def __init__(self, kind: str, name: str, valid: Iterable[str], hint: str = "") -> None:
        self.valid = nearest_first(name, valid)
        listing = ", ".join(self.valid[:_MOST_SHOWN]) or "(none yet)"
        if more := len(self.valid[_MOST_SHOWN:]):
            listing += f" and {more} more"
        super().__init__(f"unknown {kind} {name!r}; valid, nearest first: {listing}" + (f"; {hint}" if hint else ""))


class PackageMissing(ArmError):
    """The package that keeps an arm's model is not installed here; `install` is its name for pip.

    `in_extra`: it is one of those that the [workstation] extra brings.
    """

    def __init__(self, package: str, install: str, arm: str = "", in_extra: bool = False) -> None:
        self.package, self.install, self.in_extra = package, install, in_extra
        extra = "  (part of the [workstation] extra)" if in_extra else f", if {package!r} is spelt rightly"
        whose = f"the arm {arm!r}" if arm else "this arm"
        super().__init__(
            f"the model of {whose} is kept by {package!r}, which is not installed: pip install {install}{extra}"
        )


#: A position missed by less than this is met: what is missing is the heading or the tilt.
_MET_M = 1e-4


class Unreachable(ArmError):
    """No joint angles inside the limits put the tool there.

    `residual_m` is the distance that remains, `limiting_joint` the joint that stands at its limit
    (None where length, not a limit, is what is missing).
    """

    def __init__(self, position_m: Iterable[float], residual_m: float, limiting_joint: str | None) -> None:
        self.residual_m = residual_m
        self.limiting_joint = limiting_joint
        where = ", ".join(f"{v:+.4f}" for v in position_m)
        if residual_m < _MET_M:
            why = "it is met only with the tool turned, or tilted beyond the cone"
        else:
            why = f"{1000 * residual_m:.2f} mm remain"
        limit = (
            f"{limiting_joint} is at its limit" if limiting_joint else "no joint is at its limit: the arm is too short"
        )
        super().__init__(f"tool position ({where}) m is unreachable: {why}; {limit}")
