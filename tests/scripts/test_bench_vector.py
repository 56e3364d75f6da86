from __future__ import annotations

import mmap
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
    assert "16 worlds" in scaling.baseline
    assert "4 worlds" in memory.baseline
    assert memory.value is not None
    assert 20.0 < memory.value < 400.0
    assert memory.holds
    assert heard[-1] == ("point workers", 1.0)


def test_resident_memory_is_that_of_the_process() -> None:
    size = 128 << 20
    # Straight from the kernel: the allocator might hand out pages that were freed and are resident already.
    with mmap.mmap(-1, size) as held:
        before = resident_mib(os.getpid())
        np.frombuffer(held, np.uint8)[:] = 1
        assert resident_mib(os.getpid()) - before == pytest.approx(128.0, abs=16.0)
