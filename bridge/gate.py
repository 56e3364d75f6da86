"""CommandGate: which commands may move the arm. No input, no output, no clock of its own: facts in, a verdict out.

    known session -> newer than anything the session sent -> still alive by the receiver's clock -> session in control

A command is judged once: whatever the verdict, its number is used up, so no copy of it can be accepted later. Holds
and stops use up theirs as well: a command that they overtook on the way stays behind them. A session that has ended
stays ended: a copy of its greeting does not open it again, and with it its old numbers.
"""

from __future__ import annotations

from collections import deque
from enum import StrEnum

from bridge.messages import Clear, JointCommand

LEASE_S = 1.0  # a session that has commanded nothing for so long has lost control to whoever asks
MAX_TTL_S = 0.5  # no sender can make a command live longer
MAX_AHEAD_S = 0.1  # a stamp further in the future comes from a wrong clock offset, and would outlive its time
MAX_SESSIONS = 256


class Verdict(StrEnum):
    """What the gate says of a command."""

    ACCEPTED = "accepted"
    UNKNOWN_SESSION = "unknown session"
    DUPLICATE = "duplicate"
    STALE = "stale"
    FUTURE = "future"
    BUSY = "busy"
    MISFIT = "misfit"
    ROBOT = "robot"
    SUPERSEDED = "superseded"
    STOPPED = "stopped"


class CommandGate:
    """Remembers, session by session, the last number seen, and which session is in control."""

    def __init__(self, joint_count: int) -> None:
        self._joint_count = joint_count
        self._last_seq: dict[str, int] = {}
        self._controller = ""
        self._heard_ns = 0
        self._may_take_over: set[str] = set()
        self._ended: deque[str] = deque(maxlen=MAX_SESSIONS)

    @property
    def controller(self) -> str:
        """The session that moved the arm last, or empty."""
        return self._controller

    def knows(self, session: str) -> bool:
        """Return whether a session is open."""
        return session in self._last_seq

    def open(self, session: str, take_over: bool = False) -> bool:
        """Make a session known; return False, and do nothing, for one that has ended.

        Saying hello again forgets nothing: a replayed greeting reopens no old number. With `take_over` its first
        command takes control from whoever has it; once, so that two do not fight.
        """
        if session in self._ended:
            return False
        if session in self._last_seq:
            return True
        if len(self._last_seq) >= MAX_SESSIONS:
            self.close(next(s for s in self._last_seq if s != self._controller))
        self._last_seq[session] = -1
        if take_over:
            self._may_take_over.add(session)
        return True

    def close(self, session: str) -> bool:
        """Forget a session; return whether it was in control. Its commands are refused from now on."""
        in_control = session != "" and session == self._controller
        if in_control:
            self._controller = ""
        if self._last_seq.pop(session, None) is not None:
            self._ended.append(session)
        self._may_take_over.discard(session)
        return in_control

    def outdate(self, session: str, seq: int) -> None:
        """Take note of a hold or a stop: what the session sent before it, and comes after it, is a duplicate."""
        if session in self._last_seq:
            self._last_seq[session] = max(seq, self._last_seq[session])

    def judge_clear(self, clear: Clear, now_ns: int) -> tuple[Verdict, str]:
        """Return whether a stop may be ended by this: not by a copy, and not by one that was long on the way.

        Somebody may have stopped the arm since it was sent.
        """
        last = self._last_seq.get(clear.session)
        if last is None:
            return Verdict.UNKNOWN_SESSION, f"session {clear.session!r} is not open here: say hello first"
        if clear.seq <= last:
            return Verdict.DUPLICATE, f"number {clear.seq} is not newer than {last}"
        self._last_seq[clear.session] = clear.seq
        age_s = (now_ns - clear.stamp_ns) * 1e-9
        if not -MAX_AHEAD_S <= age_s <= MAX_TTL_S:
            return (
                Verdict.STALE,
                f"clearing was asked for {age_s:.3f} s ago, which is good for {MAX_TTL_S} s: ask again",
            )
        return Verdict.ACCEPTED, ""

    def judge(self, session: str, command: JointCommand, now_ns: int) -> tuple[Verdict, str]:
        """Return the verdict and, for a refusal, the reason in words. An accepted command takes or keeps control."""
        last = self._last_seq.get(session)
        if last is None:
            return Verdict.UNKNOWN_SESSION, f"session {session!r} is not open here: say hello first"
        if command.seq <= last:
            return Verdict.DUPLICATE, f"number {command.seq} is not newer than {last}"
        self._last_seq[session] = command.seq
        age_s = (now_ns - command.stamp_ns) * 1e-9
        ttl_s = min(command.ttl_s, MAX_TTL_S)
        if age_s > ttl_s:
            return Verdict.STALE, f"the command is {age_s:.3f} s old and was good for {ttl_s:.3f} s"
        if age_s < -MAX_AHEAD_S:
            return Verdict.FUTURE, f"the command is stamped {-age_s:.3f} s in the future: the clock offset is wrong"
        if len(command.position_rad) != self._joint_count:
            return Verdict.MISFIT, f"{len(command.position_rad)} angles for an arm of {self._joint_count} joints"
        if self._taken(session, now_ns):
            why = f"session {self._controller!r} is in control: wait until it is silent, or say --take-over"
            return Verdict.BUSY, why
        self._may_take_over.discard(session)
        self._controller, self._heard_ns = session, now_ns
        return Verdict.ACCEPTED, ""

    def _taken(self, session: str, now_ns: int) -> bool:
        if session in self._may_take_over:
            return False
        return self._controller not in ("", session) and (now_ns - self._heard_ns) * 1e-9 < LEASE_S
