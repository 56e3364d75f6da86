"""Errors that cross the bridge."""

from __future__ import annotations


class BridgeError(Exception):
    """The policy and the robot could not agree."""


class BadMessage(BridgeError):
    """Bytes that are no message of this protocol, or a message whose numbers are not finite."""


class StaleFrame(BridgeError):
    """The newest camera frame is older than the caller accepts."""


class PolicyWaits(BridgeError):
    """A policy cannot decide now; the message says what it waits for, and the arm stands still meanwhile."""


class RobotLost(BridgeError):
    """The robot's server does not answer."""


class StaleState(RobotLost):
    """The newest state is older than the caller accepts: a dead bridge must not look like an arm that stands still."""


class CommandRefused(BridgeError):
    """The robot's server refused a command; the message says why."""


class PolicyMismatch(BridgeError):
    """A policy was made for another arm, rig, task or layout, or computes other numbers than when it was saved."""


class EndpointRefused(BridgeError):
    """An endpoint that this link does not serve: without keys only ipc and loopback."""


class KeyRefused(BridgeError):
    """A key file is missing, damaged, readable by others, or of a name that is taken."""


class SessionRefused(BridgeError):
    """The robot's server does not take this session: another protocol, another arm, or somebody else in control."""


class BadEpisode(BridgeError):
    """A file is no recording of a run, or one that cannot be read, or not now."""
