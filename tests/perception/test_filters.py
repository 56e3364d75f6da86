from __future__ import annotations

import math

import numpy as np
import pytest

from perception.errors import StampNotRising
from perception.filters import OneEuroFilter, OneEuroSettings

SETTINGS = OneEuroSettings(min_cutoff_hz=1.2, beta=0.8, speed_cutoff_hz=0.9)
RATE_NS = 33_333_333


def published(times_s: list[float], values: list[float], settings: OneEuroSettings) -> list[float]:
    """The paper's algorithm 1 for one number, written out: nothing of it is shared with the filter."""
    result: list[float] = []
    speed = 0.0
    for k, (time_s, value) in enumerate(zip(times_s, values, strict=True)):
        if k == 0:
            result.append(value)
            continue
        rate_hz = 1.0 / (time_s - times_s[k - 1])

        def alpha(cutoff_hz: float, rate_hz: float = rate_hz) -> float:
            tau_s = 1.0 / (2.0 * math.pi * cutoff_hz)
            return 1.0 / (1.0 + tau_s * rate_hz)

        raw_speed = (value - result[-1]) * rate_hz
        share = alpha(settings.speed_cutoff_hz)
        speed = share * raw_speed + (1.0 - share) * speed
        share = alpha(settings.min_cutoff_hz + settings.beta * abs(speed))
        result.append(share * value + (1.0 - share) * result[-1])
    return result


def one(value: float) -> np.ndarray:
    return np.array([[value]])


def filtered(stamps_ns: list[int], values: list[float]) -> list[float]:
    smooth = OneEuroFilter(SETTINGS, 1, 1)
    return [float(smooth.update(stamp, one(value))[0, 0]) for stamp, value in zip(stamps_ns, values, strict=True)]


def path(rng: np.random.Generator) -> tuple[list[int], list[float]]:
    stamps_ns = np.cumsum(rng.integers(5_000_000, 80_000_000, 200)) - 5_000_000
    values = np.cumsum(rng.normal(0.0, 0.03, 200)) + rng.normal(0.0, 0.01, 200)
    return stamps_ns.tolist(), values.tolist()


def test_the_filter_is_the_published_one_at_any_rate() -> None:
    stamps_ns, values = path(np.random.default_rng(1))
    expected = published([1e-9 * stamp for stamp in stamps_ns], values, SETTINGS)
    np.testing.assert_allclose(filtered(stamps_ns, values), expected, rtol=0, atol=1e-9)


def test_a_stamp_of_zero_is_a_time_like_any_other() -> None:
    values = [0.0, 1.0, 0.5, 0.7]
    from_zero = filtered([k * RATE_NS for k in range(4)], values)
    later = filtered([10_000_000_000 + k * RATE_NS for k in range(4)], values)
    np.testing.assert_allclose(from_zero, later, rtol=0, atol=1e-12)
    assert from_zero[1] < 0.6, "the second value is smoothed, not taken as the first"


def test_the_same_stamp_again_changes_nothing() -> None:
    smooth = OneEuroFilter(SETTINGS, 1, 1)
    smooth.update(0, one(0.0))
    before = smooth.update(RATE_NS, one(1.0))
    assert smooth.update(RATE_NS, one(5.0)) == before
    assert smooth.update(2 * RATE_NS, one(1.0))[0, 0] == filtered([0, RATE_NS, 2 * RATE_NS], [0.0, 1.0, 1.0])[2]


def test_an_earlier_stamp_is_refused_and_the_filter_stays_as_it_was() -> None:
    smooth = OneEuroFilter(SETTINGS, 1, 1)
    smooth.update(RATE_NS, one(0.0))
    before = smooth.update(3 * RATE_NS, one(1.0))
    with pytest.raises(StampNotRising, match="expected rising stamps"):
        smooth.update(2 * RATE_NS, one(9.0))
    assert smooth.position == before


def test_a_reset_forgets_the_speed_as_well() -> None:
    smooth = OneEuroFilter(SETTINGS, 1, 1)
    for k in range(10):
        smooth.update(k * RATE_NS, one(float(k)))
    smooth.reset()
    again = [float(smooth.update(k * RATE_NS, one(value))[0, 0]) for k, value in enumerate([0.0, 0.1, 0.1])]
    assert again == filtered([0, RATE_NS, 2 * RATE_NS], [0.0, 0.1, 0.1])


def test_a_point_that_is_left_out_stays_and_goes_on_in_its_own_time() -> None:
    smooth = OneEuroFilter(SETTINGS, 2, 1)
    both, first = np.array([True, True]), np.array([True, False])
    smooth.update(0, np.array([[0.0], [0.0]]), both)
    kept = smooth.update(RATE_NS, np.array([[1.0], [np.nan]]), first)
    assert kept[1, 0] == 0.0
    after = smooth.update(2 * RATE_NS, np.array([[1.0], [1.0]]), both)
    assert after[0, 0] == filtered([0, RATE_NS, 2 * RATE_NS], [0.0, 1.0, 1.0])[2]
    assert after[1, 0] == filtered([0, 2 * RATE_NS], [0.0, 1.0])[1]


def test_directions_are_filtered_alike() -> None:
    turn = np.array([[math.cos(1.0), math.sin(1.0)], [-math.sin(1.0), math.cos(1.0)]])
    straight, turned = OneEuroFilter(SETTINGS, 1, 2), OneEuroFilter(SETTINGS, 1, 2)
    for k, point in enumerate(np.random.default_rng(2).normal(size=(20, 1, 2))):
        here, there = straight.update(k * RATE_NS, point), turned.update(k * RATE_NS, point @ turn)
        np.testing.assert_allclose(here @ turn, there, atol=1e-12)


def test_a_point_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        OneEuroFilter(SETTINGS, 1, 1).update(0, one(math.nan))


@pytest.mark.parametrize(
    "values", [(0.0, 0.0, 1.0), (1.0, -1.0, 1.0), (1.0, 0.0, 0.0), (math.nan, 0.0, 1.0), (1.0, math.inf, 1.0)]
)
def test_settings_that_filter_nothing_are_refused(values: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="cutoffs above 0 Hz"):
        OneEuroSettings(*values)
