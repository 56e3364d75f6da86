"""Errors of the simulator."""

from __future__ import annotations


class SimError(Exception):
    """The simulator was asked for something that it cannot do; the message names the field and the valid range."""


class BadCurriculum(SimError):
    """Stages or thresholds that make no sense, or a saved state of other stages."""


class BadWorlds(SimError):
    """Worlds that cannot be stepped together: wrong counts, unsupported spaces, or no `stage` to set."""


class BadAction(SimError):
    """Actions of the wrong shape, or with numbers that are not finite."""


class WorkerError(SimError):
    """A process that simulates could not do its work; all worker processes have been ended."""


class WorldFailed(WorkerError):
    """A world raised an error in its worker; the message holds the traceback from there."""


class WorkerDied(WorkerError):
    """A worker died again and again before it finished a single step."""


class WorkerTimeout(WorkerError):
    """A worker did not answer in time."""
