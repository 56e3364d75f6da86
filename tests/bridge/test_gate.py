"""Which commands may move the arm: rule by rule, and 100 000 hostile histories against the definition."""

from __future__ import annotations

import numpy as np
import pytest

from bridge.errors import BadMessage
from bridge.gate import LEASE_S, MAX_AHEAD_S, MAX_SESSIONS, MAX_TTL_S, CommandGate, Verdict
from bridge.link import decode_client, encode
from bridge.messages import JointCommand, Move

SECOND_NS = 1_000_000_000
NOW_NS = 50 * SECOND_NS


def command(seq: int, stamp_ns: int = NOW_NS, ttl_s: float = 0.2, joints: int = 6) -> JointCommand:
    return JointCommand(seq, stamp_ns, (0.0,) * joints, 0.05, ttl_s)


def gate(*sessions: str) -> CommandGate:
    made = CommandGate(6)
    for session in sessions:
        made.open(session)
    return made


def test_a_fresh_command_is_accepted_and_takes_control() -> None:
    made = gate("a")
    assert made.judge("a", command(0), NOW_NS) == (Verdict.ACCEPTED, "")
    assert made.controller == "a"


@pytest.mark.parametrize("seq", [5, 4, 0, -1, -(2**60)])
def test_a_number_that_is_not_newer_is_a_duplicate(seq: int) -> None:
    made = gate("a")
    made.judge("a", command(5), NOW_NS)
    assert made.judge("a", command(seq), NOW_NS)[0] is Verdict.DUPLICATE


@pytest.mark.parametrize(
    ("age_s", "ttl_s", "verdict"),
    [
        (0.0, 0.2, Verdict.ACCEPTED),
        (0.2, 0.2, Verdict.ACCEPTED),
        (0.2 + 1e-6, 0.2, Verdict.STALE),
        (1e9, 0.2, Verdict.STALE),
        (MAX_TTL_S, 1e9, Verdict.ACCEPTED),
        (MAX_TTL_S + 1e-6, 1e9, Verdict.STALE),
        (-MAX_AHEAD_S, 0.2, Verdict.ACCEPTED),
        (-MAX_AHEAD_S - 1e-6, 0.2, Verdict.FUTURE),
        (-1e9, 0.2, Verdict.FUTURE),
    ],
)
def test_a_command_lives_from_its_stamp_to_its_ttl(age_s: float, ttl_s: float, verdict: Verdict) -> None:
    stamp_ns = NOW_NS - round(age_s * SECOND_NS)
    assert gate("a").judge("a", command(1, stamp_ns, ttl_s), NOW_NS)[0] is verdict


def test_a_refused_number_is_used_up() -> None:
    made = gate("a")
    late = command(7, NOW_NS - SECOND_NS)
    assert made.judge("a", late, NOW_NS)[0] is Verdict.STALE
    assert made.judge("a", command(7), NOW_NS)[0] is Verdict.DUPLICATE


def test_an_unknown_session_is_refused_and_leaves_no_trace() -> None:
    made = gate("a")
    assert made.judge("b", command(1), NOW_NS)[0] is Verdict.UNKNOWN_SESSION
    assert made.judge("", command(1), NOW_NS)[0] is Verdict.UNKNOWN_SESSION
    assert made.controller == ""


def test_the_wrong_number_of_joints_is_refused() -> None:
    for joints in (0, 5, 7):
        assert gate("a").judge("a", command(1, joints=joints), NOW_NS)[0] is Verdict.MISFIT


def test_one_session_is_in_control_until_it_has_been_silent() -> None:
    made = gate("a", "b")
    made.judge("a", command(1), NOW_NS)
    just_before = NOW_NS + round(LEASE_S * SECOND_NS) - 1
    assert made.judge("b", command(1, just_before), just_before)[0] is Verdict.BUSY
    after = NOW_NS + round(LEASE_S * SECOND_NS)
    assert made.judge("b", command(2, after), after)[0] is Verdict.ACCEPTED
    assert made.judge("a", command(2, after), after)[0] is Verdict.BUSY


