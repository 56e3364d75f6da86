"""Errors of calibration artifacts and routines."""

from __future__ import annotations

from pathlib import Path


class CalibrationError(Exception):
    """A calibration is missing, unreadable, made for something else, or not good enough."""


class NotCalibrated(CalibrationError):
    """This robot has no such calibration; the message says how to make one. There is no default."""

    def __init__(self, what: str, serial: str, path: Path, how: str) -> None:
        self.path = path
        super().__init__(f"robot {serial!r} has no {what} calibration: expected {path}. {how}")


class BadArtifact(CalibrationError):
    """A calibration file that cannot be read: truncated, of another schema, with missing or unknown fields."""


class ForeignCalibration(CalibrationError):
    """A calibration of another robot, another arm or another variant of it."""


class RoutineStopped(CalibrationError):
    """The person stopped a calibration routine before it was complete; nothing was written in place of the old one."""


class NotIdentifiable(CalibrationError):
    """A log of motion that does not determine a number; the message says what motion to add."""

    def __init__(self, parameter: str, where: str, why: str, motion: str) -> None:
        self.parameter = parameter
        self.where = where
        super().__init__(f"the log does not determine {parameter} of {where}: {why}. Add {motion}")


class BadSamples(CalibrationError):
    """Hand-eye samples that cannot be solved: too few, too alike, contradictory, or with transforms mixed up."""


class SampleRefused(CalibrationError):
    """One sample that must not count: the arm moved, the picture is blurred, too little of the board is seen."""

    def __init__(self, name: str, why: str, fix: str) -> None:
        self.name = name
        super().__init__(f"sample {name} is refused: {why}. To mend it: {fix}")


class BoardError(CalibrationError):
    """A board that cannot be made, printed or found; the message says what to do."""


class MirroredBoard(BoardError):
    """The board, or the picture of it, is a mirror image."""


class WrongDictionary(BoardError):
    """The markers in the picture are of another dictionary than the board's."""


class WrongScale(BoardError):
    """The print is not of the size that the board has: scaled by the printer, or another board."""


class WeakViews(CalibrationError):
    """Views of a board that do not determine the camera; the message says which views to add."""
