"""`tandem lab`: the arm you have when you have no arm."""

from __future__ import annotations

from scripts.programs.lab import LabArgs, run

__all__ = ["LabArgs", "run"]
