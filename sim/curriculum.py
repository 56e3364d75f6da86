"""Stages of a curriculum."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stage:
    """Stage."""

    name: str = "full"
    area_lower: tuple[float, float] = (0.0, 0.0)
    area_upper: tuple[float, float] = (1.0, 1.0)
    distractors: int = 0
    randomization: float = 1.0
