"""Errors of the simulator."""

from __future__ import annotations


class SimError(Exception):
    """The simulator was asked for something that it cannot do; the message names the field and the valid range."""
