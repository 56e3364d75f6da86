"""Errors that cross the bridge."""

from __future__ import annotations


class BridgeError(Exception):
    """The policy and the robot could not agree."""


class BadMessage(BridgeError):
    """Bytes that are no message of this protocol, or a message whose numbers are not finite."""


class StaleFrame(BridgeError):
    """The newest camera frame is older than the caller accepts."""


class RobotLost(BridgeError):
    """The robot's server does not answer."""


class CommandRefused(BridgeError):
    """The robot's server refused a command; the message says why."""


class PolicyMismatch(BridgeError):
    """A policy was made for another arm, rig, task or layout, or computes other numbers than when it was saved."""


class EndpointRefused(BridgeError):
    """An endpoint that this link does not serve: only loopback and ipc, until connections carry keys."""


class SessionRefused(BridgeError):
    """The robot's server does not take this session: another protocol, another arm, or somebody else in control."""
