"""Errors on the way to a landmark model. Each says what else can be done."""

from __future__ import annotations

from urdf.errors import ArmError


class SourceUnreachable(ArmError):
    """A server or a package index does not answer, or does not have the file."""


class WrongBytes(ArmError):
    """What came is not the file that was asked for."""


class WheelUnfit(ArmError):
    """A wheel without the networks, or a tool to get one is missing."""
