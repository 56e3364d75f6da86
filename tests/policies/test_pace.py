from __future__ import annotations

import pytest

from policies.pace import Pace


def test_nothing_is_known_before_two_moments() -> None:
    pace = Pace()
    assert (pace.decisions_per_s, pace.updates_per_s) == (None, None)
    pace.take_in(5.0, 100, 400, learning=True)
    assert (pace.decisions_per_s, pace.updates_per_s) == (None, None)


def test_rates_are_what_was_gained_by_the_seconds_it_took() -> None:
    pace = Pace()
    pace.take_in(5.0, 100, 400, learning=True)
    pace.take_in(7.0, 150, 600, learning=True)
    assert (pace.decisions_per_s, pace.updates_per_s) == (25.0, 100.0)


def test_an_evaluation_does_not_count_as_time() -> None:
    pace = Pace()
    pace.take_in(0.0, 0, 0, learning=True)
    pace.take_in(2.0, 100, 200, learning=False)  # 30 s of evaluation follow
    pace.take_in(32.0, 100, 200, learning=True)
    assert pace.decisions_per_s == 50.0
    pace.take_in(34.0, 140, 280, learning=True)
    assert (pace.decisions_per_s, pace.updates_per_s) == (35.0, 70.0)  # 140 and 280 in 2 + 2 s


def test_what_is_older_than_ten_seconds_is_forgotten() -> None:
    pace = Pace()
    for second in range(21):  # 10 a second at first, then 40 a second
        pace.take_in(float(second), 10 * min(second, 10) + 40 * max(0, second - 10), 0, learning=True)
    assert pace.decisions_per_s == pytest.approx(40.0)
    pace.take_in(60.0, 500, 0, learning=True)  # 40 s of silence: the mark before it is all there is
    assert pace.decisions_per_s == 0.0
