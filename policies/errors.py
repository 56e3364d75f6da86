"""Errors of the policies. A policy that does not fit the robot raises `bridge.errors.PolicyMismatch`."""

from __future__ import annotations


class PolicyError(Exception):
    """A policy could not be trained, stored or loaded."""


class ArtifactError(PolicyError):
    """The files of a saved policy are missing, damaged or of another schema."""


class CheckpointError(PolicyError):
    """No usable checkpoint: missing, truncated, or written by another configuration."""


class BadConfig(PolicyError):
    """A training setting that makes no sense."""


class UnfitWorlds(PolicyError):
    """Worlds that the learner cannot work with; the message names the setting and what it must be."""


class UnfitDemonstrations(PolicyError):
    """Demonstrations of something else than what is to be learnt; the message says what differs."""


class SimulationFailed(PolicyError):
    """The processes that simulate gave up while they were needed."""


class NotFinite(PolicyError):
    """A number that is none: in an observation, a reward or a loss. Learning from it would spoil the whole policy."""
