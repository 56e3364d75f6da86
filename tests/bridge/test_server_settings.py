"""What a server says of itself when it ends."""

from __future__ import annotations

from bridge.server_settings import ServerStatistics


def test_what_happened_is_counted_and_what_did_not_is_left_out() -> None:
    assert ServerStatistics().in_words() == "0 sessions, 0 commands accepted"
    busy = ServerStatistics(sessions=2, accepted=40, stale=3, watchdog_holds=1, own_holds=2, stops=1)
    assert busy.in_words() == (
        "2 sessions, 40 commands accepted; stale: 3, holds by the watchdog: 1, "
        "holds for the server's own lateness: 2, emergency stops: 1"
    )
