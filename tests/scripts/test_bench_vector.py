from __future__ import annotations

import os

import numpy as np
import pytest

from scripts.programs.bench_vector import resident_mib, rows_of
from tests.fakes.odd_worlds import point


def test_scaling_and_memory_are_measured_on_any_worlds() -> None:
    heard: list[tuple[str, float]] = []
    scaling, memory = rows_of("point", point, lambda what, share: heard.append((what, share)), turn_s=0.05)
    assert scaling.figure == "point two workers / one worker"
    assert (scaling.bar, scaling.direction) == (1.8, ">=")
    # Worlds that cost nothing gain nothing from a second process; yet both were stepped.
    assert scaling.value is not None
    assert 0.2 < scaling.value < 2.5
    assert "8 worlds" in scaling.baseline
    assert "4 worlds" in memory.baseline
    assert memory.value is not None
    assert 20.0 < memory.value < 400.0
    assert memory.holds
    assert heard[-1] == ("point workers", 1.0)


def test_resident_memory_is_that_of_the_process() -> None:
    before = resident_mib(os.getpid())
    held = np.ones((32, 1024, 1024), np.uint8)
    assert resident_mib(os.getpid()) - before == pytest.approx(32.0, abs=8.0)
    assert held.sum() == 32 * 1024 * 1024
