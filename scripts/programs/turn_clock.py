"""TurnClock: simulated time that several threads share. One thread runs at a time, in an order that never changes.

The thread that made the clock drives it: while it sleeps, time goes on in steps, and whoever has slept long enough has
his turn before the next one. So code that was written for threads and a real clock runs here unchanged, as fast as the
machine can, and twice the same way.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

_LOOK_S = 0.05
#: A thread that has its turn for longer waits for something that only the clock could bring.
_STUCK_S = 60.0


class ClockStuck(RuntimeError):
    """A thread keeps its turn and does not sleep."""


@dataclass(order=True, slots=True)
class _Sleeper:
    deadline_ns: int
    order: int
    thread: threading.Thread = field(compare=False)
    happened: Callable[[], bool] | None = field(compare=False, default=None)
    woken: threading.Semaphore = field(compare=False, default_factory=lambda: threading.Semaphore(0))


class TurnClock:
    """A Clock. `advance(now_ns)` is called once a step, in the driver's thread."""

    def __init__(self, advance: Callable[[int], None], steps_per_s: int) -> None:
        self._advance, self._rate = advance, steps_per_s
        self._steps = steps_per_s  # nobody's stamp is zero
        self._now_ns = 1_000_000_000
        self._driver = threading.get_ident()
        self._turn = self._driver
        self._order = itertools.count()
        self._lock = threading.Lock()
        self._arrived: list[_Sleeper] = []
        self._asleep: list[_Sleeper] = []
        self._watching: list[_Sleeper] = []
        self._given_back = threading.Semaphore(0)
        self._closed = False

    # Clock ---------------------------------------------------------------------------------------
    def now_ns(self) -> int:
        """Return the time now; a thread that comes for the first time waits for its turn."""
        self._come_in()
        return self._now_ns

    def sleep_until(self, deadline_ns: int) -> None:
        """Return at the first step at or after `deadline_ns`; the driver's sleep is what makes time pass."""
        self.wait_for(None, deadline_ns)

    def wait_for(self, happened: Callable[[], bool] | None, deadline_ns: int) -> bool:
        """Return at the first step at which something has `happened`, or at the deadline; whether it has."""
        if threading.get_ident() == self._driver:
            while self._now_ns < deadline_ns and not (happened is not None and happened()):
                self._step()
        elif self._closed:
            time.sleep(0.002)
        else:
            self._come_in()
            if self._now_ns < deadline_ns and not (happened is not None and happened()):
                self._sleep(_Sleeper(deadline_ns, next(self._order), threading.current_thread(), happened))
        return happened is not None and happened()

    # Threads -------------------------------------------------------------------------------------
    def await_thread(self, count: int = 1) -> None:
        """Wait, by the real clock, until so many threads have come for the first time, and let them take their turn."""
        end_s = time.monotonic() + _STUCK_S
        while len(self._arrived) < count:
            if time.monotonic() > end_s:
                raise ClockStuck(f"{count} threads were expected, {len(self._arrived)} have come")
            time.sleep(0.0005)
        self._let_in()

    def close(self) -> None:
        """Let every thread go on by itself: time stands still, sleeps are short, and each ends when it is told to."""
        with self._lock:
            self._closed = True
            left = [*self._arrived, *self._asleep, *self._watching]
            self._arrived, self._asleep, self._watching = [], [], []
        for sleeper in left:
            sleeper.woken.release()

    @property
    def closed(self) -> bool:
        """Whether time has ended."""
        return self._closed

    def _come_in(self) -> None:
        me = threading.get_ident()
        if me in (self._driver, self._turn) or self._closed:
            return
        arrival = _Sleeper(0, next(self._order), threading.current_thread())
        with self._lock:
            self._arrived.append(arrival)
        arrival.woken.acquire()

    def _sleep(self, sleeper: _Sleeper) -> None:
        with self._lock:
            if self._closed:
                return
            if sleeper.happened is None:
                heapq.heappush(self._asleep, sleeper)
            else:
                self._watching.append(sleeper)
        self._given_back.release()
        sleeper.woken.acquire()

    # Driver --------------------------------------------------------------------------------------
    def _step(self) -> None:
        self._steps += 1
        self._now_ns = self._steps * 1_000_000_000 // self._rate
        self._advance(self._now_ns)
        if self._arrived:
            self._let_in()
        while self._asleep and self._asleep[0].deadline_ns <= self._now_ns:
            self._hand_over(heapq.heappop(self._asleep))
        for sleeper in [s for s in self._watching if s.deadline_ns <= self._now_ns or (s.happened and s.happened())]:
            self._watching.remove(sleeper)
            self._hand_over(sleeper)

    def _let_in(self) -> None:
        with self._lock:
            arrived, self._arrived = self._arrived, []
        for sleeper in arrived:
            self._hand_over(sleeper)

    def _hand_over(self, sleeper: _Sleeper) -> None:
        """Let one thread run until it sleeps again, or ends."""
        ident = sleeper.thread.ident
        assert ident is not None
        self._turn = ident
        sleeper.woken.release()
        end_s = time.monotonic() + _STUCK_S
        while not self._given_back.acquire(timeout=_LOOK_S):
            if not sleeper.thread.is_alive():
                break
            if time.monotonic() > end_s:
                raise ClockStuck(f"thread {sleeper.thread.name!r} has kept its turn for {_STUCK_S:g} s")
        self._turn = self._driver
