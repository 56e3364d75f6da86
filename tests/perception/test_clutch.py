from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perception.clutch import Clutch, ClutchPhase, ClutchSettings, ClutchState, Look, Signals

MS = 1_000_000
START_NS = 5_000 * MS
CLUTCH = Clutch(ClutchSettings(good_pictures=5))


class Rig:
    """A clutch that is asked every 20 ms, a camera that has a picture every 40 ms."""

    def __init__(self, clutch: Clutch = CLUTCH) -> None:
        self.clutch, self.state = clutch, ClutchState()
        self.now_ns = START_NS
        self.look: Look | None = None
        self.phases: list[ClutchPhase] = []
        self.at_home = False

    def period(self, held: bool = False, stop: str = "", clear: bool = False, missing: str = "") -> ClutchState:
        self.state = self.clutch.step(
            self.state, Signals(self.now_ns, self.look, held, missing, stop, clear, self.at_home)
        )
        self.phases.append(self.state.phase)
        self.now_ns += 20 * MS
        return self.state

    def seen(self, seconds: float, held: bool, why: str = "", x_m: float = 0.0, gap_rad: float = 0.0) -> ClutchState:
        for _ in range(round(seconds / 0.04)):
            self.look = Look(self.now_ns - 10 * MS, (x_m, 0.3, 0.0), why, gap_rad, "joint2")
            self.period(held)
            self.period(held)
        return self.state

    def unseen(self, seconds: float, held: bool = True, missing: str = "") -> ClutchState:
        for _ in range(round(seconds / 0.02)):
            self.period(held, missing=missing)
        return self.state


def engaged() -> Rig:
    rig = Rig()
    assert rig.seen(0.4, held=True).phase is ClutchPhase.ENGAGED
    return rig


def test_five_steady_pictures_and_the_deadman_engage_once() -> None:
    rig = Rig()
    assert rig.seen(0.16, held=True).phase is ClutchPhase.WAITING
    assert "4 of 5" in rig.state.reason
    rig.look = Look(rig.now_ns)
    rig.look = replace(rig.look, wrist_m=(0.0, 0.3, 0.0))
    assert rig.period(held=True).engages
    assert not rig.period(held=True).engages
    assert rig.state.moves


def test_without_the_deadman_a_steady_person_is_ready_and_told_so() -> None:
    rig = Rig()
    assert rig.seen(0.4, held=False).phase is ClutchPhase.READY
    assert "deadman" in rig.state.reason


def test_a_waving_arm_does_not_engage() -> None:
    rig = Rig()
    for k in range(30):
        rig.seen(0.04, held=True, x_m=0.1 * (k % 2))
    assert ClutchPhase.ENGAGED not in rig.phases
    assert "still" in rig.state.reason


def test_pictures_that_come_too_rarely_do_not_engage() -> None:
    rig = Rig()
    for _ in range(12):
        rig.look = Look(rig.now_ns)
        for _ in range(10):
            rig.period(held=True)
    assert ClutchPhase.ENGAGED not in rig.phases


def test_an_arm_far_from_the_posture_waits_and_says_which_joint() -> None:
    rig = Rig(Clutch(ClutchSettings(max_gap_rad=0.8)))
    assert not rig.seen(0.4, held=True, gap_rad=1.3).moves
    assert "joint2 is 1.30 rad off" in rig.state.reason
    assert rig.seen(0.04, held=True, gap_rad=0.7).moves


def test_a_gap_that_is_no_number_does_not_engage() -> None:
    rig = Rig(Clutch(ClutchSettings(max_gap_rad=0.8)))
    assert not rig.seen(0.4, held=True, gap_rad=float("nan")).moves


def test_letting_go_stops_at_once_and_engaging_again_takes_steady_pictures() -> None:
    rig = engaged()
    assert rig.period(held=False).phase is ClutchPhase.READY
    assert not rig.period(held=True).moves
    assert rig.seen(0.24, held=True).moves
    assert sum(phase is ClutchPhase.ENGAGED for phase in rig.phases) > 1


def test_an_arm_whose_person_is_lost_holds_within_a_quarter_of_a_second() -> None:
    rig = engaged()
    last_ns = rig.state.followed_ns
    assert last_ns is not None
    while rig.state.moves:
        rig.period(held=True, missing="the camera was unplugged")
    assert rig.state.phase is ClutchPhase.HOLDING
    assert rig.state.reason == "the camera was unplugged"
    assert (rig.now_ns - 20 * MS - last_ns) * 1e-9 <= 0.25 + 0.02


def test_a_person_who_stays_away_sends_the_arm_home_after_two_seconds_until_it_is_there() -> None:
    rig = engaged()
    assert rig.unseen(1.9).phase is ClutchPhase.HOLDING
    assert rig.unseen(0.3).phase is ClutchPhase.RETURNING
    rig.at_home = True
    assert rig.unseen(0.02).phase is ClutchPhase.WAITING


