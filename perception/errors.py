"""Errors of perception."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


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


class NoDepth(PerceptionError):
    """A picture without depth, or with depth of another size than its lens says."""


class DeskNotSeen(PerceptionError):
    """Too little of the desk is in a depth picture, or it lies elsewhere than arm and camera say."""


class NothingStandsOut(PerceptionError):
    """Nothing on the desk is higher than the noise of the depth picture, the arm itself left aside."""


class TooLittleSeen(PerceptionError):
    """Something stands on the desk, but too few of its pixels are in the picture to say where."""


class NotTheBlock(PerceptionError):
    """What stands on the desk is not of the block's size and shape."""


class ArmUnknown(PerceptionError):
    """A camera on the arm took a picture at a time for which nobody knows where the arm was."""


class ViewTooNarrow(PerceptionError):
    """A camera does not see enough of what a policy was trained to see."""


class LocatorUnfit(PerceptionError):
    """A learned locator that is damaged, of another version, or was trained for another camera."""


class StampNotRising(PerceptionError):
    """A picture is older than the one before it: a clock jumped, or two sources are mixed."""

    def __init__(self, stamp_ns: int, before_ns: int) -> None:
        super().__init__(
            f"a picture of {stamp_ns} ns came after one of {before_ns} ns: expected rising stamps of one clock"
        )


class NoLimbRules(PerceptionError):
    """An arm's arm.toml does not say how it copies a person's arm."""

    def __init__(self, arm: str, copying: str) -> None:
        super().__init__(
            f"{arm}: its arm.toml has no [limb.{copying}]; expected one rule for each joint (docs/arms.md)"
        )


class ModelMissing(PerceptionError):
    """The file of a landmark model is not there."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"no landmark model {path}: `tandem models fetch` gets one (docs/models.md)")


class ModelUnfit(PerceptionError):
    """A landmark model whose bytes are not those that are known here, or that finds something else."""


class LibraryMissing(PerceptionError):
    """A library of the system that a package here stands on is not installed."""


class BadLandmarks(PerceptionError):
    """A file is no recording of landmarks, or one of another version."""
