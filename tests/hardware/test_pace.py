from __future__ import annotations

import math

import pytest

from hardware.pace import Pace


def test_without_a_move_time_a_command_keeps_its_own() -> None:
    assert [Pace(0.05).written_s(d) for d in (0.02, 0.05, 1.0)] == [0.02, 0.05, 1.0]


def test_a_longer_move_time_smooths_and_counts_no_faster() -> None:
    pace = Pace(0.05, 0.12)
    assert (pace.written_s(0.05), pace.counted_s(0.05)) == (0.12, 0.05)


def test_a_shorter_move_time_exceeds_no_speed() -> None:
    """What must be there after 0.02 s is given only as far as 0.02 s allow."""
    pace = Pace(0.05, 0.02)
    assert (pace.written_s(0.05), pace.counted_s(0.05)) == (0.02, 0.02)


def test_a_command_longer_than_a_period_keeps_its_own_time() -> None:
    pace = Pace(0.05, 0.02)
    assert (pace.written_s(0.08), pace.counted_s(0.08)) == (0.08, 0.08)


@pytest.mark.parametrize("wrong", [0.0, -0.1, math.nan, math.inf])
def test_times_are_positive_and_finite(wrong: float) -> None:
    with pytest.raises(ValueError, match="move_time_s"):
        Pace(0.05, wrong)
    with pytest.raises(ValueError, match="period_s"):
        Pace(wrong)