def test_refused_commands_keep_no_control() -> None:
    made = gate("a", "b")
    made.judge("a", command(1), NOW_NS)
    after = NOW_NS + round(LEASE_S * SECOND_NS)
    made.judge("a", command(2, NOW_NS), after)
    assert made.judge("b", command(1, after), after)[0] is Verdict.ACCEPTED


def test_goodbye_frees_control_at_once_and_ends_the_session() -> None:
    made = gate("a", "b")
    made.judge("a", command(1), NOW_NS)
    assert made.close("nobody") is False
    assert made.close("a") is True
    assert made.judge("b", command(1), NOW_NS)[0] is Verdict.ACCEPTED
    assert made.judge("a", command(2), NOW_NS)[0] is Verdict.UNKNOWN_SESSION


def test_a_replayed_greeting_reopens_no_old_number() -> None:
    made = gate("a")
    made.judge("a", command(9), NOW_NS)
    made.open("a")
    assert made.judge("a", command(9), NOW_NS)[0] is Verdict.DUPLICATE


def test_greetings_without_end_neither_grow_memory_nor_oust_the_controller() -> None:
    made = gate("a")
    made.judge("a", command(1), NOW_NS)
    for k in range(10 * MAX_SESSIONS):
        made.open(f"s{k}")
    assert made.judge("a", command(2), NOW_NS)[0] is Verdict.ACCEPTED
    assert made.judge("s0", command(1), NOW_NS)[0] is Verdict.UNKNOWN_SESSION


def test_no_history_executes_a_stale_or_repeated_command() -> None:
    """100 000 histories of commands in random order, late, repeated, garbled, by two sessions and a stranger."""
    rng = np.random.default_rng(20)
    histories, length = 100_000, 6
    seqs = rng.integers(0, 5, (histories, length)).tolist()
    delays_ms = np.where(rng.random((histories, length)) < 0.3, 400.0, 30.0) * rng.random((histories, length))
    delays_ns = (delays_ms * 1e6).astype(np.int64).tolist()
    ttls_s = (0.05 + 0.1 * rng.random((histories, length))).tolist()
    who = rng.integers(0, 3, (histories, length)).tolist()
    gaps_ns = (rng.exponential(0.05, (histories, length)) * 1e9).astype(np.int64).tolist()
    executed = 0
    for h in range(histories):
        made = gate("s0", "s1")
        seen: dict[str, int] = {"s0": -1, "s1": -1}
        now_ns, last_session, last_ns = NOW_NS, "", 0
        for k in range(length):
            now_ns += gaps_ns[h][k]
            session = f"s{who[h][k]}"
            sent = command(seqs[h][k], now_ns - delays_ns[h][k], ttls_s[h][k])
            verdict, _ = made.judge(session, sent, now_ns)
            if verdict is Verdict.ACCEPTED:
                executed += 1
                assert session != "s2"
                assert seqs[h][k] > seen[session]
                assert delays_ns[h][k] <= ttls_s[h][k] * 1e9 + 1
                assert last_session in ("", session) or now_ns - last_ns >= SECOND_NS
                last_session, last_ns = session, now_ns
            if session in seen:
                seen[session] = max(seen[session], seqs[h][k])
    assert 0.1 * histories < executed < 3 * histories


def test_garbled_messages_are_refused_or_judged_like_any_other() -> None:
    """Bits flipped, bytes cut and added: decoding never raises anything but BadMessage."""
    rng = np.random.default_rng(21)
    sound = encode(Move("a", command(1)))
    refused = 0
    for _ in range(20_000):
        data = bytearray(sound)
        for _ in range(int(rng.integers(1, 4))):
            data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
        cut = int(rng.integers(len(data) + 1)) if rng.random() < 0.3 else len(data)
        try:
            message = decode_client(bytes(data[:cut]) + (rng.bytes(3) if rng.random() < 0.1 else b""))
        except BadMessage:
            refused += 1
            continue
        if isinstance(message, Move):
            assert np.isfinite(message.command.position_rad).all()
            gate("a").judge(message.session, message.command, NOW_NS)
    assert refused > 5_000
