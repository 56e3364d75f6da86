"""The watchdog's tiers, at their very boundaries."""

from __future__ import annotations

import pytest

from bridge.watchdog import Tier, Watchdog, WatchdogLimits

MS = 1_000_000
PERIOD_S = 0.05


def led(park_s: float | None = 2.0, at_ns: int = 0) -> Watchdog:
    watchdog = Watchdog(WatchdogLimits(park_s=park_s))
    watchdog.feed(at_ns, PERIOD_S)
    return watchdog


@pytest.mark.parametrize(
    ("silent_ns", "tier"),
    [
        (0, None),
        (75 * MS, None),
        (75 * MS + 1, Tier.LATE),
        (100 * MS, Tier.LATE),
        (100 * MS + 1, Tier.HOLD),
        (2000 * MS, Tier.HOLD),
        (2000 * MS + 1, Tier.PARK),
    ],
)
@pytest.mark.parametrize("at_ns", [0, 7, 10**18])
def test_each_tier_begins_where_the_table_says(silent_ns: int, tier: Tier | None, at_ns: int) -> None:
    assert led(at_ns=at_ns).look(at_ns + silent_ns) == tier


def test_each_tier_is_told_once_and_in_turn() -> None:
    watchdog = led()
    told = [watchdog.look(ms * MS) for ms in range(0, 3000, 10)]
    assert [tier for tier in told if tier is not None] == [Tier.LATE, Tier.HOLD, Tier.PARK]
    assert [told.index(tier) for tier in (Tier.LATE, Tier.HOLD, Tier.PARK)] == [8, 11, 201]


def test_a_look_after_a_long_pause_tells_the_highest_tier_alone() -> None:
    watchdog = led()
    assert watchdog.look(5000 * MS) == Tier.PARK
    assert watchdog.look(6000 * MS) is None


def test_nobody_parks_unasked() -> None:
    watchdog = led(park_s=None)
    assert watchdog.look(10**6 * MS) == Tier.HOLD
    assert watchdog.look(10**7 * MS) is None


def test_a_command_begins_anew() -> None:
    watchdog = led()
    assert watchdog.look(150 * MS) == Tier.HOLD
    watchdog.feed(160 * MS, PERIOD_S)
    assert watchdog.leading
    assert watchdog.look(230 * MS) is None
    assert watchdog.look(261 * MS) == Tier.HOLD


def test_late_is_a_matter_of_the_period() -> None:
    watchdog = Watchdog(WatchdogLimits())
    watchdog.feed(0, 0.005)
    assert watchdog.look(7_500_000) is None
    assert watchdog.look(7_500_001) == Tier.LATE


def test_nothing_is_watched_before_the_first_command_or_after_a_rest() -> None:
    watchdog = Watchdog(WatchdogLimits(park_s=2.0))
    assert watchdog.look(10_000 * MS) is None
    assert not watchdog.leading
    watchdog.feed(10_000 * MS, PERIOD_S)
    watchdog.rest()
    assert not watchdog.leading
    assert watchdog.look(20_000 * MS) is None


def test_an_arm_that_holds_is_led_no_more() -> None:
    watchdog = led()
    watchdog.look(80 * MS)
    assert watchdog.leading
    watchdog.look(101 * MS)
    assert not watchdog.leading


def test_a_loop_that_was_away_is_noticed_while_it_leads_and_only_then() -> None:
    watchdog = Watchdog(WatchdogLimits())
    assert not watchdog.turned(0)
    assert not watchdog.turned(1000 * MS)  # nobody led the arm
    watchdog.feed(1000 * MS, PERIOD_S)
    assert not watchdog.turned(1050 * MS)
    assert watchdog.turned(1100 * MS + 1)
    assert not watchdog.turned(1101 * MS)


def test_the_first_turn_is_never_late() -> None:
    assert not led(at_ns=10**12).turned(10**12 + 1)


@pytest.mark.parametrize(
    "limits", [{"own_s": 0.0}, {"own_s": 0.1}, {"hold_s": 0.05}, {"park_s": 0.1}, {"hold_s": float("nan")}]
)
def test_limits_out_of_order_are_refused(limits: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected 0 < own_s < hold_s < park_s"):
        WatchdogLimits(**limits)