def test_a_person_who_comes_back_takes_over_anew_on_the_way_home() -> None:
    rig = engaged()
    rig.unseen(2.5)
    assert rig.seen(0.3, held=True).moves
    assert rig.phases.count(ClutchPhase.RETURNING) > 0


def test_an_arm_that_does_not_return_is_free_again_after_a_while() -> None:
    rig = Rig(Clutch(ClutchSettings(return_s=None)))
    rig.seen(0.4, held=True)
    assert rig.unseen(5.0).phase is ClutchPhase.WAITING
    assert ClutchPhase.RETURNING not in rig.phases


def test_nobody_ever_engaged_so_nothing_returns() -> None:
    rig = Rig()
    rig.seen(0.4, held=False)
    rig.unseen(5.0, held=False)
    assert set(rig.phases) <= {ClutchPhase.WAITING, ClutchPhase.READY}


def test_a_stop_is_latched_until_cleared_and_wants_the_deadman_let_go() -> None:
    rig = engaged()
    assert rig.period(held=True, stop="the space key").reason == "the space key"
    assert rig.seen(1.0, held=True).phase is ClutchPhase.STOPPED
    rig.now_ns += 3_000 * MS  # nobody asked while the arm was stopped
    assert "clock" not in rig.period(held=True, clear=True).reason
    assert not rig.seen(1.0, held=True).moves
    assert "let go" in rig.state.reason
    rig.seen(0.04, held=False)
    assert rig.seen(0.3, held=True).moves


@pytest.mark.parametrize("jump_s", [-3.0, -0.001, 0.6, 3600.0])
def test_a_clock_that_jumps_holds_and_sends_nothing_home(jump_s: float) -> None:
    rig = engaged()
    rig.now_ns += round(jump_s * 1e9) - 20 * MS
    assert rig.period(held=True).phase is ClutchPhase.HOLDING
    assert "clock" in rig.state.reason
    assert not rig.period(held=True).moves


def test_a_picture_older_than_the_last_or_of_the_future_holds() -> None:
    for shift_ns in (-500 * MS, 200 * MS):
        rig = engaged()
        rig.look = Look(rig.now_ns + shift_ns, (0.0, 0.3, 0.0))
        assert rig.period(held=True).phase is ClutchPhase.HOLDING
        assert "picture" in rig.state.reason


def test_settings_that_mean_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="return_s"):
        ClutchSettings(return_s=0.1)
    with pytest.raises(ValueError, match="above 0"):
        ClutchSettings(good_pictures=0)


# Whatever happens ------------------------------------------------------------------------------------
HAPPENINGS = st.lists(
    st.tuples(
        st.sampled_from([20, 20, 20, 20, 33, 260, 700, -40, 5000]),  # ms to the next period
        st.sampled_from(["same", "good", "good", "good", "hidden", "old", "future", "away"]),
        st.booleans() | st.just(True),
        st.sampled_from(["", "", "", "", "", "", "", "stop"]),
        st.sampled_from([False, False, False, True]),
    ),
    max_size=80,
)


@settings(max_examples=150, deadline=None)
@given(HAPPENINGS)
def test_whatever_happens_the_arm_follows_only_a_person_seen_just_now_with_the_deadman_held(
    happenings: list[tuple[int, str, bool, str, bool]],
) -> None:
    state, look, now_ns, good_ns, stopped = ClutchState(), None, START_NS, -(1 << 60), False
    for wait_ms, what, held, stop, clear in happenings:
        before, now_ns = state, now_ns + wait_ms * MS
        look = _next(look, what, now_ns)
        if look is not None and not look.why and what == "good":
            good_ns = look.stamp_ns
        stopped = bool(stop) or (stopped and not clear)
        state = CLUTCH.step(state, Signals(now_ns, look, held, stop=stop, clear=clear))
        assert not (state.engages and not state.moves)
        if state.moves:
            assert held
            assert not stopped
            assert wait_ms > 0
            assert now_ns - good_ns <= 250 * MS
            assert before.phase is ClutchPhase.ENGAGED or state.engages  # references are latched: nothing jumps
        if state.phase is ClutchPhase.RETURNING:
            assert before.owned


def _next(look: Look | None, what: str, now_ns: int) -> Look | None:
    """Return the newest picture after this happening."""
    match what:
        case "good":
            return Look(now_ns - 5 * MS, (0.0, 0.3, 0.0))
        case "hidden":
            return Look(now_ns - 5 * MS, why="your right elbow cannot be seen")
        case "old":
            return Look(now_ns - 900 * MS, (0.0, 0.3, 0.0))
        case "future":
            return Look(now_ns + 900 * MS, (0.0, 0.3, 0.0))
        case "away":
            return None
        case _:
            return look
