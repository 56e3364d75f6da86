from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardware.start_budget import BUCKET_STARTS, STARTS_PER_S, StartBudget
from urdf.pose import Array

MS = 1_000_000
FULL = np.array([3.49, 3.49, 3.49, 3.49, 3.49, 1.98])
BUDGET = StartBudget(FULL)
FAST, SLOWER, BACK = [3.49, 0, 0, 0, 0, 0], [0.7, 0, 0, 0, 0, 0], [-3.49, 0, 0, 0, 0, 0]
#: What the module promises for any 0.1 s: the bucket, and what flows into it meanwhile.
MOST_STARTS = 2.0


def run(wanted: list[Array], gaps_ms: list[int], lasts_s: float = 0.05) -> list[tuple[int, float, Array]]:
    """Return (time, starts counted by hand, velocity commanded) of a stream of wanted velocities."""
    now_ns, state = 0, BUDGET.at_rest(0)
    before, before_until_ns, rows = np.zeros(6), 0, list[tuple[int, float, Array]]()
    for velocity, gap_ms in zip(wanted, gaps_ms, strict=True):
        now_ns += gap_ms * MS
        sent = BUDGET.scale(state, velocity.tolist(), now_ns) * velocity
        state = BUDGET.spend(state, sent.tolist(), now_ns, lasts_s)
        had = before if now_ns <= before_until_ns + 30 * MS else np.zeros(6)
        faster = [
            max(0.0, abs(v) - (abs(h) if v * h > 0 else 0.0)) / f for v, h, f in zip(sent, had, FULL, strict=True)
        ]
        rows.append((now_ns, sum(faster), sent))
        before, before_until_ns = sent, now_ns + round(lasts_s * 1e9)
    return rows


def worst_sum(rows: list[tuple[int, float, Array]]) -> float:
    """Return the most starts in any 0.1 s."""
    return max(sum(s for t, s, _ in rows if t0 <= t < t0 + 100 * MS) for t0, _, _ in rows)


def test_five_servos_reach_their_full_speed_one_after_the_other_and_not_at_once() -> None:
    rows = run([np.append(FULL[:5], 0.0)] * 20, [50] * 20)
    shares = [float(v[0] / FULL[0]) for _, _, v in rows]
    assert shares[0] == pytest.approx(0.2)  # one start, shared by five
    assert shares == sorted(shares)
    np.testing.assert_allclose(shares[9:], 1.0)  # at the latest after half a second
    assert worst_sum(rows) <= MOST_STARTS + 1e-9


def test_one_servo_starts_at_once() -> None:
    rows = run([np.array([3.49, 0, 0, 0, 0, 0])], [50])
    np.testing.assert_allclose(rows[0][2], [3.49, 0, 0, 0, 0, 0])


def test_a_policys_slow_motion_passes_untouched_even_from_rest() -> None:
    """0.2 m/s across the tool: some 1 rad/s at the base, less than that in three more joints."""
    velocity = np.array([1.0, 0.9, -0.8, 0.7, 0.0, 0.0])
    rows = run([velocity] * 40, [50] * 40)
    for _, _, sent in rows:
        np.testing.assert_array_equal(sent, velocity)


def test_every_joint_is_scaled_alike_so_that_the_path_stays_straight() -> None:
    velocity = np.array([3.0, -2.0, 3.4, -3.4, 1.0, 1.9])
    sent = run([velocity], [50])[0][2]
    np.testing.assert_allclose(sent / velocity, sent[0] / velocity[0])
    assert sent[0] < velocity[0]


def test_braking_costs_nothing_and_a_reversal_is_a_start() -> None:
    state = BUDGET.spend(BUDGET.at_rest(0), FAST, 0, 0.05)
    assert BUDGET.starts(state, SLOWER, 50 * MS) == 0.0
    assert BUDGET.starts(state, BACK, 50 * MS) == pytest.approx(1.0)


def test_after_a_pause_the_arm_starts_anew() -> None:
    state = BUDGET.spend(BUDGET.at_rest(0), FAST, 0, 0.05)
    assert BUDGET.starts(state, FAST, 79 * MS) == 0.0
    assert BUDGET.starts(state, FAST, 81 * MS) == pytest.approx(1.0)


def test_standing_still_gives_back_nothing_that_was_just_spent() -> None:
    state = BUDGET.at_rest(10 * MS, BUDGET.spend(BUDGET.at_rest(0), FAST, 0, 0.05))
    assert BUDGET.scale(state, FAST, 10 * MS) == pytest.approx(10e-3 * STARTS_PER_S)


def test_the_promised_sum_is_the_bucket_and_its_inflow() -> None:
    assert pytest.approx(MOST_STARTS) == BUCKET_STARTS + 0.1 * STARTS_PER_S


velocities = st.lists(st.floats(-40.0, 40.0), min_size=6, max_size=6).map(np.array)
streams = st.lists(st.tuples(velocities, st.integers(1, 300)), min_size=1, max_size=40)


@settings(max_examples=150, deadline=None)
@given(streams, st.sampled_from([0.02, 0.05, 0.2]))
def test_no_stream_of_commands_starts_more_than_two_servos_in_a_tenth_of_a_second(
    stream: list[tuple[Array, int]], lasts_s: float
) -> None:
    rows = run([v for v, _ in stream], [gap for _, gap in stream], lasts_s)
    assert worst_sum(rows) <= MOST_STARTS + 1e-6
    for (wanted, _), (_, _, sent) in zip(stream, rows, strict=True):
        assert (np.abs(sent) <= np.abs(wanted) + 1e-12).all()
